"""Tokenise rows of the source ahead of the engine, in a thread, and hand them to a reading pass.

The tokenizers of Hugging Face run outside Python's lock, so the engine's Python goes on meanwhile.
"""

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator

from fastneurons.data.digest import NO_DIGEST, digest_of_row, digest_of_tokens
from fastneurons.data.example import Skipped
from fastneurons.engine.encode import Encoder, Row, Tokenised


class Feed(Iterator[Tokenised | Skipped]):
    """Iterates over rows in input order, `ahead` of them tokenised and waiting.

    Args:
        rows: The source.
        encode: What makes token ids of rows.
        ahead: Rows tokenised beyond the one that was taken last.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        encode: Encoder,
        ahead: int = 256,
    ) -> None:
        self._rows = rows
        self._encode = encode
        # Batches, not rows, cross the queue: its lock is taken once for many prompts.
        self._batch_size = max(1, min(64, ahead // 4))
        self._queue: queue.Queue[list[Tokenised | Skipped] | BaseException | None] = queue.Queue(
            maxsize=max(1, ahead // self._batch_size)
        )
        self._ready: list[Tokenised | Skipped] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fastneurons-feed", daemon=True)
        self._thread.start()

    def __next__(self) -> Tokenised | Skipped:
        """The next row, waited for.

        Raises:
            Exception: whatever reading the source raised, once all rows before it have been taken.
        """
        row = self.take(wait=True)
        assert row is not None
        return row

    def take(self, wait: bool) -> Tokenised | Skipped | None:
        """The next row, or None if none is ready and `wait` is false. Raises as `__next__` does."""
        while not self._ready:
            try:
                batch = self._queue.get(block=wait)
            except queue.Empty:
                return None
            if batch is None or isinstance(batch, BaseException):
                self._queue.put(batch)  # for whoever asks again
                raise StopIteration if batch is None else batch
            self._ready = batch[::-1]
        return self._ready.pop()

    def close(self) -> None:
        """Stop reading ahead."""
        self._closed.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue

    def _run(self) -> None:
        end: BaseException | None = None
        rows: list[Row] = []
        try:
            for row in self._rows:
                rows.append(row)
                if len(rows) == self._batch_size:
                    full, rows = rows, []
                    self._put(self._encode(full))
                    if self._encode.is_full:
                        break
                if self._closed.is_set():
                    return
        except BaseException as error:
            end = error
        try:
            # Rows read before an error are good: they go first. The remainder is incomplete: more would have joined it.
            encoded = self._encode(rows)
            if self._encode.is_full:
                end = None  # what could not be read is not needed
            self._put(encoded + (self._encode.rest() if end is None else []))
        except BaseException as error:
            end = end or error
        self._put(end)

    def _put(self, item: list[Tokenised | Skipped] | BaseException | None) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return
            except queue.Full:
                continue


class ListedRows:
    """Tokenised rows that are all there; `Rows`. Their digests are not needed."""

    def __init__(self, rows: Iterable[Tokenised]) -> None:
        self._rows = iter(rows)

    def take(self, wait: bool) -> tuple[Tokenised | Skipped, int] | None:
        """See `Rows.take`."""
        return next(self._rows), NO_DIGEST


class TokenisedRows(Iterator[tuple[Tokenised | Skipped, int]]):
    """Rows tokenised ahead, each with the digest of its texts; of a corpus, its blocks with those of their token ids.

    Args:
        rows: The source.
        encode: Makes token ids of rows.
        languages: L codes.
        corpus: Whether rows become blocks.
        ahead: Rows tokenised beyond the one that was taken last.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        encode: Encoder,
        languages: tuple[str, ...],
        corpus: bool,
        ahead: int,
    ) -> None:
        self._languages, self._corpus = languages, corpus
        self._digests: deque[int] = deque()
        self._feed = Feed(rows if corpus else self._digested(rows), encode, ahead)

    def __next__(self) -> tuple[Tokenised | Skipped, int]:
        taken = self.take(wait=True)
        assert taken is not None
        return taken

    def take(self, wait: bool) -> tuple[Tokenised | Skipped, int] | None:
        """See `Rows.take`."""
        row = self._feed.take(wait)
        if row is None:
            return None
        if not self._corpus:
            return row, self._digests.popleft()
        digest = NO_DIGEST if isinstance(row, Skipped) else digest_of_tokens(self._languages, row.token_ids)
        return row, digest

    def close(self) -> None:
        """Stop reading ahead."""
        self._feed.close()

    def _digested(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows; their digests are kept until they are taken, since a row that is skipped loses its texts."""
        for row in rows:
            self._digests.append(digest_of_row(row.example if isinstance(row, Tokenised) else row))
            yield row

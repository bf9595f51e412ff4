"""Tokenise examples of the source ahead of the engine, in a thread, and hand them to a reading pass.

The tokenizers of Hugging Face run outside Python's lock, so the engine's Python goes on meanwhile.
"""

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator

from fastneurons.data.digest import NO_DIGEST, digest_of_example, digest_of_tokens
from fastneurons.data.example import Skipped
from fastneurons.engine.encode import AnyExample, Encoder, Tokenised, without_tokens


class Feed(Iterator[Tokenised | Skipped]):
    """Iterates over examples in input order, `ahead` of them tokenised and waiting.

    Args:
        examples: The source.
        encode: What makes token ids of examples.
        ahead: Examples tokenised beyond the one that was taken last.
    """

    def __init__(
        self,
        examples: Iterable[AnyExample],
        encode: Encoder,
        ahead: int = 256,
    ) -> None:
        self._examples = examples
        self._encode = encode
        # Batches, not examples, cross the queue: its lock is taken once for many prompts.
        self._batch_size = max(1, min(64, ahead // 4))
        self._queue: queue.Queue[list[Tokenised | Skipped] | BaseException | None] = queue.Queue(
            maxsize=max(1, ahead // self._batch_size)
        )
        self._ready: list[Tokenised | Skipped] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fastneurons-feed", daemon=True)
        self._thread.start()

    def __next__(self) -> Tokenised | Skipped:
        """The next example, waited for.

        Raises:
            Exception: whatever reading the source raised, once all examples before it have been taken.
        """
        example = self.take(wait=True)
        assert example is not None
        return example

    def take(self, wait: bool) -> Tokenised | Skipped | None:
        """The next example, or None if none is ready and `wait` is false. Raises as `__next__` does."""
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
        examples: list[AnyExample] = []
        try:
            for example in self._examples:
                examples.append(example)
                if len(examples) == self._batch_size:
                    full, examples = examples, []
                    self._put(self._encode(full))
                    if self._encode.is_full:
                        break
                if self._closed.is_set():
                    return
        except BaseException as error:
            end = error
        try:
            # Examples read before an error are good and go first. The rest is incomplete: more would have joined it.
            encoded = self._encode(examples)
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


class ListedExamples:
    """Tokenised examples that are all there; `EncodedExamples`. Their digests are not needed."""

    def __init__(self, examples: Iterable[Tokenised]) -> None:
        self._examples = iter(examples)

    def take(self, wait: bool) -> tuple[Tokenised | Skipped, int] | None:
        """See `EncodedExamples.take`."""
        return next(self._examples), NO_DIGEST


class TokenisedExamples(Iterator[tuple[Tokenised | Skipped, int]]):
    """Examples tokenised ahead, each with its texts' digest; of a corpus, its blocks with those of their token ids.

    Args:
        examples: The source.
        encode: Makes token ids of examples.
        languages: L codes.
        corpus: Whether examples become blocks.
        ahead: Examples tokenised beyond the one that was taken last.
    """

    def __init__(
        self,
        examples: Iterable[AnyExample],
        encode: Encoder,
        languages: tuple[str, ...],
        corpus: bool,
        ahead: int,
    ) -> None:
        self._languages, self._corpus = languages, corpus
        self._digests: deque[int] = deque()
        self._feed = Feed(examples if corpus else self._digested(examples), encode, ahead)

    def __next__(self) -> tuple[Tokenised | Skipped, int]:
        taken = self.take(wait=True)
        assert taken is not None
        return taken

    def take(self, wait: bool) -> tuple[Tokenised | Skipped, int] | None:
        """See `EncodedExamples.take`."""
        example = self._feed.take(wait)
        if example is None:
            return None
        if not self._corpus:
            return example, self._digests.popleft()
        digest = (
            NO_DIGEST
            if isinstance(example, Skipped)
            else digest_of_tokens(self._languages, example.token_ids)
        )
        return example, digest

    def close(self) -> None:
        """Stop reading ahead."""
        self._feed.close()

    def _digested(self, examples: Iterable[AnyExample]) -> Iterator[AnyExample]:
        """The examples; digests are kept until they are taken, since an example that is skipped loses its texts."""
        for example in examples:
            self._digests.append(digest_of_example(without_tokens(example)))
            yield example

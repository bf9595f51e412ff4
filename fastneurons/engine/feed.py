"""Rows of the source, tokenised ahead of the engine in a thread of their own.

The tokenizers of Hugging Face run outside Python's lock, so the engine's Python goes on meanwhile.
"""

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fastneurons.data.example import Example, Skipped


@dataclass(frozen=True)
class Tokenised:
    """An example and, for each of the L languages, its prompt's token ids; None where it has no prompt."""

    example: Example
    token_ids: list[list[int] | None]


class Feed(Iterator[Tokenised | Skipped]):
    """Iterates over rows in input order, `ahead` of them tokenised and waiting.

    Args:
        rows: The source.
        languages: The languages, in the store's order.
        tokenizer: A Hugging Face tokenizer.
        max_prompt_tokens: Longer prompts make their example skipped.
        vocabulary: Number of ids that the model has embeddings for.
        ahead: Rows tokenised beyond the one that was taken last.
        add_special_tokens: Whether the tokenizer marks a prompt's begin, as it does by itself. Off for prompts
            in a chat format, which have their marks already.
    """

    def __init__(
        self,
        rows: Iterable[Example | Skipped],
        languages: tuple[str, ...],
        tokenizer: Any,
        max_prompt_tokens: int,
        vocabulary: int,
        ahead: int = 256,
        add_special_tokens: bool = True,
    ) -> None:
        self._rows = rows
        self._languages = languages
        self._tokenizer = tokenizer
        self._max_prompt_tokens = max_prompt_tokens
        self._vocabulary = vocabulary
        self._tokenizer_options = {} if add_special_tokens else {"add_special_tokens": False}
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
        """The next row, or None where none is ready and `wait` is false. Raises as `__next__` does."""
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
        rows: list[Example | Skipped] = []
        try:
            for row in self._rows:
                rows.append(row)
                if len(rows) == self._batch_size:
                    full, rows = rows, []
                    self._put(self._tokenised(full))
                if self._closed.is_set():
                    return
        except BaseException as error:
            end = error
        try:
            # Rows read before an error are good: they go first.
            self._put(self._tokenised(rows))
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

    def _tokenised(self, rows: list[Example | Skipped]) -> list[Tokenised | Skipped]:
        prompts = [
            row.prompts[language]
            for row in rows
            if isinstance(row, Example)
            for language in self._languages
            if language in row.prompts
        ]
        encoded = iter(self._tokenizer(prompts, **self._tokenizer_options)["input_ids"] if prompts else [])
        done: list[Tokenised | Skipped] = []
        for row in rows:
            if isinstance(row, Skipped):
                done.append(row)
                continue
            ids = [list(next(encoded)) if language in row.prompts else None for language in self._languages]
            problem = self._problem(ids)
            done.append(
                Tokenised(row, ids) if problem is None else Skipped(row.id, row.where, problem, row.task)
            )
        return done

    def _problem(self, token_ids: list[list[int] | None]) -> str | None:
        for language, ids in zip(self._languages, token_ids, strict=True):
            if ids is None:
                continue
            if not ids:
                return f"prompt in {language} has no tokens"
            if len(ids) > self._max_prompt_tokens:
                return (
                    f"prompt in {language} has {len(ids)} tokens, the model takes {self._max_prompt_tokens} "
                    "(--max-model-len less one)"
                )
            if max(ids) >= self._vocabulary:
                return f"prompt in {language} has token {max(ids)}, the model knows {self._vocabulary}"
        return None

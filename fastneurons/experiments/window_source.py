"""The windows of a source, read ahead in a thread: for a run whose engines are in other processes."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any

from fastneurons.config import EngineOptions, Measurement, RunOptions
from fastneurons.engine.blocks import ShardEncoder
from fastneurons.engine.encode import AnyExample, Encoder
from fastneurons.engine.encoders import check_window, encoder_for
from fastneurons.engine.facts import ModelFacts
from fastneurons.engine.feed import TokenisedExamples
from fastneurons.engine.tokenise import Tokeniser
from fastneurons.experiments.handed_windows import ExamplesOfWindow
from fastneurons.experiments.resume import KnownExamples, pass_by_blocks, remaining_examples
from fastneurons.experiments.source import Source

# Windows that are ready before an engine asks for them.
_WINDOWS_AHEAD = 4
# Blocks of a corpus that are tokenised ahead.
_BLOCKS_AHEAD = 256


class Windows:
    """The windows of a run, from the first example that its store does not have.

    Args:
        examples: The examples from index `first` on, each with its digest where that is known.
        first: Index of the first one.
        window: Examples of a window. Windows begin at multiples of it, and so the first one may be smaller.
    """

    def __init__(self, examples: Iterator[tuple[AnyExample, int | None]], first: int, window: int) -> None:
        self._examples, self._first, self._size = examples, first, window
        self._queue: queue.Queue[ExamplesOfWindow | BaseException] = queue.Queue(_WINDOWS_AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="fastneurons-source")
        self._thread.start()

    def take(self) -> ExamplesOfWindow | None:
        """The next window; None where none is ready yet.

        Raises:
            StopIteration: there are no more.
            Exception: whatever reading the source raised, once all windows before it have been taken.
        """
        try:
            found = self._queue.get_nowait()
        except queue.Empty:
            return None
        if isinstance(found, BaseException):
            self._queue.put(found)  # for whoever asks again
            raise found
        return found

    def close(self) -> None:
        """Stop reading ahead."""
        self._closed.set()
        self._thread.join(timeout=1)

    def _run(self) -> None:
        end: BaseException = StopIteration()
        window: list[tuple[AnyExample, int | None]] = []
        try:
            for example in self._examples:
                window.append(example)
                if (self._first + len(window)) % self._size == 0:
                    self._put(self._made(window))
                    window = []
                if self._closed.is_set():
                    return
        except BaseException as error:
            end = error
        if window:  # examples read before an error are good
            self._put(self._made(window))
        self._put(end)

    def _made(self, window: list[tuple[AnyExample, int | None]]) -> ExamplesOfWindow:
        examples = [example for example, _ in window]
        digests = [digest for _, digest in window if digest is not None]
        made = ExamplesOfWindow(self._first, examples, digests or None)
        self._first += len(examples)
        return made

    def _put(self, item: ExamplesOfWindow | BaseException) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return


@contextlib.contextmanager
def windows_of(
    source: Source,
    known: KnownExamples,
    first: int,
    options: RunOptions,
    stop: threading.Event,
    blocks: "Blocks | None" = None,
) -> Iterator[Windows]:
    """The windows of a source that a store does not have.

    Args:
        known: The examples that it has; they are compared with the source's.
        first: How many these are.
        stop: Once set, nothing more is read.
        blocks: For a corpus: cuts its texts.
    Raises:
        InputError: tokens of a window could overflow their counters, or blocks are longer than the model takes.
    """
    with contextlib.ExitStack() as stack:
        if blocks is None:
            examples: Iterator[Any] = (
                (example, None) for example in remaining_examples(source.examples, known, stop)
            )
        else:
            examples = stack.enter_context(blocks.cut(source, options, known, stop))
        windows = Windows(examples, first, options.window)
        stack.callback(windows.close)
        yield windows


class Blocks:
    """Cuts the texts of a corpus into blocks of token ids.

    Args:
        model: Whose tokenizer is used.
        languages: L codes.
        measurement: What is read.
        engine: Engine arguments, which say which tokenizer it is.
        facts: Of the model.

    Attributes:
        num_begun: Texts that began with the tokenizer's begin mark.
    """

    def __init__(
        self,
        model: str,
        languages: tuple[str, ...],
        measurement: Measurement,
        engine: EngineOptions,
        facts: ModelFacts,
    ) -> None:
        self._model, self._languages, self._measurement = model, languages, measurement
        self._engine, self._facts = engine, facts
        self.num_begun = 0

    @contextlib.contextmanager
    def cut(
        self, source: Source, options: RunOptions, known: KnownExamples, stop: threading.Event
    ) -> Iterator[Iterator[Any]]:
        """Blocks with their digests, after those that a store has. Raises as `windows_of` does."""
        from fastneurons.engine.engine import tokenizer_of

        check_window(options.window, options.block_size, self._facts.max_prompt_tokens)
        tokenizer = tokenizer_of(self._model, self._engine)
        tokenise = Tokeniser(tokenizer, source.add_special_tokens, self._measurement.add_bos_token)
        encode: Encoder = encoder_for(
            tokenise,
            self._languages,
            self._measurement,
            self._facts,
            options.block_size,
            tokens_per_language=options.tokens_per_language,
        )
        if options.shard is not None:
            encode = ShardEncoder(encode, options.shard, options.window)
        blocks = TokenisedExamples(source.examples, encode, self._languages, True, _BLOCKS_AHEAD)

        def remaining() -> Iterator[Any]:
            pass_by_blocks(blocks, known, stop, options.block_size)
            yield from blocks

        try:
            yield remaining()
        finally:
            blocks.close()
            self.num_begun = getattr(encode, "num_begun", 0)

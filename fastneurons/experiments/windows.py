"""Measure windows of examples as they are handed in, in whatever order: one engine's share of a run of many.

Windows that wait are read in one pass, so that the engine has work while the last prompts of one are still under way.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastneurons.config import EngineOptions, Measurement, RunOptions
from fastneurons.data.digest import digest_of_example
from fastneurons.data.example import Example, Skipped
from fastneurons.engine.encode import Encoder, without_tokens
from fastneurons.engine.failure import ENDED, LOG_FOLLOWS, LoadError, cause_in_log, with_log
from fastneurons.engine.placement import MeasuredExamples
from fastneurons.engine.quiet import quiet
from fastneurons.engine.session import Session
from fastneurons.engine.tokenise import describe_tokens, token_facts
from fastneurons.errors import EngineError
from fastneurons.experiments.ending import describe_skipped
from fastneurons.experiments.handed_windows import (
    Advanced,
    EncodedWindow,
    EngineReport,
    ExamplesOfWindow,
    MeasuredWindow,
    WindowFeed,
)
from fastneurons.experiments.judging import judge_of
from fastneurons.experiments.measure import describe
from fastneurons.experiments.window_arrays import window_of


def encoded_window(given: ExamplesOfWindow, encode: Encoder) -> EncodedWindow:
    """Tokenise a window's examples."""
    before = getattr(encode, "num_begun", 0)
    examples = encode(list(given.examples))
    plain = (without_tokens(example) for example in given.examples)
    digests = map(digest_of_example, plain)
    begun = getattr(encode, "num_begun", 0) - before
    return EncodedWindow(given.first, list(zip(examples, digests, strict=True)), begun)


class WindowReader:
    """A session that measures windows.

    Args:
        session: Reads the prompts.
        options: Those of the run.
        tasks: The run's tasks.
        add_special_tokens: Whether the tokenizer marks a prompt's begin.
    """

    def __init__(
        self, session: Session, options: RunOptions, tasks: tuple[str, ...], add_special_tokens: bool
    ) -> None:
        self._session, self._options, self._tasks = session, options, tasks
        self._add_special_tokens = add_special_tokens
        self._encode = session.encoder(options.block_size, add_special_tokens)
        tokenise = session.tokeniser(add_special_tokens)
        facts, measurement = session.facts, session.measurement
        self.report = EngineReport(
            facts,
            measurement,
            session.languages,
            session.top_k,
            token_facts(tokenise, measurement, options.block_size is not None),
            (
                describe(facts, measurement),
                describe_tokens(tokenise, measurement),
                *(f"warning: {warning}" for warning in facts.warnings),
            ),
            session.constants(),
        )

    def encode(self, given: ExamplesOfWindow) -> EncodedWindow:
        """Tokenise a window's examples; may run in a thread next to `measure`."""
        if given.digests is not None:
            return EncodedWindow(given.first, list(zip(given.examples, given.digests, strict=True)))  # type: ignore[arg-type]
        return encoded_window(given, self._encode)

    def choose_edges(self, texts: Sequence[Example]) -> NDArray[np.float32]:
        """See `Session`."""
        return self._session.choose_edges(texts, self._add_special_tokens)

    def set_edges(self, edges: NDArray[np.float32]) -> None:
        """See `Session`."""
        self._session.set_edges(edges)

    def measure(self, take: Callable[[], EncodedWindow | None]) -> Iterator[Advanced | MeasuredWindow]:
        """Measure windows for as long as one waits.

        Args:
            take: Returns the next window, or None where none waits.
        Yields:
            Progress, and each window when it is complete, in the order in which they were taken.
        Raises:
            EngineError: the engine failed.
        """
        size = self._options.window
        feed = WindowFeed(take, size)
        parts: list[MeasuredExamples] = []
        for measured in self._session.read(feed, 0, size, self._options.keep_bits):
            window = feed.taken[0]
            parts.append(replace(measured, first=measured.first % size + window.first))
            yield Advanced(
                window.first,
                len(measured.examples),
                int(measured["present"].sum()),
                int(measured["token_count"].sum()),
            )
            if sum(len(part.examples) for part in parts) == len(window.examples):
                feed.taken.popleft()
                skipped = (
                    example for part in parts for example in part.examples if isinstance(example, Skipped)
                )
                whole = window_of(parts, self._tasks, self._session.languages)
                yield MeasuredWindow(whole, window.begun, describe_skipped(next(skipped, None)))
                parts = []


@dataclass(frozen=True)
class MeasureJob:
    """What each engine of a run is to do; crosses to other processes by pickle.

    Args:
        model: A model folder, or a name on the Hub.
        languages: L codes.
        measurement: What to read of each prompt.
        engine: Engine arguments.
        options: How windows are read.
        tasks: The run's tasks.
        add_special_tokens: Whether the tokenizer marks a prompt's begin.
        verbose: Let vLLM's log through.
    """

    model: str
    languages: tuple[str, ...]
    measurement: Measurement
    engine: EngineOptions
    options: RunOptions
    tasks: tuple[str, ...]
    add_special_tokens: bool = True
    verbose: bool = False

    @contextlib.contextmanager
    def open(self, log: Callable[[Path], None] = lambda path: None) -> Iterator[WindowReader]:
        """Start an engine, whose output goes to a log file.

        Args:
            log: Called with the file, before anything else.
        Raises:
            InputError: the model cannot be loaded, or its neurons cannot be measured.
            EngineError: the engine failed.
        """
        judge = judge_of(self.measurement, self.languages)
        with (
            with_own_log(self.verbose, log),
            Session(
                self.model, self.languages, self.measurement, self.engine, self.verbose, judge=judge
            ) as session,
        ):
            yield WindowReader(session, self.options, self.tasks, self.add_special_tokens)


@contextlib.contextmanager
def with_own_log(verbose: bool, log: Callable[[Path], None]) -> Iterator[None]:
    """Send an engine's output to a log file, which errors of the engine name.

    Args:
        verbose: Let it through instead.
        log: Called with the file, before anything else.
    """
    with quiet(verbose) as hushed:
        if hushed.log is not None:
            log(hushed.log)
        try:
            yield
        except (EngineError, LoadError) as error:
            if hushed.log is None:
                raise
            hushed.keep = True
            raise with_log(error, hushed.log) from error


def ended_without_a_word(status: int | None, log: Path | None) -> str:
    """Say how an engine's process ended that has not said so itself.

    Args:
        status: Its exit status, negative for a signal; None if it is not known.
        log: Its log, which may tell the cause.
    """
    if status is not None and status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    if log is None:
        return ENDED if not status else f"ended with exit status {status}"
    raised = cause_in_log(log)
    return f"{ENDED if raised is None else f'ended: {raised}'}{LOG_FOLLOWS}{log}"

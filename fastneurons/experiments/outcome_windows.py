"""Answer windows of examples under the conditions of a deactivation, as they are handed in: one engine's share."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fastneurons.data.example import Skipped
from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.outcomes import Outcome, OutcomePass
from fastneurons.experiments.answering import Answering
from fastneurons.experiments.common_sets import Occupancy
from fastneurons.experiments.ending import describe_skipped
from fastneurons.experiments.handed_windows import (
    Advanced,
    EncodedWindow,
    ExamplesOfWindow,
    MeasuredWindow,
    WindowFeed,
)
from fastneurons.experiments.windows import encoded_window, with_own_log


class OutcomeReader:
    """An engine that answers windows.

    Args:
        engine: Reads, edits and judges.
        answering: What it is to do, with its layers and sets settled.
        tasks: The run's tasks.
        add_special_tokens: Whether the tokenizer marks a prompt's begin.
    """

    def __init__(
        self, engine: PatchedEngine, answering: Answering, tasks: tuple[str, ...], add_special_tokens: bool
    ) -> None:
        self._engine, self._answering, self._tasks = engine, answering, tasks
        self._encode = answering.encoder(engine, add_special_tokens)
        self.report = answering.report(engine, add_special_tokens)

    def encode(self, given: ExamplesOfWindow) -> EncodedWindow:
        """Tokenise a window's examples with their answers; may run in a thread next to `measure`."""
        return encoded_window(given, self._encode)

    def measure(self, take: Callable[[], EncodedWindow | None]) -> Iterator[Advanced | MeasuredWindow]:
        """Answer windows for as long as one waits.

        Args:
            take: Returns the next window, or None where none waits.
        Yields:
            Progress, and each window when it is complete, in the order in which they were taken.
        Raises:
            EngineError: the engine failed.
        """
        answering = self._answering
        feed = WindowFeed(take, answering.options.window)
        passing = OutcomePass(
            self._engine,
            answering.design,
            len(answering.languages),
            feed,
            0,
            answering.measurement.position == "last",
            threading.Event(),
            lambda index: answering.number_of(feed.index_in_source(index)),
        )
        outcomes: list[Outcome] = []
        for outcome in passing:
            window = feed.taken[0]
            outcomes.append(outcome)
            yield Advanced(window.first, 1, *answering.work_of(outcome))
            if len(outcomes) == len(window.examples):
                feed.taken.popleft()
                yield self._finished(window, outcomes)
                outcomes = []

    def _finished(self, window: EncodedWindow, outcomes: list[Outcome]) -> MeasuredWindow:
        skipped = (outcome.encoded for outcome in outcomes if isinstance(outcome.encoded, Skipped))
        whole = self._answering.window(outcomes, window.first, self._tasks, len(self._engine.facts.layers))
        return MeasuredWindow(whole, window.begun, describe_skipped(next(skipped, None)))


@dataclass(frozen=True)
class DeactivateJob:
    """What each engine of a deactivation is to do; crosses to other processes by pickle.

    Args:
        answering: What is edited, and how.
        occupancy: Where one set is made for all examples: how often each neuron is in each category.
        tasks: The run's tasks.
        add_special_tokens: Whether the tokenizer marks a prompt's begin.
        verbose: Let vLLM's log through.
    """

    answering: Answering
    occupancy: Occupancy | None
    tasks: tuple[str, ...]
    add_special_tokens: bool = True
    verbose: bool = False

    @contextlib.contextmanager
    def open(self, log: Callable[[Path], None] = lambda path: None) -> Iterator[OutcomeReader]:
        """Start an engine, whose output goes to a log file.

        Args:
            log: Called with the file, before anything else.
        Raises:
            InputError: the model cannot be loaded, or does not have the layers or neurons.
            EngineError: the engine failed.
        """
        answering = self.answering
        with with_own_log(self.verbose, log), answering.start(self.verbose) as engine:
            answering.settle_layers(engine)
            if self.occupancy is not None:
                answering.settle_sets(engine, self.occupancy)
            yield OutcomeReader(engine, answering, self.tasks, self.add_special_tokens)

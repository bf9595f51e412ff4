"""The writing loop of the jobs that run texts under edits, when the engine fails."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fastneurons.arrays import INTACT
from fastneurons.config import RunOptions
from fastneurons.data.example import Example
from fastneurons.engine.feed import TokenisedExamples
from fastneurons.engine.placement import MeasuredExamples
from fastneurons.errors import EngineError
from fastneurons.experiments.interrupts import SIGNALS_APART_S
from fastneurons.experiments.resume import KnownExamples
from fastneurons.experiments.source import example_source
from fastneurons.experiments.under_edits import write_examples, writer_under_edits
from fastneurons.store import Store, open_store
from tests.store.runs import header

LANGUAGES = ("en", "de")
WINDOW, FAILS_AFTER = 2, 3


class Messages:
    """Keeps what a job says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)

    def start(self, total: int | None, done: int) -> None:
        pass

    def advance(self, examples: int, prompts: int, tokens: int) -> None:
        pass

    def stop(self) -> None:
        pass


def failing(examples: list[Example]) -> Iterator[MeasuredExamples]:
    """Some scored texts, and then the failure of an engine whose processes a signal has ended."""
    for number, example in enumerate(examples[:FAILS_AFTER]):
        arrays: dict[str, Any] = {
            "digest": np.array([number], np.uint64),
            "token_count": np.full((1, 2), 5, np.int32),
            "present": np.ones((1, 2), bool),
            "log_probability": np.full((1, 2, 1), -number, np.float32),
            "judged_count": np.full((1, 2), 4, np.int32),
        }
        yield MeasuredExamples(number, [example], arrays)
    raise EngineError("the engine failed: rank 0 (process 7) ended")


def written(out: str, stop: threading.Event) -> tuple[Store, list[str]]:
    """Write texts until the engine fails; the store, and what was said."""
    examples = [Example(f"t{k}", dict.fromkeys(LANGUAGES, f"text {k}")) for k in range(9)]
    of = header(
        kind="perplexity", languages=list(LANGUAGES), thresholds=[], conditions=[INTACT], task="own",
        tasks=["own"], window=WINDOW,
    )  # fmt: skip
    messages, encoded = Messages(), TokenisedExamples(iter(()), lambda rows: [], LANGUAGES, False, 1)
    with writer_under_edits(out, of, RunOptions(window=WINDOW), False) as writer:
        write_examples(
            writer, failing(examples), encoded, example_source("own", "texts", examples), KnownExamples(()),
            messages, stop, "token_count",
        )  # fmt: skip
    return open_store(out), messages.said


@pytest.mark.parametrize("later_s", [0, SIGNALS_APART_S / 5])
def test_a_signal_that_reaches_the_engine_first_stops_the_run(later_s, tmp_path):
    stop = threading.Event()
    signal = threading.Timer(later_s, stop.set)
    signal.start()
    store, said = written(str(tmp_path / "p.zarr"), stop)
    signal.join()
    assert said == [f"stopped; {FAILS_AFTER} examples are safe; continue with --resume"]
    assert not store.is_complete
    assert store["log_probability"][:, 0, 0].tolist() == [0, -1, -2]


def test_a_failure_without_a_signal_is_an_error_and_keeps_what_came_before(tmp_path):
    with pytest.raises(EngineError, match="process 7"):
        written(str(tmp_path / "p.zarr"), threading.Event())
    store = open_store(str(tmp_path / "p.zarr"))
    assert not store.is_complete
    assert store["example_id"][:].tolist() == ["t0", "t1", "t2"]

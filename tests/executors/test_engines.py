"""Several real engines: the arrays of one, bit for bit, also when an engine is killed in the middle."""

import os
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from fastneurons.arrays import ATTRIBUTION
from fastneurons.config import EngineOptions, Measurement, RunOptions
from fastneurons.data.example import Example, Skipped
from fastneurons.engine.environment import allowed_cores
from fastneurons.engine.session import Session
from fastneurons.executors.driver import Driver
from fastneurons.executors.local import LocalEngines
from fastneurons.executors.measure import write_with_driver
from fastneurons.executors.shares import core_shares
from fastneurons.experiments.judging import judge_of
from fastneurons.experiments.measure import write_measurements
from fastneurons.experiments.source import Source, example_source
from fastneurons.experiments.windows import MeasureJob
from fastneurons.progress import Silent
from fastneurons.store import open_store
from tests.engine.everything import rows
from tests.engine.forked import in_fork
from tests.engine.support import LANGUAGES, tiny_options
from tests.executors.writing import Forked, Told, assert_same

pytestmark = pytest.mark.engine

EXAMPLES: list[Example | Skipped] = [*rows(26)]
EXAMPLES[5] = Skipped("e5", "data.jsonl:6", "no JSON")
EXAMPLES[9] = Example("e9", {"en": "x" * 600, "de": "y", "th": "z"})  # longer than the model takes
# No step cuts a prompt in two: where it is cut would depend on the prompts that share the step.
WHOLE = tiny_options(max_num_batched_tokens=2048)
MEASUREMENTS = {
    "last": (Measurement((0.0, 0.1), attribution=True, top_k=5), RunOptions(window=4)),
    "scored": (
        Measurement((0.0, 0.1), attribution=True, top_k=5, score=True, max_new_tokens=3),
        RunOptions(window=4),
    ),
    "corpus": (Measurement((0.0, 0.1), "corpus", histogram=16), RunOptions(window=4, block_size=48)),
}


def source_of(given: Iterable[Example | Skipped] = EXAMPLES) -> Source:
    return example_source("own", "data.jsonl", given)


def alone(model: str, out: str, position: str) -> None:
    """Write the store of one engine, in this process."""
    measurement, options = MEASUREMENTS[position]
    judge = judge_of(measurement, LANGUAGES)
    with Session(model, LANGUAGES, measurement, WHOLE, judge=judge) as session:
        write_measurements(session, source_of(), out, options, EngineOptions(), Silent(), threading.Event())


def together(model: str, out: Path, position: str, number: int, told: Told, **options: Any) -> list[Forked]:
    """Write a store with several engines; return their processes."""
    launched: list[Forked] = []

    def launch(connection: Any) -> Forked:
        launched.append(Forked(connection))
        return launched[-1]

    measurement, run = MEASUREMENTS[position]
    source, stop = source_of(), threading.Event()
    job = MeasureJob(model, LANGUAGES, measurement, WHOLE, run, source.tasks)
    told.launched = launched  # type: ignore[attr-defined]
    with LocalEngines(job, core_shares(allowed_cores(), number), launch) as engines:
        driver = Driver(engines, told, stop, window_timeout_s=600)
        report = driver.start()
        write_with_driver(driver, report, source, str(out), run, WHOLE, told, stop)
    return launched


def test_engines_of_which_one_is_killed_give_the_arrays_of_one(models, tmp_path):
    class Killing(Told):
        launched: list[Forked]

        def advance(self, examples: int, prompts: int, tokens: int) -> None:
            before = self.examples
            super().advance(examples, prompts, tokens)
            if before < 8 <= self.examples:
                os.kill(self.launched[0].pid, signal.SIGKILL)

    model, told = str(models()), Killing()
    in_fork(alone, model, str(tmp_path / "one.zarr"), "last")
    launched = together(model, tmp_path / "run.zarr", "last", 2, told)
    assert_same(open_store(str(tmp_path / "run.zarr")), open_store(str(tmp_path / "one.zarr")))
    assert len(launched) == 3
    assert told.saying("was ended by SIGKILL; starting it again (1 of 3)")


def test_answers_are_judged_as_by_one_engine(models, tmp_path):
    model = str(models())
    in_fork(alone, model, str(tmp_path / "one.zarr"), "scored")
    together(model, tmp_path / "run.zarr", "scored", 2, Told())
    # Prompts come with answers behind them, and other rows share a step: scores differ in their last digit.
    rounded = {*ATTRIBUTION, "neuron_contribution", "log_probability"}
    assert_same(open_store(str(tmp_path / "run.zarr")), open_store(str(tmp_path / "one.zarr")), rounded)


def test_blocks_of_a_corpus_are_counted_and_sorted_into_bins_as_by_one_engine(models, tmp_path):
    model = str(models())
    in_fork(alone, model, str(tmp_path / "one.zarr"), "corpus")
    together(model, tmp_path / "run.zarr", "corpus", 2, Told())
    assert_same(open_store(str(tmp_path / "run.zarr")), open_store(str(tmp_path / "one.zarr")))

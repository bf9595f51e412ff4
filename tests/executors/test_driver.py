"""The driver against stand-ins for engines: in threads where none has to die, in processes where one does."""

import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastneurons.config import EngineOptions, RunOptions
from fastneurons.data.example import Example, Skipped
from fastneurons.errors import EngineError, InputError, StoreError
from fastneurons.executors.driver import Driver
from fastneurons.executors.local import LocalEngines
from fastneurons.executors.local_process import main
from fastneurons.executors.measure import write_with_driver
from fastneurons.executors.messages import Engines
from fastneurons.executors.shares import Share
from fastneurons.experiments.source import example_source
from fastneurons.progress import Silent
from fastneurons.store import Store, open_store
from tests.engine.forked import context
from tests.executors.stand_in import Fault, StandInJob, rows
from tests.executors.threads import ThreadEngines

ROWS = rows(50)


class Told(Silent):
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.rows = 0

    def message(self, text: str) -> None:
        self.messages.append(text)

    def advance(self, examples: int, prompts: int, tokens: int) -> None:
        self.rows += examples

    def has(self, text: str) -> bool:
        return any(text in message for message in self.messages)


class Forked:
    """A process for an engine, forked: importing takes longer than all else here."""

    def __init__(self, connection: Any) -> None:
        self._process = context().Process(target=main, args=(connection,))
        self._process.start()
        self.pid = self._process.pid or 0

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout_s: float) -> int | None:
        self._process.join(timeout_s)
        return self._process.exitcode


def processes(job: StandInJob, number: int) -> LocalEngines:
    return LocalEngines(job, [Share()] * number, Forked)


def write(
    engines: Engines,
    out: Path,
    given: Iterable[Example | Skipped] = ROWS,
    window: int = 4,
    timeout_s: float = 60,
    stop: threading.Event | None = None,
    **options: Any,
) -> tuple[Store, Told]:
    """Write a store with these engines."""
    told, stop = Told(), stop or threading.Event()
    source = example_source("own", "data.jsonl", given, options.pop("limit", None))
    with engines:
        driver = Driver(engines, told, stop, timeout_s)
        report = driver.start()
        write_with_driver(
            driver,
            report,
            source,
            str(out),
            RunOptions(window=window, **options),
            EngineOptions(),
            told,
            stop,
        )
    return open_store(str(out)), told


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> Store:
    """The store of one engine."""
    store, _ = write(ThreadEngines(StandInJob(), 1), tmp_path_factory.mktemp("one") / "run.zarr")
    return store


def assert_same(found: Store, wanted: Store) -> None:
    assert found.is_complete
    assert set(found) == set(wanted)
    for name in wanted:
        np.testing.assert_array_equal(found[name][...], wanted[name][...], err_msg=name)
    assert found.skipped() == wanted.skipped()


def test_many_engines_write_the_store_of_one(expected, tmp_path):
    store, told = write(ThreadEngines(StandInJob(), 5), tmp_path / "run.zarr")
    assert_same(store, expected)
    assert told.rows == len(ROWS)
    assert list(store["example_id"][...]) == [row.id for row in ROWS]
    assert store["occupancy"][...].sum() == 13 * 2 * store["present"][:, 0].sum()


def test_a_slow_engine_holds_nobody_up_and_is_named(expected, tmp_path):
    job = StandInJob(row_s=0.005, slow=(40, tmp_path / "slow"))
    store, told = write(ThreadEngines(job, 3), tmp_path / "run.zarr")
    assert_same(store, expected)
    counts = sorted(int(part.rpartition(" ")[2]) for part in told.messages[-1].split(",")[:3])
    assert sum(counts) == len(ROWS)
    assert counts[0] <= 12 < counts[1]

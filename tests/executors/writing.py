"""Write stores with stand-ins for engines, in threads or in processes; also as a program that a test kills.

python -m tests.executors.writing STORE ENGINES
"""

import sys
import threading
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fastneurons.arrays import ARRAYS
from fastneurons.config import EngineOptions, RunOptions
from fastneurons.data.example import Example, Skipped
from fastneurons.executors.driver import Driver
from fastneurons.executors.local import LocalEngines
from fastneurons.executors.local_process import main
from fastneurons.executors.measure import write_with_driver
from fastneurons.executors.messages import Engines
from fastneurons.executors.shares import Share
from fastneurons.experiments.interrupts import interruptible
from fastneurons.experiments.source import example_source
from fastneurons.progress import Silent
from fastneurons.store import Store, open_store
from tests.engine.forked import context
from tests.executors.stand_in import StandInJob, examples

EXAMPLES = examples(50)
FLOATING_SUMS = {spec.name for spec in ARRAYS if spec.summed_by and spec.dtype == "float64"}


class Told(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.examples = 0

    def message(self, text: str) -> None:
        self.messages.append(text)

    def advance(self, examples: int, prompts: int, tokens: int) -> None:
        self.examples += examples

    def saying(self, text: str) -> list[str]:
        return [message for message in self.messages if text in message]


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
    given: Iterable[Example | Skipped] = EXAMPLES,
    told: Told | None = None,
    timeout_s: float = 60,
    stop: threading.Event | None = None,
    **options: Any,
) -> tuple[Store, Told]:
    """Write a store with these engines, in windows of four examples."""
    told, stop = told or Told(), stop or threading.Event()
    source = example_source("own", "data.jsonl", given, options.pop("limit", None))
    run = RunOptions(window=4, **options)
    with engines:
        driver = Driver(engines, told, stop, timeout_s)
        report = driver.start()
        write_with_driver(driver, report, source, str(out), run, EngineOptions(), told, stop)
    return open_store(str(out)), told


def assert_same(found: Store, wanted: Store, rounded: Collection[str] = ()) -> None:
    """Whether two stores hold the same; arrays that are `rounded` may differ by 2e-5."""
    assert found.is_complete
    assert set(found) == set(wanted)
    for name in wanted:
        if name in rounded:
            np.testing.assert_allclose(found[name][...], wanted[name][...], 2e-5, 2e-5, err_msg=name)
        elif name in FLOATING_SUMS:  # added in another order where windows were committed together
            np.testing.assert_allclose(found[name][...], wanted[name][...], rtol=1e-14, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name][...], wanted[name][...], err_msg=name)
    assert found.skipped() == wanted.skipped()


if __name__ == "__main__":
    job = StandInJob(example_s=0.05)
    with interruptible() as interrupted:
        write(LocalEngines(job, [Share()] * int(sys.argv[2])), Path(sys.argv[1]), stop=interrupted)

"""Engines that die or hang, and drivers that do: the store is in the end that of a run without accidents."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fastneurons.errors import EngineError, StoreError
from fastneurons.store import Store, open_store
from tests.executors.stand_in import Fault, StandInJob
from tests.executors.threads import ThreadEngines
from tests.executors.writing import ROWS, assert_same, processes, write

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> Store:
    """The store of a run without accidents."""
    store, _ = write(ThreadEngines(StandInJob(), 1), tmp_path_factory.mktemp("one") / "run.zarr")
    return store


@pytest.mark.parametrize("when", ["before", "objects", "after"])
def test_an_engine_killed_around_writing_a_window_changes_nothing(when, expected, tmp_path):
    fault = Fault("kill", when, 12, tmp_path / "mark")
    store, told = write(processes(StandInJob(fault=fault), 2), tmp_path / "run.zarr")
    assert_same(store, expected)
    [message] = told.saying("starting it again")
    assert "was ended by SIGKILL; starting it again (1 of 3)" in message
    assert told.rows == len(ROWS)
    assert Path(f"{fault.mark}-0").exists()


def test_an_engine_that_hangs_is_replaced(expected, tmp_path):
    fault = Fault("hang", "before", 8, tmp_path / "mark")
    store, told = write(processes(StandInJob(fault=fault), 2), tmp_path / "run.zarr", timeout_s=3)
    assert_same(store, expected)
    [message] = told.saying("starting it again")
    assert "said nothing for 3 s (--window-timeout) while it had examples 8 to 11 to measure" in message


def test_engines_that_keep_dying_are_given_up(tmp_path):
    # Each window of the first engines, and none of the store.
    fault = Fault("kill", "before", 0, tmp_path / "mark", most=100)
    with pytest.raises(EngineError, match="3 engines in turn have failed on the examples from 0 on"):
        write(processes(StandInJob(fault=fault), 2), tmp_path / "run.zarr")


def test_a_run_whose_driver_is_killed_goes_on_with_other_engines(expected, tmp_path):
    out = tmp_path / "run.zarr"
    command = [sys.executable, "-m", "tests.executors.writing", str(out), "3"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as program:
        deadline = time.monotonic() + PATIENCE_S
        while _num_examples(out) < 12:
            assert program.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        engines = psutil.Process(program.pid).children()
        assert len(engines) == 3
        os.kill(program.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(engines, timeout=30)
    assert not alive
    assert not open_store(str(out)).is_complete
    store, told = write(ThreadEngines(StandInJob(), 2), out, resume=True)
    assert_same(store, expected)
    assert told.saying("continuing after")


def _num_examples(out: Path) -> int:
    try:
        return open_store(str(out)).num_examples
    except StoreError:
        return 0

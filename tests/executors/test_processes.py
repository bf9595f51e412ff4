"""Engines that die or hang, and drivers that do: the store is in the end that of a run without accidents."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fastneurons.errors import EngineError, StoreError
from fastneurons.executors.driver import Driver
from fastneurons.executors.local import LocalEngines
from fastneurons.executors.shares import core_shares
from fastneurons.store import Store, open_store
from tests.executors.stand_in import Fault, StandInJob
from tests.executors.threads import ThreadEngines
from tests.executors.writing import EXAMPLES, Told, assert_same, processes, write

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
    assert told.examples == len(EXAMPLES)
    assert Path(f"{fault.mark}-0").exists()


def test_an_engine_that_hangs_is_replaced(expected, tmp_path):
    fault = Fault("hang", "before", 8, tmp_path / "mark")
    store, told = write(processes(StandInJob(fault=fault), 2), tmp_path / "run.zarr", timeout_s=3)
    assert_same(store, expected)
    [message] = told.saying("starting it again")
    assert "said nothing for 3 s (--window-timeout) while it had examples 8 to 11 to measure" in message


def test_a_window_that_kills_engines_ends_the_run(tmp_path):
    fault = Fault("kill", "before", 0, tmp_path / "mark", most=100)
    with pytest.raises(EngineError, match="3 engines in turn have failed on the examples from 0 on"):
        write(processes(StandInJob(fault=fault), 2), tmp_path / "run.zarr")


def test_engines_have_their_share(monkeypatch):
    cpu = min(os.sched_getaffinity(0))
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0")
    for share in core_shares([cpu], 1):
        with LocalEngines(StandInJob(), [share]) as engines:
            report = Driver(engines, Told(), threading.Event(), 60).start()
        assert report.messages == (f"CPUs {list(share.cpus)}, None",)


def test_a_run_whose_driver_is_killed_goes_on_with_other_engines(expected, tmp_path):
    out = tmp_path / "run.zarr"
    with running(out, 3) as program:
        engines = psutil.Process(program.pid).children()
        assert len(engines) == 3
        os.kill(program.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(engines, timeout=30)
    assert not alive
    assert not open_store(str(out)).is_complete
    store, told = write(ThreadEngines(StandInJob(), 2), out, resume=True)
    assert_same(store, expected)
    assert told.saying("continuing after")


def test_a_batch_systems_sigterm_to_all_processes_stops_the_run_in_order(expected, tmp_path):
    out = tmp_path / "run.zarr"
    with running(out, 2) as program:
        engines = psutil.Process(program.pid).children()
        for process in (program, *engines):
            os.kill(process.pid, signal.SIGTERM)
        assert program.wait(PATIENCE_S) == 0
    _, alive = psutil.wait_procs(engines, timeout=30)
    assert not alive
    safe = open_store(str(out)).num_examples
    assert 12 <= safe < len(EXAMPLES)
    assert not open_store(str(out)).is_complete
    store, told = write(ThreadEngines(StandInJob(), 2), out, resume=True)
    assert_same(store, expected)
    assert told.examples == len(EXAMPLES) - safe


@contextlib.contextmanager
def running(out: Path, engines: int) -> Iterator[subprocess.Popen[bytes]]:
    """A program that writes a store, of which some windows are committed."""
    command = [sys.executable, "-m", "tests.executors.writing", str(out), str(engines)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as program:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while _num_examples(out) < 12:
                assert program.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            yield program
        finally:
            program.kill()


def _num_examples(out: Path) -> int:
    try:
        return open_store(str(out)).num_examples
    except StoreError:
        return 0

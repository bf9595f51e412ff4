"""Engines of several workers: signals, the death of a process, and what stays behind. With real workers."""

import contextlib
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from fastneurons.engine.processes import DeathWatch, end_with_parent, out_of_terminals_reach
from fastneurons.errors import StoreError
from fastneurons.store import open_store

ROOT = Path(__file__).parents[2]
# Of a busy machine. A run that hangs never comes to its end.
PATIENCE_S = 600
SPAWN = multiprocessing.get_context("spawn")


def wait_until(holds: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def num_examples(path: Path) -> int:
    with contextlib.suppress(StoreError):
        return open_store(str(path)).num_examples
    return 0


def living(session_id: int) -> list[psutil.Process]:
    """Processes of a session that have not ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == session_id and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextlib.contextmanager
def program(*arguments: Any, log: Path) -> Iterator[subprocess.Popen[str]]:
    """A Python program that leads a process group, as a terminal's commands do; nothing of it stays."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=file, text=True, start_new_session=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    try:
        yield process
    finally:
        for left in living(process.pid):
            with contextlib.suppress(psutil.Error):
                left.kill()
        process.wait()


def lines_to(process: subprocess.Popen[str], begin: str) -> list[str]:
    """Lines of its output up to the one that begins so."""
    found: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        found.append(line.rstrip("\n"))
        if line.startswith(begin):
            return found
    raise AssertionError(f"it ended after {found}")


@pytest.mark.engine
def test_ctrl_c_stops_the_run_and_a_killed_worker_ends_it_by_name(models, tmp_path):
    out, expected = tmp_path / "run.zarr", tmp_path / "expected.zarr"
    script = Path(__file__).with_name("four_workers.py")
    with program(script, models(), out, expected, log=tmp_path / "log") as process:
        first, *ranks = map(int, lines_to(process, "pids")[-1].split()[1:])
        assert first == process.pid
        assert len({first, *ranks}) == 5
        wait_until(lambda: num_examples(out) >= 16)
        os.killpg(process.pid, signal.SIGINT)
        said = lines_to(process, "interrupted")
        safe = num_examples(out)
        assert safe >= 16
        assert f"stopped; {safe} examples are safe; continue with --resume" in said
        # The same engine goes on: its workers had no part in that.
        wait_until(lambda: num_examples(out) > safe)
        os.kill(ranks[3], signal.SIGKILL)
        killed = time.monotonic()
        line = lines_to(process, "failed: ")[-1]
        assert time.monotonic() - killed < 30
        assert line == (
            f"failed: the engine failed: rank 3 (process {ranks[3]}) ended without a word; it may have been killed for "
            "want of memory"
        )
        lines_to(process, "done")
        assert process.wait(PATIENCE_S) == 0
        wait_until(lambda: not living(process.pid), 30)
    found, wanted = open_store(str(out)), open_store(str(expected))
    assert found.is_complete
    assert found.num_examples > safe
    for name in wanted:
        np.testing.assert_array_equal(found[name][...], wanted[name][...], err_msg=name)


@pytest.mark.engine
def test_a_batch_systems_sigterm_to_all_processes_stops_the_run(models, tmp_path):
    out, data = tmp_path / "run.zarr", tmp_path / "data.jsonl"
    data.write_text(
        "".join(
            f'{{"id": "e{k}", "prompts": {{"en": "one {k}", "de": "eins {k}"}}}}\n' for k in range(50_000)
        )
    )
    arguments = [
        "--languages",
        "en,de",
        "--window",
        "16",
        "--dtype",
        "float32",
        "--max-model-len",
        "64",
        "-tp",
        "2",
    ]
    command = ["-m", "fastneurons", "run", models(), "--data", data, "--out", out, *arguments]
    log = tmp_path / "log"
    with program(*command, log=log) as process:
        wait_until(lambda: num_examples(out) >= 16 or process.poll() is not None)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 130, log.read_text()
        wait_until(lambda: not living(process.pid), 30)
    store = open_store(str(out))
    assert not store.is_complete
    last = log.read_text().strip().splitlines()[-1]
    assert last == f"stopped; {store.num_examples} examples are safe; continue with --resume"


def _report_mask(pipe: Any, further: bool) -> None:
    """Send the signals that this process blocks, and a child of its own."""
    pipe.send(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    if further:
        child = SPAWN.Process(target=_report_mask, args=(pipe, False))
        child.start()
        child.join()


def test_processes_out_of_a_terminals_reach_block_its_signals_and_this_one_does_not():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    receiver, sender = SPAWN.Pipe(duplex=False)
    with out_of_terminals_reach():
        process = SPAWN.Process(target=_report_mask, args=(sender, True))
        process.start()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    for _ in range(2):
        blocked = receiver.recv()
        assert {signal.SIGINT, signal.SIGQUIT, signal.SIGHUP} <= blocked
        assert signal.SIGTERM not in blocked
    process.join()
    later = SPAWN.Process(target=_report_mask, args=(sender, False))
    later.start()
    assert receiver.recv() == before
    later.join()


def _with_a_child(pipe: Any) -> None:
    """A core, in the place of vLLM's: it watches its parent, and has a worker that does not."""
    end_with_parent()
    worker = SPAWN.Process(target=time.sleep, args=(600,))
    worker.start()
    pipe.send((os.getpid(), worker.pid))
    time.sleep(600)


def _with_a_core(pipe: Any) -> None:
    core = SPAWN.Process(target=_with_a_child, args=(pipe,))
    core.start()
    time.sleep(600)


def test_a_core_and_its_workers_do_not_outlive_a_killed_session():
    receiver, sender = SPAWN.Pipe(duplex=False)
    session = SPAWN.Process(target=_with_a_core, args=(sender,))
    session.start()
    assert receiver.poll(PATIENCE_S)
    left = [psutil.Process(pid) for pid in receiver.recv()]
    session.kill()
    session.join()
    gone, alive = psutil.wait_procs(left, timeout=30)
    for process in alive:
        process.kill()
    assert len(gone) == 2


@pytest.mark.engine
@pytest.mark.parametrize("victim", ["rank 0", "rank 1", "the engine's core"])
def test_the_death_of_any_process_wakes_whoever_waits(victim):
    """vLLM's client waits on these two; the processes are real."""
    names = ["rank 0", "rank 1", "the engine's core"]
    processes = [SPAWN.Process(target=time.sleep, args=(600,)) for _ in names]
    for process in processes:
        process.start()
    waiting: Future[Any] = Future()
    client = SimpleNamespace(
        resources=SimpleNamespace(
            engine_dead=False, engine_manager=SimpleNamespace(processes=[processes[2]])
        ),
        utility_results={1: waiting},
        outputs_queue=queue.Queue(),
    )
    watch = DeathWatch(client, [process.pid or 0 for process in processes[:2]])
    try:
        assert watch.died is None
        dead = processes[names.index(victim)]
        dead.kill()
        assert "EngineDeadError" in type(waiting.exception(timeout=30)).__name__
        assert "EngineDeadError" in type(client.outputs_queue.get(timeout=30)).__name__
        assert watch.died == f"{victim} (process {dead.pid})"
        assert client.resources.engine_dead
    finally:
        watch.close()
        for process in processes:
            process.kill()
            process.join()

"""Manage the processes of an engine with several workers: the signals they get, and their deaths.

vLLM gives such an engine a process for its core and one for each rank. A terminal sends Ctrl-C to all of them, and vLLM
ends a worker that gets it; the death of a worker or of the core leaves whoever waits for their answer waiting for ever;
and a core outlives the process that it works for.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import connection, resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

# Signals that a terminal sends to its whole foreground group. Not SIGTERM, by which vLLM ends its processes.
_OF_TERMINALS = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})

# Seconds between a watch's checks of whether it is still wanted.
_LOOK_S = 1.0


@contextlib.contextmanager
def out_of_terminals_reach() -> Iterator[None]:
    """Shield processes started within the context, and their children, from a terminal's signals.

    They inherit the signals that this thread blocks when it starts them, whether it forks or spawns.
    """
    # Python starts it with the first process, and unblocks SIGINT thereafter.
    resource_tracker.ensure_running()
    start = BaseProcess.start

    def start_blocked(process: BaseProcess) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_TERMINALS)
        try:
            start(process)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    setattr(BaseProcess, "start", start_blocked)  # noqa: B010 - mypy takes no assignment to a method
    try:
        yield
    finally:
        setattr(BaseProcess, "start", start)  # noqa: B010


def end_with_parent() -> None:
    """Watch for the death of the process that started this one; then kill this one and its children."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="ParentWatch").start()


class DeathWatch:
    """Notices the first of an engine's processes that dies, and wakes whoever waits for the engine's reply.

    Args:
        client: vLLM's `SyncMPClient`.
        pids: The workers' processes on this machine, in the order of ranks.
    """

    def __init__(self, client: Any, pids: Sequence[int]) -> None:
        # Here, and not in the thread: importing it may take long.
        from vllm.v1.engine.exceptions import EngineDeadError

        self.died: str | None = None
        self._client, self._error = client, EngineDeadError
        self._closed = threading.Event()
        self._names: dict[int, str] = {}
        self._descriptors: list[int] = []
        self._thread = threading.Thread(target=self._watch, daemon=True, name="DeathWatch")
        if hasattr(os, "pidfd_open"):  # Linux; elsewhere the core alone is watched
            for rank, pid in enumerate(pids):
                try:
                    descriptor = os.pidfd_open(pid)
                except ProcessLookupError:
                    self._tell(f"rank {rank} (process {pid})")
                    continue
                self._descriptors.append(descriptor)
                self._names[descriptor] = f"rank {rank} (process {pid})"
        for process in getattr(
            client.resources.engine_manager, "processes", ()
        ):  # Ray has actors in their place
            self._names[process.sentinel] = f"the engine's core (process {process.pid})"
        if self.died is None:
            self._thread.start()

    def close(self) -> None:
        """Stop watching: from now on, processes end on purpose."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _watch(self) -> None:
        died: list[Any] = []
        while not died and not self._closed.is_set():
            died = connection.wait(list(self._names), timeout=_LOOK_S)
        if died and not self._closed.is_set():
            # In the order of `_names`: a core that has died takes its workers along, and not the other way round.
            self._tell(next(name for descriptor, name in self._names.items() if descriptor in died))

    def _tell(self, name: str) -> None:
        """Name the process that died, and give an exception to everything that waits, as vLLM does in some cases."""
        self.died = name
        # First: from now on vLLM's client takes no call, so none follows those woken here.
        self._client.resources.engine_dead = True
        for future in list(self._client.utility_results.values()):
            with contextlib.suppress(Exception):  # it was answered meanwhile
                future.set_exception(self._error())
        self._client.outputs_queue.put_nowait(self._error())

"""Engines in processes of this machine."""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Protocol

from fastneurons.executors.messages import End, Event, Failed, Job, Message, Started
from fastneurons.executors.shares import Share
from fastneurons.experiments.windows import ended_without_a_word

# What vLLM needs to shut down, and more.
_END_S = 30.0
# How long the processes of an engine that was killed are waited for: their memory is needed by the next one.
_GONE_S = 30.0


class Process(Protocol):
    """The process of an engine."""

    pid: int

    def kill(self) -> None:
        """Kill it."""

    def wait(self, timeout_s: float) -> int | None:
        """Wait until it has ended; return its exit status, negative for a signal; None if it has not."""


# Starts a process that runs `local_process.main` with a connection's other end.
Launch = Callable[[Connection], Process]


class LocalEngines:
    """Engines in processes of this machine, each with its share of it.

    Args:
        job: What each is to do.
        shares: One for each slot.
        launch: How processes are started; as programs of their own, where nothing is said.
    """

    def __init__(self, job: Job, shares: Sequence[Share], launch: Launch | None = None) -> None:
        self.num_slots = len(shares)
        self._job, self._shares, self._launch = job, shares, launch or launch_program
        self._running: dict[int, _Running] = {}
        self._events: queue.SimpleQueue[tuple[int, _Running, Event]] = queue.SimpleQueue()

    def __enter__(self) -> "LocalEngines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(at_once=error is not None)

    def start(self, slot: int) -> None:
        """See `Engines`."""
        running = _Running(self._launch, lambda event: self._events.put((slot, running, event)))
        self._running[slot] = running
        running.send(self._shares[slot])  # by itself: what a job names takes long to import
        running.send(self._job)
        running.listen()

    def send(self, slot: int, message: Message) -> None:
        """See `Engines`."""
        if slot in self._running:
            self._running[slot].send(message)

    def receive(self, timeout_s: float) -> list[tuple[int, Event]]:
        """See `Engines`."""
        found: list[tuple[int, Event]] = []
        with contextlib.suppress(queue.Empty):
            while True:
                slot, running, event = self._events.get(block=not found, timeout=timeout_s)
                if self._running.get(slot) is not running:
                    continue  # of one that has ended or was killed
                if isinstance(event, Failed):
                    self._running.pop(slot).end(at_once=event.kind == "death")
                found.append((slot, event))
        return found

    def kill(self, slot: int) -> None:
        """See `Engines`."""
        running = self._running.pop(slot, None)
        if running is not None:
            running.end(at_once=True)

    def close(self, at_once: bool = False) -> None:
        """End all engines; those not killed at once finish what they have and shut down."""
        running, self._running = list(self._running.values()), {}
        if not at_once:
            for each in running:
                each.send(End())
        for each in running:
            each.end(at_once)
            if each.log is not None:
                each.log.unlink(missing_ok=True)


class _Running:
    """A process that runs an engine, with a thread that sends to it and one that hears from it.

    Neither may hold up the driver, whatever state the process is in.
    """

    def __init__(self, launch: Launch, on_event: Callable[[Event], None]) -> None:
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        self.log: Path | None = None
        self._on_event = on_event
        self._messages: queue.SimpleQueue[object] = queue.SimpleQueue()  # None ends its thread
        with Connection(theirs.detach()) as other_end:
            self.process = launch(other_end)
        threading.Thread(target=self._send_all, daemon=True, name="fastneurons-to-engine").start()

    def send(self, message: object) -> None:
        self._messages.put(message)

    def listen(self) -> None:
        threading.Thread(target=self._listen, daemon=True, name="fastneurons-from-engine").start()

    def end(self, at_once: bool) -> None:
        """Wait for the process to end, or kill it, and whatever it has started."""
        self._messages.put(None)
        if not at_once:
            self.process.wait(_END_S)
        group = self.process.pid
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        self.process.kill()
        self.process.wait(_GONE_S)
        deadline = time.monotonic() + _GONE_S
        while _has_members(group) and time.monotonic() < deadline:
            time.sleep(0.02)

    def _send_all(self) -> None:
        with contextlib.suppress(OSError):  # it has ended: `_listen` says so
            while (message := self._messages.get()) is not None:
                self._connection.send(message)

    def _listen(self) -> None:
        ended = False
        try:
            while not ended:
                event = self._connection.recv()
                ended = isinstance(event, Failed)
                if isinstance(event, Started):
                    self.log = event.log or self.log
                self._on_event(event)
        except (EOFError, OSError):
            status = self.process.wait(_END_S)
            self._on_event(Failed("death", ended_without_a_word(status, self.log)))


def _has_members(group: int) -> bool:
    """Whether a process group has a process that lives: one that nobody reaps has given its memory back."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, found = path.read_text().rpartition(")")[2].split()[:3]
            if int(found) == group and state != "Z":
                return True
    return False


class _Program:
    """A program of its own: nothing of this process is in it, and no script is run once more."""

    def __init__(self, connection: Connection) -> None:
        code = (
            "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
            "from fastneurons.executors.local_process import main; main(int(sys.argv[2]))"
        )
        self._popen = subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(sys.path), str(connection.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[connection.fileno()],
            process_group=0,  # a terminal's signals are for the driver
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        self.pid = self._popen.pid

    def kill(self) -> None:
        self._popen.kill()

    def wait(self, timeout_s: float) -> int | None:
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None


def launch_program(connection: Connection) -> Process:
    """Start a program for an engine."""
    return _Program(connection)

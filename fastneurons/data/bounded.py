"""Call downloaded code, chat templates above all, within bounds of time and memory.

`tried` runs a function in a forked child with limits on memory and time, so that it can harm the child alone.
`Watch` runs one in this process and ends it when it takes too long; it does not bound memory. They go together: the
first rendering of a kind is tried, later ones are only watched.
"""

import ctypes
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

# Rendering takes well under a millisecond; compiling a template first, some ten.
TIME_LIMIT_S = 5.0
MEMORY_LIMIT = 1 << 29


class UnboundedError(Exception):
    """A call did not end within its limits; the message says what it did."""


_ENDED = b"ended"


def tried(call: Callable[[], object], seconds: float = TIME_LIMIT_S, memory: int = MEMORY_LIMIT) -> None:
    """Run a function in a child of this process, only to see that it ends.

    Exceptions that it raises pass for an end, but for UnboundedError. Where processes cannot be forked, nothing is
    tried.

    Raises:
        UnboundedError: it took longer than so many seconds, or more than so many bytes in addition to those in use; or
            it raised this itself.
    """
    if not hasattr(os, "fork"):
        return
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of forks beside threads: the child takes no lock of theirs
        child = os.fork()
    if child == 0:
        _in_child(call, seconds, memory, writer)
    os.close(writer)
    try:
        said = _ending(reader, child, seconds)
    finally:
        os.close(reader)
    if said is None:
        raise UnboundedError(f"does not end within {seconds:g} s")
    if said != _ENDED:
        raise UnboundedError(said.decode() or "ends the process that runs it")


def _in_child(call: Callable[[], object], seconds: float, memory: int, writer: int) -> None:
    """Run the child. It never returns, and runs none of this process's handlers."""
    said = _ENDED
    too_much = f"takes more than {memory / 2**20:,.0f} MiB of memory".encode()
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        _limit_memory(memory)
        signal.alarm(int(seconds) + 2)  # should the parent be gone
        call()
    except MemoryError:
        said = too_much
    except UnboundedError as error:
        said = str(error).encode()
    except (
        BaseException
    ) as error:  # what it raises here it will raise again where it is called for its result
        said = too_much if isinstance(error.__context__, MemoryError) else _ENDED
    finally:
        with suppress(BaseException):
            os.write(writer, said)
        os._exit(0)


def _limit_memory(memory: int) -> None:
    import resource

    try:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:  # not Linux: time alone is limited
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = now + memory if hard == resource.RLIM_INFINITY else min(now + memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _ending(reader: int, child: int, seconds: float) -> bytes | None:
    """The child's last message, empty if it sent none; None if the child had to be ended."""
    import select

    try:
        ready, _, _ = select.select([reader], [], [], seconds)
        return os.read(reader, 1000) if ready else None
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


class Watch:
    """Ends calls that take too long, by an exception raised in their thread from another.

    Python looks for it between two of its instructions: a loop is ended, a single long operation of C is not before
    it is through. One call at a time in each thread.

    Args:
        seconds: What a call may take.
    """

    def __init__(self, seconds: float = TIME_LIMIT_S) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._running: dict[int, float] = {}  # thread, and when its call must have ended
        self._ended: set[int] = set()
        self._thread: threading.Thread | None = None

    def __call__(self, call: Callable[[], Result]) -> Result:
        """Call a function.

        Raises:
            UnboundedError: it took too long.
        """
        own = threading.get_ident()
        self._running[own] = time.monotonic() + self._seconds
        if self._thread is None:
            self._start()
        try:
            try:
                return call()
            finally:
                self._over(own)
        except _Ended:
            self._over(own)
            raise UnboundedError(f"does not end within {self._seconds:g} s") from None

    def _over(self, own: int) -> None:
        """Take a call off the list, and clear an exception that reached it too late."""
        with self._lock:
            self._running.pop(own, None)
            if own in self._ended:
                self._ended.discard(own)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(own), None)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="fastneurons-watch", daemon=True)
                self._thread.start()

    def _watch(self) -> None:
        while True:
            time.sleep(self._seconds / 4)
            with self._lock:
                for thread, end in list(self._running.items()):
                    if time.monotonic() > end and thread not in self._ended:
                        self._ended.add(thread)
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(
                            ctypes.c_ulong(thread), ctypes.py_object(_Ended)
                        )


class _Ended(BaseException):  # no template's or library's `except Exception` may catch it
    pass

"""Ctrl-C and a batch system's SIGTERM as requests to stop in good order."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# Seconds between the signals that a batch system sends to the processes of a run.
SIGNALS_APART_S = 0.5


def was_stopped(stop: threading.Event) -> bool:
    """Whether a signal explains why the engine failed: one that has come, or comes within moments.

    A batch system sends its SIGTERM to the engine's processes as well, which may end before this one has it.
    """
    return stop.wait(SIGNALS_APART_S)


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C, or a batch system's SIGTERM, into a request to stop; a second one acts as usual."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, on_interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        restore()

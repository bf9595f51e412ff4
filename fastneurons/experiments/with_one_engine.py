"""What every job over one engine does around it: keeps vLLM quiet, heeds signals, and names vLLM's log if it fails."""

import contextlib
import threading
from collections.abc import Iterator
from typing import TextIO

from fastneurons.engine.failure import LoadError, with_log
from fastneurons.engine.quiet import quiet
from fastneurons.errors import EngineError
from fastneurons.experiments.interrupts import SIGNALS_APART_S, interruptible
from fastneurons.experiments.source import Source
from fastneurons.progress import RunProgress, Silent, progress_for


@contextlib.contextmanager
def with_one_engine(
    source: Source, progress: bool | RunProgress, verbose: bool
) -> Iterator[tuple[RunProgress, threading.Event]]:
    """Surround the work of a job that starts one engine.

    Args:
        source: The job's examples; its remarks are shown first.
        progress: Whether to show progress on standard error, or an object to report it to.
        verbose: Let vLLM's log through.
    Yields:
        Where to report progress, and an event that Ctrl-C or a SIGTERM sets.
    Raises:
        EngineError, LoadError: as raised within, with the place of vLLM's log.
        KeyboardInterrupt: the engine failed to load because of a signal.
    """
    with quiet(verbose) as hushed, interruptible() as stop:
        shown = begin_progress(source, progress, hushed.terminal)
        try:
            yield shown, stop
        except (EngineError, LoadError) as error:
            if stop.wait(SIGNALS_APART_S if isinstance(error, LoadError) else 0):
                raise KeyboardInterrupt from None
            if hushed.log is None:
                raise
            hushed.keep = True
            raise with_log(error, hushed.log) from error


def begin_progress(source: Source, progress: bool | RunProgress, terminal: TextIO) -> RunProgress:
    """Where a job reports its progress; the source's remarks are shown there first.

    Args:
        progress: Whether to show it on the terminal, or an object to report it to.
        terminal: The standard error that people see.
    """
    shown = progress if not isinstance(progress, bool) else progress_for(terminal) if progress else Silent()
    for remark in source.remarks:
        shown.message(remark)
    return shown

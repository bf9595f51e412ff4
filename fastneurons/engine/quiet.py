"""Keeps vLLM's output, and that of the libraries under it, off the user's terminal.

Some of it is written by C++ and by child processes: only the file descriptors hold it all. It goes
to a file, which is kept, and named, if the run fails.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO


@dataclass
class Quiet:
    """Where things go meanwhile."""

    terminal: TextIO  # the user's standard error
    log: Path | None  # what everyone else wrote; None where it was let through


@contextlib.contextmanager
def quiet(verbose: bool = False) -> Iterator[Quiet]:
    """Standard output and standard error into a log file, but for what is written to `terminal`.

    With `verbose`, everything stays as it is. The log is removed unless an exception passes.
    """
    if verbose:
        yield Quiet(sys.stderr, None)
        return
    sys.stdout.flush()
    sys.stderr.flush()
    fd, name = tempfile.mkstemp(prefix="fastneurons-engine-", suffix=".log")
    log = Path(name)
    # A notebook's or a test's sys.stderr is not the process's: what it shows is what the user sees.
    replaced = sys.stderr is not sys.__stderr__
    saved = [os.dup(1), os.dup(2)]
    terminal = sys.stderr if replaced else os.fdopen(os.dup(saved[1]), "w", buffering=1)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    try:
        yield Quiet(terminal, log)
    except BaseException:
        _restore(saved)
        raise
    else:
        _restore(saved)
        log.unlink(missing_ok=True)
    finally:
        if not replaced:
            with contextlib.suppress(OSError):  # gone meanwhile
                terminal.close()


def _restore(saved: list[int]) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, OSError):
            stream.flush()
    for target, copy in zip((1, 2), saved, strict=True):
        os.dup2(copy, target)
        os.close(copy)

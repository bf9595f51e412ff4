"""Keep the output of vLLM and its libraries off the user's terminal.

Some of it is written by C++ and by child processes: only the file descriptors hold it all. It goes
to a file, which is removed at the end unless it was asked to be kept.
"""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from fastneurons.errors import FastneuronsError


@dataclass
class Quiet:
    """The streams and the log file while output is redirected."""

    terminal: TextIO  # the user's standard error; what is written there is lost if it is closed
    log: Path | None  # what everyone else wrote; None where it was let through
    keep: bool = False  # whether the log stays: for whoever names it to the user


@contextlib.contextmanager
def quiet(verbose: bool = False) -> Iterator[Quiet]:
    """Redirect standard output and standard error to a log file, except for what is written to `terminal`.

    With `verbose`, everything stays as it is. The log is removed unless `keep` was set, or an exception passes that
    is no message for users: then a last line on `terminal` names it.
    """
    if verbose:
        yield Quiet(sys.stderr or io.StringIO(), None)
        return
    _flush()
    with _opened_descriptors():
        fd, name = tempfile.mkstemp(prefix="fastneurons-engine-", suffix=".log")
        log = Path(name)
        # A notebook's or a test's sys.stderr is not the process's: what it shows is what the user sees.
        replaced = sys.stderr is not sys.__stderr__
        saved = [os.dup(1), os.dup(2)]
        terminal: TextIO = sys.stderr if replaced else os.fdopen(os.dup(saved[1]), "w", buffering=1)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.close(fd)
        hushed = Quiet(terminal or io.StringIO(), log)
        try:
            yield hushed
        except BaseException as error:
            if not isinstance(error, FastneuronsError | KeyboardInterrupt):
                hushed.keep = True
                with contextlib.suppress(OSError, ValueError):
                    print(f"vLLM's log: {log}", file=hushed.terminal)
            raise
        finally:
            _restore(saved)
            if not hushed.keep:
                log.unlink(missing_ok=True)
            if not replaced:
                with contextlib.suppress(OSError):  # gone meanwhile
                    terminal.close()


def _restore(saved: list[int]) -> None:
    _flush()
    for target, copy in zip((1, 2), saved, strict=True):
        os.dup2(copy, target)
        os.close(copy)


def _flush() -> None:
    """Flush Python's buffers. Either stream is None in a process that was started without it."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(ValueError, OSError):
                stream.flush()


@contextlib.contextmanager
def _opened_descriptors() -> Iterator[None]:
    """Keep descriptors 0 to 2 open within the context: a file with a closed one's number would get all output."""
    opened = []
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        opened.append(fd)
    os.close(fd)
    try:
        yield
    finally:
        for number in opened:
            os.close(number)

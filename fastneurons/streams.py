"""Standard streams that text from elsewhere cannot act through, and whose failures are told in one line.

The command line enters `standard_streams` once; what commands print with `print` then cannot carry control characters
to a terminal. Tables, which need them for colours, go through `fastneurons.console`.
"""

import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import TextIO, cast

from fastneurons.errors import OutputError
from fastneurons.visible import visible

# An error message of a library may quote a whole file.
_LONGEST_MESSAGE = 2000


class ReaderGoneError(Exception):
    """Whoever reads standard output has seen enough: `head`, or a pager that was left."""


class StandardOutput(io.TextIOBase):
    """Standard output; what is printed on it is made visible, line by line.

    It says that it is no terminal, so that libraries send it no colours. `trusted` is the same stream for those who
    make text visible themselves.
    """

    def __init__(self, stream: TextIO) -> None:
        self.trusted = cast(TextIO, _Told(stream))

    def write(self, text: str) -> int:
        """Write text, line by line, with nothing hidden in it."""
        self.trusted.write("\n".join(visible(line) for line in text.split("\n")))
        return len(text)

    def flush(self) -> None:
        """Pass on what was written."""
        self.trusted.flush()

    def fileno(self) -> int:
        """The descriptor's number, 1."""
        return self.trusted.fileno()

    def writable(self) -> bool:
        """Always."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream."""
        return self.trusted.encoding


class _Told(io.TextIOBase):
    """A stream whose failures are errors of ours, which no library takes for its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _told():
            return self._stream.write(text)

    def flush(self) -> None:
        with _told():
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override] # rich draws with ASCII where this says so
        return getattr(self._stream, "encoding", None) or "utf-8"


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderGoneError from None
    except OSError as error:
        closed = error.errno == errno.EBADF
        reason = "it is closed" if closed else error.strerror or str(error)
        raise OutputError(f"standard output cannot be written: {reason}") from error


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Standard output as a `StandardOutput`, flushed at the end; streams that were closed lead nowhere.

    Raises:
        OutputError: standard output was closed, or could not be written, and something was printed.
        ReaderGoneError: its reader went away.
    """
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A locale's encoding may lack a language's letters, and no encoding has lone surrogates.
            stream.reconfigure(errors="backslashreplace")
    before = sys.stdout
    output = StandardOutput(before)
    sys.stdout = cast(TextIO, output)
    try:
        yield
        output.flush()
    except (OutputError, ReaderGoneError):
        _abandon(before)
        raise
    finally:
        sys.stdout = before


def _open_closed() -> None:
    """Give closed standard streams a descriptor each.

    Otherwise the next file that is opened, a store's part for one, gets a standard stream's number, and whatever a
    library prints is written into it.
    """
    for fd, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)  # the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for as long as the process lives
    if sys.stdout is None:
        # For reading only: what is printed on it fails, as it must when nobody can get it.
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = sys.__stderr__ = open(2, "w", closefd=False)  # type: ignore[misc]  # noqa: SIM115


def _abandon(stream: TextIO) -> None:
    """Let what is left in a stream's buffer go nowhere; at its end, Python would try again and complain."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def say(text: str) -> None:
    """Print a line for people on standard error, if they are still there: a closed terminal ends no run."""
    with contextlib.suppress(OSError, ValueError):
        print(visible(text, limit=_LONGEST_MESSAGE), file=sys.stderr, flush=True)


def say_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A bug's traceback; its message may quote what was read. For `sys.excepthook`."""
    lines = "".join(traceback.format_exception(kind, error, trace)).split("\n")
    with contextlib.suppress(OSError, ValueError):
        print("\n".join(visible(line) for line in lines), file=sys.stderr, end="", flush=True)

"""Standard streams that keep untrusted text from acting on a terminal and report failures in one line.

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
    """The reader of standard output has closed it: `head`, or a pager that the user left."""


class StandardOutput(io.TextIOBase):
    """Standard output that makes text visible line by line.

    It claims not to be a terminal, so that libraries send it no colours. `trusted` is the same stream for callers that
    make text visible themselves.
    """

    def __init__(self, stream: TextIO) -> None:
        self.trusted = cast(TextIO, _Guarded(stream))

    def write(self, text: str) -> int:
        """Write text line by line, with hidden characters made visible."""
        self.trusted.write("\n".join(visible(line) for line in text.split("\n")))
        return len(text)

    def flush(self) -> None:
        """Pass on what was written."""
        self.trusted.flush()

    def fileno(self) -> int:
        """Return the descriptor's number, 1."""
        return self.trusted.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Return the stream's encoding."""
        return self.trusted.encoding


class _Guarded(io.TextIOBase):
    """A stream that turns failures into our own errors, which no library mistakes for its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _guarded():
            return self._stream.write(text)

    def flush(self) -> None:
        with _guarded():
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
def _guarded() -> Iterator[None]:
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
    """Make standard output a `StandardOutput` and flush it at the end; open closed streams on the null device.

    Raises:
        OutputError: something was printed, and standard output was closed or could not be written.
        ReaderGoneError: the reader of standard output went away.
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
    """Give each closed standard stream a descriptor.

    Otherwise the next file that is opened, such as a part of a store, gets a standard stream's number, and whatever a
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
        # For reading only: printing fails, as it must if nobody can receive the output.
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = sys.__stderr__ = open(2, "w", closefd=False)  # type: ignore[misc]  # noqa: SIM115


def _abandon(stream: TextIO) -> None:
    """Discard what is left in a stream's buffer, which Python would otherwise try to write at exit, and complain."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def say(text: str) -> None:
    """Print a line for people on standard error; a closed terminal does not end a run."""
    with contextlib.suppress(OSError, ValueError):
        print(visible(text, limit=_LONGEST_MESSAGE), file=sys.stderr, flush=True)


def say_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a bug, made visible since its message may quote data. For `sys.excepthook`."""
    lines = "".join(traceback.format_exception(kind, error, trace)).split("\n")
    with contextlib.suppress(OSError, ValueError):
        print("\n".join(visible(line) for line in lines), file=sys.stderr, end="", flush=True)

"""Errors whose messages are written for users. A leaf: imports nothing of ours."""

import re


def printable(text: str) -> str:
    r"""Write bytes of a file name that are not UTF-8 as `\xff`.

    Python keeps such bytes as lone surrogates, which can be neither printed nor written to a store.
    """
    if text.isascii():
        return text
    return re.sub("[\ud800-\udfff]", _escape, text)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else f"\\u{number:04x}"


class FastneuronsError(Exception):
    """Base of all errors that the command line reports by their message, without a traceback."""

    exit_status = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class InputError(FastneuronsError):
    """The call or its input is wrong: a file, a line, a language, or a model that cannot be used."""

    exit_status = 2


class StoreError(FastneuronsError):
    """A store cannot be written, continued or read."""


class EngineError(FastneuronsError):
    """The engine failed, or its figures contradict each other; what was committed before stays valid."""


class TrainingError(FastneuronsError):
    """A training failed; its last checkpoint stays valid."""


class OutputError(FastneuronsError):
    """Standard output cannot be written, because it is closed or its disk is full."""

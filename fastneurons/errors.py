"""What can go wrong, as users are told it. A leaf: imports nothing of ours."""

import re


def printable(text: str) -> str:
    r"""A text that may hold the name of a file, with bytes that are no UTF-8 written as `\xff`.

    Python keeps such bytes as lone surrogates, which can be neither printed nor written to a store.
    """
    if text.isascii():
        return text
    return re.sub("[\ud800-\udfff]", _escape, text)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else f"\\u{number:04x}"


class FastneuronsError(Exception):
    """Base of every error that is told to users by its message alone."""

    exit_status = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class InputError(FastneuronsError):
    """The call, or what it names, is wrong: a file, a line, a language, a model that cannot be used."""

    exit_status = 2


class StoreError(FastneuronsError):
    """A store cannot be written, continued or read."""


class EngineError(FastneuronsError):
    """The engine failed, or its figures contradict each other; what was committed before stands."""


class OutputError(FastneuronsError):
    """Standard output cannot be written: it is closed, or its disk is full."""

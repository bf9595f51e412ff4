"""Describe lines and values that cannot be used."""

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from fastneurons.errors import printable

_decode = msgspec.json.Decoder().decode

_MAX_SHOWN = 12
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    bytes: "binary data",
    tuple: "a list",
}


class UnusableError(Exception):
    """A row cannot become part of an example; the message says why."""


def one_line(text: str, most: int = 60) -> str:
    """Shorten a text from the data to a line for a message."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= most else f"{line[: most - 3]}..."


def shown(names: Iterable[str]) -> str:
    """A list for an error message, on one line, shortened if long."""
    names = [one_line(name) for name in names]
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return ", ".join(names[:_MAX_SHOWN]) + more


def kind(value: Any) -> str:
    """The kind of a row's value, in words."""
    if value is None:
        return "null"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    return _KINDS.get(type(value)) or f"a {type(value).__name__}"


def not_utf8(line: bytes) -> str | None:
    """Say where a line stops being UTF-8; None if it does not."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte {error.object[error.start]:#04x} at offset {error.start} of the line"
    return None


def parsed(line: bytes) -> tuple[Any, str]:
    """A line's JSON, or its error; one of the two is empty."""
    if problem := not_utf8(line):
        return None, problem
    try:
        return _decode(line), ""
    except RecursionError:
        return None, "not JSON that can be read: nested too deeply"
    except msgspec.MsgspecError as error:
        return None, _json_problem(line, str(error))


def _json_problem(line: bytes, message: str) -> str:
    """msgspec's message, with the byte turned into what an editor shows: a column of characters, from 1."""
    message = message.removeprefix("JSON is malformed: ")
    problem, _, byte = message.rpartition(" (byte ")
    if problem and byte.rstrip(")").isdecimal():
        column = len(line[: int(byte.rstrip(")"))].decode(errors="replace")) + 1
        return f"not JSON: {problem} (column {column})"
    if "truncated" in message:
        return f"not JSON: it ends too early (column {len(line.decode().rstrip()) + 1})"
    return f"not JSON: {message}"

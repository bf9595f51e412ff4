"""Decode JSON from the data, and refuse it if an object has the same key twice.

Decoders, msgspec too, silently keep the last of several values with one key. Nobody can tell what such a row means, so
it is bad. Colons outside of texts are as many as keys: counting them shows that no key was lost.
"""

import json
import re
from typing import Any

import msgspec

from fastneurons.data.problems import UnusableError, one_line, parsed

_decode = msgspec.json.Decoder().decode
_HOLDERS = frozenset({dict, list})
_SPACED = re.compile(rb'"[ \t\r\n]+:')
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def decoded(data: bytes) -> Any:
    """The value.

    Raises:
        UnusableError: it is not JSON, nested too deeply to be read, or has a key twice in one object.
    """
    try:
        value = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UnusableError(parsed(data)[1]) from None
    if _has_just(data, _outer_keys(value)) or _has_just(data, keys := num_keys(value)):
        return value
    if _TEXT.sub(b"", data).count(b":") != keys:
        raise UnusableError(_repeated(data))
    return value


def _has_just(data: bytes, keys: int) -> bool:
    """Whether counting in the bytes already shows that JSON with at least `keys` keys has no more than these.

    It does if no text holds a colon; or if none holds a quote and a colon, and no key has white space before its colon.
    """
    return data.count(b":") == keys or (data.count(b'":') == keys and _SPACED.search(data) is None)


def _outer_keys(value: Any) -> int:
    """Count the keys of an object and of objects directly in it: all keys of most rows, in a fraction of the time."""
    if type(value) is not dict:
        return 0
    count = len(value)
    for inner in value.values():
        if type(inner) is dict:
            count += len(inner)
    return count


def num_keys(value: Any) -> int:
    """Count the keys of all objects within a value, at any depth."""
    count = 0
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            count += len(found)
            found = found.values()
        elif not isinstance(found, list):
            continue
        if not _HOLDERS.isdisjoint(map(type, found)):
            waiting += [inner for inner in found if type(inner) in _HOLDERS]
    return count


def _repeated(data: bytes) -> str:
    """Name the key that an object has twice."""

    class _FoundError(Exception):
        pass

    def look(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise _FoundError(key)
            seen.add(key)

    try:
        json.loads(data, object_pairs_hook=look)
    except _FoundError as found:
        return f"the key {one_line(str(found))!r} is there twice in one object"
    except (ValueError, RecursionError):
        pass  # good enough for msgspec alone
    return "a key is there twice in one object"

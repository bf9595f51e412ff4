"""JSON from the data, decoded, and refused where an object has the same key twice.

Decoders keep the last of several values with one key and say nothing. What a row means is then anybody's guess,
so such a row is bad. msgspec does not tell; that no key is lost is seen by counting the colons outside of texts,
of which there are as many as keys.
"""

import json
import re
from typing import Any

import msgspec

from fastneurons.data.problems import UnusableError, one_line, parsed

_decode = msgspec.json.Decoder().decode
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def decoded(data: bytes) -> Any:
    """The value.

    Raises:
        UnusableError: it is no JSON, nested too deeply to be read, or has a key twice in one object.
    """
    try:
        value = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UnusableError(parsed(data)[1]) from None
    keys = num_keys(value)
    # A colon within a text only makes the first count larger.
    if data.count(b":") != keys and _TEXT.sub(b"", data).count(b":") != keys:
        raise UnusableError(_repeated(data))
    return value


def num_keys(value: Any) -> int:
    """How many keys the objects within a value have, at all depths."""
    count = 0
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            count += len(found)
            waiting.extend(inner for inner in found.values() if isinstance(inner, dict | list))
        elif isinstance(found, list):
            waiting.extend(inner for inner in found if isinstance(inner, dict | list))
    return count


def _repeated(data: bytes) -> str:
    """Which key an object has twice."""

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

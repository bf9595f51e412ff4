"""`skipped.jsonl`, the list of what a run could not measure: one line each, in order."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fastneurons.store.manifest import Catalogue
from fastneurons.store.objects import DamagedError


class SkippedExample(msgspec.Struct, frozen=True):
    """An example of the source that was not measured.

    Args:
        index: Its index on the example axis.
        where: Its place in the source, such as a file and line.
    """

    index: int
    id: str | None
    where: str
    reason: str


def lines_of(skipped: Sequence[Mapping[str, Any]]) -> bytes:
    """The lines of `skipped.jsonl` of a window."""
    return b"".join(msgspec.json.encode(dict(example)) + b"\n" for example in skipped)


def decoded(data: bytes, size: int, catalogue: Catalogue | None) -> list[SkippedExample]:
    """The examples in a list's bytes.

    Args:
        size: How many bytes are committed.
        catalogue: Has what each window added; None for a store without manifests.
    Raises:
        DamagedError: bytes are missing or are not those written.
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: a line is no such example.
    """
    if len(data) < size:
        raise DamagedError(f"{size - len(data)} bytes are missing")
    if catalogue is not None:
        _check_parts(catalogue, data)
    return [msgspec.json.decode(line, type=SkippedExample) for line in data.splitlines()]


def _check_parts(catalogue: Catalogue, data: bytes) -> None:
    """Compare `skipped.jsonl` with what each window added to it."""
    if catalogue.problem is not None:
        raise DamagedError(f"it cannot be checked, as {catalogue.problem}")
    at = 0
    for part in catalogue.skipped:
        part.check(data[at : at + part.length])
        at += part.length

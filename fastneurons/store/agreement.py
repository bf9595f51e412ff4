"""Check whether stores are parts of one run by their headers, and name what differs, is missing or is there twice."""

from collections.abc import Sequence
from typing import Any

import msgspec

from fastneurons.errors import InputError, StoreError, printable
from fastneurons.store import schema
from fastneurons.store.compare import same_folder, shown
from fastneurons.store.parts import Division, Part
from fastneurons.store.schema import Header

# Of each run by itself, or compared in ways of their own.
_FREE = {"version", "config", "created", "status", "format", "warnings", "shard", "source", "model"}


def in_order(parts: Sequence[Part]) -> list[Part]:
    """The parts in the order of the whole: shards by their numbers, others as they were given.

    Raises:
        InputError: some are shards and others not, a shard is missing or given twice, or one ends too early.
        StoreError: they are of different runs, and how they differ.
    """
    shards = [part for part in parts if part.shard is not None]
    if shards and len(shards) < len(parts):
        other = next(part for part in parts if part.shard is None)
        raise InputError(
            f"{shards[0].path} is shard {shards[0].shard} of a run and {other.path} is no shard; merge shards with "
            "shards, or whole stores with whole stores"
        )
    for other in parts[1:]:
        _check_same(parts[0], other, bool(shards))
    if not shards:
        return list(parts)
    found = _all_shards(shards)
    _check_lengths(found)
    return found


def _check_same(one: Part, other: Part, shards: bool) -> None:
    """Whether two parts may be of one run."""
    a, b = one.header, other.header
    if a.model != b.model and not same_folder(a.model, b.model):
        raise StoreError(_differs(one, other, "model", a.model, b.model))
    names = [name for name in Header.__struct_fields__ if name not in _FREE]
    for name in ["source", *names] if shards else names:
        if getattr(a, name) != getattr(b, name):
            raise StoreError(_differs(one, other, name.replace("_", " "), getattr(a, name), getattr(b, name)))
    if shards and a.config.get("limit") != b.config.get("limit"):
        raise StoreError(_differs(one, other, "--limit", a.config.get("limit"), b.config.get("limit")))
    for here, there, arrays in ((one, other, one.root.arrays), (other, one, other.root.arrays)):
        for name in arrays:
            if name not in there.root.arrays:
                raise StoreError(
                    f"{here.path} has the array {name} and {there.path} has not; they cannot be merged"
                )


def _differs(one: Part, other: Part, what: str, a: Any, b: Any) -> str:
    a, b = ("none" if value in (None, "", {}, []) else value for value in (a, b))
    return (
        f"{other.path} cannot be merged with {one.path}: its {what} is {shown(b, a)}, that of {one.path} is "
        f"{shown(a, b)}"
    )


def _all_shards(parts: Sequence[Part]) -> list[Part]:
    """Each shard once, by its number."""
    found: dict[int, Part] = {}
    count = parts[0].shard.count if parts[0].shard else 0
    for part in parts:
        assert part.shard is not None
        if part.shard.count != count:
            raise InputError(
                f"{parts[0].path} is shard {parts[0].shard}, and {part.path} is shard {part.shard}: shards of "
                "different divisions overlap"
            )
        if part.shard.number in found:
            raise InputError(f"{found[part.shard.number].path} and {part.path} are both shard {part.shard}")
        found[part.shard.number] = part
    missing = [number for number in range(1, count + 1) if number not in found]
    if missing:
        window = parts[0].header.window
        names = ", ".join(f"{number}/{count}" for number in missing[:10]) + (", ..." if missing[10:] else "")
        first = (missing[0] - 1) * window
        raise InputError(
            f"missing shard{'s' if missing[1:] else ''} {names}: without {missing[0]}/{count}, examples {first} to "
            f"{first + window - 1} and all {window} after every {(count - 1) * window} more are not there"
        )
    return [found[number] for number in range(1, count + 1)]


def _check_lengths(parts: Sequence[Part]) -> None:
    """Whether the shards' windows follow one another without a gap."""
    division = Division(parts)
    ends = [
        division.index(number, part.num_examples - 1) + 1 if part.num_examples else 0
        for number, part in enumerate(parts)
    ]
    total = max(ends)
    for number, part in enumerate(parts):
        assert part.shard is not None
        expected = part.shard.size(total, division.window)
        if part.num_examples < expected:
            held = part.num_examples
            first = division.index(number, held)
            window = first // division.window
            last = min((window + 1) * division.window, total) - 1
            more = " and others" if held + division.window < expected else ""
            raise InputError(
                f"{part.path} (shard {part.shard}) has {held} examples and should have {expected}: examples {first} to "
                f"{last} (window {window}){more} are missing, and {parts[ends.index(total)].path} goes past them; run "
                "it again over the same data with --resume"
            )


def merged_header(parts: Sequence[Part]) -> Header:
    """The header of the whole: that of one run over all examples.

    Args:
        parts: In order.
    """
    first = parts[0].header
    sources = list(dict.fromkeys(part.header.source for part in parts))
    warnings = list(dict.fromkeys(line for part in parts for line in part.header.warnings))
    return msgspec.structs.replace(
        first,
        source=" + ".join(sources),
        warnings=warnings,
        config={**first.config, "merged_from": [printable(part.path) for part in parts]},
        shard=None,
        created=min(part.header.created for part in parts),
        status="running",
        format=schema.FORMAT,
    )

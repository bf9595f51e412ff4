"""Gather from parts what is not copied object by object: constants, sums and skipped examples. Check their ids."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from fastneurons.arrays import Arrays
from fastneurons.errors import StoreError
from fastneurons.store import schema
from fastneurons.store.parts import Division, Part
from fastneurons.store.reader import Store
from fastneurons.store.schema import Outcome
from fastneurons.store.skipped import lines_of

_EXAMPLES_AT_ONCE = 4096


@dataclass(frozen=True)
class Contents:
    """Values of the whole.

    Args:
        arrays: By name, the arrays without an example axis: sums over all parts, and constants. Without counts by
            folds, which may be larger than memory: `fold_of` has them one by one.
        skipped: The lines of `skipped.jsonl`.
    """

    arrays: Arrays
    skipped: bytes


def gather(parts: Sequence[Part], division: Division) -> Contents:
    """Add up the parts' sums, and check that no example is in two of them.

    Each part's manifests are in memory once, one part after another, and eight bytes an example.

    Args:
        parts: In order.
    Raises:
        StoreError: examples are in two parts, the models have different weights, or a part is damaged.
    """
    arrays: Arrays = {}
    skipped: list[tuple[int, Mapping[str, Any]]] = []
    hashes = []
    for number, part in enumerate(parts):
        store = part.opened()
        for name in store:
            spec = schema.array_spec(name, store.header)
            if spec.is_constant:
                _take_constant(arrays, parts[0], part, name, store[name][...])
            elif not spec.grows and not spec.folds_of:
                values = store[name][...]
                arrays[name] = arrays[name] + values if name in arrays else values
        for example in store.skipped():
            index = division.index(number, example.index)
            skipped.append((index, msgspec.to_builtins(example) | {"index": index}))
        hashes.append(np.unique(np.fromiter((key for key, _, _ in _keys(store)), np.uint64)))
    found, times = np.unique(np.concatenate(hashes), return_counts=True)
    twice = found[times > 1]
    if len(twice):
        raise StoreError(_twice(parts, set(twice.tolist())))
    skipped.sort(key=lambda example: example[0])
    return Contents(arrays, lines_of([example for _, example in skipped]))


def fold_of(parts: Sequence[Part], name: str, fold: int) -> NDArray[Any]:
    """A fold of counts by folds, added up over all parts."""
    total: NDArray[Any] = sum(part.opened()[name][fold] for part in parts)  # type: ignore[assignment]
    return total


def _take_constant(arrays: Arrays, first: Part, part: Part, name: str, values: NDArray[Any]) -> None:
    if not np.array_equal(arrays.setdefault(name, values), values, equal_nan=True):
        why = (
            "was chosen from a sample of other texts, so that the histograms have other bins"
            if name == schema.BIN_EDGE
            else "is a constant of the model; these are models with different weights"
        )
        raise StoreError(
            f"{part.path} cannot be merged with {first.path}: the array {name} differs, which {why}"
        )


def _twice(parts: Sequence[Part], hashes: set[int]) -> str:
    places: dict[int, list[tuple[int, int, str]]] = {}
    for number, part in enumerate(parts):
        for key, example, name in _keys(part.opened()):
            if key in hashes:
                places.setdefault(key, []).append((number, example, name))
    named = []
    for (first, example, name), *rest in list(places.values())[:3]:
        other, elsewhere, _ = rest[-1]
        named.append(
            f"{name!r} is in {parts[first].path} (example {example}) and in {parts[other].path} (example {elsewhere})"
        )
    more = f", and {len(hashes) - 3:,} more are in two parts" if len(hashes) > 3 else ""
    return f"the parts overlap: example {'; '.join(named)}{more}"


def _keys(store: Store) -> Iterator[tuple[int, int, str]]:
    """A hash of what distinguishes each measured example from others; with its index and its id."""
    corpus = store.header.is_corpus
    names = [schema.EXAMPLE_ID, "task", schema.OUTCOME]
    if corpus:  # blocks of separate texts have the same ids
        names += ["present", *([schema.DIGEST] if schema.DIGEST in store else [])]
    step = -(-_EXAMPLES_AT_ONCE // store.header.window) * store.header.window
    for first in range(0, store.num_examples, step):
        examples = slice(first, min(first + step, store.num_examples))
        block = {name: store[name][examples] for name in names}
        for k, name in enumerate(block[schema.EXAMPLE_ID]):
            if block[schema.OUTCOME][k] != Outcome.MEASURED:
                continue
            text = f"{block['task'][k]} {name}".encode()
            if corpus:
                text += b"".join(block[other][k].tobytes() for other in names[3:])
            yield xxhash.xxh3_64_intdigest(text), first + k, str(name)

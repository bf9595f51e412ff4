"""Read all of a store, to find out what is damaged and what is still usable."""

from collections.abc import Iterator
from typing import Any

import msgspec

from fastneurons.errors import StoreError
from fastneurons.store import schema
from fastneurons.store.checked import is_data
from fastneurons.store.manifest import Catalogue
from fastneurons.store.objects import DamagedError, StoredObject
from fastneurons.store.reader import Store
from fastneurons.store.root import ROOT_KEY, SKIPPED_KEY


class Damage(msgspec.Struct, frozen=True):
    """A damaged object of a store.

    Args:
        object: Its key in the store.
        array: The array that it belongs to, if any.
        first: The first example in it, if it holds examples.
        end: One past the last.
        how: How it differs from what was written.
    """

    object: str
    array: str | None
    first: int | None
    end: int | None
    how: str


class Verification(msgspec.Struct, frozen=True):
    """The result of verifying a store.

    Args:
        store: The store's path, as the user wrote it.
        format: The format of its layout; stores of format 1 have no checksums of their own.
        complete: Whether its run is complete.
        examples: Number of examples committed.
        objects: Number of objects read.
        bytes: Their total length.
        damaged: The damaged objects.
        arrays: For each array of examples, how many examples are intact; for other arrays, whether they are.
        whole_examples: Ranges of examples that are intact in every array: the first, and one past the last.
    """

    store: str
    format: int
    complete: bool
    examples: int
    objects: int
    bytes: int
    damaged: list[Damage]
    arrays: dict[str, int | bool]
    whole_examples: list[tuple[int, int]]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damaged


def verify_store(store: Store) -> Verification:
    """Read all of a store and compare it with its manifests.

    Args:
        store: As `open_store` opens it, without `check`.
    Raises:
        StoreError: the place cannot be read.
    """
    if store._catalogue is None:
        damaged, objects, num_bytes = list(_undecodable(store)), 0, 0
    else:
        damaged, objects, num_bytes = _unlike_written(store, store._catalogue)
    try:
        store.skipped()
    except StoreError as error:
        damaged.append(Damage(SKIPPED_KEY, None, None, None, _reason(error, SKIPPED_KEY)))
    return Verification(
        store=store.path,
        format=store.header.format,
        complete=store.is_complete,
        examples=store.num_examples,
        objects=objects,
        bytes=num_bytes,
        damaged=damaged,
        arrays=_by_array(store, damaged),
        whole_examples=_whole(store.num_examples, damaged),
    )


def _unlike_written(store: Store, catalogue: Catalogue) -> tuple[list[Damage], int, int]:
    """Compare every object with its manifest; return damage, and the number and length of objects read."""
    damaged = [
        Damage(f"manifest/{number}", None, None, None, what) for number, what in catalogue.broken.items()
    ]
    damaged += _unnamed(store, catalogue)
    later: dict[str, list[StoredObject]] | None = None
    objects = num_bytes = 0
    for key, stored in catalogue.objects.items():
        if not store._root.needs(key):
            continue
        objects, num_bytes = objects + 1, num_bytes + stored.length
        how = _unlike(store, key, stored)
        if how is not None and later is None:
            later = catalogue.later(store._storage)
        if how is not None and all(_unlike(store, key, other) for other in (later or {}).get(key, [])):
            damaged.append(_damage(store, key, how))
    return damaged, objects, num_bytes


def _unlike(store: Store, key: str, stored: StoredObject) -> str | None:
    """Say how an object differs from what was written; None if it does not."""
    try:
        data = store._storage.read(key, 0, stored.length + 1)
        if data is None:
            return "is missing"
        if len(data) != stored.length:
            than = "longer" if len(data) > stored.length else "shorter"
            return f"is {than} than the {stored.length} bytes that were written"
        stored.check(data)
    except DamagedError as error:
        return str(error).removeprefix("it ")
    except StoreError as error:
        return str(error).rpartition(": it ")[2]
    except OSError as error:
        raise StoreError(f"{store.path} cannot be read: {error}") from error
    return None


def _unnamed(store: Store, catalogue: Catalogue) -> Iterator[Damage]:
    """Yield objects that must exist but that no manifest names, which only damaged manifests can cause."""
    if catalogue.problem is None:
        return
    for name in store:
        spec = schema.array_spec(name, store.header)
        if spec.grows:
            length = schema.examples_per_object(store[name]._array)
            zeros = ".0" * (len(store[name].dims) - 1)
            for number in range(-(-store.num_examples // length)):
                key = f"{name}/c.{number}{zeros}"
                if key not in catalogue.objects:
                    yield _damage(store, key, f"cannot be checked, because {catalogue.problem}")
        else:
            as_it_is = store.is_complete or spec.is_constant
            objects = catalogue.data_of(name if as_it_is else f"{name}_checkpoint")
            if not as_it_is or len(objects) < store[name]._array.nchunks:
                yield Damage(name, name, None, None, f"cannot be checked, because {catalogue.problem}")


def _undecodable(store: Store) -> Iterator[Damage]:
    """Yield what cannot be read of a store without manifests."""
    for name in store:
        try:
            array = store[name]
            if not schema.array_spec(name, store.header).grows:
                array[...]
                continue
            length = schema.examples_per_object(array._array)
        except StoreError as error:
            yield Damage(name, name, None, None, _reason(error, name))
            continue
        for first in range(0, store.num_examples, length):
            end = min(first + length, store.num_examples)
            try:
                array[first:end]
            except StoreError as error:
                number = first // length
                key = f"{name}/c.{number}" + ".0" * (len(array.dims) - 1)
                yield Damage(key, name, first, end, _reason(error, name))


def _damage(store: Store, key: str, how: str) -> Damage:
    name, _, rest = key.partition("/")
    if is_data(key) and name in store and schema.array_spec(name, store.header).grows:
        return Damage(key, name, *store.examples_of(key), how)
    return Damage(key, name if is_data(key) or rest == ROOT_KEY else None, None, None, how)


def _reason(error: StoreError, name: str) -> str:
    return str(error).rpartition(f"{name} is damaged: ")[2]


def _by_array(store: Store, damaged: list[Damage]) -> dict[str, int | bool]:
    """Say how much of each array is intact."""
    found: dict[str, int | bool] = {}
    for name in store:
        spec = schema.array_spec(name, store.header)
        own = [each for each in damaged if each.array in (name, f"{name}_checkpoint")]
        lost = [(each.first, each.end) for each in own if each.first is not None and each.end is not None]
        if not spec.grows:
            found[name] = not own
        else:
            found[name] = store.num_examples - sum(end - first for first, end in lost)
    return found


def _whole(examples: int, damaged: list[Damage]) -> list[tuple[int, int]]:
    """Return the ranges of examples in which nothing is damaged."""
    ranges, at = [], 0
    lost = {(each.first, each.end) for each in damaged if each.first is not None and each.end is not None}
    for first, end in [*sorted(lost), (examples, examples)]:
        if first > at:
            ranges.append((at, first))
        at = max(at, end)
    return ranges


def as_json(found: Verification) -> dict[str, Any]:
    """Return what `fastneurons verify --json` prints."""
    return {"whole": found.is_whole, **msgspec.to_builtins(found)}

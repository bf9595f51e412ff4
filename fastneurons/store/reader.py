"""Read a store, complete or not: only its committed examples.

    store = open_store("run.zarr")
    store["category_count"][:10]        # int32 [10, S, N, 4]
    for first, block in store.windows("activated_count", "outcome"):
        ...

Nothing is read before an array is indexed.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec
import numpy as np
import zarr
from numpy.typing import NDArray

from fastneurons.errors import InputError, StoreError
from fastneurons.store import schema
from fastneurons.store.checked import ObjectStore, is_data
from fastneurons.store.codec import bounded
from fastneurons.store.failures import reading
from fastneurons.store.manifest import Catalogue
from fastneurons.store.objects import DamagedError
from fastneurons.store.root import ROOT_KEY, SKIPPED_KEY, Root, read_root
from fastneurons.store.schema import ArraySpec, Header
from fastneurons.store.skipped import SkippedExample, decoded
from fastneurons.store.storage import Storage, one_line
from fastneurons.store.stored_array import StoredArray

# By kind, what a store holds.
CONTENTS = {
    "measure": "the neurons that prompts activate",
    "deactivate": "answers with neurons switched off",
    "generate": "texts generated under edits",
    "perplexity": "log-probabilities of texts under edits",
}

# What `windows` holds at a time, unless a single example is larger.
_BLOCK_BYTES = 2**26


class Store:
    """A store, opened for reading.

    Args:
        path: What the user calls it.
        data: The root object's bytes.
    """

    def __init__(self, path: str, storage: Storage, root: Root, data: bytes) -> None:
        self.path = path
        self.header: Header = root.header
        self._storage = storage
        self._root = root
        self._data = data
        self._commit = root.commit
        self._names = [name for name in root.arrays if name not in schema.coordinates(root.header)]
        if not self.is_complete:
            self._names += [spec.name for spec in root.sums]
        self._catalogue = None if root.mark is None else Catalogue.load(storage, root.mark)
        self._objects = ObjectStore(
            storage,
            catalogue=self._catalogue,
            given={ROOT_KEY: data},
            limits=_limits(root),
        )
        with reading(path), bounded():
            self._group = zarr.open_group(self._objects, mode="r", use_consolidated=True)
        self._arrays: dict[str, StoredArray] = {}

    @property
    def is_complete(self) -> bool:
        """Whether the run that wrote it finished."""
        return self.header.status == "complete"

    @property
    def num_examples(self) -> int:
        """E: examples committed, skipped ones included."""
        return self._commit.examples

    @property
    def measured(self) -> NDArray[np.bool_]:
        """[E], whether the example was measured, not skipped."""
        return cast(NDArray[np.bool_], self[schema.OUTCOME][:] == schema.Outcome.MEASURED)

    def needs_kind(self, *kinds: str) -> None:
        """Check that the store is of a kind that an analysis reads.

        Raises:
            InputError: it is of another kind; names that, and the command that reads it or makes the kind that is read.
        """
        if self.header.kind in kinds:
            return
        wanted = " or ".join(CONTENTS[kind] for kind in kinds)
        if self.header.is_measuring:
            makers = " or ".join(f"fastneurons {kind}" for kind in kinds)
            advice = f"{makers} makes a store of them"
        else:
            advice = f"fastneurons summary {self.path} reads it"
        raise InputError(
            f"{self.path} is of kind {self.header.kind}: it holds {CONTENTS[self.header.kind]}, not {wanted}; {advice}"
        )

    @property
    def has_bits(self) -> bool:
        """Whether the store says which neurons were activated, instead of only counting them."""
        return schema.ACTIVATED in self

    def keys(self) -> list[str]:
        """The names of its arrays."""
        return list(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> StoredArray:
        """An array by name; indexing reads it."""
        if name not in self._arrays:
            if name not in self._names:
                raise KeyError(f"{self.path} has no array {name!r}; it has {', '.join(self._names)}")
            spec = schema.array_spec(name, self.header)
            with reading(self.path, name), bounded():
                if spec.summed_by and not self.is_complete:
                    array = self._sum_so_far(spec)
                else:
                    array = cast("zarr.Array[Any]", self._group[name])
            self._arrays[name] = StoredArray(self, name, array, spec.dims)
        return self._arrays[name]

    def __repr__(self) -> str:
        h = self.header
        state = "complete" if self.is_complete else "NOT COMPLETE: its run goes on, or was interrupted"
        kind = "" if h.is_measuring else f" of kind {h.kind}"
        conditions = "" if h.is_measuring else f"  conditions {', '.join(h.conditions)}\n"
        return (
            f"<Store {self.path}{kind}, {state}\n"
            f"  {h.model} ({h.dtype}), {len(h.layers)} layers of {h.neurons} neurons\n"
            f"  {self.num_examples} examples of {h.task} in {len(h.languages)} languages: "
            f"{', '.join(h.languages)}\n"
            f"{conditions}"
            f"  thresholds {', '.join(f'{t:g}' for t in h.thresholds)}; arrays {', '.join(self._names)}>"
        )

    def threshold_index(self, threshold: float | None = None) -> int:
        """The index of a threshold on its axis; of the first one for None.

        Raises:
            InputError: the store has no such threshold.
        """
        if threshold is None:
            return 0
        if threshold not in self.header.thresholds:
            has = ", ".join(f"{t:g}" for t in self.header.thresholds)
            raise InputError(f"{self.path} has no threshold {threshold:g}; it has {has}")
        return self.header.thresholds.index(threshold)

    def language_index(self, language: str) -> int:
        """The index of a language on its axis.

        Raises:
            InputError: the store has no such language.
        """
        if language not in self.header.languages:
            raise InputError(
                f"{self.path} has no language {language}; it has {', '.join(self.header.languages)}"
            )
        return self.header.languages.index(language)

    def activated_bits(
        self, examples: slice, languages: Sequence[str] | None = None, threshold: float | None = None
    ) -> NDArray[np.bool_]:
        """The activated neurons, unpacked.

        Args:
            examples: Which examples; each takes L * N * I bytes.
            languages: Which languages, in this order; all of the store's for None.
            threshold: One of the store's; its first for None.
        Returns:
            bool [E, L, N, I]; False throughout for examples that were skipped.
        Raises:
            InputError: the store keeps no bits, or has no such language or threshold.
        """
        self.needs_kind("measure")
        if self.header.is_corpus:
            raise InputError(f"{self.path} is of a corpus: it counts tokens, not examples")
        if not self.has_bits:
            raise InputError(
                f"{self.path} was written with --no-keep-bits: it holds counts, not which neurons"
            )
        chosen = slice(None) if languages is None else [self.language_index(code) for code in languages]
        packed = self[schema.ACTIVATED][examples, self.threshold_index(threshold)]  # [E, L, N, B]
        bits = np.unpackbits(packed[:, chosen], axis=-1, count=self.header.neurons, bitorder="little")
        return bits.view(np.bool_)

    def windows(self, *names: str) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        """Arrays in blocks of examples, in order, in bounded memory; no block spans two windows.

        Args:
            names: Arrays whose first axis is the example.
        Yields:
            The index of the block's first example, and the block of each array by name.
        """
        arrays = [self[name] for name in names]
        example_bytes = sum(int(np.prod(array.shape[1:])) * array.dtype.itemsize for array in arrays)
        step = schema.largest_divisor(self.header.window, _BLOCK_BYTES // max(1, example_bytes))
        for first in range(0, self.num_examples, step):
            examples = slice(first, min(first + step, self.num_examples))
            yield first, {array.name: array[examples] for array in arrays}

    def skipped(self) -> list[SkippedExample]:
        """Examples that were skipped, in order.

        Raises:
            StoreError: the list is damaged.
        """
        size = self._commit.skipped_bytes
        with reading(self.path):
            data = (self._storage.read(SKIPPED_KEY, 0, size) if size else None) or b""
        try:
            return decoded(data, size, self._catalogue)
        except (DamagedError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StoreError(f"{self.path}: {SKIPPED_KEY} is damaged: {one_line(error)}") from error

    def check(self) -> None:
        """Whether every object is there with its written length. Lists folders and reads no object.

        A store without manifests is checked when it is read.

        Raises:
            StoreError: naming the first that is not.
        """
        if self._catalogue is None:
            return
        advice = f"fastneurons verify {self.path} says what is still usable"
        if self._catalogue.problem is not None:
            raise StoreError(f"{self.path} is damaged: {self._catalogue.problem}; {advice}")
        keys = [key for key in self._catalogue.objects if self._root.needs(key)]
        with reading(self.path):
            for key, how in self._catalogue.misplaced(self._storage, keys):
                raise StoreError(f"{self.path}: {self.describe(key)} {how}; {advice}")

    def is_behind(self) -> bool:
        """Whether windows were committed after the commit mark that this store was opened with."""
        return self._catalogue is not None and self._catalogue.is_behind(self._storage)

    def describe(self, key: str) -> str:
        """Name an object in an error message."""
        name, _, rest = key.partition("/")
        where = f"object {rest}"
        if is_data(key) and name in self and schema.array_spec(name, self.header).grows:
            first, end = self.examples_of(key)
            where += f" (examples {first} to {end - 1})"
        return f"array {name} is damaged: its {where}"

    def examples_of(self, key: str) -> tuple[int, int]:
        """The examples in an object of a growing array: the first, and the one after the last."""
        name, _, rest = key.partition("/")
        length = schema.examples_per_object(self[name]._array)
        number = int(rest.split(".")[1])
        return number * length, min((number + 1) * length, self.num_examples)

    @property
    def _missing(self) -> str:
        """Say that objects are missing, or that damaged manifests keep them from being checked."""
        problem = self._catalogue.problem if self._catalogue is not None else None
        return "are missing" if problem is None else f"cannot be checked, because {problem}"

    def to_xarray(self) -> Any:
        """The store as an `xarray.Dataset`, read where it is used."""
        import xarray  # takes a third of a second, which most readers have no need of

        with reading(self.path), bounded():
            return xarray.open_zarr(self._objects, consolidated=True, chunks=None)

    def _sum_so_far(self, spec: ArraySpec) -> "zarr.Array[Any]":
        """A sum over the examples committed so far."""
        values = np.zeros(spec.shape(self.header, 0), spec.dtype)
        if self.num_examples:
            try:
                checkpoint = zarr.open_array(self._objects, path=spec.checkpoint.name, mode="r")
                values = self._root.read_sum(spec, checkpoint)
            except Exception as error:
                if read_root(self._storage) == self._data:
                    raise
                raise StoreError(
                    f"{self.path}: its run has gone on since it was opened; open it again to read {spec.name}"
                ) from error
        return zarr.create_array(zarr.storage.MemoryStore(), data=values)


def _limits(root: Root) -> dict[str, int]:
    """Largest size of an object of each array, in a store without manifests."""
    limits = {
        spec.name: schema.object_bytes(spec, root.arrays[spec.name])
        for spec in schema.array_specs(root.header, root.arrays)
        if spec.name in root.arrays
    }
    for spec in schema.sum_specs(root.header):
        chunk = spec.checkpoint.chunks(root.header)
        limits[spec.checkpoint.name] = 2 * spec.checkpoint.bytes_of(chunk) + 2**20
    return limits

"""Reading a store, complete or not: only committed examples are seen.

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
from fastneurons.store.root import ROOT_KEY, SKIPPED_KEY, Root, decode
from fastneurons.store.schema import ArraySpec, Header
from fastneurons.store.storage import Storage, storage_at

# What `windows` holds at a time, unless a single example is larger.
_BLOCK_BYTES = 2**26


class SkippedRow(msgspec.Struct, frozen=True):
    """A row of the source that was not measured.

    Args:
        index: Its index on the example axis.
        where: Its place in the source, such as a file and line.
    """

    index: int
    id: str | None
    where: str
    reason: str


class StoredArray:
    """An array of a store, read from where it lies when it is indexed."""

    def __init__(self, store: "Store", name: str, array: "zarr.Array[Any]", dims: tuple[str, ...]) -> None:
        self.name = name
        self.dims = dims
        self._store = store
        self._array = array
        self._found: set[str] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape; the example axis is as long as what is committed."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its dtype in memory."""
        return self._array.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, selection: Any) -> NDArray[Any]:
        """What is selected, as numpy would.

        Raises:
            StoreError: the array is damaged.
        """
        try:
            if self.dims[0] == "example":
                self._check_objects(selection[0] if isinstance(selection, tuple) and selection else selection)
            elif self._store.is_complete:
                self._check_sum()
            return np.asarray(self._array[selection])
        except (StoreError, IndexError):
            raise
        except Exception as error:  # codecs raise what they like
            raise StoreError(f"{self._store.path}: array {self.name} is damaged: {error}") from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim}: {size}" for dim, size in zip(self.dims, self.shape, strict=True))
        return f"<{self.name} ({sizes}) {self.dtype}>"

    def _check_objects(self, rows: Any) -> None:
        """Zarr takes a missing object for zeros; the writer writes all, so here it is damage."""
        length = schema.examples_per_object(self._array)
        if isinstance(rows, slice):
            chosen = range(*rows.indices(len(self)))
        elif isinstance(rows, int | np.integer):
            position = range(len(self))[int(rows)]
            chosen = range(position, position + 1)
        else:
            chosen = range(len(self))
        if len(chosen) == 0:
            return
        found = self._objects()
        for number in range(min(chosen) // length, max(chosen) // length + 1):
            if f"c.{number}" + ".0" * (len(self.dims) - 1) not in found:
                last = min((number + 1) * length, len(self)) - 1
                raise StoreError(
                    f"{self._store.path}: array {self.name} is damaged: "
                    f"examples {number * length} to {last} are missing"
                )

    def _check_sum(self) -> None:
        missing = self._array.nchunks - len(self._objects())
        if missing:
            raise StoreError(
                f"{self._store.path}: array {self.name} is damaged: {missing} of its objects are missing"
            )

    def _objects(self) -> set[str]:
        if self._found is None:
            names = self._store._storage.names(self.name)
            self._found = {name for name in names if name.startswith("c.")}
        return self._found


class Store:
    """A store, opened for reading.

    Args:
        path: What the user calls it.
    """

    def __init__(self, path: str, storage: Storage, root: Root) -> None:
        self.path = path
        self.header: Header = root.header
        self._storage = storage
        self._root = root
        self._commit = root.commit
        self._names = [name for name in root.arrays if name not in schema.coordinates(root.header)]
        if not self.is_complete:
            self._names += [spec.name for spec in schema.sum_specs(root.header)]
        self._group = zarr.open_group(storage.zarr_store(read_only=True), mode="r", use_consolidated=True)
        self._arrays: dict[str, StoredArray] = {}

    @property
    def is_complete(self) -> bool:
        """Whether the run that wrote it came to its end."""
        return self.header.status == "complete"

    @property
    def num_examples(self) -> int:
        """E: examples committed, skipped ones included."""
        return self._commit.examples

    @property
    def measured(self) -> NDArray[np.bool_]:
        """[E], whether the example was measured, not skipped."""
        return cast(NDArray[np.bool_], self[schema.OUTCOME][:] == schema.Outcome.MEASURED)

    @property
    def has_bits(self) -> bool:
        """Whether the store tells which neurons were activated, or counts alone."""
        return schema.ACTIVATED in self

    def keys(self) -> list[str]:
        """The names of its arrays."""
        return list(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> StoredArray:
        """An array by name; nothing is read before it is indexed."""
        if name not in self._arrays:
            if name not in self._names:
                raise KeyError(f"{self.path} has no array {name!r}; it has {', '.join(self._names)}")
            spec = schema.array_spec(name)
            if spec.summed_by and not self.is_complete:
                array = self._sum_so_far(spec)
            else:
                array = cast("zarr.Array[Any]", self._group[name])
            self._arrays[name] = StoredArray(self, name, array, spec.dims)
        return self._arrays[name]

    def __repr__(self) -> str:
        h = self.header
        state = "complete" if self.is_complete else "NOT COMPLETE: its run goes on, or was interrupted"
        return (
            f"<Store {self.path}, {state}\n"
            f"  {h.model} ({h.dtype}), {len(h.layers)} layers of {h.neurons} neurons\n"
            f"  {self.num_examples} examples of {h.task} in {len(h.languages)} languages: "
            f"{', '.join(h.languages)}\n"
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
        """Which neurons were activated, unpacked.

        Args:
            examples: Which examples; each takes L * N * I bytes.
            languages: Which languages, in this order; all of the store's for None.
            threshold: One of the store's; its first for None.
        Returns:
            bool [E, L, N, I]; False throughout for examples that were skipped.
        Raises:
            InputError: the store keeps no bits, or has no such language or threshold.
        """
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
        row_bytes = sum(int(np.prod(array.shape[1:])) * array.dtype.itemsize for array in arrays)
        step = schema.largest_divisor(self.header.window, _BLOCK_BYTES // max(1, row_bytes))
        for first in range(0, self.num_examples, step):
            rows = slice(first, min(first + step, self.num_examples))
            yield first, {array.name: array[rows] for array in arrays}

    def skipped(self) -> list[SkippedRow]:
        """Rows that were skipped, in order.

        Raises:
            StoreError: the list is damaged.
        """
        data = (self._storage.read(SKIPPED_KEY) or b"")[: self._commit.skipped_bytes]
        try:
            if len(data) < self._commit.skipped_bytes:
                raise msgspec.DecodeError(f"{self._commit.skipped_bytes - len(data)} bytes are missing")
            return [msgspec.json.decode(line, type=SkippedRow) for line in data.splitlines()]
        except msgspec.DecodeError as error:
            raise StoreError(f"{self.path}: {SKIPPED_KEY} is damaged: {error}") from error

    def to_xarray(self) -> Any:
        """The store as an `xarray.Dataset`, read where it is used; needs xarray."""
        try:
            import xarray
        except ImportError as error:
            raise InputError("xarray is not installed; pip install 'fastneurons[xarray]'") from error
        return xarray.open_zarr(self._storage.zarr_store(read_only=True), consolidated=True, chunks=None)

    def _sum_so_far(self, spec: ArraySpec) -> "zarr.Array[Any]":
        """A sum over the examples committed by now."""
        values = np.zeros(spec.shape(self.header, 0), spec.dtype)
        try:
            if self.num_examples:
                group = zarr.open_group(
                    self._storage.zarr_store(read_only=True), mode="r", use_consolidated=False
                )
                values = self._root.read_sum(spec, cast("zarr.Array[Any]", group[spec.checkpoint.name]))
        except Exception as error:
            raise StoreError(f"{self.path}: array {spec.name} is damaged: {error}") from error
        return zarr.create_array(zarr.storage.MemoryStore(), data=values)


def open_store(path: str) -> Store:
    """Open a store for reading.

    Args:
        path: A local path or an fsspec URL.
    Raises:
        InputError: the URL's file system is not known.
        StoreError: nothing is there, or no store, or one of a newer format, or it is damaged.
    """
    storage = storage_at(path)
    try:
        data = storage.read(ROOT_KEY)
        if data is None and not storage.names():
            raise StoreError(f"{path}: nothing is there")
        root = decode(data, path)
        _check_arrays(path, root)
        return Store(path, storage, root)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def _check_arrays(path: str, root: Root) -> None:
    """Whether the arrays that a store must have are named with the shapes that they must have."""
    if not root.arrays and root.commit.examples == 0:
        return  # its run has only begun
    for spec in schema.array_specs(root.header, root.arrays):
        if spec.summed_by and root.header.status == "running":
            continue
        metadata = root.arrays.get(spec.name)
        expected = list(spec.shape(root.header, root.commit.examples))
        if metadata is None:
            raise StoreError(f"{path}: array {spec.name} is missing")
        if metadata.get("shape") != expected:
            raise StoreError(
                f"{path}: array {spec.name} has shape {metadata.get('shape')}, should be {expected}"
            )

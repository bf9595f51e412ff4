"""Fill a store's arrays: create them, make room in them, and write examples and sums over examples.

Nothing that is written here counts before it is committed (`committing.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec
from zarr.core.buffer import default_buffer_prototype

from fastneurons.arrays import STRING
from fastneurons.store.checked import ObjectStore
from fastneurons.store.codec import bounded
from fastneurons.store.failures import decoding
from fastneurons.store.layout import Layout
from fastneurons.store.root import ROOT_KEY
from fastneurons.store.schema import ArraySpec, Header
from fastneurons.store.storage import Storage

# Growing arrays have room for this many windows first, and for twice as many each time that it runs out. The root
# object says how many examples there are; only readers that go past it see the room.
_FIRST_WINDOWS = 16


class ArrayFiller:
    """The arrays of a store that is being written.

    Args:
        store: Where objects are written and read back.
    """

    def __init__(self, storage: Storage, store: ObjectStore, header: Header) -> None:
        self.capacity = _FIRST_WINDOWS * header.window
        self._storage = storage
        self._store = store
        self._header = header
        # How arrays are written, and how they are read back, by name.
        self._layouts: dict[str, Layout] = {}
        self._arrays: dict[str, zarr.Array[Any]] = {}
        # By sum: the index of `summed_by` that was written last, and its values.
        self._last_sums: dict[str, tuple[int, NDArray[Any]]] = {}

    def create(self, spec: ArraySpec) -> dict[str, Any]:
        """Put an empty array where none is.

        Returns:
            Its metadata.
        """
        # In memory first: of requests that fail, zarr leaves some unmade, of which Python warns.
        array = zarr.create_array(
            zarr.storage.MemoryStore(),
            name=spec.name,
            shape=spec.shape(self._header, self.capacity),
            dtype=str if spec.dtype == STRING else spec.dtype,
            chunks=spec.chunks(self._header),
            shards=spec.shards(self._header),
            # Higher levels take longer and save little: benchmarks/results/write_rate.md. A checkpoint is not
            # compressed: every window replaces it, and it is gone in the end.
            compressors=None if spec.is_checkpoint else ZstdCodec(level=1, checksum=True),
            chunk_key_encoding={"name": "default", "separator": "."},
            fill_value=spec.fill,
            dimension_names=spec.dims,
        )
        data = array.metadata.to_buffer_dict(default_buffer_prototype())[ROOT_KEY].to_bytes()
        self._store.write(f"{spec.name}/{ROOT_KEY}", [[data]])
        self.open(spec, data)
        metadata: dict[str, Any] = msgspec.json.decode(data)
        return metadata

    def open(self, spec: ArraySpec, metadata: bytes | None = None) -> None:
        """Prepare to write an existing array, and to read it back.

        Args:
            metadata: As it was just written; None to read it.
        Raises:
            StoreError: it has a layout that cannot be continued.
        """
        if metadata is not None:
            self._store.hold(f"{spec.name}/{ROOT_KEY}", metadata)
        with bounded():
            array = zarr.open_array(self._store, path=spec.name, mode="r", zarr_format=3)
        self._arrays[spec.name] = array
        self._layouts[spec.name] = Layout.of(spec, dict(array.metadata.to_dict()))

    def resize(
        self, specs: Iterable[ArraySpec], metadata: Mapping[str, dict[str, Any]], capacity: int
    ) -> None:
        """Give growing arrays room for that many examples, or trim them to it.

        Args:
            metadata: Each array's, by name, of any shape.
        """
        for spec in specs:
            data = msgspec.json.encode(sized(metadata[spec.name], capacity))
            self._storage.write(f"{spec.name}/{ROOT_KEY}", [data])
            self.open(spec, data)
        self.capacity = capacity

    def put(self, name: str, values: NDArray[Any], origin: Sequence[int] | None = None) -> None:
        """Write a block of an array, in whole objects except for the last ones along its first axis.

        Args:
            origin: Index of the block's first value; the array's own for None.
        """
        for key, segments in self._layouts[name].objects(values, origin):
            self._store.write(f"{name}/{key}", segments)

    def put_examples(self, spec: ArraySpec, first: int, values: NDArray[Any]) -> None:
        """Write the examples of a growing array from index `first` on."""
        begin = first - first % self.examples_per_object(spec.name)
        if begin < first:  # a run goes on in the middle of an object, of which some examples are committed
            with decoding(self._storage.name, spec.name):
                before = np.asarray(self._arrays[spec.name][begin:first])
            values = np.concatenate([before, values.astype(before.dtype, copy=False)])
        self.put(spec.name, values, [begin] + [0] * (values.ndim - 1))

    def add(
        self, spec: ArraySpec, added: Iterable[tuple[int, NDArray[Any]]], snapshots: Sequence[int]
    ) -> list[int]:
        """Add to a sum: for each index that changes, write new values to the snapshot that does not count.

        Args:
            added: Indices of `summed_by`, each once, with what is added there; nothing elsewhere.
            snapshots: For each index of `summed_by`, the snapshot of the checkpoint that counts.
        Returns:
            The snapshots that will count.
        """
        assert spec.summed_by is not None
        checkpoint = spec.checkpoint
        axis = checkpoint.dims.index(spec.summed_by)
        after = list(snapshots)
        for index, part in added:
            snapshot = snapshots[index]
            if not part.any():
                continue
            last, before = self._last_sums.get(spec.name, (None, None))
            if before is None or last != index:
                with decoding(self._storage.name, spec.name):
                    before = np.asarray(self._arrays[checkpoint.name][snapshot, *spec.part(index)])
            values = before + part
            origin = [0] * len(checkpoint.dims)
            origin[0], origin[axis] = 1 - snapshot, index
            self.put(checkpoint.name, np.expand_dims(values, (0, axis)), origin)
            self._last_sums[spec.name] = index, values
            after[index] = 1 - snapshot
        return after

    def array(self, name: str) -> "zarr.Array[Any]":
        """Return an array, to read it back."""
        return self._arrays[name]

    def chunks_per_shard(self) -> dict[str, int]:
        """Return how many chunks a shard of each array has; 0 if its objects are not shards."""
        return {name: layout.chunks_per_shard for name, layout in self._layouts.items()}

    def examples_per_object(self, name: str) -> int:
        """Return how many examples an object of a growing array holds."""
        return self._layouts[name].examples

    def remove_beyond(self, spec: ArraySpec, committed: int) -> None:
        """Remove the objects of a growing array that hold nothing committed."""
        length = self.examples_per_object(spec.name)
        for name in self._storage.names(spec.name):
            if name.startswith("c.") and int(name.split(".")[1]) * length >= committed:
                self._storage.remove_object(f"{spec.name}/{name}")


def sized(metadata: dict[str, Any], num_examples: int) -> dict[str, Any]:
    """Return a growing array's metadata with that many examples."""
    return {**metadata, "shape": [num_examples, *metadata["shape"][1:]]}

"""Lay out an array's values as the objects of a Zarr v3 array: chunks, and shards with their index.

The objects are ordinary ones, which zarr and xarray read. They are made here because zarr's own pipeline copies every
value several times and starts a task for each chunk, which costs more than all that is done with the values.

Source: Zarr v3's codecs `bytes`, `vlen-utf8`, `zstd`, `crc32c` and `sharding_indexed`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import google_crc32c
import numpy as np
from numcodecs.vlen import VLenUTF8
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from fastneurons.arrays import STRING
from fastneurons.errors import StoreError
from fastneurons.store.frames import Piece, frame
from fastneurons.store.schema import ArraySpec

# Bytes read together, under one checksum: a chunk, or a shard's index.
Segment = list[Piece]

# The place and length of a chunk that a shard does not have: its examples are not written yet.
_ABSENT = 2**64 - 1


@dataclass(frozen=True)
class Layout:
    """The division of an array into objects and chunks.

    Args:
        spec: The array.
        chunk: Shape of a chunk, which is encoded as a whole.
        shard: Shape of an object that holds several chunks, which lie along its first axis; None where each chunk is
            an object.
        level: Zstandard's; None where chunks are not compressed, nor in frames.
    """

    spec: ArraySpec
    chunk: tuple[int, ...]
    shard: tuple[int, ...] | None
    level: int | None

    @classmethod
    def of(cls, spec: ArraySpec, metadata: dict[str, Any]) -> "Layout":
        """Read the layout from an array's metadata.

        Raises:
            StoreError: values are encoded in a way that no version of fastneurons has used.
        """
        outer = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
        codecs = metadata["codecs"]
        if codecs[0]["name"] != "sharding_indexed":
            return cls(spec, outer, None, _level(spec, codecs))
        sharding = codecs[0]["configuration"]
        index = [codec["name"] for codec in sharding["index_codecs"]]
        chunk = tuple(sharding["chunk_shape"])
        if (
            len(codecs) > 1
            or index != ["bytes", "crc32c"]
            or sharding.get("index_location", "end") != "end"
            or chunk[1:] != outer[1:]
        ):
            raise StoreError(f"array {spec.name} has a layout that cannot be continued")
        return cls(spec, chunk, outer, _level(spec, sharding["codecs"]))

    @property
    def examples(self) -> int:
        """How many indices of the first axis an object holds."""
        return (self.shard or self.chunk)[0]

    @property
    def chunks_per_shard(self) -> int:
        """How many chunks a shard holds; 0 if objects are not shards."""
        return self.shard[0] // self.chunk[0] if self.shard else 0

    def objects(
        self, values: NDArray[Any], origin: Sequence[int] | None = None
    ) -> Iterator[tuple[str, list[Segment]]]:
        """Encode a block of the array.

        Args:
            values: The block. Only along the first axis may it end within an object: that one is filled up with what
                stands for nothing.
            origin: Index of its first value, where an object begins; the array's own for None.
        Yields:
            Each object's key below the array's folder, and its segments in order.
        """
        outer = self.shard or self.chunk
        begins = [0] * len(outer) if origin is None else origin
        assert not any(begin % part for begin, part in zip(begins, outer, strict=True)), (begins, outer)
        grid = [-(-size // part) for size, part in zip(values.shape, outer, strict=True)]
        for place in np.ndindex(*grid):
            chosen = tuple(slice(at * part, (at + 1) * part) for at, part in zip(place, outer, strict=True))
            number = [at + begin // part for at, begin, part in zip(place, begins, outer, strict=True)]
            yield "c." + ".".join(map(str, number)), self._segments(values[chosen])

    def _segments(self, values: NDArray[Any]) -> list[Segment]:
        """Encode an object; a shard's chunks one after another, and then its index."""
        if self.shard is None:
            return [self._chunk(values)]
        step = self.chunk[0]
        chunks = [self._chunk(values[first : first + step]) for first in range(0, len(values), step)]
        index = np.full((self.chunks_per_shard, 2), _ABSENT, "<u8")
        lengths = [sum(map(len, pieces)) for pieces in chunks]
        index[: len(chunks), 0] = np.cumsum([0, *lengths[:-1]])
        index[: len(chunks), 1] = lengths
        data = index.tobytes()
        return [*chunks, [data + google_crc32c.value(data).to_bytes(4, "little")]]

    def _chunk(self, values: NDArray[Any]) -> Segment:
        if values.shape != self.chunk:
            whole = np.full(self.chunk, self.spec.fill, values.dtype)
            whole[: len(values)] = values
            values = whole
        if self.spec.dtype == STRING:
            data = memoryview(VLenUTF8().encode(values.astype(object)))
        else:
            little = np.dtype(self.spec.dtype).newbyteorder("<")
            data = np.ascontiguousarray(values, little).reshape(-1).view(np.uint8).data
        return [data] if self._zstd is None else frame(data, self._zstd.encode)

    @cached_property
    def _zstd(self) -> Zstd | None:
        return None if self.level is None else Zstd(level=self.level, checksum=True)


def _level(spec: ArraySpec, codecs: Sequence[dict[str, Any]]) -> int | None:
    """Return Zstandard's level; raises StoreError if there is anything but plain values, in frames or not."""
    names = [codec["name"] for codec in codecs]
    first = "vlen-utf8" if spec.dtype == STRING else "bytes"
    if names not in ([first], [first, "zstd"]):
        raise StoreError(f"array {spec.name} has codecs that cannot be continued")
    if codecs[0].get("configuration", {}).get("endian", "little") != "little":
        raise StoreError(f"array {spec.name} has a byte order that cannot be continued")
    return int(codecs[1]["configuration"]["level"]) if len(codecs) > 1 else None

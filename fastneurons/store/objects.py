"""Record the length of an object of a store, and a checksum of each of its segments, as it is written.

A segment is the unit of reading: an inner chunk of a shard, or the shard's index. So whoever reads one example
checks what belongs to it and no more, and whoever reads all of an object checks all of it. An object that zarr
does not divide is one segment.

The checksum is xxh3_64, which costs a tenth of what decompressing costs. It tells damage and mix-ups, not
forgery: who can write a whole store can make all of it agree.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from fastneurons.store.frames import Piece

_SEGMENT = np.dtype([("length", "<u8"), ("check", "<u8")])
# A shard ends in its index: where each inner chunk begins and how long it is, and a CRC-32C of that.
_ENTRY_BYTES = 16
_CRC_BYTES = 4
_ABSENT = 2**64 - 1


class DamagedError(Exception):
    """An object differs from what was written."""


class StoredObject(msgspec.Struct, frozen=True):
    """An object as it was written.

    Args:
        length: In bytes.
        segments: For each segment in order, its length and checksum, 8 bytes each, the lowest byte first.
    """

    length: int
    segments: bytes

    @classmethod
    def of(cls, data: bytes, inner_chunks: int = 0) -> "StoredObject":
        """Make the record of an object.

        Args:
            data: All of it.
            inner_chunks: How many inner chunks it has as a shard; 0 where it is none.
        """
        ends = _ends(data, inner_chunks).tolist()
        whole = memoryview(data)
        return cls.of_segments([[whole[first:end]] for first, end in zip([0, *ends], ends, strict=False)])

    @classmethod
    def of_segments(cls, segments: Sequence[Sequence[Piece]]) -> "StoredObject":
        """Make the record of an object from its segments, in memory."""
        found = np.zeros(len(segments), _SEGMENT)
        for number, pieces in enumerate(segments):
            check = xxhash.xxh3_64()
            for piece in pieces:
                check.update(piece)
            found[number] = sum(map(len, pieces)), check.intdigest()
        return cls(int(found["length"].sum()), found.tobytes())

    def cover(self, start: int, end: int) -> tuple[int, int]:
        """Begin and end of the segments that hold bytes `start` to `end`."""
        ends = np.cumsum(self._segments()["length"])
        first = int(np.searchsorted(ends, start, side="right"))
        last = int(np.searchsorted(ends, max(end, start + 1), side="left"))
        begin = int(ends[first - 1]) if first else 0
        return begin, int(ends[min(last, len(ends) - 1)]) if len(ends) else 0

    def check(self, data: bytes, start: int = 0) -> None:
        """Compare bytes that begin at `start`, where a segment begins, with the record.

        Raises:
            DamagedError: they differ.
        """
        segments = self._segments()
        lengths = segments["length"]
        ends = np.cumsum(lengths)
        index = int(np.searchsorted(ends, start, side="right"))
        whole, at = memoryview(data), 0
        while at < len(data):
            if index == len(segments):
                raise DamagedError(f"it is longer than the {self.length} bytes that were written")
            part = whole[at : at + int(lengths[index])]
            if xxhash.xxh3_64_intdigest(part) != int(segments["check"][index]):
                raise DamagedError(
                    f"bytes {start + at} to {start + at + len(part) - 1} are not those written"
                )
            at += len(part)
            index += 1

    def is_of(self, data: bytes) -> bool:
        """Whether an object's bytes match the record."""
        if len(data) != self.length:
            return False
        try:
            self.check(data)
        except DamagedError:
            return False
        return True

    def _segments(self) -> NDArray[Any]:
        return np.frombuffer(self.segments, _SEGMENT)


def _ends(data: bytes, inner_chunks: int) -> NDArray[np.uint64]:
    """Ends of an object's segments, uint64; a shard's come from its index, if that is valid."""
    size = np.uint64(len(data))
    index_bytes = inner_chunks * _ENTRY_BYTES + _CRC_BYTES
    if inner_chunks and index_bytes < len(data):
        index = np.frombuffer(data, "<u8", 2 * inner_chunks, len(data) - index_bytes).reshape(-1, 2)
        index = index[index[:, 0] != _ABSENT]
        ends = np.unique(np.concatenate([index[:, 0], index.sum(1), [size - np.uint64(index_bytes), size]]))
        ends = ends[ends > 0]
        if ends[-1] == size:
            return ends
    return np.array([size] if size else [], np.uint64)

"""Encode a chunk as a Zstandard frame (RFC 8878): compressed where that saves space, stored as it is where it does not.

The bits of a model near a threshold of 0 are close to incompressible, and compressing them only costs time. Whether a
chunk is worth it is tried on a sample of it. Any decoder reads both kinds of frame.

A stored frame refers to the chunk's own memory and does not copy it: copying into new memory takes longer than
everything else here.
"""

from collections.abc import Callable

import numpy as np
import xxhash

# Bytes in memory, a memoryview's of single unsigned bytes; an object is a sequence of them.
Piece = bytes | memoryview

# A sample is the first bytes of each of so many equal parts of the chunk.
_PARTS = 8
_PART_BYTES = 2**10
# Smaller chunks are compressed without trying.
_LEAST_BYTES = 2**16
# A sample must shrink to this share of its size. See benchmarks/results/write_rate.md.
_WORTH = 0.9

_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOCK_BYTES = 2**17  # the most that a block may hold
_HAS_CHECKSUM = 0b0000_0100
_SINGLE_SEGMENT = 0b0010_0000
_SIZE_OF_4_BYTES = 0b1000_0000
_SIZE_OF_8_BYTES = 0b1100_0000


def frame(data: memoryview, compress: Callable[[memoryview], bytes]) -> list[Piece]:
    """Encode a chunk as one frame, with a checksum of its content.

    Args:
        data: The chunk, as contiguous unsigned bytes; must not change before the frame is written.
        compress: Returns a compressed frame.
    Returns:
        The frame's bytes in order; some of the pieces may be parts of `data`.
    """
    if data.nbytes >= _LEAST_BYTES:
        parts = np.frombuffer(data, np.uint8)[: data.nbytes // _PARTS * _PARTS].reshape(_PARTS, -1)
        sample = parts[:, :_PART_BYTES].tobytes()
        if len(compress(memoryview(sample))) > _WORTH * len(sample):
            return stored_frame(data)
    return [compress(data)]


def stored_frame(data: memoryview) -> list[Piece]:
    """Make a frame that holds a chunk uncompressed, in raw blocks, with a checksum.

    Source: RFC 8878, sections 3.1.1 (frame) and 3.1.1.2 (blocks).
    """
    size = data.nbytes
    is_long = size >= 2**32
    descriptor = (_SIZE_OF_8_BYTES if is_long else _SIZE_OF_4_BYTES) | _SINGLE_SEGMENT | _HAS_CHECKSUM
    header = _MAGIC + bytes([descriptor]) + size.to_bytes(8 if is_long else 4, "little")
    pieces: list[Piece] = []
    for first in range(0, max(size, 1), _BLOCK_BYTES):
        block = data[first : first + _BLOCK_BYTES]
        is_last = first + _BLOCK_BYTES >= size
        # Bit 0: whether it is the last block; bits 1 and 2: its type, 0 for raw; then its size.
        pieces += [(block.nbytes << 3 | is_last).to_bytes(3, "little"), block]
    pieces[0] = header + bytes(pieces[0])
    checksum = xxhash.xxh64_intdigest(data) & 0xFFFF_FFFF
    return [*pieces, checksum.to_bytes(4, "little")]

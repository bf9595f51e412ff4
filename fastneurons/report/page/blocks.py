"""Blocks of the page's data: a JSON description and typed arrays, compressed as the browser can undo it.

A block is gzip over the length of a JSON text (uint32, little-endian), the text, and the arrays one after another, each
aligned to 8 bytes: `assets/data.js` decodes it. In the page a block is base64, so that it can lie in HTML.
"""

import base64
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Types that JavaScript has typed arrays for.
_DTYPES = {"uint8", "uint16", "int32", "float32"}
_ALIGNMENT = 8


@dataclass(frozen=True)
class Block:
    """Part of the page's data, decoded by the browser as a whole when a view first needs it.

    Args:
        meta: Anything that JSON can hold; NaN is not.
        arrays: uint8, uint16, int32 or float32 arrays by name.
    """

    meta: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @cached_property
    def compressed(self) -> bytes:
        """The block as gzip; the same block gives the same bytes."""
        described: dict[str, Any] = {}
        parts: list[bytes] = []
        at = 0
        for name, array in self.arrays.items():
            dtype = array.dtype.name
            if dtype not in _DTYPES:
                raise TypeError(f"{name}: {dtype} is not an array type of the page")
            data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
            described[name] = [dtype, list(array.shape), at]
            parts += [data, b"\0" * (-len(data) % _ALIGNMENT)]
            at += len(data) + len(parts[-1])
        text = json.dumps(
            {"meta": self.meta, "arrays": described},
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        ).encode("utf-8", "surrogatepass")
        text += b" " * (-(4 + len(text)) % _ALIGNMENT)
        data = struct.pack("<I", len(text)) + text + b"".join(parts)
        # Noise has no repetitions to find: without looking for them, it becomes smaller.
        return min(_gzip(data, zlib.Z_DEFAULT_STRATEGY), _gzip(data, zlib.Z_RLE), key=len)

    @cached_property
    def text(self) -> str:
        """The block as base64 of gzip."""
        return base64.b64encode(self.compressed).decode("ascii")


def _gzip(data: bytes, strategy: int) -> bytes:
    gzip = 31  # zlib's window of 2**15 bytes, and 16 for the container
    compressor = zlib.compressobj(9, zlib.DEFLATED, gzip, 9, strategy)
    return compressor.compress(data) + compressor.flush()


def text_bytes(compressed: int) -> int:
    """Bytes that so many bytes take as base64."""
    return -(-compressed // 3) * 4

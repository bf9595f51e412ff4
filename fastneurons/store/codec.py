"""Zstandard that allocates no more than the array that it decompresses implies."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import zarr
from zarr.codecs import ZstdCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer
from zarr.registry import register_codec

from fastneurons.errors import StoreError
from fastneurons.store.storage import one_line

# Of a chunk of strings, whose length the array's metadata does not tell.
_STRINGS_BYTES = 2**30

_MAGIC = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class BoundedZstd(ZstdCodec):
    """zarr's codec, which refuses a chunk that would decompress to another size than it must have.

    A few kilobytes may claim to hold gigabytes, and the decoder allocates what they claim.
    """

    def __init__(self, *, level: int = 0, checksum: bool = False) -> None:
        super().__init__(level=level, checksum=checksum)

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        claimed = content_size(chunk_bytes.as_numpy_array()[:18].tobytes())
        itemsize = getattr(chunk_spec.dtype, "item_size", None)
        if itemsize is None:
            fits = claimed is not None and claimed <= _STRINGS_BYTES
        else:
            fits = claimed == prod(chunk_spec.shape) * itemsize
        if not fits:
            raise StoreError(f"a chunk is damaged: it claims to hold {claimed} bytes")
        try:
            return super()._decode_sync(chunk_bytes, chunk_spec)
        except Exception as error:
            raise StoreError(f"a chunk is damaged: {one_line(error)}") from error


def content_size(frame: bytes) -> int | None:
    """The decompressed size that a Zstandard frame states (RFC 8878, 3.1.1.1); None where it states none."""
    if frame[:4] != _MAGIC or len(frame) < 5:
        return None
    descriptor = frame[4]
    flag, single_segment, dictionary = descriptor >> 6, descriptor >> 5 & 1, descriptor & 3
    at = 5 + (not single_segment) + (0, 1, 2, 4)[dictionary]
    length = (single_segment, 2, 4, 8)[flag]
    size = frame[at : at + length]
    if not length or len(size) < length:
        return None
    return int.from_bytes(size, "little") + (256 if length == 2 else 0)


_NAME = f"{BoundedZstd.__module__}.{BoundedZstd.__qualname__}"
register_codec("zstd", BoundedZstd, qualname=_NAME)


@contextmanager
def bounded() -> Iterator[None]:
    """Arrays that are opened in here are read with `BoundedZstd`."""
    settings: dict[str, Any] = {"codecs.zstd": _NAME}
    with zarr.config.set(settings):
        yield

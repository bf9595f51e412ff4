"""Compare all reads, also zarr's, with the manifests, and record writes for the next one.

zarr takes a missing object for one full of the array's fill value. Here an object that a manifest names must be there,
as it was written; one that none names is not there, whatever lies in its place.
"""

import asyncio
import atexit
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import zarr.abc.store
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core import sync
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype

from fastneurons.errors import StoreError
from fastneurons.store.frames import Piece
from fastneurons.store.manifest import Catalogue
from fastneurons.store.objects import DamagedError, StoredObject
from fastneurons.store.storage import Storage, one_line

# How long the end of a process waits for reads that nobody waits for any more.
_EXIT_S = 5.0
# Metadata of an array is a few kilobytes.
_METADATA_BYTES = 2**26


class ObjectStore(zarr.abc.store.Store):
    """A zarr store on a `Storage`. zarr only reads it.

    Args:
        catalogue: The committed objects; None for a store without manifests, which is read as it is.
        given: Objects that are served from memory in place of those that lie there.
        limits: Of a store without manifests, what an object of an array may take at most, by the array's name.
        replacing: Called before an object that is committed is replaced, with its key and what it will be.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(
        self,
        storage: Storage,
        *,
        catalogue: Catalogue | None = None,
        given: dict[str, bytes] | None = None,
        limits: dict[str, int] | None = None,
        replacing: Callable[[str, StoredObject], None] | None = None,
    ) -> None:
        super().__init__(read_only=True)
        self.storage = storage
        self.catalogue = catalogue
        self._given = dict(given or {})
        self._limits = limits or {}
        self._replacing = replacing
        self._written: dict[str, StoredObject] = {}
        self._later: dict[str, list[StoredObject]] | None = None

    def with_read_only(self, read_only: bool = False) -> "ObjectStore":
        """The same store, for reading only."""
        assert read_only
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectStore) and other.storage is self.storage

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.storage.name

    def hold(self, key: str, data: bytes) -> None:
        """Serve an object from memory from now on, as it was just written."""
        self._given[key] = data

    def take_written(self) -> dict[str, StoredObject]:
        """Return the objects written since the last call."""
        written, self._written = self._written, {}
        return written

    # -- reading --------------------------------------------------------------------------------------

    def read(self, key: str, byte_range: ByteRequest | None = None) -> bytes | None:
        """Read an object or some of its bytes; None if it does not exist.

        Raises:
            StoreError: it is not as it was written, or cannot be checked.
        """
        if key in self._given:
            start, end = _bounds(byte_range, len(self._given[key]))
            return self._given[key][start:end]
        if self.catalogue is None or (not is_data(key) and key not in self.catalogue.objects):
            return self._read_as_it_lies(key, byte_range)
        stored = self.catalogue.objects.get(key)
        if stored is not None:
            return self._read_checked(key, stored, byte_range)
        if self.catalogue.problem is not None:
            raise StoreError(f"{_place(key)} cannot be checked: {self.catalogue.problem}")
        return None

    def _read_checked(self, key: str, stored: StoredObject, byte_range: ByteRequest | None) -> bytes:
        try:
            return self._read_one(key, stored, byte_range)
        except DamagedError as error:
            # Replaced by a window that does not count yet, perhaps; it has what counts as well.
            for other in self._later_versions(key):
                try:
                    return self._read_one(key, other, byte_range)
                except DamagedError:
                    continue
            raise StoreError(f"{_place(key)}: {error}") from error

    def _read_one(self, key: str, stored: StoredObject, byte_range: ByteRequest | None) -> bytes:
        start, end = _bounds(byte_range, stored.length)
        first, last = stored.cover(start, end)
        data = self.storage.read(key, first, last)
        if data is None:
            raise DamagedError("it is missing")
        if len(data) < last - first:
            raise DamagedError(f"it is shorter than the {stored.length} bytes that were written")
        stored.check(data, first)
        return data[start - first : end - first]

    def _later_versions(self, key: str) -> list[StoredObject]:
        assert self.catalogue is not None
        later = self._later
        if later is None or key not in later:  # the run may go on
            later = self._later = self.catalogue.later(self.storage)
        return later.get(key, [])

    def _read_as_it_lies(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        limit = self._limits.get(key.partition("/")[0], _METADATA_BYTES) if is_data(key) else _METADATA_BYTES
        if byte_range is None:
            return self.storage.read_bounded(key, limit)
        if isinstance(byte_range, RangeByteRequest):
            return self.storage.read(key, byte_range.start, min(byte_range.end, byte_range.start + limit))
        size = self.storage.sizes(key.rpartition("/")[0]).get(key.rpartition("/")[2])
        if size is None:
            return None
        start, end = _bounds(byte_range, size)
        return self.storage.read(key, start, min(end, start + limit))

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read an object or some of its bytes."""
        try:
            data = await asyncio.to_thread(self.read, key, byte_range)
        except OSError as error:
            if self._replacing is not None:  # the writer says what its failure means
                raise
            # xarray reads when nobody of ours is there to tell of it.
            raise StoreError(f"{self.storage.name} cannot be read: {one_line(error)}") from error
        if data is None:
            return None
        if prototype is None:
            prototype = default_buffer_prototype()
        return prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read several objects or some of their bytes."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Whether the object exists."""
        return await asyncio.to_thread(self.read, key) is not None

    # -- writing --------------------------------------------------------------------------------------

    def write(self, key: str, segments: Sequence[Sequence[Piece]]) -> None:
        """Replace an object and record its new content.

        Args:
            segments: What will be read at once, each in pieces.
        """
        stored = StoredObject.of_segments(segments)
        if self._replacing is not None and self.catalogue is not None and key in self.catalogue.objects:
            self._replacing(key, stored)
        self.storage.write(key, [piece for segment in segments for piece in segment])
        self._written[key] = stored

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse: the store's objects are made by `layout.py`."""
        raise NotImplementedError(key)

    async def delete(self, key: str) -> None:
        """Refuse: zarr never needs to remove an object here."""
        raise NotImplementedError(key)

    # -- listing --------------------------------------------------------------------------------------

    async def list(self) -> AsyncIterator[str]:
        """Every object's key."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Every object's key that begins with `prefix`."""
        for name, size in (await asyncio.to_thread(self.storage.sizes)).items():
            if size is not None:
                keys = [name]
            else:
                keys = [f"{name}/{below}" for below in await asyncio.to_thread(self.storage.names, name)]
            for key in keys:
                if key.startswith(prefix):
                    yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """The names directly below a folder."""
        for name in await asyncio.to_thread(self.storage.names, prefix.rstrip("/")):
            yield name


def is_data(key: str) -> bool:
    """Whether a key is that of an array's values."""
    return key.rpartition("/")[2].startswith("c.")


def _place(key: str) -> str:
    """Name an object in an error message."""
    name, _, rest = key.partition("/")
    return f"array {name} is damaged: its object {rest}"


def _bounds(byte_range: ByteRequest | None, size: int) -> tuple[int, int]:
    """Begin and end of a byte request in an object of `size` bytes."""
    match byte_range:
        case RangeByteRequest(start, end):
            return start, min(end, size)
        case OffsetByteRequest(offset):
            return offset, size
        case SuffixByteRequest(suffix):
            return max(0, size - suffix), size
    return 0, size


def _let_reads_end() -> None:
    """Wait for zarr's unfinished reads when the process ends.

    A damaged object fails a read of several at once; the process then ends while the others are under way, and
    asyncio would write a line to standard error for each.
    """
    loop = sync.loop[0]
    if loop is None or not loop.is_running():
        return

    async def wait() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=_EXIT_S)

    with contextlib.suppress(TimeoutError, RuntimeError):
        asyncio.run_coroutine_threadsafe(wait(), loop).result(2 * _EXIT_S)


atexit.register(_let_reads_end)  # before zarr stops its loop: handlers run last in, first out

"""Manifests: the objects that each window wrote, and their content.

`manifest/0` names what a store begins with, `manifest/1` the objects of the first window, and so on; the last one of
a complete store names its sums and each array's metadata. Each holds the digest of the one before; the root object
holds the number and the digest of the last one that counts. So the commit mark stays as small as it is, and no
window can be lost, swapped or put back unnoticed.

Several windows may write the same object: a window may go on in the middle of one after an interruption, and sums
are written again and again. The newest manifest that names an object counts. While such an object is replaced, the
manifest of the window to come names it already, so that a run may end between the object and the commit mark: a
reader takes an object that is as the last manifest has it or as one not yet committed has it; what was committed
is in both.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice

import msgspec

from fastneurons.errors import StoreError
from fastneurons.store import schema
from fastneurons.store.objects import StoredObject
from fastneurons.store.storage import Storage

MANIFESTS = "manifest"

# The most that a manifest may take: some 20 bytes for each chunk of its windows.
MANIFEST_BYTES = 2**28
_DIGEST_BYTES = 16
_GROWING = {spec.name for spec in schema.ARRAYS if spec.grows}


class Mark(msgspec.Struct, frozen=True):
    """The last valid manifest, as the root object names it."""

    number: int
    digest: str


class WindowObjects(msgspec.Struct, frozen=True):
    """Objects and lengths that writing a window left in the store: everything needed to commit it.

    Args:
        end: Examples in the store once the window counts.
        skipped_bytes: Length of `skipped.jsonl` then.
        objects: Every object written, by key.
        skipped: What was added to `skipped.jsonl`, if anything was.
        snapshots: By sum, for each index of its `summed_by`, the snapshot of the checkpoint that holds it now.
    """

    end: int
    skipped_bytes: int
    objects: dict[str, StoredObject]
    skipped: StoredObject | None = None
    snapshots: dict[str, list[int]] = {}


class Manifest(msgspec.Struct, frozen=True):
    """The objects of one window.

    Args:
        number: Its place in the chain.
        before: Digest of the manifest before; empty for the first.
        first: Examples in the store before the window.
        end: Examples in the store with it.
        skipped: What it added to `skipped.jsonl`.
        objects: The objects it wrote, by key.
    """

    number: int
    before: str
    first: int
    end: int
    objects: dict[str, StoredObject]
    skipped: StoredObject | None = None

    @property
    def key(self) -> str:
        """Its key."""
        return manifest_key(self.number)

    def encode(self) -> tuple[bytes, str]:
        """Its bytes, which end with their digest, and that digest."""
        body = msgspec.json.encode(self) + b"\n"
        digest = digest_of(body)
        return body + digest.encode() + b"\n", digest


def manifest_key(number: int) -> str:
    """The key of a manifest."""
    return f"{MANIFESTS}/{number}"


def digest_of(data: bytes) -> str:
    """The digest that chains manifests and the root object."""
    return blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()


def decode_manifest(data: bytes | StoreError | None, number: int, digest: str | None) -> tuple[Manifest, str]:
    """Decode a manifest from its bytes; return it with its digest.

    Args:
        digest: The digest that it must have; None where that is not known.
    Raises:
        StoreError: in a few words, what is wrong with it.
    """
    if isinstance(data, StoreError):
        raise data
    if data is None:
        raise StoreError("is missing")
    body, found = data[: -2 * _DIGEST_BYTES - 1], data[-2 * _DIGEST_BYTES - 1 : -1].decode("ascii", "replace")
    if digest_of(body) != found or data[-1:] != b"\n":
        raise StoreError("is damaged: its digest is not that of its content")
    if digest is not None and found != digest:
        raise StoreError("is not the one that was committed")
    try:
        manifest = msgspec.json.decode(body, type=Manifest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise StoreError("is damaged: it is not a manifest") from error
    if manifest.number != number:
        raise StoreError(f"is that of number {manifest.number}")
    return manifest, found


@dataclass
class Catalogue:
    """Every committed object of a store.

    Args:
        mark: The last manifest that counts.
        objects: By key, as the newest manifest that names it has it.
        skipped: The parts of `skipped.jsonl` in order.
        broken: By number, what is wrong with a manifest that cannot be used.
        windows: Where each usable manifest's window begins and ends, with its number.
    """

    mark: Mark
    objects: dict[str, StoredObject] = field(default_factory=dict)
    skipped: list[StoredObject] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)
    windows: list[tuple[int, int, int]] = field(default_factory=list)

    @classmethod
    def load(cls, storage: Storage, mark: Mark) -> "Catalogue":
        """Read the manifests, from the last to the first.

        Raises:
            StoreError: so many are missing that there is no telling what the store is.
        """
        there = storage.names(MANIFESTS)
        missing = mark.number + 1 - len(there)
        if missing > len(there) + 1000:
            raise StoreError(f"{storage.name} is damaged: {missing} of its manifests are missing")
        numbers = range(mark.number, -1, -1)
        catalogue, digest = cls(mark), mark.digest if mark.number >= 0 else None
        for number, data in zip(numbers, _read(storage, numbers), strict=True):
            try:
                manifest, _ = decode_manifest(data, number, digest)
            except StoreError as error:
                catalogue.broken[number] = str(error)
                digest = None
                continue
            for key, stored in manifest.objects.items():
                catalogue.objects.setdefault(key, stored)
            if manifest.skipped is not None:
                catalogue.skipped.insert(0, manifest.skipped)
            catalogue.windows.insert(0, (manifest.first, manifest.end, number))
            digest = manifest.before
        return catalogue

    @property
    def problem(self) -> str | None:
        """Say what is wrong with the manifests; None if nothing is."""
        for number, what in sorted(self.broken.items()):
            return f"its {manifest_key(number)} {what}"
        return None

    def data_of(self, name: str) -> list[str]:
        """The keys of an array's objects, its metadata left out."""
        return [key for key in self.objects if key.startswith(f"{name}/c.")]

    def later(self, storage: Storage) -> dict[str, list[StoredObject]]:
        """Objects of growing arrays in manifests after the last valid one, by key.

        Later windows only add to such an object. A sum's is another sum, and does not stand for the one that counts.
        """
        found: dict[str, list[StoredObject]] = {}
        for manifest in self._following(storage):
            for key, stored in manifest.objects.items():
                if key.partition("/")[0] in _GROWING:
                    found.setdefault(key, []).append(stored)
        return found

    def is_behind(self, storage: Storage) -> bool:
        """Whether more than one manifest follows the last valid one, which no interrupted run leaves."""
        return len(list(islice(self._following(storage), 2))) == 2

    def _following(self, storage: Storage) -> Iterator[Manifest]:
        """The manifests chained to the last valid one."""
        number, before = self.mark.number + 1, self.mark.digest
        while True:
            try:
                data = storage.read_bounded(manifest_key(number), MANIFEST_BYTES)
                manifest, digest = decode_manifest(data, number, None)
            except StoreError:
                return
            if manifest.before != before:
                return  # left by a run that this one has replaced
            yield manifest
            number, before = number + 1, digest

    def misplaced(self, storage: Storage, keys: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Find objects that are missing or have another length than was written, and say which of the two.

        Lists each folder once, and reads nothing.
        """
        sizes: dict[str, dict[str, int | None]] = {}
        later: dict[str, list[StoredObject]] | None = None
        for key in keys:
            folder, _, name = key.rpartition("/")
            if folder not in sizes:
                sizes[folder] = storage.sizes(folder)
            length = self.objects[key].length
            if name not in sizes[folder]:
                yield key, "is missing"
                continue
            found = sizes[folder][name]
            if found == length:
                continue
            if later is None:
                later = self.later(storage)
            if found is None:
                yield key, "is not a regular file"
            elif all(found != other.length for other in later.get(key, [])):
                yield key, f"has {found} bytes, should have {length}"

    def add(self, objects: Mapping[str, StoredObject], mark: Mark) -> None:
        """Commit the objects of one more manifest."""
        self.objects.update(objects)
        self.mark = mark

    def forget(self, keys: Iterable[str]) -> None:
        """Forget objects that will not be needed again."""
        for key in keys:
            self.objects.pop(key, None)


def _read(storage: Storage, numbers: Iterable[int]) -> Iterable[bytes | StoreError | None]:
    """The manifests' bytes, some at a time."""
    waiting = [manifest_key(number) for number in numbers]
    for first in range(0, len(waiting), 64):
        yield from storage.read_all(waiting[first : first + 64], MANIFEST_BYTES)

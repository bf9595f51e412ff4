"""Commit a writer's objects: the manifest first, and then the root object, which is the commit mark."""

import msgspec

from fastneurons.errors import StoreError
from fastneurons.store import schema
from fastneurons.store.filling import sized
from fastneurons.store.manifest import Catalogue, Manifest, Mark, WindowObjects
from fastneurons.store.objects import StoredObject
from fastneurons.store.root import ROOT_KEY, Commit, Root, decode, read_root
from fastneurons.store.schema import Header
from fastneurons.store.storage import RemovedError, Storage

_GROWING = {spec.name for spec in schema.ARRAYS if spec.grows}


class Committer:
    """The committed state of a store that is being written.

    Args:
        root: The root object. Its arrays' metadata may have room for more examples than are committed.
    """

    def __init__(self, storage: Storage, root: Root) -> None:
        self.root = root
        # The root object's bytes as they were written or read last.
        self.root_data = b""
        self.catalogue = Catalogue(Mark(-1, ""))
        self._storage = storage
        # Committed objects that the window being written replaces, as they will be.
        self._announced: dict[str, StoredObject] = {}

    @property
    def examples(self) -> int:
        """Number of committed examples."""
        return self.root.commit.examples

    def put_manifest(self, written: WindowObjects, header: Header | None = None) -> None:
        """Commit the objects of a window.

        Args:
            header: The header from now on; as it is for None.
        Raises:
            StoreError: the store is not this writer's any more.
        """
        before, commit = self.catalogue.mark, self.root.commit
        number = before.number + 1
        first = commit.examples if number else 0  # a store without manifests is taken over whole
        manifest = Manifest(number, before.digest, first, written.end, written.objects, written.skipped)
        data, digest = manifest.encode()
        self._storage.write(manifest.key, [data])
        self._storage.flush()
        mark = Mark(manifest.number, digest)
        commit = msgspec.structs.replace(
            commit, examples=written.end, skipped_bytes=written.skipped_bytes, **written.snapshots
        )
        self.check_token()
        self.put_root(header=header, commit=commit, mark=mark)
        self.catalogue.add(written.objects, mark)
        self._announced = {}

    def put_root(
        self, header: Header | None = None, commit: Commit | None = None, mark: Mark | None = None
    ) -> None:
        """Replace the root object; arguments that are None keep their values."""
        root = msgspec.structs.replace(
            self.root,
            header=header or self.root.header,
            commit=commit or self.root.commit,
            mark=mark or self.root.mark,
        )
        arrays = {
            name: sized(metadata, root.commit.examples) if name in _GROWING else metadata
            for name, metadata in root.arrays.items()
        }
        self.root_data = msgspec.structs.replace(root, arrays=arrays).encode()
        self._storage.write(ROOT_KEY, [self.root_data])
        self._storage.flush()
        self.root = root

    def announce(self, key: str, stored: StoredObject) -> None:
        """Record in the next manifest the new content of a committed object, before replacing it.

        The run may end between the object and the commit mark; readers then accept either version.
        """
        if not self.root.needs(key):
            return
        self._announced[key] = stored
        mark, examples = self.catalogue.mark, self.examples
        manifest = Manifest(mark.number + 1, mark.digest, examples, examples, dict(self._announced))
        self._storage.write(manifest.key, [manifest.encode()[0]])
        self._storage.flush()

    def settle_replaced(self) -> None:
        """Commit, as they are now, objects that an interrupted window has replaced already.

        Raises:
            StoreError: an object is neither as it was committed nor as that window left it.
        """
        settled: dict[str, StoredObject] = {}
        for key, versions in self.catalogue.later(self._storage).items():
            committed = self.catalogue.objects.get(key)
            if committed is None or not self.root.needs(key):
                continue
            data = self._storage.read_bounded(key, max(one.length for one in (committed, *versions))) or b""
            if committed.is_of(data):
                continue
            found = next((version for version in versions if version.is_of(data)), None)
            if found is None:
                raise StoreError(f"{self._storage.name}: its {key} is damaged: it is not what was written")
            settled[key] = found
        if settled:
            self.put_manifest(WindowObjects(self.examples, self.root.commit.skipped_bytes, settled))

    def check_token(self) -> None:
        """Check that the store is still this writer's: where there are no locks, another may have begun.

        Raises:
            RemovedError: the store is gone.
            StoreError: another run writes to it.
        """
        path = self._storage.name
        data = read_root(self._storage)
        if data is None:
            raise RemovedError(f"{path} was removed while it was written")
        if data == self.root_data:
            return
        found = decode(data, path).commit.writer
        if found.token != self.root.commit.writer.token:
            raise StoreError(
                f"{path} was taken over by another run ({found}), and this one has stopped; "
                "give each run an --out of its own"
            )

"""A store that is being written: begin or take it over, commit windows one after another, finish it.

A window's objects are written first, then a manifest that tells what is in them (`manifest.py`), then the root
object is replaced (`root.py`): that is the commit. What an interrupted window left is not seen by readers, and is
overwritten or removed by the run that resumes. `writer.py` does this in a thread of its own.
"""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastneurons.errors import StoreError
from fastneurons.store import schema
from fastneurons.store.adopt import objects_as_they_lie
from fastneurons.store.checked import ObjectStore, is_data
from fastneurons.store.committing import Committer
from fastneurons.store.failures import decoding, writing
from fastneurons.store.filling import ArrayFiller, sized
from fastneurons.store.manifest import MANIFESTS, Catalogue, WindowObjects, manifest_key
from fastneurons.store.objects import StoredObject
from fastneurons.store.opening import check_windows
from fastneurons.store.reader import Store
from fastneurons.store.root import MERGING_KEY, ROOT_KEY, SKIPPED_KEY, Commit, Root, Writer
from fastneurons.store.schema import FORMAT, FORMAT_WITH_MANIFESTS, ArraySpec, Header
from fastneurons.store.skipped import lines_of
from fastneurons.store.storage import RemovedError, Storage
from fastneurons.store.window import Parts, Window, parts_of_sums, values_of
from fastneurons.store.window_writer import StorePlace, WrittenWindow


class GrowingStore:
    """A store that one process is writing. Every method waits until what it writes is on disk.

    Args:
        storage: Locked by this process.
        header: What is measured.
        kept: The names of the optional arrays that it has.
        root: The root object of a store to take over; None to begin one.
    """

    def __init__(
        self, storage: Storage, header: Header, kept: Collection[str], root: Root | None = None
    ) -> None:
        self._storage = storage
        self._committer = Committer(storage, root or Root(header, Commit.nothing(header, kept), {}))
        self._store = ObjectStore(
            storage, catalogue=self._committer.catalogue, replacing=self._committer.announce
        )
        self._filler = ArrayFiller(storage, self._store, header)
        self._specs = schema.array_specs(header, kept)
        self._growing = [spec for spec in self._specs if spec.grows]
        self._sums = [spec for spec in schema.sum_specs(header) if spec in self._specs]

    @property
    def root(self) -> Root:
        """The root object as it was committed last."""
        return self._committer.root

    @property
    def catalogue(self) -> Catalogue:
        """The objects that may be read or replaced again."""
        return self._committer.catalogue

    @property
    def is_complete(self) -> bool:
        """Whether it was finished."""
        return self.root.header.status == "complete"

    @property
    def num_examples(self) -> int:
        """E: examples committed."""
        return self._committer.examples

    def opened(self) -> Store:
        """What is committed, for reading; what is read is checked."""
        return Store(self._storage.name, self._storage, self.root, self._committer.root_data)

    @property
    def place(self) -> StorePlace:
        """The store as other processes need to know it to write its windows."""
        arrays = {spec.name: dict(self.root.arrays[spec.name]) for spec in self._growing}
        sums = tuple(spec.name for spec in self._sums)
        return StorePlace(self._storage.name, self.root.header, self.root.commit.writer.token, arrays, sums)

    def sum_of(self, name: str) -> NDArray[Any]:
        """Return a sum over the committed examples of a store that is not complete.

        Raises:
            StoreError: the sum is damaged.
        """
        spec = schema.array_spec(name, self.root.header)
        with decoding(self._storage.name, name):
            return self.root.read_sum(spec, self._filler.array(spec.checkpoint.name))

    # -- beginning and continuing ---------------------------------------------------------------------

    def begin(self, constants: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Put an empty store in place of whatever is there; if interrupted anywhere, it can begin again.

        Args:
            constants: By name, the arrays that are constants of the model.
        """
        # First of all, so that what follows is known for a store of ours, of which nothing counts.
        self._committer.put_root()
        self._storage.stay()
        self._storage.clean()
        known = {ROOT_KEY, SKIPPED_KEY}
        for name in self._storage.names() & (own_names() - known):
            self._storage.remove(name)
        self._storage.stay()
        self._storage.extend(SKIPPED_KEY, 0, b"")
        for spec in self._specs:
            self._create(spec.checkpoint if spec in self._sums else spec)
        for name, labels in schema.coordinates(self.root.header).items():
            self._filler.put(name, labels)
        for spec in schema.constant_specs(self.root.header):
            if spec in self._specs:
                self._filler.put(spec.name, (constants or {})[spec.name])
        growing = {f"{spec.name}/{ROOT_KEY}" for spec in self._growing}  # these change until the end
        objects = {key: stored for key, stored in self._store.take_written().items() if key not in growing}
        self._commit(WindowObjects(0, 0, objects))

    def take_over(self, data: bytes) -> None:
        """Continue after the committed windows; remove what an interrupted run left beyond them.

        Args:
            data: The root object's bytes.
        Raises:
            StoreError: something that is committed is missing or damaged.
        """
        self._committer.root_data = data
        commit = self.root.commit
        store = self.opened()
        if store.is_behind():
            raise StoreError(f"{store.path}: its {ROOT_KEY} is damaged: it is older than the manifests")
        check_windows(store)
        store.check()
        store.skipped()  # raises where a part of it is missing, which `extend` would fill with zeros
        self._storage.clean()
        if self.is_complete:
            self._remove_checkpoints()
            return
        self._committer.put_root(commit=msgspec.structs.replace(commit, writer=Writer.this_process()))
        self._storage.stay()
        self._storage.extend(SKIPPED_KEY, commit.skipped_bytes, b"")
        self._resize(max(self._filler.capacity, 2 * commit.examples))
        for spec in self._growing:
            self._filler.remove_beyond(spec, commit.examples)
        for spec in self._sums:
            self._filler.open(spec.checkpoint)
        if self.root.header.format < FORMAT_WITH_MANIFESTS:
            chunks = self._filler.chunks_per_shard()
            adopted = objects_as_they_lie(self._storage, self.root, self._specs, chunks)
            self._commit(adopted, msgspec.structs.replace(self.root.header, format=FORMAT))
        else:
            assert store._catalogue is not None
            self.catalogue.mark = store._catalogue.mark
            self.catalogue.objects.update(store._catalogue.objects)
            # A store that was complete once has sums and metadata in its manifests that are no more.
            self.catalogue.forget([key for key in self.catalogue.objects if not self.root.needs(key)])
            self._committer.settle_replaced()
        self._forget(list(self.catalogue.objects))

    def reopen(self) -> None:
        """Reopen a complete store for writing; harmless if it is open already.

        Raises:
            StoreError: it cannot be written, or its sums are damaged.
        """
        if not self.is_complete:
            return
        before = self.root
        store = self.opened()
        with writing(self._storage.name, before.commit.examples):
            # Readers look for the checkpoints only once the root object says that the run goes on.
            snapshots = {}
            for spec in self._sums:
                self._storage.remove(spec.checkpoint.name)
                self._create(spec.checkpoint)
                counting = before.commit.snapshots(spec)
                snapshots[spec.name] = self._filler.add(spec, spec.parts(store[spec.name]), counting)
            objects = self._store.take_written()
            sums = {spec.name for spec in self._sums}
            arrays = {name: metadata for name, metadata in before.arrays.items() if name not in sums}
            self._committer.root = msgspec.structs.replace(before, arrays=arrays)
            header = msgspec.structs.replace(before.header, status="running")
            commit = before.commit
            if store._catalogue is None:
                self._storage.flush()
                self._committer.put_root(header, msgspec.structs.replace(commit, **snapshots))
            else:
                self.catalogue.mark = store._catalogue.mark
                written = WindowObjects(commit.examples, commit.skipped_bytes, objects, None, snapshots)
                self._commit(written, header)
            for name in sums:
                self._storage.remove(name)
            with decoding(self._storage.name):
                self.take_over(self._committer.root_data)

    def finish(self) -> None:
        """Trim the arrays and mark the store complete.

        Raises:
            StoreError: it cannot be written.
        """
        if self.is_complete:
            return
        commit = self.root.commit
        with writing(self._storage.name, commit.examples):
            self._committer.check_token()
            self._resize(commit.examples)
            for spec in self._sums:
                self._create(spec)
                self._finish_sum(spec)
            objects = self._store.take_written()
            for spec in self._growing:
                metadata = msgspec.json.encode(sized(self.root.arrays[spec.name], commit.examples))
                objects[f"{spec.name}/{ROOT_KEY}"] = StoredObject.of(metadata)
            header = msgspec.structs.replace(self.root.header, status="complete")
            self._commit(WindowObjects(commit.examples, commit.skipped_bytes, objects), header)
            self._remove_checkpoints()

    def _finish_sum(self, spec: ArraySpec) -> None:
        """Write a sum from its checkpoint: at once, or part by part if it may be too large for memory."""
        checkpoint = self._filler.array(spec.checkpoint.name)
        if spec.summed_by not in spec.apart:
            with decoding(self._storage.name, spec.name):
                values = self.root.read_sum(spec, checkpoint)
            self._filler.put(spec.name, values)
            return
        axis = spec.dims.index(spec.summed_by)
        for index, snapshot in enumerate(self.root.commit.snapshots(spec)):
            with decoding(self._storage.name, spec.name):
                values = np.asarray(checkpoint[snapshot, *spec.part(index)])
            origin = [index if dim == axis else 0 for dim in range(len(spec.dims))]
            self._filler.put(spec.name, np.expand_dims(values, axis), origin)

    def _remove_checkpoints(self) -> None:
        for spec in self._sums:
            self._storage.remove(spec.checkpoint.name)

    def _create(self, spec: ArraySpec) -> None:
        metadata = self._filler.create(spec)
        if not spec.is_checkpoint:  # those are not for readers
            self.root.arrays[spec.name] = metadata

    def _resize(self, capacity: int) -> None:
        """Make room for that many examples in each growing array, or trim them to it."""
        self._filler.resize(self._growing, self.root.arrays, capacity)

    # -- a window -------------------------------------------------------------------------------------

    def write(self, window: Window) -> None:
        """Write all of a window, and then the mark.

        Raises:
            StoreError: it cannot be written; what was committed stays valid.
        """
        committed = self.num_examples
        assert window.first == committed, (window.first, committed)
        length = self.root.header.window
        assert window.first // length == (window.first + max(len(window), 1) - 1) // length
        with writing(self._storage.name, committed):
            self._committer.check_token()
            written: dict[str, StoredObject] = {}
            try:
                objects = self._write_objects(window)
                written = objects.objects
                self._commit(objects)
            except RemovedError:
                manifest = manifest_key(self.catalogue.mark.number + 1)
                self._storage.forsake([*self._store.take_written(), *written, manifest, SKIPPED_KEY])
                raise

    def commit_written(self, written: WrittenWindow) -> None:
        """Commit the next examples, whose growing arrays others have written.

        Raises:
            StoreError: as `write` does.
        """
        committed = self.num_examples
        assert written.first == committed, (written.first, committed)
        with writing(self._storage.name, committed):
            self._committer.check_token()
            self._make_room(written.end)
            objects = self._write_sums(written.end, written.sums, written.skipped)
            objects.objects.update(written.objects)
            self._commit(objects)

    def _write_objects(self, window: Window) -> WindowObjects:
        """Write a window's objects; none of them is committed yet."""
        first, end = window.first, window.first + len(window)
        self._make_room(end)
        for spec in self._growing:
            self._filler.put_examples(spec, first, values_of(window, spec, self.root.header))
        return self._write_sums(
            end, parts_of_sums(window, self._sums, self.root.header), lines_of(window.skipped)
        )

    def _make_room(self, end: int) -> None:
        """Give growing arrays room for that many examples."""
        if end > self._filler.capacity:
            self._resize(max(2 * self._filler.capacity, end))

    def _write_sums(self, end: int, sums: Mapping[str, Parts], lines: bytes) -> WindowObjects:
        """Add to the sums and to the list of skipped examples; return all objects written since the last commit."""
        snapshots = {}
        for spec in self._sums:
            counting = self.root.commit.snapshots(spec)
            snapshots[spec.name] = self._filler.add(spec, sums[spec.name].items(), counting)
        before = self.root.commit.skipped_bytes
        if lines:
            self._storage.extend(SKIPPED_KEY, before, lines)
        skipped = StoredObject.of(lines) if lines else None
        return WindowObjects(end, before + len(lines), self._store.take_written(), skipped, snapshots)

    def _commit(self, written: WindowObjects, header: Header | None = None) -> None:
        self._committer.put_manifest(written, header)
        self._forget(written.objects)

    def _forget(self, keys: Collection[str]) -> None:
        """Keep in memory what may be read or replaced again: sums, and objects that are not full yet."""
        growing = {spec.name for spec in self._growing}
        full = []
        for key in keys:
            name, _, rest = key.partition("/")
            if name in growing and is_data(key):
                length = self._filler.examples_per_object(name)
                if (int(rest.split(".")[1]) + 1) * length <= self._committer.examples:
                    full.append(key)
        self.catalogue.forget(full)


def own_names() -> set[str]:
    """Every name that a store may have in its folder; anything else there is left alone."""
    specs = (*schema.COORDINATES, *schema.ARRAYS)
    checkpoints = (spec.checkpoint for spec in schema.ARRAYS if spec.summed_by)
    return {ROOT_KEY, SKIPPED_KEY, MERGING_KEY, MANIFESTS, *(spec.name for spec in (*specs, *checkpoints))}

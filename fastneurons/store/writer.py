"""Write a store, window by window, so that a run can continue it from wherever it was interrupted.

    with StoreWriter.create("run.zarr", header) as writer:
        for window in windows:
            writer.commit(window)
        writer.finish()

A window's objects are written first, then a manifest that tells what is in them (`manifest.py`), then the root
object is replaced (`root.py`): that is the commit. What an interrupted window left is not seen by readers, and is
overwritten or removed by the run that resumes.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from types import TracebackType
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastneurons.errors import FastneuronsError, StoreError
from fastneurons.store import schema
from fastneurons.store.adopt import objects_as_they_lie
from fastneurons.store.checked import ObjectStore, is_data
from fastneurons.store.committing import Committer
from fastneurons.store.compare import check_same
from fastneurons.store.failures import decoding, writing
from fastneurons.store.filling import ArrayFiller, sized
from fastneurons.store.manifest import MANIFESTS, Catalogue, WindowObjects, manifest_key
from fastneurons.store.objects import StoredObject
from fastneurons.store.place import locked, storage_at
from fastneurons.store.reader import Store, check_windows
from fastneurons.store.root import MERGING_KEY, ROOT_KEY, SKIPPED_KEY, Commit, Root, Writer, decode, read_root
from fastneurons.store.schema import FORMAT, FORMAT_WITH_MANIFESTS, ArraySpec, Header
from fastneurons.store.storage import RemovedError, Storage
from fastneurons.store.window import Parts, Window, parts_of_sums, values_of
from fastneurons.store.window_writer import StorePlace, WrittenWindow, lines_of

# Committed rows are read back so many at a time, or a window where that is more.
_ROWS_AT_ONCE = 4096


class CommittedRow(NamedTuple):
    """A row that a store holds.

    Args:
        id: Its id.
        digest: Of its texts or tokens; None in stores written before there were digests.
        tokens: Its tokens in all languages.
    """

    id: str
    digest: int | None
    tokens: int


class StoreWriter:
    """Writes one store. Made by `create` or `resume`.

    Writing goes on in a thread of its own: `commit` returns at once, and waits only for the window before.
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
        self._thread = ThreadPoolExecutor(1, "fastneurons-store")
        self._pending: Future[None] | None = None
        self._failure: BaseException | None = None
        # Seconds spent on windows, in the writer's thread.
        self.write_s = 0.0

    @classmethod
    def create(
        cls,
        path: str,
        header: Header,
        *,
        keep_bits: bool = True,
        keep_coefficients: bool = False,
        keep_prompts: bool = False,
        keep_folds: bool = True,
        constants: Mapping[str, NDArray[Any]] | None = None,
        overwrite: bool = False,
    ) -> "StoreWriter":
        """Begin a store.

        Args:
            path: A local path or an fsspec URL.
            header: What is measured.
            keep_bits: Whether there will be `activated`; a corpus has none.
            keep_coefficients: Whether there will be `coefficient`; only attribution has it.
            keep_prompts: Whether there will be `prompt`; a corpus has none.
            keep_folds: Whether a corpus is counted by folds as well.
            constants: By name, the arrays that are constants of the model; those not given are left out.
            overwrite: Replace the store that is there, if one is.
        Raises:
            InputError: something is there, and `overwrite` is not given or it is no store.
            StoreError: another run is writing to it, or it cannot be written.
        """
        storage = storage_at(path)
        with writing(path), locked(storage, resume=False, overwrite=overwrite):
            kept = _kept(keep_bits, keep_coefficients, keep_prompts, keep_folds, constants or {})
            return cls(storage, header, kept)._begin(constants)

    @classmethod
    def resume(
        cls,
        path: str,
        header: Header,
        *,
        keep_bits: bool = True,
        keep_coefficients: bool = False,
        keep_prompts: bool = False,
        keep_folds: bool = True,
        constants: Mapping[str, NDArray[Any]] | None = None,
    ) -> "StoreWriter":
        """Continue a store, or begin one if there is none.

        Args:
            path: A local path or an fsspec URL.
            header: What this run measures; must be what the store holds.
            keep_bits: Whether this run has `activated`; must be as in the store.
            keep_coefficients: Likewise `coefficient`.
            keep_prompts: Likewise `prompt`, which stores of an earlier version go on without.
            keep_folds: Likewise the counts by folds, which stores of an earlier version go on without.
            constants: As for `create`; used only where the store is begun.
        Raises:
            InputError: what is there is no store.
            StoreError: the store holds something else, or another run is writing to it, or it is damaged.
        """
        storage = storage_at(path)
        kept = _kept(keep_bits, keep_coefficients, keep_prompts, keep_folds, constants or {})
        with writing(path), locked(storage, resume=True, overwrite=False):
            data = read_root(storage)
            if data is None:
                return cls(storage, header, kept)._begin(constants)
            root = decode(data, path)
            check_same(path, root, header, kept)
            header = _with_choice(root.header, header)
            root = msgspec.structs.replace(root, header=header)
            if root.commit.examples == 0 and root.header.status == "running":
                header = msgspec.structs.replace(header, format=FORMAT)
                return cls(storage, header, kept)._begin(constants)
            # A store of an earlier version goes on without what it lacks.
            has = {*root.arrays, *(spec.name for spec in root.sums)}
            kept = [name for name in kept if name in has or name not in schema.later_names()]
            with decoding(path):
                return cls(storage, header, kept, root)._take_over(data)

    @property
    def is_complete(self) -> bool:
        """Whether the store was finished, so that nothing is left to do."""
        return self._root.header.status == "complete"

    @property
    def committed(self) -> int:
        """Number of safe examples. Waits for the window that is being written."""
        if self._pending is not None:
            wait_for([self._pending])
        return self._root.commit.examples

    def committed_rows(self) -> Iterator[CommittedRow]:
        """The examples that are safe now, in order; for checking that a resumed run reads the same.

        They are read a few windows at a time, before the first window is committed.
        """
        committed = self.committed
        if not committed:
            return
        # Through a reader, which checks what it reads.
        store = Store(self._storage.name, self._storage, self._root, self._committer.root_data)
        names = [schema.EXAMPLE_ID, "token_count"]
        names += [schema.DIGEST] if schema.DIGEST in store else []
        step = -(-_ROWS_AT_ONCE // self._window) * self._window
        for first in range(0, committed, step):
            rows = slice(first, min(first + step, committed))
            block = {name: store[name][rows] for name in names}
            tokens = block["token_count"].sum(axis=1)
            digests = block.get(schema.DIGEST)
            for index, name in enumerate(block[schema.EXAMPLE_ID]):
                digest = None if digests is None else int(digests[index])
                yield CommittedRow(str(name), digest, int(tokens[index]))

    def reopen(self) -> None:
        """Reopen a complete store for writing; harmless if it is open already.

        Raises:
            StoreError: it cannot be written, or its sums are damaged.
        """
        if not self.is_complete:
            return
        before = self._root
        store = Store(self._storage.name, self._storage, before, self._committer.root_data)
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
                self._catalogue.mark = store._catalogue.mark
                written = WindowObjects(commit.examples, commit.skipped_bytes, objects, None, snapshots)
                self._commit(written, header)
            for name in sums:
                self._storage.remove(name)
            with decoding(self._storage.name):
                self._take_over(self._committer.root_data)

    def commit(self, window: Window) -> None:
        """Pass the next window to the writer's thread; `committed`, or a later call that does not raise, confirms it.

        Raises:
            StoreError: this window or the one before cannot be written; what was committed stays valid.
        """
        self.submit(lambda: window)

    def submit(self, make: Callable[[], Window]) -> None:
        """Have the writer's thread make the next window and write it; otherwise like `commit`.

        Args:
            make: Returns the window. What it takes is kept until then.
        """
        self.wait()
        assert not self.is_complete, "the store is complete"
        self._pending = self._thread.submit(self._make_and_write, make)

    @property
    def header(self) -> Header:
        """The store's header."""
        return self._root.header

    @property
    def place(self) -> StorePlace:
        """The store as other processes need to know it to write its windows."""
        arrays = {spec.name: dict(self._root.arrays[spec.name]) for spec in self._growing}
        sums = tuple(spec.name for spec in self._sums)
        return StorePlace(self._storage.name, self._root.header, self._root.commit.writer.token, arrays, sums)

    def commit_written(self, written: WrittenWindow) -> None:
        """Have the writer's thread commit the next examples, whose growing arrays others have written.

        Raises:
            StoreError: as `commit` does.
        """
        self.wait()
        assert not self.is_complete, "the store is complete"
        self._pending = self._thread.submit(self._commit_written, written)

    @property
    def is_busy(self) -> bool:
        """Whether a window is being written, so that the next one would be waited for."""
        return self._pending is not None and not self._pending.done()

    def sum_of(self, name: str) -> NDArray[Any]:
        """Return a sum over the safe examples of a store that is not complete. Waits for the window being written.

        Raises:
            StoreError: a window could not be written, or the sum is damaged.
        """
        self.wait()
        spec = schema.array_spec(name, self._root.header)
        with decoding(self._storage.name, name):
            return self._root.read_sum(spec, self._filler.array(spec.checkpoint.name))

    def wait(self) -> None:
        """Wait for the window that is being written.

        Raises:
            StoreError: a window could not be written; said then and ever after.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            self._failure = pending.exception()
        if self._failure is not None:
            raise self._failure

    def finish(self) -> None:
        """Trim the arrays and mark the store complete.

        Raises:
            StoreError: the last window or this cannot be written.
        """
        self.wait()
        if self.is_complete:
            return
        commit = self._root.commit
        with writing(self._storage.name, commit.examples):
            self._committer.check_token()
            self._resize(commit.examples)
            for spec in self._sums:
                self._create(spec)
                self._finish_sum(spec)
            objects = self._store.take_written()
            for spec in self._growing:
                metadata = msgspec.json.encode(sized(self._root.arrays[spec.name], commit.examples))
                objects[f"{spec.name}/{ROOT_KEY}"] = StoredObject.of(metadata)
            header = msgspec.structs.replace(self._root.header, status="complete")
            self._commit(WindowObjects(commit.examples, commit.skipped_bytes, objects), header)
            self._remove_checkpoints()

    def _finish_sum(self, spec: ArraySpec) -> None:
        """Write a sum from its checkpoint: at once, or part by part if it may be too large for memory."""
        checkpoint = self._filler.array(spec.checkpoint.name)
        if spec.summed_by not in spec.apart:
            with decoding(self._storage.name, spec.name):
                values = self._root.read_sum(spec, checkpoint)
            self._filler.put(spec.name, values)
            return
        axis = spec.dims.index(spec.summed_by)
        for index, snapshot in enumerate(self._root.commit.snapshots(spec)):
            with decoding(self._storage.name, spec.name):
                values = np.asarray(checkpoint[snapshot, *spec.part(index)])
            origin = [index if dim == axis else 0 for dim in range(len(spec.dims))]
            self._filler.put(spec.name, np.expand_dims(values, axis), origin)

    def close(self) -> None:
        """Wait for the window being written, and let other writers in. Harmless when called twice.

        Raises:
            StoreError: the window could not be written, and `commit` has not said so yet.
        """
        self._thread.shutdown()
        self._storage.unlock()
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except FastneuronsError as also:
            error.add_note(str(also))

    # -- beginning and continuing ---------------------------------------------------------------------

    def _begin(self, constants: Mapping[str, NDArray[Any]] | None = None) -> "StoreWriter":
        """Put an empty store in place of whatever is there; if interrupted anywhere, it can begin again."""
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
        for name, labels in schema.coordinates(self._root.header).items():
            self._filler.put(name, labels)
        for spec in schema.constant_specs(self._root.header):
            if spec in self._specs:
                self._filler.put(spec.name, (constants or {})[spec.name])
        growing = {f"{spec.name}/{ROOT_KEY}" for spec in self._growing}  # these change until the end
        objects = {key: stored for key, stored in self._store.take_written().items() if key not in growing}
        self._commit(WindowObjects(0, 0, objects))
        return self

    def _take_over(self, data: bytes) -> "StoreWriter":
        """Continue after the committed windows; remove what an interrupted run left beyond them.

        Args:
            data: The root object's bytes.
        Raises:
            StoreError: something that is committed is missing or damaged.
        """
        self._committer.root_data = data
        commit = self._root.commit
        store = Store(self._storage.name, self._storage, self._root, data)
        if store.is_behind():
            raise StoreError(f"{store.path}: its {ROOT_KEY} is damaged: it is older than the manifests")
        check_windows(store)
        store.check()
        store.skipped()  # raises where a part of it is missing, which `extend` would fill with zeros
        self._storage.clean()
        if self.is_complete:
            self._remove_checkpoints()
            return self
        self._committer.put_root(commit=msgspec.structs.replace(commit, writer=Writer.this_process()))
        self._storage.stay()
        self._storage.extend(SKIPPED_KEY, commit.skipped_bytes, b"")
        self._resize(max(self._filler.capacity, 2 * commit.examples))
        for spec in self._growing:
            self._filler.remove_beyond(spec, commit.examples)
        for spec in self._sums:
            self._filler.open(spec.checkpoint)
        if self._root.header.format < FORMAT_WITH_MANIFESTS:
            chunks = self._filler.chunks_per_shard()
            adopted = objects_as_they_lie(self._storage, self._root, self._specs, chunks)
            self._commit(adopted, msgspec.structs.replace(self._root.header, format=FORMAT))
        else:
            assert store._catalogue is not None
            self._catalogue.mark = store._catalogue.mark
            self._catalogue.objects.update(store._catalogue.objects)
            # A store that was complete once has sums and metadata in its manifests that are no more.
            self._catalogue.forget([key for key in self._catalogue.objects if not self._root.needs(key)])
            self._committer.settle_replaced()
        self._forget(list(self._catalogue.objects))
        return self

    def _remove_checkpoints(self) -> None:
        for spec in self._sums:
            self._storage.remove(spec.checkpoint.name)

    def _create(self, spec: ArraySpec) -> None:
        metadata = self._filler.create(spec)
        if not spec.is_checkpoint:  # those are not for readers
            self._root.arrays[spec.name] = metadata

    def _resize(self, capacity: int) -> None:
        """Make room for that many examples in each growing array, or trim them to it."""
        self._filler.resize(self._growing, self._root.arrays, capacity)

    # -- a window -------------------------------------------------------------------------------------

    def _make_and_write(self, make: Callable[[], Window]) -> None:
        """Make, write and commit a window. Runs in the writer's thread."""
        began = time.perf_counter()
        window = make()
        assert window.first == self._root.commit.examples, (window.first, self._root.commit.examples)
        assert window.first // self._window == (window.first + max(len(window), 1) - 1) // self._window
        self._write(window)
        self.write_s += time.perf_counter() - began

    def _write(self, window: Window) -> None:
        """Write all of a window, and then the mark."""
        name, committed = self._storage.name, self._root.commit.examples
        with writing(name, committed):
            self._committer.check_token()
            written: dict[str, StoredObject] = {}
            try:
                objects = self._write_objects(window)
                written = objects.objects
                self._commit(objects)
            except RemovedError:
                manifest = manifest_key(self._catalogue.mark.number + 1)
                self._storage.forsake([*self._store.take_written(), *written, manifest, SKIPPED_KEY])
                raise

    def _commit_written(self, written: WrittenWindow) -> None:
        """Commit examples whose growing arrays are written. Runs in the writer's thread."""
        began = time.perf_counter()
        committed = self._root.commit.examples
        assert written.first == committed, (written.first, committed)
        with writing(self._storage.name, committed):
            self._committer.check_token()
            self._make_room(written.end)
            objects = self._write_sums(written.end, written.sums, written.skipped)
            objects.objects.update(written.objects)
            self._commit(objects)
        self.write_s += time.perf_counter() - began

    def _write_objects(self, window: Window) -> WindowObjects:
        """Write a window's objects; none of them is committed yet."""
        first, end = window.first, window.first + len(window)
        self._make_room(end)
        for spec in self._growing:
            self._filler.put_rows(spec, first, values_of(window, spec, self._root.header))
        return self._write_sums(
            end, parts_of_sums(window, self._sums, self._root.header), lines_of(window.skipped)
        )

    def _make_room(self, end: int) -> None:
        """Give growing arrays room for that many examples."""
        if end > self._filler.capacity:
            self._resize(max(2 * self._filler.capacity, end))

    def _write_sums(self, end: int, sums: Mapping[str, Parts], lines: bytes) -> WindowObjects:
        """Add to the sums and to the list of skipped rows; return all objects written since the last commit."""
        snapshots = {}
        for spec in self._sums:
            counting = self._root.commit.snapshots(spec)
            snapshots[spec.name] = self._filler.add(spec, sums[spec.name].items(), counting)
        before = self._root.commit.skipped_bytes
        if lines:
            self._storage.extend(SKIPPED_KEY, before, lines)
        skipped = StoredObject.of(lines) if lines else None
        return WindowObjects(end, before + len(lines), self._store.take_written(), skipped, snapshots)

    def _forget(self, keys: Collection[str]) -> None:
        """Keep in memory what may be read or replaced again: sums, and objects that are not full yet."""
        growing = {spec.name for spec in self._growing}
        full = []
        for key in keys:
            name, _, rest = key.partition("/")
            if name in growing and is_data(key):
                length = self._filler.rows_per_object(name)
                if (int(rest.split(".")[1]) + 1) * length <= self._committer.examples:
                    full.append(key)
        self._catalogue.forget(full)

    # -- what is committed ----------------------------------------------------------------------------

    def _commit(self, written: WindowObjects, header: Header | None = None) -> None:
        self._committer.put_manifest(written, header)
        self._forget(written.objects)

    @property
    def _root(self) -> Root:
        return self._committer.root

    @property
    def _catalogue(self) -> Catalogue:
        return self._committer.catalogue

    @property
    def _window(self) -> int:
        return self._root.header.window


def _kept(
    keep_bits: bool, keep_coefficients: bool, keep_prompts: bool, keep_folds: bool, constants: Collection[str]
) -> list[str]:
    """The optional and later arrays that a run keeps, if its kind of run has them."""
    kept = {
        schema.ACTIVATED: keep_bits,
        schema.COEFFICIENT: keep_coefficients,
        schema.PROMPT: keep_prompts,
        **{spec.name: keep_folds for spec in schema.ARRAYS if spec.folds_of},
        **{spec.name: spec.name in constants for spec in schema.ARRAYS if spec.is_constant},
    }
    return [name for name in {*kept, *schema.later_names()} if kept.get(name, True)]


def _with_choice(stored: Header, given: Header) -> Header:
    """A store's header with the entries that a continuing run may change: how many rows it reads."""
    chosen = {name: given.config[name] for name in ("limit", "data") if name in given.config}
    return msgspec.structs.replace(stored, config={**stored.config, **chosen})


def own_names() -> set[str]:
    """Every name that a store may have in its folder; anything else there is left alone."""
    specs = (*schema.COORDINATES, *schema.ARRAYS)
    checkpoints = (spec.checkpoint for spec in schema.ARRAYS if spec.summed_by)
    return {ROOT_KEY, SKIPPED_KEY, MERGING_KEY, MANIFESTS, *(spec.name for spec in (*specs, *checkpoints))}

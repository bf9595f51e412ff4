"""Write a store, window by window, so that a run can continue it from wherever it was interrupted.

    with StoreWriter.create("run.zarr", header) as writer:
        for window in windows:
            writer.commit(window)
        writer.finish()

`growing.py` says what a commit is. Here stand who may write a store, and the thread that writes it.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from types import TracebackType
from typing import Any

import msgspec
from numpy.typing import NDArray

from fastneurons.errors import FastneuronsError
from fastneurons.store import schema
from fastneurons.store.committed import CommittedExample, committed_examples
from fastneurons.store.compare import check_same
from fastneurons.store.failures import decoding, writing
from fastneurons.store.growing import GrowingStore
from fastneurons.store.place import locked, storage_at
from fastneurons.store.root import decode, read_root
from fastneurons.store.schema import FORMAT, Header
from fastneurons.store.storage import Storage
from fastneurons.store.window import Window
from fastneurons.store.window_writer import StorePlace, WrittenWindow


class StoreWriter:
    """Writes one store. Made by `create` or `resume`.

    Writing goes on in a thread of its own: `commit` returns at once, and waits only for the window before.
    """

    def __init__(self, storage: Storage, store: GrowingStore) -> None:
        self._storage = storage
        self._store = store
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
            store = GrowingStore(storage, header, kept)
            store.begin(constants)
            return cls(storage, store)

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
                store = GrowingStore(storage, header, kept)
                store.begin(constants)
                return cls(storage, store)
            root = decode(data, path)
            check_same(path, root, header, kept)
            header = _with_choice(root.header, header)
            root = msgspec.structs.replace(root, header=header)
            if root.commit.examples == 0 and root.header.status == "running":
                store = GrowingStore(storage, msgspec.structs.replace(header, format=FORMAT), kept)
                store.begin(constants)
                return cls(storage, store)
            # A store of an earlier version goes on without what it lacks.
            has = {*root.arrays, *(spec.name for spec in root.sums)}
            kept = [name for name in kept if name in has or name not in schema.later_names()]
            store = GrowingStore(storage, header, kept, root)
            with decoding(path):
                store.take_over(data)
            return cls(storage, store)

    @property
    def is_complete(self) -> bool:
        """Whether the store was finished, so that nothing is left to do."""
        return self._store.is_complete

    @property
    def committed(self) -> int:
        """Number of safe examples. Waits for the window that is being written."""
        if self._pending is not None:
            wait_for([self._pending])
        return self._store.num_examples

    def committed_examples(self) -> Iterator[CommittedExample]:
        """The examples that are safe now, in order; for checking that a resumed run reads the same.

        They are read a few windows at a time, before the first window is committed.
        """
        if self.committed:
            yield from committed_examples(self._store.opened())

    def reopen(self) -> None:
        """Reopen a complete store for writing; harmless if it is open already.

        Raises:
            StoreError: it cannot be written, or its sums are damaged.
        """
        self._store.reopen()

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
        return self._store.root.header

    @property
    def place(self) -> StorePlace:
        """The store as other processes need to know it to write its windows."""
        return self._store.place

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
        return self._store.sum_of(name)

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
        self._store.finish()

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

    def _make_and_write(self, make: Callable[[], Window]) -> None:
        """Make, write and commit a window. Runs in the writer's thread."""
        began = time.perf_counter()
        self._store.write(make())
        self.write_s += time.perf_counter() - began

    def _commit_written(self, written: WrittenWindow) -> None:
        """Commit examples whose growing arrays are written. Runs in the writer's thread."""
        began = time.perf_counter()
        self._store.commit_written(written)
        self.write_s += time.perf_counter() - began


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
    """A store's header with the entries that a continuing run may change: how many examples it reads."""
    chosen = {name: given.config[name] for name in ("limit", "data") if name in given.config}
    return msgspec.structs.replace(stored, config={**stored.config, **chosen})

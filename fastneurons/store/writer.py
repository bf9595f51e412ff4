"""Writing a store, window by window, so that it can be continued from wherever it was interrupted.

    with StoreWriter.create("run.zarr", header) as writer:
        for window in windows:
            writer.commit(window)
        writer.finish()

A window's data is written first, then the root object is replaced (`root.py`): that is the commit. What an
interrupted window left is not seen by readers, and is overwritten or removed by the run that resumes.
"""

import errno
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from fastneurons.errors import FastneuronsError, InputError, StoreError
from fastneurons.store import schema
from fastneurons.store.root import ROOT_KEY, SKIPPED_KEY, Commit, Root, Writer, decode, is_store
from fastneurons.store.schema import ArraySpec, Header
from fastneurons.store.storage import LockedError, Storage, storage_at

# Growing arrays have room for this many windows first, and twice as many each time that it runs out. The
# root object tells how many examples count; only who reads an array past it sees the room.
_FIRST_WINDOWS = 16
# Committed rows are read back so many at a time, or a window where that is more.
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Window:
    """E consecutive examples, from index `first` on: the unit of commit.

    Arrays are those of the store of the same name, for these examples; its fill value where a row was
    skipped, and None where the run has no such array.

    Args:
        attribution: The eight arrays of `schema.ATTRIBUTION` by name.
        occupancy: Over the measured ones of these examples alone; likewise `activation_count` and
            `corpus_tokens`.
        skipped: What to write to `skipped.jsonl`: index, id, where and reason of each skipped row.
    """

    first: int
    example_id: list[str]
    digest: NDArray[np.uint64]  # [E]; 0 for a row that the source skipped
    task: NDArray[np.int32]  # [E]
    outcome: NDArray[np.uint8]  # [E], a schema.Outcome
    token_count: NDArray[np.int32]  # [E, L]
    present: NDArray[np.bool_]  # [E, L]
    activated: NDArray[np.uint8] | None = None  # [E, S, L, N, B]
    activated_count: NDArray[np.int32] | None = None  # [E, S, L, N]
    category_count: NDArray[np.int32] | None = None  # [E, S, N, 4]
    near_threshold_count: NDArray[np.int32] | None = None  # [E, S, L, N]
    occupancy: NDArray[np.int32] | None = None  # [K, S, N, I, 4]
    attribution: Mapping[str, NDArray[np.float32]] | None = None  # each [E, L, N, 4]
    coefficient: NDArray[np.float16] | None = None  # [E, L, N, I]
    activation_count: NDArray[np.int64] | None = None  # [S, L, N, I]
    corpus_tokens: NDArray[np.int64] | None = None  # [L]
    skipped: Sequence[Mapping[str, Any]] = field(default=())

    def __len__(self) -> int:
        return len(self.example_id)

    def array(self, name: str) -> Any:
        """What goes into the store's array of that name; None where nothing was given."""
        if name in schema.ATTRIBUTION:
            return (self.attribution or {}).get(name)
        return getattr(self, name)


def check_output(path: str, *, resume: bool = False, overwrite: bool = False) -> None:
    """Whether a run may write to `path`: what can be known before a model is loaded.

    Raises:
        InputError: something is there that may not be replaced or continued, or nothing can be written.
        StoreError: another run is writing to it.
    """
    storage = storage_at(path)
    if _check_place(storage, resume, overwrite):
        _lock(storage)
        storage.unlock()


def _check_place(storage: Storage, resume: bool, overwrite: bool) -> bool:
    """Whether a store is there, which may be continued or replaced."""
    path = storage.name
    obstacle = storage.obstacle()
    if obstacle is not None:
        raise InputError(f"{path} {obstacle}; pass another --out")
    # A run that was killed before it wrote its root object leaves at most an empty list of skipped rows.
    found = {name for name in storage.names() if name != SKIPPED_KEY and not name.endswith(".partial")}
    root = storage.read(ROOT_KEY)
    if not found and root is None and not storage.read(SKIPPED_KEY):
        return False
    if not is_store(root):
        raise InputError(f"{path} exists and is not a fastneurons store; pass another --out")
    if not (resume or overwrite):
        raise InputError(
            f"{path} exists; pass --resume to continue it, --overwrite to replace it, or another --out"
        )
    return True


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
        self._store = storage.zarr_store(read_only=False)
        self._specs = schema.array_specs(header, kept)
        self._growing = [spec for spec in self._specs if spec.grows]
        self._sums = schema.sum_specs(header)
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._capacity = _FIRST_WINDOWS * header.window
        self._root = root or Root(header, Commit.nothing(header), {})
        self._thread = ThreadPoolExecutor(1, "fastneurons-store")
        self._pending: Future[None] | None = None
        self._failure: BaseException | None = None

    @classmethod
    def create(
        cls,
        path: str,
        header: Header,
        *,
        keep_bits: bool = True,
        keep_coefficients: bool = False,
        overwrite: bool = False,
    ) -> "StoreWriter":
        """Begin a store.

        Args:
            path: A local path or an fsspec URL.
            header: What is measured.
            keep_bits: Whether there will be `activated`; a corpus has none.
            keep_coefficients: Whether there will be `coefficient`; only attribution has it.
            overwrite: Replace the store that is there, if one is.
        Raises:
            InputError: something is there, and `overwrite` is not given or it is no store.
            StoreError: another run is writing to it, or it cannot be written.
        """
        storage = storage_at(path)
        with _told(path), _locked(storage, resume=False, overwrite=overwrite):
            return cls(storage, header, _kept(keep_bits, keep_coefficients))._begin()

    @classmethod
    def resume(
        cls, path: str, header: Header, *, keep_bits: bool = True, keep_coefficients: bool = False
    ) -> "StoreWriter":
        """Continue a store, or begin it where nothing is there.

        Args:
            path: A local path or an fsspec URL.
            header: What this run measures; must be what the store holds.
            keep_bits: Whether this run has `activated`; must be as in the store.
        Raises:
            InputError: what is there is no store.
            StoreError: the store holds something else, or another run is writing to it, or it is damaged.
        """
        storage, kept = storage_at(path), _kept(keep_bits, keep_coefficients)
        with _told(path), _locked(storage, resume=True, overwrite=False):
            data = storage.read(ROOT_KEY)
            if data is None:
                return cls(storage, header, kept)._begin()
            root = decode(data, path)
            _check_same(path, root, header, kept)
            header = _with_choice(root.header, header)
            root = msgspec.structs.replace(root, header=header)
            if root.commit.examples == 0 and root.header.status == "running":
                return cls(storage, header, kept)._begin()
            if schema.DIGEST not in root.arrays:  # written before there was one
                kept.remove(schema.DIGEST)
            return cls(storage, header, kept, root)._take_over()

    @property
    def is_complete(self) -> bool:
        """Whether the store was finished: nothing is left to do."""
        return self._root.header.status == "complete"

    @property
    def committed(self) -> int:
        """Examples that are safe. Waits for the window that is being written."""
        if self._pending is not None:
            wait([self._pending])
        return self._root.commit.examples

    def committed_rows(self) -> Iterator[CommittedRow]:
        """The examples that are safe now, in order; for checking that a resumed run reads the same.

        They are read a few windows at a time, before the first window is committed.
        """
        committed = self.committed
        if not committed:
            return
        names = [schema.EXAMPLE_ID, "token_count"]
        names += [schema.DIGEST] if schema.DIGEST in self._root.arrays else []
        arrays = {name: self._open(name) for name in names}
        step = -(-_ROWS_AT_ONCE // self._window) * self._window
        for first in range(0, committed, step):
            rows = slice(first, min(first + step, committed))
            block = {name: np.asarray(array[rows]) for name, array in arrays.items()}
            tokens = block["token_count"].sum(axis=1)
            digests = block.get(schema.DIGEST)
            for index, name in enumerate(block[schema.EXAMPLE_ID]):
                digest = None if digests is None else int(digests[index])
                yield CommittedRow(str(name), digest, int(tokens[index]))

    def reopen(self) -> None:
        """Make a complete store one that a run goes on writing; harmless where it is one already.

        Raises:
            StoreError: it cannot be written.
        """
        if not self.is_complete:
            return
        before = self._root
        with _told(self._storage.name, before.commit.examples):
            # Readers look for the checkpoints only once the root object says that the run goes on.
            snapshots = {}
            for spec in self._sums:
                self._create(spec.checkpoint)
                snapshots[spec.name] = self._add(spec, np.asarray(self._open(spec.name)[...]))
            self._storage.flush()
            sums = {spec.name for spec in self._sums}
            arrays = {name: metadata for name, metadata in before.arrays.items() if name not in sums}
            self._root = msgspec.structs.replace(before, arrays=arrays)
            self._put_root(
                header=msgspec.structs.replace(before.header, status="running"),
                commit=msgspec.structs.replace(before.commit, writer=Writer.this_process(), **snapshots),
            )
            for name in sums:
                self._storage.remove(name)
            self._resize(2 * before.commit.examples)

    def commit(self, window: Window) -> None:
        """Hand over the next window; it is committed when `committed` says so, or nothing raises.

        Raises:
            StoreError: this window or the one before cannot be written; what was committed stays valid.
        """
        self._settle()
        assert not self.is_complete, "the store is complete"
        assert window.first == self._root.commit.examples, (window.first, self._root.commit.examples)
        assert window.first // self._window == (window.first + max(len(window), 1) - 1) // self._window
        self._pending = self._thread.submit(self._write, window)

    def finish(self) -> None:
        """Trim the arrays and mark the store complete.

        Raises:
            StoreError: the last window or this cannot be written.
        """
        self._settle()
        if self.is_complete:
            return
        with _told(self._storage.name, self._root.commit.examples):
            self._check_token()
            self._resize(self._root.commit.examples)
            for spec in self._sums:
                self._create(spec)
                checkpoint = self._arrays[spec.checkpoint.name]
                self._arrays[spec.name][...] = self._root.read_sum(spec, checkpoint)
            self._storage.flush()
            self._put_root(header=msgspec.structs.replace(self._root.header, status="complete"))
            self._remove_checkpoints()

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

    def _begin(self) -> "StoreWriter":
        """An empty store in place of whatever is there; interrupted anywhere, it can be begun again."""
        # First of all, so that what follows is known for a store of ours, of which nothing counts.
        self._put_root()
        self._storage.clean()
        known = {ROOT_KEY, SKIPPED_KEY}
        for name in self._storage.names() & (_all_names() - known):
            self._storage.remove(name)
        self._storage.extend(SKIPPED_KEY, 0, b"")
        for spec in self._specs:
            self._create(spec.checkpoint if spec in self._sums else spec)
        for name, labels in schema.coordinates(self._root.header).items():
            self._arrays[name][...] = labels
        self._storage.flush()
        self._put_root()
        return self

    def _take_over(self) -> "StoreWriter":
        """Continue after what is committed; what an interrupted run left beyond is removed."""
        commit = self._root.commit
        self._storage.clean()
        if self.is_complete:
            self._remove_checkpoints()
            return self
        self._put_root(commit=msgspec.structs.replace(commit, writer=Writer.this_process()))
        self._storage.extend(SKIPPED_KEY, commit.skipped_bytes, b"")
        self._resize(max(_FIRST_WINDOWS * self._window, 2 * commit.examples))
        for spec in self._growing:
            self._remove_beyond(spec, commit.examples)
        for spec in self._sums:
            self._arrays[spec.checkpoint.name] = self._open(spec.checkpoint.name)
        return self

    def _remove_beyond(self, spec: ArraySpec, committed: int) -> None:
        """Remove the objects of a growing array that hold nothing committed."""
        length = schema.examples_per_object(self._arrays[spec.name])
        for name in self._storage.names(spec.name):
            if name.startswith("c.") and int(name.split(".")[1]) * length >= committed:
                self._storage.remove(f"{spec.name}/{name}")

    def _remove_checkpoints(self) -> None:
        for spec in self._sums:
            self._storage.remove(spec.checkpoint.name)

    def _create(self, spec: ArraySpec) -> None:
        """An array with nothing in it, in place of any other."""
        header = self._root.header
        self._storage.remove(spec.name)
        with zarr.config.set({"array.write_empty_chunks": True}):
            self._arrays[spec.name] = zarr.create_array(
                self._store,
                name=spec.name,
                shape=spec.shape(header, self._capacity),
                dtype=str if spec.dtype == "string" else spec.dtype,
                chunks=spec.chunks(header),
                shards=spec.shards(header),
                # Bits are close to incompressible; higher levels cost time and gain nothing.
                compressors=ZstdCodec(level=1, checksum=True),
                chunk_key_encoding={"name": "default", "separator": "."},
                fill_value=spec.fill,
                dimension_names=spec.dims,
            )
        if spec in self._specs:  # no checkpoint: those are not for readers
            metadata = msgspec.json.decode(self._storage.read(f"{spec.name}/{ROOT_KEY}") or b"{}")
            self._root.arrays[spec.name] = metadata

    def _open(self, name: str) -> "zarr.Array[Any]":
        # Empty chunks are written, so that a missing one is damage and not zeros.
        with zarr.config.set({"array.write_empty_chunks": True}):
            return zarr.open_array(self._store, path=name, mode="r+")

    def _resize(self, capacity: int) -> None:
        """Make room for that many examples in each growing array, or trim them to it."""
        for spec in self._growing:
            metadata = _sized(self._root.arrays[spec.name], capacity)
            self._storage.write(f"{spec.name}/{ROOT_KEY}", msgspec.json.encode(metadata))
            self._arrays[spec.name] = self._open(spec.name)
        self._capacity = capacity

    # -- a window -------------------------------------------------------------------------------------

    def _write(self, window: Window) -> None:
        """All of a window, and then the mark. Runs in the writer's thread."""
        commit = self._root.commit
        with _told(self._storage.name, commit.examples):
            self._check_token()
            first, end = window.first, window.first + len(window)
            if end > self._capacity:
                self._resize(2 * self._capacity)
            for spec in self._growing:
                self._arrays[spec.name][first:end] = self._values(spec, window)
            snapshots = {spec.name: self._add(spec, self._values(spec, window)) for spec in self._sums}
            lines = b"".join(_line(row) for row in window.skipped)
            if lines:
                self._storage.extend(SKIPPED_KEY, commit.skipped_bytes, lines)
            self._storage.flush()
            self._put_root(commit=Commit(end, commit.skipped_bytes + len(lines), commit.writer, **snapshots))

    def _values(self, spec: ArraySpec, window: Window) -> NDArray[Any]:
        values = window.array(spec.name)
        assert values is not None, f"{spec.name} is missing"
        if spec.dtype == "string":
            return np.array(values, np.dtypes.StringDType())
        expected = spec.shape(self._root.header, len(window))
        assert values.shape == expected, f"{spec.name}: {values.shape}, should be {expected}"
        return cast(NDArray[Any], values)

    def _add(self, spec: ArraySpec, added: NDArray[Any]) -> list[int]:
        """Write a sum, where the window changes it, to the snapshots that do not count yet; which will."""
        checkpoint = self._arrays[spec.checkpoint.name]
        snapshots = self._root.commit.snapshots(spec)
        for index, snapshot in enumerate(snapshots):
            part = spec.part(index)
            if added[part].any():
                before = cast(NDArray[Any], checkpoint[snapshot, *part])
                checkpoint[1 - snapshot, *part] = before + added[part]
                snapshots[index] = 1 - snapshot
        return snapshots

    # -- the mark -------------------------------------------------------------------------------------

    @property
    def _window(self) -> int:
        return self._root.header.window

    def _put_root(self, header: Header | None = None, commit: Commit | None = None) -> None:
        root = msgspec.structs.replace(
            self._root, header=header or self._root.header, commit=commit or self._root.commit
        )
        growing = {spec.name for spec in self._growing}
        arrays = {
            name: _sized(metadata, root.commit.examples) if name in growing else metadata
            for name, metadata in root.arrays.items()
        }
        self._storage.write(ROOT_KEY, msgspec.structs.replace(root, arrays=arrays).encode())
        self._storage.flush()
        self._root = root

    def _check_token(self) -> None:
        """The store must still be this writer's: where there are no locks, another may have begun."""
        path = self._storage.name
        data = self._storage.read(ROOT_KEY)
        if data is None:
            raise StoreError(f"{path} was removed while this run was writing to it")
        found = decode(data, path).commit.writer
        if found.token != self._root.commit.writer.token:
            raise StoreError(
                f"{path} was taken over by another run ({found}), and this one has stopped; "
                "give each run an --out of its own"
            )

    def _settle(self) -> None:
        """Wait for the window before; raise what it failed with, then and ever after."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self._failure = pending.exception()
        if self._failure is not None:
            raise self._failure


@contextmanager
def _locked(storage: Storage, resume: bool, overwrite: bool) -> Iterator[None]:
    """The place checked and locked; unlocked again if what is done with it fails."""
    _check_place(storage, resume, overwrite)
    _lock(storage)
    try:
        _check_place(storage, resume, overwrite)  # another run may have come and gone
        yield
    except BaseException:
        storage.unlock()
        raise


def _kept(keep_bits: bool, keep_coefficients: bool) -> list[str]:
    """The optional arrays that a run keeps, if it is one that has them."""
    kept = {schema.ACTIVATED: keep_bits, schema.COEFFICIENT: keep_coefficients, schema.DIGEST: True}
    return [name for name, wanted in kept.items() if wanted]


def _with_choice(stored: Header, given: Header) -> Header:
    """A store's header, with what the run that continues it may choose anew: how many rows are read."""
    chosen = {name: given.config[name] for name in ("limit", "data") if name in given.config}
    return msgspec.structs.replace(stored, config={**stored.config, **chosen})


def _all_names() -> set[str]:
    """Every name that a store of ours may have in its folder; anything else there is left alone."""
    specs = (*schema.COORDINATES, *schema.ARRAYS)
    checkpoints = (spec.checkpoint for spec in schema.ARRAYS if spec.summed_by)
    return {ROOT_KEY, SKIPPED_KEY, *(spec.name for spec in (*specs, *checkpoints))}


def _sized(metadata: dict[str, Any], num_examples: int) -> dict[str, Any]:
    return {**metadata, "shape": [num_examples, *metadata["shape"][1:]]}


def _line(row: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(dict(row)) + b"\n"


def _lock(storage: Storage) -> None:
    try:
        storage.lock(SKIPPED_KEY)
    except LockedError as error:
        data = storage.read(ROOT_KEY)
        who = f" ({decode(data, storage.name).commit.writer})" if is_store(data) else ""
        raise StoreError(
            f"{storage.name} is being written by another run{who}; wait for it, or pass another --out"
        ) from error


@contextmanager
def _told(path: str, committed: int | None = None) -> Iterator[None]:
    """Tell users what a failed write means."""
    try:
        yield
    except OSError as error:
        safe = "" if committed is None else f"; {committed} examples are safe"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreError(
                f"{path}: {error.strerror}{safe}, make room and continue with --resume"
            ) from error
        raise StoreError(f"{path} cannot be written: {error}{safe}, --resume continues") from error


# How to make a run agree with a store, by the field of the header that differs.
_OPTIONS = {
    "dtype": "--dtype",
    "revision": "--revision",
    "quantization": "--quantization",
    "languages": "--languages",
    "thresholds": "--threshold",
    "window": "--window",
    "source": "--data",
    "position": "--position",
    "signal": "--signal",
    "top_k": "--attribution --top-k",
}
_FREE = ("version", "config", "created", "status", "format", "warnings")
_FINGERPRINTS = {
    "model_fingerprint": (
        "the model's files have changed since the run began: its configuration, or the names, types or shapes of its "
        "tensors"
    ),
    "tokenizer_fingerprint": "the tokenizer's files have changed since the run began",
}
_KEPT = {
    schema.ACTIVATED: ("bits", "pass --keep-bits", "pass --no-keep-bits"),
    schema.COEFFICIENT: ("coefficients", "pass --keep-coefficients", "drop --keep-coefficients"),
}


def _check_same(path: str, root: Root, header: Header, kept: Collection[str]) -> None:
    """A run may only continue what it would have begun.

    Raises:
        StoreError: naming what differs, both values, and what to do.
    """
    others = "another --out, or --overwrite in place of --resume"
    if root.header.model != header.model and not _same_folder(root.header.model, header.model):
        raise StoreError(
            f"{path} holds {root.header.model}, this run is {header.model}; "
            f"{_if_moved(root.header, header)}pass {others}"
        )
    for name, changed in _FINGERPRINTS.items():
        stored, given = getattr(root.header, name), getattr(header, name)
        if stored is not None and given is not None and stored != given:
            raise StoreError(f"{path} holds {root.header.model}, and {changed}; pass {others}")
    for name in Header.__struct_fields__:
        stored, given = getattr(root.header, name), getattr(header, name)
        if name in _FREE or name in _FINGERPRINTS or name == "model" or stored == given:
            continue
        if name == "source" and _but_for_limit(root.header) == _but_for_limit(header):
            before, now = _limit(root.header), _limit(header)
            raise StoreError(
                f"{path} has {before[0]} of each task, this run {now[0]}, and those of one task come before those of "
                f"the next; pass {before[1]}, or {others}"
            )
        has, this = (f"{name.replace('_', ' ')} {_shown(stored, given)}", _shown(given, stored))
        if name == "top_k":
            has, this = _attribution(stored), _attribution(given)
        option = f"{_OPTIONS[name]} {_spelled(name, stored)}, or " if name in _OPTIONS and stored else ""
        raise StoreError(f"{path} has {has}, this run has {this}; pass {option}{others}")
    for spec in schema.ARRAYS if root.arrays else ():
        stored, given = spec.name in root.arrays, spec.name in kept
        if spec.name in _KEPT and spec.when(header) and stored != given:
            what, keep, keep_not = _KEPT[spec.name]
            has, do = ("has", keep) if stored else ("has no", keep_not)
            raise StoreError(
                f"{path} {has} {what} of its neurons, unlike this run; {do}, or pass another --out"
            )


def _same_folder(stored: str, given: str) -> bool:
    """Whether two models are one folder, by two paths or through a link."""
    try:
        return Path(stored).samefile(given)
    except OSError:  # one of them is a name on the Hub, or gone
        return False


def _if_moved(stored: Header, given: Header) -> str:
    """Help for who has moved a model's folder.

    A model and its fine-tuned sister have the same fingerprint, as weights are not in it: only the path tells the two
    apart, and only a person knows that a folder was moved.
    """
    fingerprint = stored.model_fingerprint
    if fingerprint is None or fingerprint != given.model_fingerprint:
        return ""
    before, now = Path(stored.model), Path(given.model)
    if before.exists() or not before.is_absolute() or not now.is_dir():
        return ""
    return (
        f"if the folder was moved, make a link at its old place (ln -s {now.absolute()} {before}); if not, "
    )


def _spelled(name: str, value: Any) -> str:
    if name == "thresholds":
        return " --threshold ".join(f"{threshold:g}" for threshold in value)
    return ",".join(value) if isinstance(value, list) else str(value)


def _shown(value: Any, other: Any) -> str:
    """A value, of a long one the part where it begins to differ from the other."""
    text, beside = (
        ",".join(f"{item}" for item in each) if isinstance(each, list) else str(each)
        for each in (value, other)
    )
    if len(text) <= 80:
        return text
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, beside, strict=False)))
    begin = max(0, min(same - 20, len(text) - 74))
    return f"{'...' if begin else ''}{text[begin : begin + 74]}{'...' if begin + 74 < len(text) else ''}"


def _but_for_limit(header: Header) -> str:
    """The source without its limit, which is a part of what several tasks give."""
    return header.source.replace(f" --limit {header.config.get('limit')}", "", 1)


def _limit(header: Header) -> tuple[str, str]:
    """Which examples a run measures, and how it is told to."""
    limit = header.config.get("limit")
    return ("all examples", "no --limit") if limit is None else (f"the first {limit}", f"--limit {limit}")


def _attribution(top_k: int | None) -> str:
    return "no attribution" if top_k is None else f"attribution with top k {top_k}"

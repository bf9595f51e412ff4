"""Merge stores: shards of one run, or runs over several sources, into one store as a single run would have left it.

    merge_stores(["one.zarr", "two.zarr"], "run.zarr")

Objects are copied as they are, byte for byte, wherever a window of the whole is one of a part; other windows are
written anew from the parts' examples. Sums are added. The root object, without which there is no store, comes last:
until then `merging.json` says what is being merged, and each manifest what is done, so that a merge that was
interrupted goes on after its last manifest.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastneurons.arrays import FOLDS
from fastneurons.errors import InputError, StoreError
from fastneurons.store import schema
from fastneurons.store.agreement import in_order, merged_header
from fastneurons.store.checked import ObjectStore
from fastneurons.store.contents import Contents, fold_of, gather
from fastneurons.store.failures import writing
from fastneurons.store.filling import ArrayFiller, sized
from fastneurons.store.growing import own_names
from fastneurons.store.manifest import MANIFEST_BYTES, Manifest, Mark, decode_manifest, manifest_key
from fastneurons.store.objects import StoredObject
from fastneurons.store.opening import open_store
from fastneurons.store.parts import Division, Part, Piece
from fastneurons.store.place import check_place, lock, storage_at
from fastneurons.store.reader import Store
from fastneurons.store.root import MERGING_KEY, ROOT_KEY, SKIPPED_KEY, Commit, Root, read_root
from fastneurons.store.schema import ArraySpec
from fastneurons.store.storage import Storage

# A manifest is written after so many windows, or bytes: a merge that is interrupted does no more than that again.
_WINDOWS_AT_ONCE = 64
_BYTES_AT_ONCE = 2**29
# Copies under way at once; one at a time of objects that are larger than this.
_COPIES = 8
_LARGE_BYTES = 2**24


class _Journal(msgspec.Struct, frozen=True):
    """The content of `merging.json`.

    Args:
        parts: Their paths and digests, in order.
        cleared: Whether all that was there before is removed.
    """

    parts: list[dict[str, str]]
    cleared: bool = False


def merge_stores(
    paths: Sequence[str],
    out: str,
    overwrite: bool = False,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Store:
    """Merge finished stores into one.

    The parts are either all shards of one run, in any order, or whole stores, whose examples follow one another in the
    order given. A merge that was interrupted goes on when it is called again.

    Args:
        paths: The parts: local paths or fsspec URLs.
        out: The store to write: a local path or an fsspec URL.
        overwrite: Whether to replace a store that is there.
        advance: Called with the number of examples that are in `out`, and how many there will be.
    Returns:
        The merged store.
    Raises:
        InputError: a shard is missing, given twice or too short, or `out` may not be written.
        StoreError: the parts are of different runs, overlap or are damaged, or a store cannot be read or written.
    """
    if not paths:
        raise InputError("nothing to merge: name the stores")
    if len(set(map(_place, paths))) < len(paths):
        raise InputError("a store is named twice")
    if _place(out) in map(_place, paths):
        raise InputError(f"{out} is one of the stores to merge; pass another -o")
    parts = in_order([Part(path) for path in paths])
    storage = storage_at(out)
    plan = [part.identity for part in parts]
    with writing(out):
        begun = _begun(storage, plan, overwrite)
        if begun is None and check_place(storage, resume=False, overwrite=True) and not overwrite:
            raise InputError(f"{out} exists; pass --overwrite to replace it, or another -o")
    division = Division(parts)
    contents = gather(parts, division) if begun is None or not begun.cleared else None
    with writing(out):
        lock(storage)
        try:
            _Merge(storage, parts, division, advance).write(begun or _Journal(plan), contents)
        finally:
            storage.unlock()
    return open_store(out)


def _place(path: str) -> str:
    return path.rstrip("/") if "://" in path else str(Path(path).expanduser().resolve())


def _begun(storage: Storage, plan: list[dict[str, str]], overwrite: bool) -> _Journal | None:
    """The journal of an interrupted merge of the same parts; None if there is none, or it may be replaced."""
    data = storage.read_bounded(MERGING_KEY, MANIFEST_BYTES)
    if data is None:
        return None
    try:
        journal = msgspec.json.decode(data, type=_Journal)
    except (msgspec.DecodeError, RecursionError):
        journal = _Journal([])
    if journal.cleared and read_root(storage) is not None:  # it ended, but for this
        storage.remove_object(MERGING_KEY)
        return None
    if journal.parts == plan:
        return journal
    if not overwrite:
        raise InputError(
            f"{storage.name} holds an interrupted merge of other stores, or of these before they changed; pass "
            "--overwrite or another -o"
        )
    return None


class _Merge:
    """One merge; `write` does all of it."""

    def __init__(
        self,
        storage: Storage,
        parts: Sequence[Part],
        division: Division,
        advance: Callable[[int, int], None],
    ) -> None:
        self._storage, self._parts, self._division, self._advance = storage, parts, division, advance
        self._header = merged_header(parts)
        self._store = ObjectStore(storage)
        self._filler = ArrayFiller(storage, self._store, self._header)
        names = set(parts[0].root.arrays)
        specs = [spec for spec in schema.array_specs(self._header, names) if spec.name in names]
        self._specs = specs
        self._growing = [spec for spec in specs if spec.grows]
        self._metadata: dict[str, dict[str, Any]] = {}
        self._mark = Mark(-1, "")
        self._done = 0
        self._skipped_bytes = 0
        # Of parts from which windows are written anew.
        self._opened: dict[int, Store] = {}

    def write(self, journal: _Journal, contents: Contents | None) -> None:
        """Write all that is not there yet.

        Args:
            contents: None to gather them if they are not there.
        """
        if not journal.cleared:
            self._clear(journal)
        if not self._continue():
            self._begin(contents or gather(self._parts, self._division))
        self._advance(self._done, self._division.num_examples)
        self._write_windows()
        root = Root(
            msgspec.structs.replace(self._header, status="complete"),
            self._commit(),
            self._metadata,
            self._mark,
        )
        self._storage.write(ROOT_KEY, [root.encode()])
        self._storage.flush()
        self._storage.remove_object(MERGING_KEY)

    # -- beginning and continuing ---------------------------------------------------------------------------

    def _clear(self, journal: _Journal) -> None:
        """Remove a store that is there; first of all its root object, so that it is one or none."""
        self._put_journal(journal)
        self._storage.remove_object(ROOT_KEY)
        self._storage.clean()
        for name in self._storage.names() & (own_names() - {ROOT_KEY, SKIPPED_KEY, MERGING_KEY}):
            self._storage.remove(name)
        self._put_journal(_Journal(journal.parts, cleared=True))

    def _put_journal(self, journal: _Journal) -> None:
        self._storage.write(MERGING_KEY, [msgspec.json.encode(journal)])
        self._storage.flush()

    def _begin(self, contents: Contents) -> None:
        """Write everything but the windows: metadata, labels, constants, sums and the list of skipped examples."""
        for spec in self._specs:
            self._metadata[spec.name] = self._filler.create(spec)
        self._size_growing()
        for name, values in (schema.coordinates(self._header) | contents.arrays).items():
            self._filler.put(name, values)
        for spec in self._specs:
            for fold in range(FOLDS if spec.folds_of else 0):
                values = fold_of(self._parts, spec.name, fold)
                self._filler.put(spec.name, values[None], [fold] + [0] * values.ndim)
        lines = contents.skipped
        self._storage.extend(SKIPPED_KEY, 0, lines)
        self._skipped_bytes = len(lines)
        objects = self._store.take_written()
        for spec in self._growing:
            data = msgspec.json.encode(self._metadata[spec.name])
            objects[f"{spec.name}/{ROOT_KEY}"] = StoredObject.of(data)
        self._put_manifest(0, objects, StoredObject.of(lines) if lines else None)

    def _size_growing(self) -> None:
        """Give growing arrays their size, which is known."""
        self._filler.resize(self._growing, self._metadata, self._division.num_examples)
        for spec in self._growing:
            self._metadata[spec.name] = sized(self._metadata[spec.name], self._division.num_examples)

    def _continue(self) -> bool:
        """Go on after the last manifest of an interrupted merge; return whether there is one."""
        number, before = 0, ""
        while True:
            data = self._storage.read_bounded(manifest_key(number), MANIFEST_BYTES)
            try:
                manifest, digest = decode_manifest(data, number, None)
            except StoreError:
                break
            if manifest.before != before or manifest.first != self._done:
                break
            self._mark, self._done = Mark(number, digest), manifest.end
            if manifest.skipped is not None:
                self._skipped_bytes = manifest.skipped.length
            number, before = number + 1, digest
        if self._mark.number < 0:
            return False
        self._storage.clean()
        for spec in self._specs:
            data = self._storage.read(f"{spec.name}/{ROOT_KEY}")
            if data is None:
                raise StoreError(f"{self._storage.name}: array {spec.name} is missing; pass --overwrite")
            self._metadata[spec.name] = msgspec.json.decode(data)
            if spec.grows:
                self._filler.open(spec)
        return True

    def _commit(self) -> Commit:
        """The commit mark of a finished store."""
        commit = Commit.nothing(self._header)
        absent: dict[str, list[int]] = {
            spec.name: [] for spec in schema.sum_specs(self._header) if spec not in self._specs
        }
        return msgspec.structs.replace(
            commit, examples=self._division.num_examples, skipped_bytes=self._skipped_bytes, **absent
        )

    # -- windows --------------------------------------------------------------------------------------------

    def _write_windows(self) -> None:
        """Write the windows that are missing, and a manifest after every few."""
        division = self._division
        streams = [part.windows() for part in self._parts]
        at = [0] * len(streams)  # windows taken from each

        def objects_of(part: int, window: int) -> dict[str, StoredObject]:
            found = next(islice(streams[part], window - at[part], None))
            at[part] = window + 1
            return found

        waiting: list[tuple[Part, str, StoredObject, str]] = []
        written: dict[str, StoredObject] = {}
        num_bytes = 0
        with ThreadPoolExecutor(_COPIES, "fastneurons-merge") as threads:
            for window in range(-(-self._done // division.window), division.num_windows):
                pieces = division.pieces(window)
                number = division.whole_window(pieces)
                if number is not None and self._laid_out_alike(pieces[0].part):
                    part = self._parts[pieces[0].part]
                    for key, stored in objects_of(pieces[0].part, number).items():
                        target = self._moved(part, key, number, window)
                        waiting.append((part, key, stored, target))
                        num_bytes += stored.length
                else:
                    for spec in self._growing:
                        self._write_anew(spec, window, pieces)
                    anew = self._store.take_written()
                    written |= anew
                    num_bytes += sum(stored.length for stored in anew.values())
                if num_bytes >= _BYTES_AT_ONCE or (window + 1) % _WINDOWS_AT_ONCE == 0:
                    self._put_copies(threads, waiting, written, window)
                    waiting, written, num_bytes = [], {}, 0
            if waiting or written:
                self._put_copies(threads, waiting, written, division.num_windows - 1)

    def _put_copies(
        self,
        threads: ThreadPoolExecutor,
        copies: Sequence[tuple[Part, str, StoredObject, str]],
        written: dict[str, StoredObject],
        window: int,
    ) -> None:
        """Copy objects, and write the manifest of all windows up to this one."""

        def copy(one: tuple[Part, str, StoredObject, str]) -> None:
            part, key, stored, target = one
            self._storage.write(target, [part.read_object(key, stored)])

        for _ in threads.map(copy, (one for one in copies if one[2].length <= _LARGE_BYTES)):
            pass
        for one in copies:
            if one[2].length > _LARGE_BYTES:
                copy(one)
        written = written | {target: stored for _, _, stored, target in copies}
        end = min((window + 1) * self._division.window, self._division.num_examples)
        self._put_manifest(end, written)
        self._advance(end, self._division.num_examples)

    def _put_manifest(
        self, end: int, objects: dict[str, StoredObject], skipped: StoredObject | None = None
    ) -> None:
        """Write the next manifest, once all it names will survive a loss of power."""
        self._storage.flush()
        manifest = Manifest(self._mark.number + 1, self._mark.digest, self._done, end, objects, skipped)
        data, digest = manifest.encode()
        self._storage.write(manifest.key, [data])
        self._storage.flush()
        self._mark, self._done = Mark(manifest.number, digest), end

    def _laid_out_alike(self, part: int) -> bool:
        """Whether a part's objects can be the whole's: another version may have laid them out differently."""
        theirs = self._parts[part].root.arrays
        return all(
            sized(theirs[spec.name], 0) == sized(self._metadata[spec.name], 0) for spec in self._growing
        )

    def _moved(self, part: Part, key: str, number: int, window: int) -> str:
        """The key of an object of a part's window in the whole."""
        name, _, rest = key.partition("/")
        first, *others = rest.removeprefix("c.").split(".")
        per_window = self._division.window // part.examples_per_object(name)
        place = int(first) + (window - number) * per_window
        return f"{name}/{'.'.join(['c', str(place), *others])}"

    def _write_anew(self, spec: ArraySpec, window: int, pieces: Sequence[Piece]) -> None:
        """Write one array of a window from examples of the parts, an object at a time."""
        step = self._filler.examples_per_object(spec.name)
        low = window * self._division.window
        num_examples = sum(piece.end - piece.first for piece in pieces)
        for first in range(0, num_examples, step):
            examples = [
                self._read(spec.name, piece)
                for piece in _within(pieces, first, min(first + step, num_examples))
            ]
            values = np.concatenate(examples)
            self._filler.put(spec.name, values, [low + first] + [0] * (values.ndim - 1))

    def _read(self, name: str, piece: Piece) -> NDArray[Any]:
        for number in [number for number in self._opened if number < piece.part - 1]:
            del self._opened[number]
        if piece.part not in self._opened:
            self._opened[piece.part] = self._parts[piece.part].opened()
        return self._opened[piece.part][name][piece.first : piece.end]


def _within(pieces: Sequence[Piece], first: int, end: int) -> Iterator[Piece]:
    """The parts of pieces that lie in examples [first, end) of them all."""
    at = 0
    for piece in pieces:
        low, high = max(first - at, 0), min(end - at, piece.end - piece.first)
        if low < high:
            yield Piece(piece.part, piece.first + low, piece.first + high)
        at += piece.end - piece.first

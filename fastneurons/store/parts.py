"""Read finished stores as parts of one: which examples of the whole each holds, and its objects, window by window."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastneurons.errors import StoreError, printable
from fastneurons.shards import Shard
from fastneurons.store import schema
from fastneurons.store.checked import is_data
from fastneurons.store.failures import reading
from fastneurons.store.manifest import MANIFEST_BYTES, Manifest, decode_manifest, manifest_key
from fastneurons.store.objects import DamagedError, StoredObject
from fastneurons.store.place import storage_at
from fastneurons.store.reader import Store
from fastneurons.store.root import Root, decode, read_root
from fastneurons.store.schema import Header

# Manifests are read so many at a time.
_MANIFESTS_AT_ONCE = 64


class Part:
    """A finished store that will be part of another one.

    Args:
        path: A local path or an fsspec URL.
    Raises:
        StoreError: nothing is there, or it is no finished store, or of a format without manifests.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.storage = storage_at(path)
        with reading(path):
            self._data = read_root(self.storage)
        if self._data is None:
            raise StoreError(f"{path}: does not exist, or is not a fastneurons store")
        self.root: Root = decode(self._data, path)
        header = self.root.header
        if header.status != "complete":
            raise StoreError(
                f"{path} is not complete: its run goes on, or was interrupted; finish it with --resume first"
            )
        if self.root.mark is None:
            raise StoreError(
                f"{path} has format {header.format}, which has no manifests; continue its run with --resume, which "
                f"brings it to format {schema.FORMAT}"
            )
        self.shard = None if header.shard is None else Shard.parse(header.shard)

    @property
    def header(self) -> Header:
        """Description of its run."""
        return self.root.header

    @property
    def num_examples(self) -> int:
        """How many examples it holds."""
        return self.root.commit.examples

    @property
    def identity(self) -> dict[str, str]:
        """Its path, and the digest of all it holds."""
        assert self.root.mark is not None
        return {"path": printable(self.path), "digest": self.root.mark.digest}

    def opened(self) -> Store:
        """The store, for reading its arrays; its manifests are in memory as long as this lives."""
        with reading(self.path):
            return Store(self.path, self.storage, self.root, self._data or b"")

    def examples_per_object(self, name: str) -> int:
        """How many examples an object of a growing array holds."""
        return int(self.root.arrays[name]["chunk_grid"]["configuration"]["chunk_shape"][0])

    def windows(self) -> Iterator[dict[str, StoredObject]]:
        """Yield the growing arrays' objects of each window by key, in order.

        Only the manifests around a window are in memory.

        Raises:
            StoreError: a manifest is damaged, or names too little.
        """
        growing = [spec for spec in schema.ARRAYS if spec.grows and spec.name in self.root.arrays]
        names = {spec.name for spec in growing}
        window, waiting, done = self.header.window, dict[str, StoredObject](), 0

        def take(number: int) -> dict[str, StoredObject]:
            end = min((number + 1) * window, self.num_examples)
            found = {}
            for spec in growing:
                examples = self.examples_per_object(spec.name)
                for place in range(number * window // examples, -(-end // examples)):
                    key = f"{spec.name}/c.{place}" + ".0" * (len(spec.dims) - 1)
                    if key not in waiting:
                        raise StoreError(f"{self.path} is damaged: no manifest names its {key}")
                    found[key] = waiting.pop(key)
            return found

        for manifest in self._manifests():
            for key, stored in manifest.objects.items():
                if is_data(key) and key.partition("/")[0] in names:
                    waiting[key] = stored
            while (done + 1) * window <= manifest.end:
                yield take(done)
                done += 1
        if done * window < self.num_examples:
            yield take(done)

    def _manifests(self) -> Iterator[Manifest]:
        """Yield the manifests from the first to the last."""
        mark = self.root.mark
        assert mark is not None
        before = ""
        for first in range(0, mark.number + 1, _MANIFESTS_AT_ONCE):
            numbers = range(first, min(first + _MANIFESTS_AT_ONCE, mark.number + 1))
            with reading(self.path):
                found = self.storage.read_all([manifest_key(number) for number in numbers], MANIFEST_BYTES)
            for number, data in zip(numbers, found, strict=True):
                try:
                    manifest, digest = decode_manifest(data, number, None)
                    if manifest.before != before or (number == mark.number and digest != mark.digest):
                        raise StoreError("is not the one that was committed")
                except StoreError as error:
                    raise StoreError(f"{self.path} is damaged: its {manifest_key(number)} {error}") from error
                before = digest
                yield manifest

    def read_object(self, key: str, stored: StoredObject) -> bytes:
        """Read an object and compare it with its manifest.

        Raises:
            StoreError: it is not as it was written.
        """
        with reading(self.path):
            data = self.storage.read(key, 0, stored.length + 1)
        try:
            if data is None:
                raise DamagedError("it is missing")
            if len(data) != stored.length:
                raise DamagedError(f"it has {len(data)} bytes, should have {stored.length}")
            stored.check(data)
        except DamagedError as error:
            name, _, rest = key.partition("/")
            raise StoreError(f"{self.path}: array {name} is damaged: its object {rest}: {error}") from error
        return data


@dataclass(frozen=True)
class Piece:
    """Consecutive examples of one part.

    Args:
        part: Its index.
        first: The first example, counted in the part.
        end: One past the last.
    """

    part: int
    first: int
    end: int


class Division:
    """The division of the whole's examples among its parts: shards by windows in turn, others one after another.

    Args:
        parts: In order; shards by their numbers.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._sizes = [part.num_examples for part in parts]
        self._in_turn = parts[0].shard is not None
        self.window = parts[0].header.window
        self.num_examples = sum(self._sizes)

    @property
    def num_windows(self) -> int:
        """How many windows the whole has."""
        return -(-self.num_examples // self.window)

    def index(self, part: int, example: int) -> int:
        """The index in the whole of a part's example."""
        if not self._in_turn:
            return sum(self._sizes[:part]) + example
        return Shard(part + 1, len(self._sizes)).whole_example(example, self.window)

    def pieces(self, window: int) -> list[Piece]:
        """Where the examples of a window of the whole are, in order."""
        if self._in_turn:
            number, part = divmod(window, len(self._sizes))
            first = number * self.window
            return [Piece(part, first, min(first + self.window, self._sizes[part]))]
        found, begin = [], 0
        low, high = window * self.window, min((window + 1) * self.window, self.num_examples)
        for part, size in enumerate(self._sizes):
            first, end = max(low - begin, 0), min(high - begin, size)
            if first < end:
                found.append(Piece(part, first, end))
            begin += size
        return found

    def whole_window(self, pieces: Sequence[Piece]) -> int | None:
        """The number of the part's window that a window of the whole is; None if it is none."""
        if len(pieces) != 1:
            return None
        [piece] = pieces
        number, rest = divmod(piece.first, self.window)
        ends = min((number + 1) * self.window, self._sizes[piece.part])
        return number if rest == 0 and piece.end == ends else None

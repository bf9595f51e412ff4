"""Write windows of a store from another process than the one that commits them.

    place = writer.place()                              # of a `StoreWriter`, in the process that commits
    written = WindowWriter(place).write(window)         # in any process, on any machine
    writer.commit_written(written)                      # in the order of the windows

A full window begins and ends with objects of the store, so that its writer shares none with others. What lies there
before the commit mark has passed it counts for nothing: a window may be written twice, or by a process that dies.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastneurons.errors import StoreError
from fastneurons.store import schema
from fastneurons.store.checked import ObjectStore
from fastneurons.store.failures import writing
from fastneurons.store.layout import Layout
from fastneurons.store.objects import StoredObject
from fastneurons.store.place import storage_at
from fastneurons.store.root import decode, read_root
from fastneurons.store.schema import Header
from fastneurons.store.skipped import lines_of
from fastneurons.store.storage import RemovedError
from fastneurons.store.window import Parts, Window, parts_of_sums


@dataclass(frozen=True)
class StorePlace:
    """A store that is being written, as other processes need to know it.

    Args:
        path: A local path or an fsspec URL.
        header: What it holds.
        token: Its writer's: a store that another run has taken over is written no more.
        arrays: zarr's metadata of the growing arrays, by name; of any length.
        sums: Names of its sums.
    """

    path: str
    header: Header
    token: str
    arrays: dict[str, dict[str, Any]]
    sums: tuple[str, ...]


@dataclass(frozen=True)
class WrittenWindow:
    """Consecutive examples whose growing arrays are written, and all else that it takes to commit them.

    Args:
        first: Index of the first example.
        end: Index after the last one.
        objects: The objects written, by key.
        sums: What these examples add to the store's sums, by name.
        skipped: Their lines of `skipped.jsonl`.
    """

    first: int
    end: int
    objects: dict[str, StoredObject]
    sums: dict[str, Parts]
    skipped: bytes = b""

    def __len__(self) -> int:
        return self.end - self.first

    def followed_by(self, after: "WrittenWindow") -> "WrittenWindow":
        """These examples and the ones that come next."""
        assert self.end == after.first, (self.end, after.first)
        return WrittenWindow(
            self.first,
            after.end,
            self.objects | after.objects,
            {name: _added(parts, after.sums[name]) for name, parts in self.sums.items()},
            self.skipped + after.skipped,
        )


class WindowWriter:
    """Writes windows of a store; nothing of them counts before the store's own writer commits them.

    Raises:
        StoreError: the store has a layout that cannot be continued, or that windows share objects in.
    """

    def __init__(self, place: StorePlace) -> None:
        self.place = place
        self._storage = storage_at(place.path)
        self._store = ObjectStore(self._storage)
        self._layouts = {
            name: Layout.of(schema.array_spec(name, place.header), metadata)
            for name, metadata in place.arrays.items()
        }
        self._sums = [schema.array_spec(name, place.header) for name in place.sums]
        for name, layout in self._layouts.items():
            if place.header.window % layout.examples:
                raise StoreError(
                    f"{place.path}: an object of array {name} holds {layout.examples} examples, which do not divide a "
                    f"window of {place.header.window}"
                )
        with writing(place.path):
            self._check_token()
            self._storage.stay()

    def writes(self, first: int) -> bool:
        """Whether a window that begins with that example shares no object with the one before."""
        return first % self.place.header.window == 0

    def write(self, window: Window) -> WrittenWindow:
        """Write a window's objects.

        Raises:
            StoreError: they cannot be written, or another run has taken the store over.
        """
        assert self.writes(window.first), window.first
        with writing(self.place.path):
            self._check_token()
            try:
                for name, layout in self._layouts.items():
                    origin = [window.first] + [0] * (len(layout.chunk) - 1)
                    for key, segments in layout.objects(window.arrays[name], origin):
                        self._store.write(f"{name}/{key}", segments)
                self._storage.flush()
            except RemovedError:
                self._storage.forsake(self._store.take_written())
                raise
        return WrittenWindow(
            window.first,
            window.first + len(window),
            self._store.take_written(),
            parts_of_sums(window, self._sums, self.place.header),
            lines_of(window.skipped),
        )

    def _check_token(self) -> None:
        path, data = self.place.path, read_root(self._storage)
        if data is None:
            raise RemovedError(f"{path} was removed while it was written")
        if decode(data, path).commit.writer.token != self.place.token:
            raise StoreError(f"{path} was taken over by another run, and this one has stopped")


def _added(parts: Parts, more: Parts) -> Parts:
    """The sum of two windows' parts of a sum."""
    both = {index: np.add(values, more[index]) for index, values in parts.items() if index in more}
    return {**parts, **more, **both}

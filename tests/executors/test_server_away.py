"""A store whose server does not answer for a while, in a file system that says so."""

import threading
from collections.abc import Callable
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fastneurons.errors import StoreError
from fastneurons.store import Store, open_store
from tests.executors.stand_in import StandInJob
from tests.executors.threads import ThreadEngines
from tests.executors.writing import EXAMPLES, assert_same, write


class Away(MemoryFileSystem):
    """Objects in memory behind a server that is away, or not."""

    protocol = "away"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    is_away = threading.Event()
    on_leaving: ClassVar[Callable[[], None]] = staticmethod(lambda: None)
    # The server goes away with the write of this number, and the number of those so far.
    goes_with, num_writes = -1, 0

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        cls = type(self)
        cls.num_writes += 1
        if cls.num_writes == cls.goes_with:
            cls.is_away.set()
            cls.on_leaving()
        self.answer()
        super().pipe_file(path, value, **options)

    def cat_file(self, path: str, *arguments: Any, **options: Any) -> bytes:
        self.answer()
        found: bytes = super().cat_file(path, *arguments, **options)
        return found

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        self.answer()
        return super().ls(path, detail, **options)

    def answer(self) -> None:
        if self.is_away.is_set():
            raise ConnectionError("Could not connect to the endpoint")


@pytest.fixture
def server():
    fsspec.register_implementation("away", Away, clobber=True)
    Away.store.clear()
    Away.is_away.clear()
    Away.goes_with, Away.num_writes = -1, 0
    return Away


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> Store:
    store, _ = write(ThreadEngines(StandInJob(), 1), tmp_path_factory.mktemp("one") / "run.zarr")
    return store


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_nothing_is_lost_when_the_server_stays_away(share, server, expected, monkeypatch):
    # The number of writes of a run differs a little, as windows are committed together.
    monkeypatch.setattr("fastneurons.store.remote._PAUSES_S", ())
    write(ThreadEngines(StandInJob(), 1), "away://whole/run.zarr")
    writes = server.num_writes
    server.num_writes, server.goes_with = 0, int(share * writes)
    with pytest.raises(StoreError, match="Could not connect to the endpoint"):
        write(ThreadEngines(StandInJob(), 3), "away://bucket/run.zarr")
    server.is_away.clear()
    safe = open_store("away://bucket/run.zarr").num_examples
    assert safe < len(EXAMPLES)
    store, told = write(ThreadEngines(StandInJob(), 2), "away://bucket/run.zarr", resume=True)
    assert_same(store, expected)
    assert told.examples == len(EXAMPLES) - safe


def test_a_run_waits_for_a_server_that_comes_back(server, expected, monkeypatch):
    monkeypatch.setattr("fastneurons.store.remote._PAUSES_S", (0.2,) * 300)
    server.goes_with = 100
    back = threading.Timer(2.0, server.is_away.clear)
    monkeypatch.setattr(server, "on_leaving", back.start)
    store, told = write(ThreadEngines(StandInJob(), 3), "away://bucket/run.zarr")
    assert_same(store, expected)
    assert back.finished.is_set()
    assert not told.saying("starting it again")

"""Places that go away while a store is written: buckets that fail, folders that are removed."""

import re
import shutil
import warnings
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fastneurons.errors import StoreError
from fastneurons.store import StoreWriter, check_output, local, open_store, remote
from tests.store.runs import Run, assert_holds, draw

RUN = draw(7)


class ClientError(Exception):
    """As botocore's: no OSError, with a message of many lines."""


class EmptyError(Exception):
    """As aiohttp's: no message at all."""


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Failing(MemoryFileSystem):
    """Objects in memory; from the `fails_at`-th request on, requests fail."""

    protocol = "failing"
    store: dict = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    cachable = False
    requests = 0
    fails_at = 10**9
    error: BaseException = ClientError("gone")

    @classmethod
    def request(cls) -> None:
        cls.requests += 1
        if cls.requests > cls.fails_at:
            raise cls.error

    def cat_file(self, *given, **named):
        self.request()
        return super().cat_file(*given, **named)

    def pipe_file(self, *given, **named):
        self.request()
        return super().pipe_file(*given, **named)

    def rm(self, *given, **named):
        self.request()
        return super().rm(*given, **named)

    def ls(self, *given, **named):
        self.request()
        return super().ls(*given, **named)


@pytest.fixture
def failing(monkeypatch):
    monkeypatch.setattr(remote, "_PAUSES_S", ())
    fsspec.register_implementation("failing", Failing, clobber=True)
    Failing.store.clear()
    Failing.pseudo_dirs[:] = [""]
    Failing.requests, Failing.fails_at = 0, 10**9
    yield Failing
    Failing.fails_at = 10**9


def holds(url: str, run: Run) -> None:
    store = open_store(url, check=True)
    assert store.is_complete
    for name, expected in run.arrays().items():
        np.testing.assert_array_equal(store[name][...], expected, err_msg=name)


ERRORS = [
    ClientError("An error occurred (503) when calling the PutObject operation:\n  reduce your request rate"),
    EmptyError(),
    UnprintableError(),
    TimeoutError(),
    ConnectionResetError(104, "Connection reset by peer"),
    PermissionError("Forbidden"),
    FileNotFoundError("The specified bucket does not exist"),
    RuntimeError("Session is closed"),
    KeyError("ETag"),
    StopIteration(),
    MemoryError(),
]


def test_a_bucket_that_goes_away_at_any_request_is_told_in_one_line(failing):
    RUN.write("failing://b/whole.zarr")
    total = failing.requests
    holds("failing://b/whole.zarr", RUN)
    seen = set()
    for number in range(total):
        url, error = f"failing://b/{number}.zarr", ERRORS[number % len(ERRORS)]
        failing.requests, failing.fails_at, failing.error = 0, number, error
        try:
            with pytest.raises(StoreError) as raised:
                RUN.write(url)
            failing.fails_at = 10**9
            said = str(raised.value)
            assert said.startswith(url) and "\n" not in said, said
            told = re.search(r"(\d+) examples are safe; continue with --resume", said)
            try:
                safe = open_store(url).num_examples
            except StoreError:  # it has not even begun
                safe = 0
            if told:
                assert safe == int(told[1])
            else:  # while it began; or the bucket said that there is nothing
                assert safe == 0 or isinstance(error, FileNotFoundError), (number, said)
            seen.add(safe)
            if number % 5 == 0:
                RUN.write(url, resume=True)
                holds(url, RUN)
        finally:
            failing.store.clear()
    assert seen == {0, 4, 7}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_bucket_that_cannot_be_reached_is_told_before_anything_is_done(error, failing):
    failing.fails_at, failing.error = 0, error
    for act in (
        lambda: check_output("failing://b/run.zarr"),
        lambda: check_output("failing://b/run.zarr", resume=True),
        lambda: StoreWriter.create("failing://b/run.zarr", RUN.header),
        lambda: StoreWriter.resume("failing://b/run.zarr", RUN.header),
        lambda: open_store("failing://b/run.zarr"),
    ):
        with pytest.raises(StoreError, match=r"^failing://b/run.zarr[: ]") as raised:
            act()
        assert "\n" not in str(raised.value)


def test_a_bucket_that_may_only_be_read_is_told_before_a_model_is_loaded(failing, monkeypatch):
    def refuse(*given, **named):
        raise ClientError("AccessDenied")

    monkeypatch.setattr(failing, "pipe_file", refuse)
    with pytest.raises(StoreError, match=r"cannot be written: AccessDenied"):
        check_output("failing://b/run.zarr")


def test_what_is_checked_in_a_bucket_leaves_nothing_behind(failing):
    check_output("failing://b/run.zarr")
    assert not failing.store


def test_a_bucket_that_fails_while_it_is_read_is_told(failing):
    RUN.write("failing://b/run.zarr")
    store = open_store("failing://b/run.zarr")
    failing.requests, failing.fails_at, failing.error = 0, 0, ClientError("gone\naway")
    for read in (
        lambda: store["outcome"][:],
        store.skipped,
        store.check,
        lambda: store.to_xarray().outcome.values,
    ):
        with pytest.raises(StoreError, match=r"^failing://b/run.zarr cannot be read: gone away$"):
            read()


def test_a_prefix_that_is_removed_while_it_is_written_is_not_written_again(failing):
    url = "failing://b/run.zarr"
    with StoreWriter.create(url, RUN.header) as writer:
        writer.commit(RUN.window(0, 4))
        assert writer.committed == 4
        failing.store.clear()
        writer.commit(RUN.window(4, 7))
        with pytest.raises(StoreError, match=rf"^{url} was removed while it was written$"):
            writer.finish()
    assert not failing.store


def test_a_prefix_that_is_removed_within_a_window_is_not_left_in_parts(failing, monkeypatch):
    url = "failing://b/run.zarr"
    real = remote.RemoteStorage.extend
    with StoreWriter.create(url, RUN.header) as writer:

        def removed(place, *rest):
            Failing.store.clear()
            real(place, *rest)

        monkeypatch.setattr(remote.RemoteStorage, "extend", removed)
        writer.commit(RUN.window(0, 4))
        with pytest.raises(StoreError, match=rf"^{url} was removed while it was written$"):
            writer.finish()
    assert not failing.store


# -- a folder -------------------------------------------------------------------------------------------


def moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere.zarr"))


def replaced(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def emptied(path: Path) -> None:
    for child in path.iterdir():
        shutil.rmtree(child) if child.is_dir() else child.unlink()


@pytest.mark.parametrize("away", [moved, replaced, shutil.rmtree, emptied], ids=lambda away: away.__name__)
@pytest.mark.parametrize("when", ["between windows", "at an array", "at the mark", "at the end"])
def test_a_store_that_is_removed_while_it_is_written_is_said_to_be_gone(away, when, tmp_path, monkeypatch):
    path = tmp_path / "run.zarr"
    wanted = {
        "between windows": "",
        "at an array": "outcome/c.1",
        "at the mark": "zarr.json",
        "at the end": "",
    }[when]
    real = local.LocalStorage.write
    armed = False

    def write(place, key, data):
        nonlocal armed
        if armed and key == wanted:
            armed = False
            away(path)
        real(place, key, data)

    monkeypatch.setattr(local.LocalStorage, "write", write)
    with StoreWriter.create(str(path), RUN.header) as writer:
        writer.commit(RUN.window(0, 4))
        assert writer.committed == 4
        armed = True
        if when == "between windows":
            away(path)
        writer.commit(RUN.window(4, 7))
        if when == "at the end":
            assert writer.committed == 7
            away(path)
        for _ in range(2):
            with pytest.raises(StoreError) as raised:
                writer.finish()
            assert str(raised.value) == f"{path} was removed while it was written"
    assert not path.exists() or not list(path.rglob("*"))
    if away is moved:  # and what was moved is as it was
        assert open_store(str(tmp_path / "elsewhere.zarr"), check=True).num_examples in (4, 7)
    else:
        with pytest.raises(StoreError, match="does not exist"):
            open_store(str(path))
    monkeypatch.undo()
    RUN.write(path, resume=True)
    assert_holds(path, RUN)


def test_a_part_of_a_store_that_is_removed_is_not_made_again(tmp_path):
    path = tmp_path / "run.zarr"
    with StoreWriter.create(str(path), RUN.header) as writer:
        writer.commit(RUN.window(0, 4))
        assert writer.committed == 4
        shutil.rmtree(path / "activated")
        writer.commit(RUN.window(4, 7))
        with pytest.raises(StoreError, match=rf"^{path}/activated was removed while it was written$"):
            writer.finish()
    assert not (path / "activated").exists()
    with pytest.raises(StoreError, match=r"array activated is damaged"):
        StoreWriter.resume(str(path), RUN.header)


def test_no_warnings_in_a_bucket(failing):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RUN.write("failing://b/run.zarr")
        holds("failing://b/run.zarr", RUN)

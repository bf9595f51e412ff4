"""Windows that others write than the one who commits them."""

import os
import pickle
import shutil
from collections.abc import Iterator
from functools import reduce

import pytest

from fastneurons.errors import StoreError
from fastneurons.store import StoreWriter, WindowWriter, WrittenWindow, filling, open_store, verify_store
from tests.store.runs import Run, assert_holds, draw

RUNS = {
    "sharing": draw(19, tasks=["capitals", "currencies"]),
    "attribution": draw(19, top_k=3, thresholds=[0.0], keep_coefficients=True, keep_prompts=True),
    "corpus": draw(19, position="corpus"),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No waiting for disks; and arrays that have to grow soon."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(filling, "_FIRST_WINDOWS", 1)


def writer_of(run: Run, path, begin=StoreWriter.create) -> StoreWriter:
    return begin(
        str(path), run.header, keep_coefficients=run.keep_coefficients, keep_prompts=run.keep_prompts,
        constants=run.constants(),
    )  # fmt: skip


def written_by_two(run: Run, writer: StoreWriter) -> Iterator[WrittenWindow]:
    """All windows, written in another order by two that know the store by pickle."""
    others = [WindowWriter(pickle.loads(pickle.dumps(writer.place))) for _ in range(2)]
    windows = list(run.windows(writer.committed))
    written = {
        window.first: others[number % 2].write(window) for number, window in enumerate(reversed(windows))
    }
    return (pickle.loads(pickle.dumps(written[window.first])) for window in windows)


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_windows_written_by_others_make_the_store_of_one_writer(run, together, tmp_path):
    path = tmp_path / "run.zarr"
    with writer_of(run, path) as writer:
        waiting = list(written_by_two(run, writer))
        for first in range(0, len(waiting), together):
            writer.commit_written(reduce(WrittenWindow.followed_by, waiting[first : first + together]))
        writer.finish()
    assert_holds(path, run)
    store = open_store(str(path))
    assert [row.index for row in store.skipped()] == [row["index"] for row in run.skipped()]
    assert not verify_store(store).damaged


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_windows_that_were_not_committed_are_written_again(run, tmp_path):
    path, before = tmp_path / "run.zarr", tmp_path / "before.zarr"
    with writer_of(run, path) as writer:
        first, *_ = written_by_two(run, writer)
        writer.commit_written(first)
        writer.wait()
        shutil.copytree(path, before)
    assert open_store(str(before)).num_examples == 4
    with writer_of(run, before, StoreWriter.resume) as writer:
        assert writer.committed == 4
        for written in written_by_two(run, writer):
            writer.commit_written(written)
        writer.finish()
    assert_holds(before, run)


def test_a_window_within_an_object_is_not_for_others(tmp_path):
    with writer_of(RUNS["sharing"], tmp_path / "run.zarr") as writer:
        other = WindowWriter(writer.place)
        assert [other.writes(first) for first in (0, 4, 6)] == [True, True, False]


def test_a_store_of_another_run_is_not_written(tmp_path):
    run, path = RUNS["sharing"], tmp_path / "run.zarr"
    with writer_of(run, path) as writer:
        other = WindowWriter(writer.place)
    with StoreWriter.create(str(path), run.header, overwrite=True):
        with pytest.raises(StoreError, match="was taken over by another run"):
            other.write(next(run.windows()))
        with pytest.raises(StoreError, match="was taken over by another run"):
            WindowWriter(writer.place)
    shutil.rmtree(path)
    with pytest.raises(StoreError, match="was removed while it was written"):
        other.write(next(run.windows()))
    assert not path.exists()

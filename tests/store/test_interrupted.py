"""A run that ends anywhere, in any way, is continued to the store of one that did not."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastneurons.errors import StoreError
from fastneurons.store import StoreWriter, filling, local, open_store, schema
from tests.store.runs import Run, assert_holds, draw

RUN = draw(7, tasks=["capitals", "currencies"])
RUNS = {
    "sharing": RUN,
    "attribution": draw(7, top_k=3, thresholds=[0.0], keep_coefficients=True),
    "corpus": draw(7, position="corpus"),
    "histogram": draw(7, position="corpus", bins=16, counts_signs=True),
}


class Interruptions:
    """Copies of a store as it would be, had the run that writes it ended in the middle of each change."""

    def __init__(self, monkeypatch, states: Path) -> None:
        self.states = states
        self.num_changes = 0
        for name in ("write", "extend", "remove"):
            monkeypatch.setattr(local.LocalStorage, name, self.around(getattr(local.LocalStorage, name)))

    def around(self, change: Callable[..., None]) -> Callable[..., None]:
        def changed(place: Any, key: str, *rest: Any) -> None:
            state = shutil.copytree(place.root, self.states / f"{self.num_changes}.zarr")
            self.half(state, key, *rest)
            self.num_changes += 1
            change(place, key, *rest)

        return changed

    @staticmethod
    def half(root: Path, key: str, *rest: Any) -> None:
        path = root / key
        if len(rest) == 1:  # write: some of the new object, not in its place yet
            path.parent.mkdir(parents=True, exist_ok=True)
            data = b"".join(rest[0])
            path.with_name(f"{path.name}.123.partial").write_bytes(data[: len(data) // 2])
        elif len(rest) == 2:  # extend: cut, and some of what is added
            offset, data = rest
            path.write_bytes(path.read_bytes()[:offset] + data[: len(data) // 2])
        elif path.is_dir():  # remove: some of what is in it
            for child in sorted(path.iterdir())[::2]:
                child.unlink()


@pytest.fixture
def quick(monkeypatch):
    """No waiting for disks; and arrays that have to grow soon."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(filling, "_FIRST_WINDOWS", 1)


def interrupted(monkeypatch, folder: Path, act: Callable[[], None]) -> Iterator[Path]:
    """The states that a run may leave, one for each change that it makes."""
    with monkeypatch.context() as patch:
        interruptions = Interruptions(patch, folder)
        act()
    for number in range(interruptions.num_changes):
        yield folder / f"{number}.zarr"


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_run_ended_at_any_change_is_continued(run, quick, monkeypatch, tmp_path):
    whole = tmp_path / "run.zarr"
    committed = []
    states = interrupted(monkeypatch, tmp_path, lambda: run.write(whole))
    # Attribution has many arrays, which are treated alike, and so have histograms.
    for path in itertools.islice(states, 0, None, 5 if run.header.has_attribution or run.header.bins else 1):
        committed.append(assert_committed_is_right(path, run))
        if committed[-1] or len(committed) % 6 == 0:
            run.write(path, resume=True)
            assert_holds(path, run)
            assert_no_remains(path)
        elif run is RUN:  # a run that begins anew does the same from here on, wherever the one before ended
            assert_begins_anew(path, tmp_path)
        shutil.rmtree(path)
    assert set(committed) == {0, 4, 7}
    assert_holds(whole, run)
    assert_no_remains(whole)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_resumed_run_that_ends_again_is_continued(run, quick, monkeypatch, tmp_path):
    begun = tmp_path / "begun.zarr"
    with StoreWriter.create(
        str(begun), run.header, keep_coefficients=run.keep_coefficients, constants=run.constants()
    ) as begin:
        begin.commit(run.window(0, 4))
        begin.commit(run.window(4, 6))  # as Ctrl-C leaves it: a part of a window
    states = interrupted(monkeypatch, tmp_path, lambda: run.write(begun, resume=True))
    for path in itertools.islice(
        states, 0, None, 7 if run.header.has_attribution or run.header.bins else 2
    ):  # the other test has taken every one
        run.write(path, resume=True)
        assert_holds(path, run)
        assert_no_remains(path)
        shutil.rmtree(path)


@pytest.mark.parametrize("run", [RUN, RUNS["corpus"]], ids=["sharing", "corpus"])
def test_continuing_a_complete_store_ended_at_any_change_can_be_continued(run, quick, monkeypatch, tmp_path):
    whole = tmp_path / "run.zarr"
    shorter = Run(run.header, run.activation[:6])
    shorter.write(whole)
    committed = []
    states = interrupted(monkeypatch, tmp_path, lambda: run.write(whole, resume=True))
    for number, path in enumerate(states):
        store = open_store(str(path))
        committed.append(store.num_examples)
        if number % 3 == 0 or committed[-2:-1] != committed[-1:]:
            for name, expected in run.arrays(slice(0, store.num_examples)).items():
                np.testing.assert_array_equal(store[name][...], expected, err_msg=name)
            run.write(path, resume=True)
            assert_holds(path, run)
            assert_no_remains(path)
        shutil.rmtree(path)
    assert set(committed) == {6, 7}
    assert_holds(whole, run)
    assert_no_remains(whole)


def test_replacing_a_store_ended_at_any_change_leaves_one_that_can_be_continued(quick, monkeypatch, tmp_path):
    old = tmp_path / "run.zarr"
    draw(6, seed=1).write(old)

    def replace() -> None:
        StoreWriter.create(str(old), RUN.header, overwrite=True).close()

    for number, path in enumerate(interrupted(monkeypatch, tmp_path, replace)):
        if number == 0:  # nothing was replaced yet
            assert_holds(path, draw(6, seed=1))
            continue
        assert open_store(str(path)).num_examples == 0
        assert_begins_anew(path, tmp_path)


def assert_begins_anew(path: Path, tmp_path: Path) -> None:
    """A resumed run has the same before it as one that begins, byte for byte."""
    new = tmp_path / "new.zarr"
    if not new.exists():
        StoreWriter.create(str(new), RUN.header).close()
    StoreWriter.resume(str(path), RUN.header).close()
    expected, found = (
        {file.relative_to(root): file.read_bytes() for file in root.rglob("*") if file.is_file()}
        for root in (new, path)
    )
    assert found.pop(Path("zarr.json")) != expected.pop(Path("zarr.json"))  # another writer
    assert found == expected


def assert_committed_is_right(path: Path, run: Run) -> int:
    """What a reader sees of an interrupted run is right, and all of a number of windows; of how many examples."""
    try:
        store = open_store(str(path))
    except StoreError as error:
        assert "not a fastneurons store" in str(error) or "does not exist" in str(error)
        return 0
    E = store.num_examples
    assert E in (0, 4, 7)  # whole windows
    if E:
        for name, expected in run.arrays(slice(0, E)).items():
            np.testing.assert_array_equal(store[name][...], expected, err_msg=name)
    assert [s.index for s in store.skipped()] == [s["index"] for s in run.skipped() if s["index"] < E]
    return E


def assert_no_remains(path: Path) -> None:
    store = open_store(str(path))
    labels = {"language", "layer", "threshold", "category"} | (
        {"case"} if store.header.counts_signs else set()
    )
    assert {p.name for p in path.iterdir()} == {"zarr.json", "skipped.jsonl", "manifest", *labels, *store}
    assert not list(path.rglob("*.partial"))
    lines = [json.loads(line) for line in (path / "skipped.jsonl").read_text().splitlines()]
    assert lines == RUN.skipped()


@pytest.mark.parametrize("object_bytes", [2**28, 100], ids=["windows", "parts of windows"])
def test_what_a_killed_run_wrote_past_the_end_is_not_in_a_shorter_one(
    object_bytes, quick, monkeypatch, tmp_path
):
    monkeypatch.setattr(schema, "_OBJECT_BYTES", object_bytes)
    monkeypatch.setattr(schema, "_CHUNK_BYTES", object_bytes)
    run = draw(11)
    path = tmp_path / "run.zarr"
    with StoreWriter.create(str(path), run.header) as out:
        out.commit(run.window(0, 4))
        out.commit(run.window(4, 6))
        assert out.committed == 6
        with monkeypatch.context() as patch:
            patch.setattr(
                out._store._committer, "put_root", lambda **_: (_ for _ in ()).throw(OSError(5, "killed"))
            )
            out.commit(run.window(6, 8))
            with pytest.raises(StoreError, match="killed"):
                out.finish()
    store = open_store(str(path))
    beyond = [
        file
        for spec in schema.array_specs(run.header, store)
        if spec.grows
        for file in (path / spec.name).glob("c.*")
        if int(file.name.split(".")[1]) * spec.shards(run.header)[0] >= 6
    ]
    assert bool(beyond) == (object_bytes == 100)
    shorter = Run(run.header, run.activation[:6])
    shorter.write(path, resume=True)
    assert_holds(path, shorter)
    assert not any(file.exists() for file in beyond)
    assert [s.index for s in open_store(str(path)).skipped()] == [1]


_SCRIPT = """
import sys
from tests.store.runs import draw
draw(300, window=4).write(sys.argv[1], resume=True)
"""


def test_sigkill(tmp_path):
    run = draw(300, window=4)
    path = tmp_path / "run.zarr"
    command = [sys.executable, "-c", _SCRIPT, str(path)]
    reached = 0
    for kill in range(3):
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        wait_for(path, reached + 1 + 8 * kill, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        store = open_store(str(path))
        assert not store.is_complete
        assert store.num_examples >= reached
        reached = store.num_examples
        expected = run.arrays(slice(0, reached))
        assert (store["occupancy"][...] == expected["occupancy"]).all()
        assert (store["activated"][...] == expected["activated"]).all()
    for moment in np.random.default_rng(1).uniform(
        0, 1.5, 4
    ):  # while it starts, or opens the store, or later
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        process.kill()
        process.wait()
        assert open_store(str(path)).num_examples >= reached
    run.write(path, resume=True)
    assert_holds(path, run)


def wait_for(path: Path, num_examples: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the run ended by itself"
        try:
            if open_store(str(path)).num_examples >= num_examples:
                return
        except StoreError:
            time.sleep(0.02)
    raise AssertionError("the run did not come so far")


def test_a_full_disk_keeps_what_is_committed(tmp_path):
    run = draw(120, neurons=1001)
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        path = small / "run.zarr"
        with pytest.raises(
            StoreError, match=r"No space left .*; \d+ examples are safe; .*--resume"
        ) as raised:
            run.write(path)
        store = open_store(str(path))
        assert 0 < store.num_examples < 120
        assert f"; {store.num_examples} examples are safe" in str(raised.value)
        assert (store["occupancy"][...] == run.arrays(slice(0, store.num_examples))["occupancy"]).all()
        subprocess.run(["mount", "-o", "remount,size=20m", str(small)], check=True)
        run.write(path, resume=True)
        assert_holds(path, run)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_full_disk_at_any_write_is_told(quick, monkeypatch, tmp_path):
    run = draw(11)
    path = tmp_path / "run.zarr"
    real = local.LocalStorage.write
    written = 0

    def full(place, key, data):
        nonlocal written
        written += 1
        if written > limit:
            raise OSError(28, "No space left on device")
        real(place, key, data)

    monkeypatch.setattr(local.LocalStorage, "write", full)
    for limit in (3, 30, 40, 25):  # noqa: B007
        written = 0
        with pytest.raises(StoreError, match=r"No space left.*--resume"):
            run.write(path, resume=True)
    limit = 10**9
    run.write(path, resume=True)
    assert_holds(path, run)


def test_after_a_failed_write_nothing_more_is_committed(monkeypatch, tmp_path):
    run = draw(11)
    path = tmp_path / "run.zarr"
    with StoreWriter.create(str(path), run.header) as out:
        out.commit(run.window(0, 4))
        assert out.committed == 4
        with monkeypatch.context() as patch:
            patch.setattr(
                local.LocalStorage, "write", lambda *_: (_ for _ in ()).throw(OSError(5, "I/O error"))
            )
            out.commit(run.window(4, 8))
            assert out.committed == 4
        for _ in range(2):
            with pytest.raises(StoreError, match=r"I/O error; 4 examples are safe; continue with --resume"):
                out.commit(run.window(8, 11))
        with pytest.raises(StoreError, match="I/O error"):
            out.finish()
    assert open_store(str(path)).num_examples == 4

"""A damaged store says so in one line, whoever reads it; what of it is whole stays usable."""

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fastneurons
from fastneurons.cli import main
from fastneurons.errors import FastneuronsError, StoreError
from fastneurons.report import summary_json
from fastneurons.store import (
    Store,
    StoreWriter,
    check_output,
    checked,
    growing,
    open_store,
    root,
    schema,
    verify_store,
)
from fastneurons.store.codec import content_size
from fastneurons.store.objects import DamagedError, StoredObject
from tests.store import damage
from tests.store.runs import assert_holds, draw

RUN = draw(23, window=8)
ATTRIBUTED = draw(11, top_k=3, keep_coefficients=True)
CORPUS = draw(11, position="corpus")
BINNED = draw(11, position="corpus", bins=16, counts_signs=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def whole(tmp_path) -> Path:
    RUN.write(tmp_path / "run.zarr")
    return tmp_path / "run.zarr"


@pytest.fixture
def begun(tmp_path) -> Path:
    path = tmp_path / "begun.zarr"
    with StoreWriter.create(str(path), RUN.header) as writer:
        writer.commit(RUN.window(0, 8))
        writer.commit(RUN.window(8, 12))  # as Ctrl-C leaves it
    return path


def refused(act: Callable[[], object], said: str) -> None:
    with pytest.raises(StoreError, match=said) as raised:
        act()
    assert "\n" not in str(raised.value)


# -- objects --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run", [RUN, ATTRIBUTED, CORPUS, BINNED], ids=["sharing", "attribution", "corpus", "histogram"]
)
def test_an_emptied_object_is_damage_and_not_zeros(run, tmp_path):
    path = tmp_path / "run.zarr"
    run.write(path)
    for name in open_store(str(path)):
        for file in sorted((path / name).glob("c.*"))[:1]:
            data = file.read_bytes()
            for damaged in (b"", data[:-1], data + b"x", bytes(len(data))):
                file.write_bytes(damaged)
                store = open_store(str(path))
                assert not verify_store(store).is_whole
                if len(damaged) <= len(data):
                    refused(lambda: store[name][...], rf"^{path}: array {name} is damaged: ")  # noqa: B023
                if len(damaged) != len(data):
                    refused(lambda: fastneurons.open(path), rf"^{path}: array {name} is damaged: .*verify")
            file.write_bytes(data)
    assert verify_store(open_store(str(path))).is_whole
    assert_holds(path, run)


def test_swapped_objects_are_not_taken_for_each_other(tmp_path):
    run = draw(12, neurons=64)
    run.write(tmp_path / "run.zarr")
    one, two = (tmp_path / "run.zarr" / "outcome" / f"c.{n}" for n in (0, 1))
    first, second = one.read_bytes(), two.read_bytes()
    assert len(first) == len(second)
    one.write_bytes(second)
    two.write_bytes(first)
    if first != second:
        refused(lambda: open_store(str(tmp_path / "run.zarr")).measured, "array outcome is damaged")


def test_a_lost_checkpoint_is_not_an_empty_sum(begun):
    lost = list((begun / "occupancy_checkpoint").glob("c.*"))
    for file in lost:
        file.unlink()
    refused(lambda: open_store(str(begun))["occupancy"], "array occupancy")
    refused(
        lambda: StoreWriter.resume(str(begun), RUN.header),
        "array occupancy_checkpoint is damaged: .* is missing",
    )


@pytest.mark.parametrize("left", [None, b"", b"x"], ids=["none", "empty", "short"])
def test_a_lost_list_of_skipped_rows_is_told_on_resume(left, begun):
    (begun / "skipped.jsonl").unlink()
    if left is not None:
        (begun / "skipped.jsonl").write_bytes(left)
    refused(
        lambda: StoreWriter.resume(str(begun), RUN.header), r"skipped.jsonl is damaged: \d+ bytes are missing"
    )


def test_a_broken_object_of_ids_is_told_on_resume(begun):
    file = begun / "example_id" / "c.1"
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 4
    file.write_bytes(data)
    with StoreWriter.resume(str(begun), RUN.header) as writer:
        refused(lambda: list(writer.committed_examples()), "array example_id is damaged: its object c.1")
        refused(lambda: [writer.commit(RUN.window(12, 16)), writer.finish()], "array example_id is damaged")


def test_a_missing_or_changed_manifest_is_told_and_costs_its_window_alone(whole):
    file = whole / "manifest" / "2"
    data = file.read_bytes()
    for damaged in (
        None,
        b"",
        data.replace(b'"first":8', b'"first":9'),
        (whole / "manifest" / "1").read_bytes(),
    ):
        file.unlink(missing_ok=True)
        if damaged is not None:
            file.write_bytes(damaged)
        refused(lambda: fastneurons.open(whole), "its manifest/2 is")
        store = fastneurons.open(whole, check=False)
        np.testing.assert_array_equal(store["activated"][:8], RUN.arrays()["activated"][:8])
        np.testing.assert_array_equal(store["occupancy"][...], RUN.arrays()["occupancy"])
        refused(lambda: store["activated"][8], "examples 8 to 15 cannot be checked, because its manifest/2")  # noqa: B023
        found = verify_store(store)
        assert (found.whole_examples, found.arrays["outcome"], found.arrays["occupancy"]) == (
            [(0, 8), (16, 23)],
            15,
            True,
        )
        refused(lambda: StoreWriter.resume(str(whole), RUN.header), "its manifest/2")
    file.write_bytes(data)
    assert verify_store(fastneurons.open(whole)).is_whole


def test_an_older_root_object_is_not_the_newest_store(begun):
    older = (begun / "zarr.json").read_bytes()
    with StoreWriter.resume(str(begun), RUN.header) as writer:
        for window in RUN.windows(12):
            writer.commit(window)
        assert writer.committed == 23
    newest = (begun / "zarr.json").read_bytes()
    (begun / "zarr.json").write_bytes(older)
    for act in (lambda: open_store(str(begun)), lambda: StoreWriter.resume(str(begun), RUN.header)):
        refused(act, "its zarr.json is damaged: it is older than the manifests")
    (begun / "zarr.json").write_bytes(newest)
    RUN.write(begun, resume=True)
    assert_holds(begun, RUN)


def test_an_older_sum_does_not_stand_for_a_newer_one(begun):
    """Of the two snapshots of a sum, that of the window before is not the one that counts."""
    for file in (begun / "occupancy_checkpoint").glob("c.*"):
        other = file.with_name(f"c.{1 - int(file.name[2])}{file.name[3:]}")
        if file.name < other.name and other.exists():
            data = file.read_bytes()
            file.write_bytes(other.read_bytes())
            other.write_bytes(data)
    refused(lambda: open_store(str(begun))["occupancy"], "array occupancy")
    refused(lambda: RUN.write(begun, resume=True), "array occupancy")


def test_a_reader_of_a_store_that_goes_on_sees_what_it_opened(begun):
    reading = open_store(str(begun))
    expected = {name: array[:12] for name, array in RUN.arrays().items() if name != "occupancy"}
    with StoreWriter.resume(str(begun), RUN.header) as writer:
        for window in RUN.windows(12):
            writer.commit(window)
        writer.finish()
    for name, array in expected.items():
        np.testing.assert_array_equal(reading[name][...], array, err_msg=name)
    refused(lambda: reading["occupancy"], "its run has gone on since it was opened; open it again")


def test_a_store_that_goes_on_while_it_is_opened_is_opened_again(begun, monkeypatch):
    check, times = Store.check, []

    def gone_on(store: Store) -> None:
        times.append(store.num_examples)
        if len(times) == 1:
            RUN.write(begun, resume=True)
            check(store)  # whose checkpoint is no longer there
        check(store)

    monkeypatch.setattr(Store, "check", gone_on)
    with monkeypatch.context() as patch:
        patch.setattr(growing, "Store", type("Unchecked", (Store,), {"check": lambda self: None}))
        assert open_store(str(begun), check=True).num_examples == 23
    assert times == [12, 23]


def test_what_is_read_of_a_shard_is_checked_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "_CHUNK_BYTES", 1)  # an example a chunk
    run = draw(16, window=8)
    run.write(tmp_path / "run.zarr")
    catalogue = open_store(str(tmp_path / "run.zarr"))._catalogue
    assert catalogue is not None
    segments = len(catalogue.objects["activated/c.1.0.0.0.0"].segments) // 16
    assert segments == 9  # eight examples and the index
    file = tmp_path / "run.zarr" / "activated" / "c.1.0.0.0.0"
    data = bytearray(file.read_bytes())
    data[3] ^= 1  # the first example's
    file.write_bytes(data)
    array = open_store(str(tmp_path / "run.zarr"))["activated"]
    np.testing.assert_array_equal(array[9:], run.arrays()["activated"][9:])
    refused(lambda: array[8], "array activated is damaged: its object c.1.0.0.0.0: bytes 0 to")


def test_segments_are_found_wherever_they_are_asked_for():
    data = bytes(range(200)) + b"".join(
        np.array(pair, "<u8").tobytes() for pair in ((120, 80), (0, 100), (2**64 - 1, 2**64 - 1), (100, 20))
    ) + b"crc!"  # fmt: skip
    stored = StoredObject.of(data, 4)
    assert stored.length == len(data) == 268
    assert [stored.cover(*bounds) for bounds in ((0, 1), (99, 100), (99, 101), (110, 115), (119, 268), (200, 268))] == [
        (0, 100), (0, 100), (0, 120), (100, 120), (100, 268), (200, 268),
    ]  # fmt: skip
    for start, end in ((0, 100), (100, 120), (100, 268), (200, 268)):
        stored.check(data[start:end], start)
        with pytest.raises(DamagedError, match="not those written"):
            stored.check(bytes([data[start] ^ 1]) + data[start + 1 : end], start)
    assert stored.is_of(data)
    assert not stored.is_of(data + b"x")
    assert not stored.is_of(data[:-1])


def test_the_commit_mark_does_not_grow_with_windows(tmp_path):
    path = str(tmp_path / "run.zarr")
    sizes = set()
    run = draw(80, window=1)
    with StoreWriter.create(path, run.header) as writer:
        for window in run.windows():
            writer.commit(window)
            if writer.committed >= 10:
                sizes.add(len((tmp_path / "run.zarr" / "zarr.json").read_bytes()))
            assert len(writer._store.catalogue.objects) < 40  # nor does what the writer remembers
    assert max(sizes) - min(sizes) < 40


# -- the root object ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["attributes"]["fastneurons"].update(thresholds=[0.0, 0.25]),
        lambda d: d["attributes"]["fastneurons"].update(languages=["de", "en", "zh"]),
        lambda d: d["attributes"]["fastneurons"].update(layers=[0, 2]),
        lambda d: d["attributes"]["fastneurons"].update(model="other"),
        lambda d: d["attributes"]["fastneurons"].update(format=1),
        lambda d: d["attributes"]["fastneurons"].update(status="running"),
        lambda d: d["attributes"].update(tasks=["rivers"]),
        lambda d: d["attributes"]["commit"].update(occupancy=[1 - d["attributes"]["commit"]["occupancy"][0]]),
        lambda d: d["attributes"]["commit"].update(examples=4_000_000_000),
        lambda d: d["attributes"].pop("manifest"),
        lambda d: d["attributes"].pop("checksum"),
        lambda d: d["attributes"]["manifest"].update(number=1),
        lambda d: d["attributes"]["manifest"].update(number=10**12),
        lambda d: d["consolidated_metadata"]["metadata"]["outcome"].update(fill_value=1),
        lambda d: d["consolidated_metadata"]["metadata"]["outcome"]["codecs"][0].update(name="bypes"),
        lambda d: d["consolidated_metadata"]["metadata"]["outcome"]["chunk_grid"]["configuration"].update(
            chunk_shape=[-1]
        ),
        lambda d: d["consolidated_metadata"].update(metadata=[]),
        lambda d: d["attributes"].update(fastneurons=[]),
        lambda d: d.update(attributes=5),
    ],
)
def test_a_changed_root_object_is_told(change, whole):
    document = json.loads((whole / "zarr.json").read_bytes())
    change(document)
    (whole / "zarr.json").write_text(json.dumps(document))
    refused(lambda: open_store(str(whole)), rf"^{whole}.*( damaged|should be)")
    with pytest.raises(FastneuronsError):
        StoreWriter.resume(str(whole), RUN.header)
    # Also where all of it agrees, as one who means harm would have it.
    if isinstance(document.get("attributes"), dict):
        document["attributes"]["checksum"] = root._checksum(document)
        (whole / "zarr.json").write_text(json.dumps(document))
        try:
            store = open_store(str(whole))
            for name in store:
                store[name][:1]
        except StoreError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"5", b"[]", b"null", b"\xff\xfe", b"[" * 3000, b'{"a":' * 100_000, b"\x00" * 100],
    ids=lambda data: repr(data[:6]),
)  # fmt: skip
def test_a_root_object_that_is_none_is_told(data, whole):
    (whole / "zarr.json").write_bytes(data)
    refused(lambda: open_store(str(whole)), "its zarr.json is damaged")
    for act in (
        lambda: check_output(str(whole), resume=True),
        lambda: StoreWriter.resume(str(whole), RUN.header),
    ):
        with pytest.raises(FastneuronsError):
            act()


def test_attributes_of_others_and_another_order_do_no_harm(whole):
    document = json.loads((whole / "zarr.json").read_bytes())
    document["attributes"]["note"] = "mine"
    (whole / "zarr.json").write_text(json.dumps(document, indent=3, sort_keys=True))
    store = open_store(str(whole))
    np.testing.assert_array_equal(store["activated"][...], RUN.arrays()["activated"])
    assert store.to_xarray().attrs["note"] == "mine"


# -- what is no file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["zarr.json", "skipped.jsonl", "outcome/c.1", "manifest/2"])
@pytest.mark.parametrize("special", ["pipe", "/dev/zero", "folder", "link to itself", "zeros"])
@pytest.mark.timeout(60)
def test_what_is_no_file_is_refused_at_once(special, key, whole):
    path = whole / key
    path.unlink()
    if special == "pipe":
        os.mkfifo(path)
    elif special == "folder":
        path.mkdir()
    elif special == "zeros":
        with path.open("wb") as file:
            file.truncate(2**31)
    else:
        path.symlink_to(path.name if special == "link to itself" else special)
    refused(lambda: [(store := fastneurons.open(whole)), store.skipped(), store.measured], "damaged")
    refused(
        lambda: [StoreWriter.resume(str(whole), RUN.header), open_store(str(whole)).skipped()], "damaged|lock"
    )
    if key != "zarr.json":
        assert not fastneurons.verify(whole).is_whole


def test_a_chunk_that_claims_gigabytes_is_not_decompressed(tmp_path, monkeypatch):
    from numcodecs.zstd import Zstd

    bomb = Zstd(level=1, checksum=True).encode(bytes(2**28))
    assert len(bomb) < 2**17
    assert content_size(bomb) == 2**28
    # A store without manifests, or one whose manifests agree with it: only its metadata says what it holds.
    CORPUS.write(tmp_path / "run.zarr")
    key = next(k.name for k in (tmp_path / "run.zarr" / "activation_count").glob("c.*"))
    (tmp_path / "run.zarr" / "activation_count" / key).write_bytes(bomb)
    monkeypatch.setattr(checked.ObjectStore, "_read_checked", lambda self, key, *_: self.storage.read(key))
    store = open_store(str(tmp_path / "run.zarr"))
    refused(lambda: store["activation_count"][...], f"a chunk is damaged: it claims to hold {2**28} bytes")


# -- stores of the layout before ------------------------------------------------------------------------


def without_manifests(path: Path) -> None:
    """Make of a store what a fastneurons before manifests would have written."""
    document = json.loads((path / "zarr.json").read_bytes())
    document["attributes"]["fastneurons"]["format"] = 1
    del document["attributes"]["manifest"], document["attributes"]["checksum"]
    (path / "zarr.json").write_text(json.dumps(document))
    shutil.rmtree(path / "manifest")


def test_a_store_without_manifests_is_read_as_before(whole):
    without_manifests(whole)
    store = fastneurons.open(whole)
    for name, expected in RUN.arrays().items():
        np.testing.assert_array_equal(store[name][...], expected, err_msg=name)
    assert fastneurons.verify(whole).is_whole
    assert [row.index for row in store.skipped()] == [row["index"] for row in RUN.skipped()]
    (whole / "activated_count" / "c.2.0.0.0").unlink()
    (whole / "occupancy" / "c.0.0.0.0.0").write_bytes(b"\x28\xb5\x2f\xfd")
    refused(lambda: open_store(str(whole))["activated_count"][:], "examples 16 to 22 are missing")
    found = fastneurons.verify(whole)
    assert (found.arrays["activated_count"], found.arrays["occupancy"], found.arrays["task"]) == (
        16,
        False,
        23,
    )
    assert found.whole_examples == [(0, 16)]


@pytest.mark.parametrize(
    "run", [RUN, ATTRIBUTED, CORPUS, BINNED], ids=["sharing", "attribution", "corpus", "histogram"]
)
def test_a_store_without_manifests_is_continued_with_them(run, tmp_path):
    path = tmp_path / "run.zarr"
    kept = {"keep_coefficients": run.keep_coefficients, "constants": run.constants()}
    with StoreWriter.create(str(path), run.header, **kept) as writer:
        for window in run.windows():
            if window.first < 8:
                writer.commit(window)
    without_manifests(path)
    with StoreWriter.resume(str(path), run.header, **kept) as writer:
        assert writer.committed == 8
    assert open_store(str(path), check=True).header.format == schema.FORMAT
    run.write(path, resume=True)
    assert_holds(path, run)
    assert fastneurons.verify(path).is_whole


# -- commands -------------------------------------------------------------------------------------------


def told(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    printed = capsys.readouterr()
    return int(end.value.code or 0), printed.out, printed.err


def test_verify_says_what_is_usable(whole, capsys):
    assert told(capsys, "verify", str(whole))[:2] == (
        0,
        f"{whole}: 23 examples, complete\nread 54 objects, 13,5{fastneurons.verify(whole).bytes % 100:02} bytes\n"
        "intact: everything is as it was written\n",
    )
    (whole / "activated" / "c.1.0.0.0.0").write_bytes(b"")
    status, out, _ = told(capsys, "verify", str(whole))
    assert status == 1
    assert "activated/c.1.0.0.0.0 (examples 8 to 15) is shorter than the" in out
    assert "  activated: 15 of 23 examples\n" in out
    assert out.endswith("examples intact in every array: 0 to 7, 16 to 22\n")
    status, out, _ = told(capsys, "verify", str(whole), "--json")
    found = json.loads(out)
    assert (status, found["whole"], found["whole_examples"]) == (1, False, [[0, 8], [16, 23]])
    assert [(each["array"], each["first"], each["end"]) for each in found["damaged"]] == [
        ("activated", 8, 16)
    ]
    for command in ("summary", "plot"):
        status, _, err = told(capsys, command, str(whole))
        assert status == 1
        assert err.startswith(
            f"fastneurons: {whole}: array activated is damaged: its object c.1.0.0.0.0 (examples 8"
        )
        assert err.count("\n") == 1
    (whole / "zarr.json").write_bytes(b"{")
    status, _, err = told(capsys, "verify", str(whole))
    assert (status, err.count("\n")) == (1, 1)


# -- at random ------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_damage_at_random_is_noticed_and_told(tmp_path):
    memory = Path("/dev/shm")
    folder = memory / tmp_path.name if memory.is_dir() else tmp_path / "sweep"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        found = damage.sweep(28, seed=0, folder=folder, seconds=120)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert found.done >= 14
    assert found.failures == []


def test_the_sweep_sees_what_is_not_checked(monkeypatch):
    """It must not call a store right whose objects are not held against anything."""
    expected = {"array outcome": "uint8(23,)abc", "header": "x", "verify": "True"}
    assert damage._judge(expected, expected | {"verify": "False"}, "emptied") == "noticed"
    assert damage._judge(expected, expected | {"resume": "right"}, "emptied") == "harmless"
    assert damage._judge(expected, expected | {"array outcome": "uint8(23,)abd"}, "emptied").startswith(
        "silent: array"
    )
    assert damage._judge(expected, expected | {"header": "traceback: x"}, "signed").startswith(
        "traceback: header"
    )
    assert damage._judge(expected, expected | {"header": "refused: x"}, "emptied").startswith(
        "silent: verify"
    )
    assert damage._judge(expected, {"process": "hang: x"}, "emptied").startswith("hang")
    assert damage._judge(expected, expected | {"resume": "silent: occupancy"}, "older").startswith(
        "silent: resume"
    )


def test_readers_give_no_warnings(whole):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary_json(fastneurons.open(whole))
        fastneurons.verify(whole)

"""What is written is what is read, by us, by zarr and by xarray."""

import subprocess
import sys
import warnings
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zarr

from fastneurons.arrays import FOLDS
from fastneurons.errors import InputError, StoreError
from fastneurons.store import FORMAT, StoreWriter, check_output, open_store, schema
from tests.store.runs import assert_holds, draw, header, raw_arrays

RUN = draw(23)
ATTRIBUTED = draw(11, top_k=3, keep_coefficients=True)
CORPUS = draw(11, position="corpus")
BINNED = draw(11, position="corpus", bins=16, counts_signs=True, tokens_per_language=100)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("store") / "run.zarr"
    RUN.write(path)
    return str(path)


def edit_root(path: Path | str, change) -> None:
    file = Path(path) / "zarr.json"
    root = msgspec.json.decode(file.read_bytes())
    change(root)
    file.write_bytes(msgspec.json.encode(root))


def test_every_array_is_what_numpy_makes_of_the_bits(path):
    assert_holds(path, RUN)


def test_a_small_store_by_hand(tmp_path):
    # One layer of nine neurons, two languages, one example: neurons 0 and 8 fire in both, 1 in one.
    run = draw(1, languages=["en", "de"], layers=[7], neurons=9, thresholds=[0.0])
    run.activation[:] = -1.0
    run.activation[0, :, 0, [0, 8]] = 1.0
    run.activation[0, 0, 0, 1] = 1.0
    run.write(tmp_path / "run.zarr")
    store = open_store(str(tmp_path / "run.zarr"))
    assert store["activated"][0, 0].tolist() == [[[0b0000_0011, 1]], [[0b0000_0001, 1]]]
    assert store["activated_count"][0, 0].tolist() == [[3], [2]]
    assert store["category_count"][0, 0].tolist() == [[6, 1, 0, 2]]
    assert store["occupancy"][0, 0, 0, [0, 1, 2, 8]].tolist() == [
        [0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1],
    ]  # fmt: skip


@pytest.mark.parametrize("run", [ATTRIBUTED, CORPUS, BINNED], ids=["attribution", "corpus", "histogram"])
def test_attribution_and_a_corpus_are_what_numpy_makes_of_them(run, tmp_path):
    xarray = pytest.importorskip("xarray")
    path = str(tmp_path / "run.zarr")
    run.write(path)
    assert_holds(path, run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = xarray.open_zarr(path)
        for name, expected in run.arrays().items():
            np.testing.assert_array_equal(data[name].values, expected, err_msg=name)
        assert data.identical(open_store(path).to_xarray())


def test_attribution_is_labelled_and_has_no_values_where_there_are_none(tmp_path):
    xarray = pytest.importorskip("xarray")
    ATTRIBUTED.write(tmp_path / "run.zarr")
    data = xarray.open_zarr(tmp_path / "run.zarr")
    assert data.contribution_share.dims == ("example", "language", "layer", "category")
    assert data.coefficient.dims == ("example", "language", "layer", "neuron")
    assert data.coefficient.dtype == np.float16
    shares = data.contribution_share
    np.testing.assert_allclose(shares.sum("category", skipna=False).values[ATTRIBUTED.measured], 1, rtol=1e-6)
    assert shares.isel(example=1).isnull().all()  # skipped
    assert data.effective_max.sel(language="de", example=3).isnull().all()  # no answer
    assert data.effective_max.sel(language="en", example=3).notnull().any()


def test_counts_of_a_corpus_are_counts_of_its_tokens(tmp_path):
    CORPUS.write(tmp_path / "run.zarr")
    store = open_store(str(tmp_path / "run.zarr"))
    assert set(store) == {
        "example_id", "digest", "task", "outcome", "token_count", "present", "activation_count", "corpus_tokens",
        "fold_activation_count", "fold_tokens",
    }  # fmt: skip
    assert store["corpus_tokens"][...].tolist() == store["token_count"][...].sum(0).tolist()
    assert (store["activation_count"][...] <= store["corpus_tokens"][...][:, None, None]).all()
    assert not store.has_bits
    with pytest.raises(InputError, match="counts tokens, not examples"):
        store.activated_bits(slice(0, 1))


def test_folds_of_a_corpus_add_up_to_it_and_are_those_of_its_windows(tmp_path):
    run = draw(37, position="corpus", window=2)  # 19 windows, of which the last is half one
    run.write(tmp_path / "run.zarr")
    store = open_store(str(tmp_path / "run.zarr"))
    for name, whole in (("fold_tokens", "corpus_tokens"), ("fold_activation_count", "activation_count")):
        assert np.array_equal(store[name][...].sum(0), store[whole][...])
    third = [index for index in range(37) if index // 2 % FOLDS == 2]
    assert store["fold_tokens"][2].tolist() == run.token_count[third].sum(0).tolist()
    assert np.array_equal(store["fold_activation_count"][2], run.counts()[third].sum(0))


def test_a_run_may_count_no_folds(tmp_path):
    path = str(tmp_path / "run.zarr")
    with StoreWriter.create(path, CORPUS.header, keep_folds=False) as writer:
        writer.commit(CORPUS.window(0, 4))
    with StoreWriter.resume(
        path, CORPUS.header
    ) as writer:  # goes on without, as with a store of an earlier version
        for window in CORPUS.windows(4):
            writer.commit(window)
        writer.finish()
    store = open_store(path)
    assert "fold_tokens" not in store and "fold_activation_count" not in store
    assert np.array_equal(store["activation_count"][...], CORPUS.arrays()["activation_count"])

    with StoreWriter.create(path, CORPUS.header, overwrite=True) as writer:
        writer.commit(CORPUS.window(0, 4))
    with pytest.raises(StoreError, match="has counts by folds, unlike this run; pass --keep-folds"):
        StoreWriter.resume(path, CORPUS.header, keep_folds=False)


def test_a_corpus_counts_past_what_32_bits_hold(tmp_path):
    run = draw(8, position="corpus", languages=["en"], thresholds=[0.0])
    with StoreWriter.create(str(tmp_path / "run.zarr"), run.header) as writer:
        for window in run.windows():
            window.arrays["activation_count"][:] = window.arrays["corpus_tokens"][:] = 2**31
            writer.commit(window)
        writer.finish()
    store = open_store(str(tmp_path / "run.zarr"))
    assert store["corpus_tokens"][...].tolist() == [2**32]
    assert (store["activation_count"][...] == 2**32).all()


def test_xarray_gives_labelled_dimensions_and_no_warning(path):
    xarray = pytest.importorskip("xarray")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = xarray.open_zarr(path)
        assert dict(data.sizes) == {
            "example": 23, "threshold": 2, "language": 3, "layer": 2, "byte": 2, "neuron": 13,
            "category": 4, "task": 1,
        }  # fmt: skip
        shared = data.category_count.sel(category="all-shared", threshold=0.5, layer=1).values
        assert data.activated_count.sel(language="de").dims == ("example", "threshold", "layer")
        same = open_store(path).to_xarray()
    assert shared.tolist() == RUN.arrays()["category_count"][:, 1, 1, 3].tolist()
    assert data.identical(same)
    assert data.attrs["tasks"] == ["capitals"]
    assert data.attrs["fastneurons"]["model"] == "Qwen/Qwen3-8B"


@pytest.mark.parametrize("run", [RUN, ATTRIBUTED, CORPUS], ids=["sharing", "attribution", "corpus"])
def test_an_incomplete_store_shows_what_is_committed_and_no_more(run, tmp_path):
    xarray = pytest.importorskip("xarray")
    path = str(tmp_path / "run.zarr")
    with StoreWriter.create(
        path, run.header, keep_coefficients=run.keep_coefficients, constants=run.constants()
    ) as writer:
        empty = open_store(path)
        assert empty.num_examples == 0
        sums = ["activation_count", "corpus_tokens"] if run is CORPUS else ["occupancy"]
        assert [empty[name][...].sum() for name in sums] == [0] * len(sums)
        writer.commit(run.window(0, 4))
        writer.commit(run.window(4, 6))
        assert writer.committed == 6
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = xarray.open_zarr(path)
            store = open_store(path)
        assert data.sizes["example"] == 6
        assert not store.is_complete
        assert "NOT COMPLETE" in repr(store)
        for name, expected in run.arrays(slice(0, 6)).items():
            np.testing.assert_array_equal(store[name][...], expected, err_msg=name)
        assert [row.index for row in store.skipped()] == [1]


def test_objects_are_windows_and_chunks_are_small(tmp_path):
    of = header(languages=["en"] * 10, layers=list(range(32)), neurons=14336, thresholds=[0.0], window=256)
    specs = {spec.name: spec.within(of) for spec in schema.ARRAYS}
    assert specs["activated"].shards(of) == (256, 1, 10, 32, 1792)
    assert specs["activated"].chunks(of) == (1, 1, 10, 32, 1792)  # 560 KiB: one example
    assert specs["category_count"].chunks(of) == (256, 1, 32, 4)
    assert specs["occupancy"].chunks(of) == (1, 1, 4, 14336, 4)
    # A window of these would be 2.4 GB: an object holds 28 examples at most, of a number that divides it.
    assert specs["coefficient"].shards(of) == (16, 10, 32, 14336)
    assert specs["coefficient"].chunks(of) == (1, 10, 32, 14336)
    assert specs["contribution_share"].shards(of) == (256, 10, 32, 4)
    # While a run goes on, a language's counts can be written without the others'.
    assert specs["activation_count"].chunks(of) == (1, 1, 8, 14336)
    assert specs["activation_count"].checkpoint.chunks(of) == (1, 1, 1, 8, 14336)
    assert specs["fold_activation_count"].chunks(of) == (1, 1, 1, 8, 14336)
    assert specs["corpus_tokens"].chunks(of) == (10,)
    assert specs["corpus_tokens"].checkpoint.chunks(of) == (1, 1)
    for spec in specs.values():
        shards = spec.shards(of)
        assert shards is None or all(s % c == 0 for s, c in zip(shards, spec.chunks(of), strict=True))


@pytest.mark.parametrize("window", [1, 7, 23, 256])
def test_any_window_holds_the_same(window, tmp_path):
    run = draw(23, window=window)
    run.write(tmp_path / "run.zarr")
    assert_holds(tmp_path / "run.zarr", run)


def test_arrays_grow_and_are_trimmed(tmp_path, monkeypatch):
    monkeypatch.setattr("fastneurons.store.filling._FIRST_WINDOWS", 2)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    run = draw(65)
    path = str(tmp_path / "run.zarr")
    rooms = []
    with StoreWriter.create(path, run.header) as writer:
        for window in run.windows():
            writer.commit(window)
            assert writer.committed == window.first + len(window)
            rooms.append(zarr.open_array(path, path="outcome", mode="r").shape[0])
        writer.finish()
    assert sorted(set(rooms)) == [8, 16, 32, 64, 128]
    assert_holds(path, run)


def test_a_run_without_examples(tmp_path):
    run = draw(0)
    run.write(tmp_path / "run.zarr")
    store = open_store(str(tmp_path / "run.zarr"))
    assert (store.is_complete, store.num_examples, len(store.measured)) == (True, 0, 0)
    assert_holds(tmp_path / "run.zarr", run)


def test_without_bits_all_else_is_the_same(tmp_path):
    RUN.write(tmp_path / "run.zarr", keep_bits=False)
    assert_holds(tmp_path / "run.zarr", RUN, keep_bits=False)
    store = open_store(str(tmp_path / "run.zarr"))
    assert not store.has_bits
    with pytest.raises(InputError, match="--no-keep-bits"):
        store.activated_bits(slice(0, 2))
    with pytest.raises(KeyError, match="has no array 'activated'"):
        store["activated"]


def test_a_url_is_as_good_as_a_path(tmp_path):
    url = f"memory://{tmp_path.name}/run.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with StoreWriter.create(url, RUN.header) as writer:
            writer.commit(RUN.window(0, 4))
            writer.commit(RUN.window(4, 8))
        assert open_store(url).num_examples == 8
        RUN.write(url, resume=True)
        store = open_store(url)
    assert store.is_complete
    for name, expected in RUN.arrays().items():
        np.testing.assert_array_equal(store[name][...], expected, err_msg=name)
    assert [row.index for row in store.skipped()] == [s["index"] for s in RUN.skipped()]
    with pytest.raises(InputError, match="--overwrite"):
        check_output(url)
    with pytest.raises(InputError, match="nosuch"):
        open_store("nosuch://bucket/run.zarr")
    file_url = f"file://{tmp_path}/run.zarr"
    RUN.write(file_url)
    assert_holds(tmp_path / "run.zarr", RUN)


def test_bits_come_unpacked(path):
    store = open_store(path)
    bits = store.activated_bits(slice(2, 9), ["zh", "en"], 0.5)
    np.testing.assert_array_equal(bits, RUN.bits[2:9, 1][:, [2, 0]])
    assert bits.dtype == np.bool_
    with pytest.raises(InputError, match=r"no language fr; it has en, de, zh"):
        store.activated_bits(slice(0, 1), ["fr"])
    with pytest.raises(InputError, match=r"no threshold 0.25; it has 0, 0.5"):
        store.threshold_index(0.25)


def test_arrays_read_as_numpy_arrays_do(path):
    store, expected = open_store(path), RUN.arrays()["activated_count"]
    array = store["activated_count"]
    assert (array.shape, len(array), array.dims[0]) == (expected.shape, 23, "example")
    for selection in (0, -1, slice(3, 17), (slice(None), 1), (..., 0), slice(30, 40), np.int64(5)):
        np.testing.assert_array_equal(array[selection], expected[selection])
    np.testing.assert_array_equal(np.asarray(array), expected)
    with pytest.raises(IndexError):
        array[23]
    assert store.measured.tolist() == RUN.measured.tolist()


def test_windows_cover_all_examples_once(path, monkeypatch):
    store = open_store(path)
    for block_bytes in (1, 100, 2**26):
        monkeypatch.setattr("fastneurons.store.reader._BLOCK_BYTES", block_bytes)
        blocks = list(store.windows("example_id", "activated_count"))
        assert [first for first, _ in blocks] == np.cumsum([0, *(len(b["example_id"]) for _, b in blocks)])[
            :-1
        ].tolist()
        joined = np.concatenate([block["activated_count"] for _, block in blocks])
        np.testing.assert_array_equal(joined, RUN.arrays()["activated_count"])


def test_importing_is_quick_and_loads_no_engine():
    code = (
        "import sys, fastneurons.store; print([m for m in ('torch', 'vllm', 'xarray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- what is in the way ---------------------------------------------------------------------------------


def test_a_store_is_neither_written_over_nor_continued_unasked(path):
    for act in (lambda: check_output(path), lambda: StoreWriter.create(path, RUN.header)):
        with pytest.raises(InputError, match=r"exists; pass --resume .* --overwrite .* or another --out"):
            act()
    assert_holds(path, RUN)


def test_overwrite_replaces_a_store_and_nothing_else(tmp_path):
    path = tmp_path / "run.zarr"
    RUN.write(path)
    (path / "notes.txt").write_text("mine")
    other = draw(5, seed=1, languages=["en", "fr"])
    with StoreWriter.create(str(path), other.header, keep_bits=False, overwrite=True) as writer:
        for window in other.windows(keep_bits=False):
            writer.commit(window)
        writer.finish()
    assert_holds(path, other, keep_bits=False)
    assert (path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("what", ["folder", "zarr group", "file"])
def test_what_is_no_store_is_left_alone(what, tmp_path):
    path = tmp_path / "out"
    if what == "file":
        path.write_text("thesis")
    elif what == "folder":
        path.mkdir()
        (path / "thesis.txt").write_text("years of work")
    else:
        zarr.create_group(path, attributes={"other": 1})
    before = sorted(tmp_path.rglob("*"))
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(InputError, match=r"is a file|is not a fastneurons store"):
            check_output(str(path), **how)
    with pytest.raises(InputError):
        StoreWriter.create(str(path), RUN.header, overwrite=True)
    with pytest.raises(InputError):
        StoreWriter.resume(str(path), RUN.header)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_place_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file is a file; pass another --out"):
        check_output(str(tmp_path / "file" / "run.zarr"))


def test_an_empty_folder_and_one_that_is_not_there_are_fine(tmp_path):
    check_output(str(tmp_path))
    check_output(str(tmp_path / "a" / "b.zarr"), resume=True)
    assert not (tmp_path / "a").exists()
    RUN.write(tmp_path / "a" / "b.zarr", resume=True)
    assert_holds(tmp_path / "a" / "b.zarr", RUN)


# -- continuing -----------------------------------------------------------------------------------------


def test_a_complete_store_is_left_as_it_is(tmp_path):
    path = tmp_path / "run.zarr"
    RUN.write(path)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    with StoreWriter.resume(str(path), RUN.header) as writer:
        assert (writer.is_complete, writer.committed) == (True, 23)
        writer.finish()
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"model": "Qwen/Qwen3-4B"},
            "holds Qwen/Qwen3-8B, this run is Qwen/Qwen3-4B; pass another --out, or --overwrite instead of --resume",
        ),
        (
            {"languages": ["en", "de"]},
            "has languages en,de,zh, this run has en,de; pass --languages en,de,zh, or",
        ),
        (
            {"thresholds": [0.0]},
            "has thresholds 0.0,0.5, this run has 0.0; pass --threshold 0 --threshold 0.5, or",
        ),
        ({"window": 8}, "has window 4, this run has 8; pass --window 4, or another --out"),
        ({"dtype": "bfloat16"}, "has dtype float32, this run has bfloat16; pass --dtype float32, or another"),
        (
            {"source": "other.jsonl"},
            "has source facts.jsonl, this run has other.jsonl; pass --data facts.jsonl",
        ),
        ({"revision": "abc"}, "has revision None, this run has abc; pass another --out"),
        ({"position": "any"}, "has position last, this run has any; pass --position last, or another --out"),
        (
            {"signal": "product"},
            "has signal gate, this run has product; pass --signal gate, or another --out",
        ),
        ({"top_k": 5}, "has no attribution, this run has attribution with top k 5; pass another --out"),
        ({"layers": [0, 1, 2]}, "has layers 0,1, this run has 0,1,2; pass another --out"),
        (
            {"tasks": ["capitals", "more"]},
            "has tasks capitals, this run has capitals,more; pass another --out",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_only_the_same_run_is_continued(changed, said, path):
    with pytest.raises(StoreError) as raised:
        StoreWriter.resume(path, msgspec.structs.replace(RUN.header, **changed))
    assert f"{path} {said}" in str(raised.value)


def test_bits_are_kept_throughout_or_not_at_all(path, tmp_path):
    with pytest.raises(StoreError, match=r"has bits of its neurons, unlike this run; pass --keep-bits"):
        StoreWriter.resume(path, RUN.header, keep_bits=False)
    RUN.write(tmp_path / "run.zarr", keep_bits=False)
    with pytest.raises(StoreError, match=r"has no bits of its neurons.*pass --no-keep-bits"):
        StoreWriter.resume(str(tmp_path / "run.zarr"), RUN.header)


def test_coefficients_are_kept_throughout_or_not_at_all(tmp_path):
    kept, plain = tmp_path / "kept.zarr", tmp_path / "plain.zarr"
    ATTRIBUTED.write(kept)
    with pytest.raises(StoreError, match=r"has coefficients of its neurons.*pass --keep-coefficients, or"):
        StoreWriter.resume(str(kept), ATTRIBUTED.header)
    StoreWriter.create(str(plain), ATTRIBUTED.header).close()
    with pytest.raises(
        StoreError, match=r"has no coefficients of its neurons.*; drop --keep-coefficients, or"
    ):
        StoreWriter.resume(str(plain), ATTRIBUTED.header, keep_coefficients=True)
    with pytest.raises(
        StoreError,
        match=r"has attribution with top k 3, this run has no attribution; pass --attribution --top-k 3",
    ):
        StoreWriter.resume(str(kept), RUN.header)


def test_what_a_run_has_not_need_not_be_asked_for(tmp_path):
    path = str(tmp_path / "run.zarr")
    CORPUS.write(path)  # with bits, by default
    StoreWriter.resume(path, CORPUS.header, keep_bits=False, keep_coefficients=True).close()


def test_the_commit_mark_names_the_sums_that_there_are(tmp_path):
    path = str(tmp_path / "run.zarr")
    with StoreWriter.create(path, RUN.header) as writer:
        writer.commit(RUN.window(0, 4))
    commit = zarr.open_group(path, mode="r").attrs["commit"]
    assert commit.keys() == {"examples", "skipped_bytes", "occupancy", "writer"}
    CORPUS.write(tmp_path / "corpus.zarr")
    commit = zarr.open_group(tmp_path / "corpus.zarr", mode="r").attrs["commit"]
    sums = {"activation_count", "corpus_tokens", "fold_activation_count", "fold_tokens"}
    assert commit.keys() == {"examples", "skipped_bytes", "writer", *sums}


def test_what_does_not_matter_may_differ(tmp_path):
    path = str(tmp_path / "run.zarr")
    with StoreWriter.create(path, RUN.header) as writer:
        writer.commit(RUN.window(0, 4))
    later = msgspec.structs.replace(
        RUN.header, created="2026-01-01", version="0.2.0", config={"max_num_seqs": 8}
    )
    StoreWriter.resume(path, later).close()
    assert open_store(path).header.created == RUN.header.created


def test_a_second_writer_is_kept_away_and_told_of_the_first(tmp_path):
    path = str(tmp_path / "run.zarr")
    with StoreWriter.create(path, RUN.header) as writer:
        writer.commit(RUN.window(0, 4))
        for act in (
            lambda: StoreWriter.resume(path, RUN.header),
            lambda: StoreWriter.create(path, RUN.header, overwrite=True),
            lambda: check_output(path, resume=True),
        ):
            with pytest.raises(StoreError, match=r"written by another run \(host .+, process \d+, since 20"):
                act()
        for window in RUN.windows(4):
            writer.commit(window)
        writer.finish()
    assert_holds(path, RUN)


def test_where_nothing_locks_the_first_writer_stops_when_a_second_has_begun(tmp_path):
    url = f"memory://{tmp_path.name}/two.zarr"
    with StoreWriter.create(url, RUN.header) as first:
        first.commit(RUN.window(0, 4))
        assert first.committed == 4
        with StoreWriter.resume(url, RUN.header) as second:
            first.commit(RUN.window(4, 8))
            with pytest.raises(
                StoreError, match=r"taken over by another run \(host .+, process \d+, since 20"
            ):
                first.finish()
            for window in RUN.windows(4):
                second.commit(window)
            second.finish()
    store = open_store(url)
    assert store.is_complete
    assert (store["occupancy"][...] == RUN.arrays()["occupancy"]).all()


# -- damage ---------------------------------------------------------------------------------------------


def test_what_cannot_be_opened_says_why(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere.zarr: does not exist"):
        open_store(str(tmp_path / "nowhere.zarr"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    zarr.create_group(tmp_path / "group")
    for name in ("folder", "group"):
        with pytest.raises(StoreError, match=f"{name} is not a fastneurons store"):
            open_store(str(tmp_path / name))


@pytest.fixture
def damaged(tmp_path):
    path = tmp_path / "run.zarr"
    RUN.write(path)
    return path


def test_a_newer_format_is_told(damaged):
    edit_root(
        damaged, lambda root: root["attributes"]["fastneurons"].update(format=FORMAT + 1, version="9.0")
    )
    with pytest.raises(
        StoreError, match=f"has store format {FORMAT + 1}, written by fastneurons 9.0.*upgrade"
    ):
        open_store(str(damaged))


def test_damaged_metadata_is_told(damaged):
    edit_root(damaged, lambda root: root["consolidated_metadata"]["metadata"].pop("outcome"))
    with pytest.raises(StoreError, match="array outcome is missing"):
        open_store(str(damaged))
    edit_root(damaged, lambda root: root["attributes"]["fastneurons"].pop("languages"))
    with pytest.raises(StoreError, match=r"zarr.json is damaged: .*languages"):
        open_store(str(damaged))


def test_a_missing_object_is_damage_and_not_zeros(damaged):
    (damaged / "activated_count" / "c.2.0.0.0").unlink()
    array = open_store(str(damaged))["activated_count"]
    assert array[:8].any()
    for rows in (8, slice(7, 9), slice(None)):
        with pytest.raises(
            StoreError, match="array activated_count is damaged: examples 8 to 11 are missing"
        ):
            array[rows]


def test_a_missing_object_of_a_sum_is_damage_and_not_zeros(tmp_path):
    CORPUS.write(tmp_path / "run.zarr")
    (tmp_path / "run.zarr" / "activation_count" / "c.0.0.0.0").unlink()
    store = open_store(str(tmp_path / "run.zarr"))
    with pytest.raises(StoreError, match="activation_count is damaged: 1 of its objects are missing"):
        store["activation_count"][0, 0]
    assert store["corpus_tokens"][...].all()


def test_a_broken_object_is_told_with_its_array(damaged):
    file = damaged / "activated" / "c.0.0.0.0.0"
    data = bytearray(file.read_bytes())
    data[20] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(StoreError, match="array activated is damaged"):
        open_store(str(damaged))["activated"][0]
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(StoreError, match="array activated is damaged"):
        open_store(str(damaged))["activated"][0]


def test_a_broken_list_of_skipped_rows_is_told(damaged):
    (damaged / "skipped.jsonl").write_text("")
    with pytest.raises(StoreError, match=r"skipped.jsonl is damaged: \d+ bytes are missing"):
        open_store(str(damaged)).skipped()


def test_raw_arrays_of_every_task(tmp_path):
    run = draw(40, tasks=["capitals", "currencies", "languages"])
    run.write(tmp_path / "run.zarr")
    occupancy = raw_arrays(tmp_path / "run.zarr")["occupancy"]
    np.testing.assert_array_equal(occupancy, run.arrays()["occupancy"])
    assert occupancy.sum() == run.measured.sum() * 2 * 2 * 13

"""Merged stores hold what a single run's store holds, whatever the shares; what does not fit together is named."""

import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fastneurons.errors import InputError, StoreError
from fastneurons.shards import Shard
from fastneurons.store import merge_stores, merging, open_store, schema, verify_store
from tests.store.edited import draw_edited
from tests.store.runs import assert_holds, draw, raw_arrays
from tests.store.shares import consecutive, shard

RUNS = {
    "bits": draw(23, keep_prompts=True),
    "two tasks": draw(26, tasks=["one", "two"]),
    "attribution": draw(27, top_k=3, keep_coefficients=True),
    "corpus": draw(23, position="corpus"),
    "any": draw(24, position="any"),
}


@pytest.fixture
def tmp_path(tmp_path):
    """In memory: these tests write hundreds of small files."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture(params=RUNS, ids=str)
def run(request):
    return RUNS[request.param]


def shards(folder: Path, run, count: int, **changed) -> list[str]:
    return [shard(folder / f"{k}.zarr", run, k, count, **changed) for k in range(1, count + 1)]


def assert_same_store(found: Path | str, single: Path | str, same_folds: bool = True) -> None:
    """All arrays as a single run's store has them, the same skipped examples, and nothing damaged.

    Args:
        same_folds: Whether windows of the parts are windows of the whole; otherwise only all folds together agree.
    """
    one, other = open_store(str(found), check=True), open_store(str(single))
    found_arrays, expected = raw_arrays(found), raw_arrays(single)
    assert found_arrays.keys() == expected.keys()
    for name, values in expected.items():
        if name.startswith("fold_") and not same_folds:
            found_arrays[name], values = found_arrays[name].sum(0), values.sum(0)
        if values.dtype == np.float64 and name == "neuron_contribution":
            # A sum of the same numbers in another order.
            np.testing.assert_allclose(found_arrays[name], values, rtol=1e-14, err_msg=name)
        else:
            np.testing.assert_array_equal(found_arrays[name], values, err_msg=name)
        assert found_arrays[name].dtype == values.dtype
    assert one.skipped() == other.skipped()
    assert verify_store(one).is_whole
    free = {"config": {}, "created": "", "source": ""}
    assert msgspec.structs.replace(one.header, **free) == msgspec.structs.replace(other.header, **free)


@pytest.mark.parametrize("count", [2, 7])
def test_shards_are_merged_to_the_store_of_one_run(run, count, tmp_path):
    parts = shards(tmp_path, run, count)  # of 7 shards, the last is empty: there are 6 or 7 windows
    merge_stores(parts[::-1], str(tmp_path / "merged.zarr"))
    run.write(tmp_path / "single.zarr")
    assert_same_store(tmp_path / "merged.zarr", tmp_path / "single.zarr")


@pytest.mark.parametrize("kind", ["deactivate", "generate", "perplexity"])
def test_stores_of_other_kinds_are_merged(kind, tmp_path):
    run = draw_edited(kind, 23, keep_prompts=True)
    merge_stores(shards(tmp_path, run, 2), str(tmp_path / "merged.zarr"))
    run.write(tmp_path / "single.zarr")
    assert_same_store(tmp_path / "merged.zarr", tmp_path / "single.zarr")


def test_shards_without_bits_are_merged(tmp_path):
    run = RUNS["bits"]
    parts = shards(tmp_path, run, 3, keep_bits=False)
    merge_stores(parts, str(tmp_path / "merged.zarr"))
    assert_holds(tmp_path / "merged.zarr", run, keep_bits=False)


def test_whole_stores_of_any_length_follow_one_another(run, tmp_path):
    cuts = [0, 5, 5, 13, 16, len(run.activation)]  # an empty one, and windows that lie across several
    parts = [
        consecutive(tmp_path / f"{k}.zarr", run, first, end, source=f"part{k}")
        for k, (first, end) in enumerate(pairwise(cuts))
    ]
    store = merge_stores(parts, str(tmp_path / "merged.zarr"))
    run.write(tmp_path / "single.zarr")
    assert_same_store(tmp_path / "merged.zarr", tmp_path / "single.zarr", same_folds=False)
    assert store.header.source == "part0 + part1 + part2 + part3 + part4"
    assert store.header.config["merged_from"] == parts


def test_stores_of_no_examples_are_merged(tmp_path):
    run = draw(0)
    store = merge_stores(shards(tmp_path, run, 2), str(tmp_path / "merged.zarr"))
    assert store.num_examples == 0 and store.is_complete


def test_windows_that_are_alike_are_copied_byte_for_byte(tmp_path):
    run = RUNS["bits"]
    parts = shards(tmp_path, run, 3)
    merge_stores(parts, str(tmp_path / "merged.zarr"))
    for window in range(6):
        part = Path(parts[window % 3])
        for array in ("activated/c.{}.0.0.0.0", "example_id/c.{}", "prompt/c.{}.0"):
            copied = (tmp_path / "merged.zarr" / array.format(window)).read_bytes()
            assert copied == (part / array.format(window // 3)).read_bytes()


def test_windows_of_several_objects_are_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "_CHUNK_BYTES", 30)  # of the bits, a chunk holds one example
    monkeypatch.setattr(schema, "_OBJECT_BYTES", 60)  # and an object two, half a window
    run = draw(23)
    parts = shards(tmp_path, run, 3)
    assert len(list((Path(parts[0]) / "activated").glob("c.*"))) == 4
    merge_stores(parts, str(tmp_path / "merged.zarr"))
    assert_holds(tmp_path / "merged.zarr", run)


def test_parts_that_are_laid_out_differently_are_written_anew(tmp_path, monkeypatch):
    run = RUNS["bits"]
    with monkeypatch.context() as patched:
        patched.setattr(schema, "_CHUNK_BYTES", 300)
        one = shard(tmp_path / "1.zarr", run, 1, 2)
    merge_stores([one, shard(tmp_path / "2.zarr", run, 2, 2)], str(tmp_path / "merged.zarr"))
    assert_holds(tmp_path / "merged.zarr", run)


def test_a_merged_store_is_continued_like_that_of_one_run(tmp_path):
    run = draw(31)
    short = type(run)(run.header, run.activation[:18])
    merge_stores(shards(tmp_path, short, 2), str(tmp_path / "merged.zarr"))
    run.write(tmp_path / "merged.zarr", resume=True)
    assert_holds(tmp_path / "merged.zarr", run)


def test_a_merge_onto_memory_is_the_same(tmp_path):
    run, url = RUNS["bits"], f"memory://{tmp_path.name}/merged.zarr"
    merge_stores(shards(tmp_path, run, 2), url)
    assert_holds(url, run)


# -- what does not fit ---------------------------------------------------------------------------------------


def test_a_missing_shard_is_named_with_its_examples(tmp_path):
    parts = shards(tmp_path, RUNS["bits"], 4)
    with pytest.raises(
        InputError, match=r"missing shard 3/4: without 3/4, examples 8 to 11 and all 4 after every 12"
    ):
        merge_stores([parts[0], parts[1], parts[3]], str(tmp_path / "out.zarr"))
    with pytest.raises(InputError, match=r"missing shards 2/4, 3/4: without 2/4, examples 4 to 7"):
        merge_stores([parts[0], parts[3]], str(tmp_path / "out.zarr"))
    assert not (tmp_path / "out.zarr").exists()


def test_a_shard_that_is_there_twice_or_of_another_division_is_named(tmp_path):
    run = RUNS["bits"]
    one, two = shards(tmp_path, run, 2)
    again = shard(tmp_path / "again.zarr", run, 2, 2)
    with pytest.raises(InputError, match=r"2.zarr and .*again.zarr are both shard 2/2"):
        merge_stores([one, two, again], str(tmp_path / "out.zarr"))
    third = shard(tmp_path / "third.zarr", run, 3, 3)
    with pytest.raises(InputError, match=r"1.zarr is shard 1/2, and .*third.zarr is shard 3/3"):
        merge_stores([one, third], str(tmp_path / "out.zarr"))
    whole = consecutive(tmp_path / "whole.zarr", run, 0, 8)
    with pytest.raises(InputError, match=r"1.zarr is shard 1/2 of a run and .*whole.zarr is no shard"):
        merge_stores([whole, one], str(tmp_path / "out.zarr"))
    with pytest.raises(InputError, match="a store is named twice"):
        merge_stores([one, f"{one}/../1.zarr"], str(tmp_path / "out.zarr"))
    with pytest.raises(InputError, match=r"2.zarr is one of the stores to merge"):
        merge_stores([one, two], two)


def test_a_shard_that_ends_too_early_is_named_with_what_it_lacks(tmp_path):
    run = draw(40)
    short = type(run)(run.header, run.activation[:18])  # of shard 2/2 windows 1 and 3; it lacks 5, 7 and 9
    parts = [shard(tmp_path / "1.zarr", run, 1, 2), shard(tmp_path / "2.zarr", short, 2, 2)]
    with pytest.raises(
        InputError,
        match=r"2.zarr \(shard 2/2\) has 8 examples and should have 16: examples 20 to 23 \(window 5\) and others "
        r"are missing, and .*1.zarr goes past them",
    ):
        merge_stores(parts, str(tmp_path / "out.zarr"))


def test_examples_in_two_parts_are_named(tmp_path):
    run = RUNS["bits"]
    parts = [consecutive(tmp_path / "a.zarr", run, 0, 10), consecutive(tmp_path / "b.zarr", run, 9, 23)]
    with pytest.raises(StoreError, match=r"'é9' is in .*a.zarr \(example 9\) and in .*b.zarr \(example 0\)$"):
        merge_stores(parts, str(tmp_path / "out.zarr"))
    corpus = RUNS["corpus"]
    parts = [consecutive(tmp_path / "c.zarr", corpus, 0, 10), consecutive(tmp_path / "d.zarr", corpus, 9, 23)]
    with pytest.raises(StoreError, match="'é9' is in"):
        merge_stores(parts, str(tmp_path / "out.zarr"))


CHANGES = {
    "model": ({"model": "other/model"}, "its model is other/model, that of .*1.zarr is Qwen/Qwen3-8B"),
    "thresholds": ({"thresholds": [0.0, 1.0]}, "its thresholds is 0.0,1.0, that of"),
    "languages": ({"languages": ["en", "de", "fr"]}, "its languages is en,de,fr"),
    "tokens": ({"tokens": {"before": ["<s>"]}}, "its tokens is {'before'.*is none"),
    "fingerprint": ({"model_fingerprint": "abc"}, "its model fingerprint is abc"),
    "source": ({"source": "other.jsonl"}, "its source is other.jsonl"),
    "limit": ({"config": {"limit": 5}}, "its --limit is 5, that of .* is none"),
    "window": ({"window": 2}, "its window is 2"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_parts_of_other_runs_are_refused_with_the_difference(change, tmp_path):
    changed, message = CHANGES[change]
    one = shard(tmp_path / "1.zarr", RUNS["bits"], 1, 2)
    other = shard(tmp_path / "2.zarr", draw(23, keep_prompts=True, **changed), 2, 2)
    with pytest.raises(StoreError, match=f"2.zarr cannot be merged with .*1.zarr: {message}"):
        merge_stores([one, other], str(tmp_path / "out.zarr"))


def test_parts_with_other_arrays_or_other_weights_are_refused(tmp_path):
    run = RUNS["bits"]
    one = shard(tmp_path / "1.zarr", run, 1, 2)
    other = shard(tmp_path / "2.zarr", run, 2, 2, keep_bits=False)
    with pytest.raises(StoreError, match=r"1.zarr has the array activated and .*2.zarr has not"):
        merge_stores([one, other], str(tmp_path / "out.zarr"))

    class OtherWeights(type(run)):
        value_norm = property(lambda self: 1 + super(type(self), self).value_norm)

    attributed = RUNS["attribution"]
    one = shard(tmp_path / "3.zarr", attributed, 1, 2)
    finetuned = OtherWeights(attributed.header, attributed.activation, keep_coefficients=True)
    other = shard(tmp_path / "4.zarr", finetuned, 2, 2)
    with pytest.raises(StoreError, match=r"value_norm differs.*different weights"):
        merge_stores([one, other], str(tmp_path / "out.zarr"))


def test_a_part_that_is_no_finished_store_is_refused(tmp_path):
    run = RUNS["bits"]
    one = shard(tmp_path / "1.zarr", run, 1, 2)
    from fastneurons.store import StoreWriter

    header = msgspec.structs.replace(run.header, shard="2/2")
    with StoreWriter.create(str(tmp_path / "2.zarr"), header) as writer:
        writer.commit(run.window(0, 4))
    with pytest.raises(StoreError, match=r"2.zarr is not complete: .* finish it with --resume first"):
        merge_stores([one, str(tmp_path / "2.zarr")], str(tmp_path / "out.zarr"))
    with pytest.raises(StoreError, match=r"nothing.zarr: does not exist"):
        merge_stores([one, str(tmp_path / "nothing.zarr")], str(tmp_path / "out.zarr"))


def test_damage_in_a_part_ends_the_merge_and_is_named(tmp_path):
    parts = shards(tmp_path, RUNS["bits"], 2)
    damaged = Path(parts[1]) / "activated" / "c.1.0.0.0.0"
    data = bytearray(damaged.read_bytes())
    data[3] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(StoreError, match=r"2.zarr: array activated is damaged: its object c.1.0.0.0.0"):
        merge_stores(parts, str(tmp_path / "out.zarr"))
    with pytest.raises(StoreError, match=r"out.zarr is being merged, or its merge was interrupted"):
        open_store(str(tmp_path / "out.zarr"))
    data[3] ^= 1
    damaged.write_bytes(data)
    merge_stores(parts, str(tmp_path / "out.zarr"))
    assert_holds(tmp_path / "out.zarr", RUNS["bits"])


# -- interruptions -------------------------------------------------------------------------------------------


KILLED = """
import os, sys
from fastneurons.store import local, merge_stores, merging
left = int(sys.argv[1])
merging._WINDOWS_AT_ONCE = 2
merging._COPIES = 1
write = local.LocalStorage.write
def counted(self, key, pieces):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    write(self, key, pieces)
local.LocalStorage.write = counted
merge_stores(sys.argv[3:], sys.argv[2])
"""


def test_a_merge_that_was_killed_anywhere_goes_on_and_ends_the_same(tmp_path):
    run = RUNS["bits"]
    parts = shards(tmp_path, run, 2)
    killed = 0
    for left in (1, 30, 47, 70):
        out = tmp_path / f"out{left}.zarr"
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(left), str(out), *parts], check=False, capture_output=True
        )
        assert done.returncode in (0, 9), done.stderr
        killed += done.returncode == 9
        if done.returncode == 9:
            with pytest.raises(StoreError, match=r"is being merged|not a fastneurons store|does not exist"):
                open_store(str(out))
            merge_stores(parts, str(out))
        assert_holds(out, run)
        assert not (out / "merging.json").exists()
    assert killed > 1


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    parts = shards(tmp_path, RUNS["bits"], 2)
    out = tmp_path / "out.zarr"
    monkeypatch.setattr(merging, "_WINDOWS_AT_ONCE", 2)
    examples: list[int] = []

    def interrupted(done: int, total: int) -> None:
        examples.append(done)
        if done == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_stores(parts, str(out), advance=interrupted)
    for file in out.glob("*/c.0*"):
        os.utime(file, (1, 1))
    again: list[int] = []
    merge_stores(parts, str(out), advance=lambda done, total: again.append(done))
    assert (examples, again) == ([0, 8, 16], [16, 23])
    assert {file.stat().st_mtime for file in out.glob("*/c.0*")} == {1}
    assert_holds(out, RUNS["bits"])


def test_an_existing_store_or_another_merge_is_replaced_only_if_asked_for(tmp_path):
    run, out = RUNS["bits"], tmp_path / "out.zarr"
    parts = shards(tmp_path, run, 2)
    other = draw(9, seed=3)
    other.write(out)
    with pytest.raises(InputError, match=r"out.zarr exists; pass --overwrite to replace it, or another -o"):
        merge_stores(parts, str(out))
    assert_holds(out, other)
    merge_stores(parts, str(out), overwrite=True)
    assert_holds(out, run)
    (out / "zarr.json").unlink()
    (out / "merging.json").write_text('{"parts": [{"path": "x", "digest": "y"}], "cleared": true}')
    with pytest.raises(InputError, match="holds an interrupted merge of other stores"):
        merge_stores(parts, str(out))
    merge_stores(parts, str(out), overwrite=True)
    assert_holds(out, run)


# -- shards --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [0, 1, 3, 4, 5, 23, 24, 25, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shards_hold_every_row_once_and_know_their_size(total, count):
    of = [Shard(k, count) for k in range(1, count + 1)]
    examples = [list(each.examples(range(total), 4)) for each in of]
    assert sorted(example for shard in examples for example in shard) == list(range(total))
    assert [len(shard) for shard in examples] == [each.size(total, 4) for each in of]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "0/4",
            r"--shard 0/4: I must be from 1 to 4; number a Slurm array like that, too: #SBATCH --array=1-4",
        ),
        ("5/4", "I must be from 1 to 4"),
        ("1/0", "N must be from 1 to"),
        ("1", "must be I/N with I from 1 to N, such as 1/8"),
        ("-1/3", "must be I/N"),
        ("a/b", "must be I/N"),
    ],
)
def test_a_wrong_shard_is_refused_with_the_range(text, says):
    with pytest.raises(InputError, match=says):
        Shard.parse(text)

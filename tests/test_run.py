"""The main job end to end: a real engine, a real store; killed, interrupted and out of space, and continued."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

import fastneurons
from fastneurons.analysis.categories import categories
from fastneurons.analysis.compare import compare, matched
from fastneurons.analysis.recategorise import by_number_of_languages
from fastneurons.analysis.repeating import repeating
from fastneurons.analysis.selection import Selection
from fastneurons.analysis.thresholds import thresholds
from fastneurons.store import open_store
from tests.command import Running, fastneurons_command
from tests.engine import tiny
from tests.engine.agreement import agreement, unpack
from tests.engine.support import LANGUAGES, examples

pytestmark = pytest.mark.engine

BROKEN_LINE = 7
ROWS = examples(300, seed=20)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.make("Llama", tmp_path_factory.mktemp("run") / "llama")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.jsonl"
    lines = [json.dumps({"id": row.id, "prompts": row.prompts}, ensure_ascii=False) for row in ROWS]
    lines[BROKEN_LINE] = lines[BROKEN_LINE][:-5]
    path.write_text("\n".join(lines) + "\n")
    return path


def command(model: Path, data: Path, out: Path, *more: str) -> list[str]:
    return [
        "run", str(model), "--data", str(data), "--languages", "en,de,th", "--out", str(out), "--window", "16",
        "--dtype", "float32", "--max-model-len", "256", "--max-num-batched-tokens", "128", "--max-num-seqs", "16",
        *more,
    ]  # fmt: skip


def mount(*arguments: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=False, **more)


@pytest.fixture(scope="module")
def undisturbed(model, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run.zarr"
    done = fastneurons_command(*command(model, data, out))
    assert done.returncode == 0, done.stderr
    return out, done


def arrays(path: Path) -> dict[str, np.ndarray]:
    group = zarr.open_group(path, mode="r")
    return {name: array[...] for name, array in group.arrays()}


def assert_same_store(path: Path, expected: Path) -> None:
    found, wanted = arrays(path), arrays(expected)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    assert zarr.open_group(path, mode="r").attrs["fastneurons"]["status"] == "complete"
    assert (path / "skipped.jsonl").read_text() == (expected / "skipped.jsonl").read_text()


def test_analyses_are_numpys(undisturbed):
    out, _ = undisturbed
    stored, store = arrays(out), open_store(str(out))
    good = stored["outcome"] == 1
    I = store.header.neurons  # noqa: E741
    bits = np.unpackbits(stored["activated"][good, 0], axis=-1, count=I, bitorder="little").astype(bool)
    for languages in (["en", "de", "th"], ["th", "en"]):
        chosen = Selection(languages=languages).of(store)
        part = bits[:, [store.header.languages.index(code) for code in languages]]
        number, L = part.sum(1), len(languages)
        masks = np.stack([number == 0, number == 1, (number > 1) & (number < L), number == L], -1)
        share = masks.mean(2)  # [E, N, 4]
        np.testing.assert_allclose(categories(chosen, 0).share[0], share.mean(0))
        np.testing.assert_allclose(thresholds(chosen, 0).p95[0], np.percentile(share, 95, axis=0))
        found = repeating(chosen, [1.0], 10)
        np.testing.assert_allclose(found.repeating[0], masks.all(0).mean(1))
        subsets = by_number_of_languages(chosen, 0).subset_share.sel(size=L)
        np.testing.assert_allclose(subsets, share.mean(0))
    same = compare(*matched(store, store, Selection()), 10)
    assert same.attrs["identical"] and same.attrs["bits"] == bits.size


def test_the_store_holds_what_a_plain_forward_pass_gives(undisturbed, model, reference):
    out, _ = undisturbed
    stored = arrays(out)
    good = [i for i in range(len(ROWS)) if i != BROKEN_LINE]
    assert stored["outcome"].tolist() == [2 if i == BROKEN_LINE else 1 for i in range(len(ROWS))]
    assert [stored["example_id"][i] for i in good] == [ROWS[i].id for i in good]
    some = good[::10]
    found = agreement(stored["activated"][some, 0], reference(model, [ROWS[i] for i in some]))
    assert found.share >= 0.9999, found
    # Counts, categories and occupancy against numpy on the raw bits.
    bits = unpack(stored["activated"][:, 0], tiny.NEURONS)[good]  # [E, L, N, I]
    languages = bits.sum(1)
    masks = np.stack([languages == 0, languages == 1, languages == 2, languages == 3], -1)
    np.testing.assert_array_equal(stored["activated_count"][good, 0], bits.sum(-1))
    np.testing.assert_array_equal(stored["category_count"][good, 0], masks.sum(2))
    np.testing.assert_array_equal(stored["occupancy"][0, 0], masks.sum(0))
    lengths = [[len(ROWS[i].prompts[lang].encode()) for lang in LANGUAGES] for i in good]
    np.testing.assert_array_equal(stored["token_count"][good], lengths)


def test_a_run_shows_its_progress_and_none_of_vllms_log(undisturbed):
    _, done = undisturbed
    assert done.stdout == ""
    assert "3 layers of 88 neurons (silu, gated), float32" in done.stderr
    assert f"{len(ROWS)} examples" in done.stderr
    assert "tokens/s" in done.stderr
    for noise in ("WARNING", "INFO", "Triton", "Traceback", "NUMA"):
        assert noise not in done.stderr


@pytest.mark.parametrize("windows", [0, 4])
def test_a_run_that_was_killed_is_continued_to_the_same_arrays(windows, undisturbed, model, data, tmp_path):
    out = tmp_path / "run.zarr"
    process = Running(*command(model, data, out))
    wait_for_windows(out, windows, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = fastneurons_command(*command(model, data, out, "--resume"))
    assert done.returncode == 0, done.stderr
    assert_same_store(out, undisturbed[0])


def wait_for_windows(out: Path, number: int, process: Running) -> None:
    """Until a running command has committed some windows, or has opened its store where `number` is 0."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it was killed"
        if (out / "zarr.json").exists() and committed(out) >= number * 16:
            return
        time.sleep(0.02)
    raise AssertionError("no window was committed in two minutes")


def committed(out: Path) -> int:
    from fastneurons.errors import StoreError
    from fastneurons.store import open_store

    try:
        return open_store(str(out)).num_examples
    except StoreError:
        return 0


def test_ctrl_c_keeps_what_was_measured_and_the_run_goes_on_from_there(undisturbed, model, data, tmp_path):
    out = tmp_path / "run.zarr"
    process = Running(*command(model, data, out))
    wait_for_windows(out, 1, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "examples are safe; continue with --resume" in errors
    safe = committed(out)
    assert 16 <= safe < len(ROWS)
    assert f"stopped; {safe} examples are safe" in errors
    done = fastneurons_command(*command(model, data, out, "--resume"))
    assert done.returncode == 0, done.stderr
    assert f"continuing after {safe} examples" in done.stderr
    assert_same_store(out, undisturbed[0])


def test_a_full_disk_keeps_what_was_measured(undisturbed, model, data, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = mount("mount", "-t", "tmpfs", "-o", "size=240k", "tmpfs", str(small))
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        out = small / "run.zarr"
        done = fastneurons_command(*command(model, data, out))
        assert done.returncode == 1, done.stderr
        assert "No space left" in done.stderr
        assert "--resume" in done.stderr
        assert "Traceback" not in done.stderr
        assert 0 < committed(out) < len(ROWS)
        mount("mount", "-o", "remount,size=20m", str(small), timeout=30)
        done = fastneurons_command(*command(model, data, out, "--resume"))
        assert done.returncode == 0, done.stderr
        assert_same_store(out, undisturbed[0])
    finally:
        mount("umount", str(small))


def test_a_complete_store_is_not_measured_again(undisturbed, model, data):
    done = fastneurons_command(*command(model, data, undisturbed[0], "--resume"))
    assert done.returncode == 0, done.stderr
    assert "complete already" in done.stderr


def test_the_python_interface_gives_the_same_store(undisturbed, model, data, tmp_path):
    store = fastneurons.run(
        model, data, ["en", "de", "th"], tmp_path / "run.zarr", window=16, progress=False,
        dtype="float32", max_model_len=256, max_num_batched_tokens=128, max_num_seqs=16,
    )  # fmt: skip
    assert store.num_examples == len(ROWS)
    assert_same_store(tmp_path / "run.zarr", undisturbed[0])
    again = fastneurons.open(tmp_path / "run.zarr")
    assert again.header.languages == ["en", "de", "th"]


def test_without_bits_all_else_is_the_same(undisturbed, model, data, tmp_path):
    out = tmp_path / "run.zarr"
    done = fastneurons_command(*command(model, data, out, "--no-keep-bits"))
    assert done.returncode == 0, done.stderr
    found, wanted = arrays(out), arrays(undisturbed[0])
    assert "activated" not in found
    for name in wanted.keys() - {"activated"}:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def test_a_run_outlives_the_reader_of_its_progress(model, data, tmp_path):
    out = tmp_path / "run.zarr"
    read, write = os.pipe()
    arguments = command(model, data, out, "--limit", "20")
    process = subprocess.Popen([sys.executable, "-m", "fastneurons", *arguments], stderr=write)
    os.close(write)
    os.close(read)
    assert process.wait(timeout=120) == 0
    assert fastneurons.open(out).is_complete


def test_findings_about_languages_and_neurons_are_those_of_the_bits(undisturbed):
    from fastneurons.analysis.alignment import alignment
    from fastneurons.analysis.language_sharing import language_sharing
    from fastneurons.analysis.neuron_lists import neuron_list
    from fastneurons.analysis.selection import Selection
    from fastneurons.store import open_store
    from tests.analysis import slow

    out, _ = undisturbed
    stored = arrays(out)
    bits = unpack(stored["activated"][:, 0], tiny.NEURONS)[stored["outcome"] == 1].astype(
        bool
    )  # [E, L, N, I]
    chosen = Selection().of(open_store(str(out)))
    found = language_sharing(chosen, resamples=20, permutations=20)
    for at, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)]):
        np.testing.assert_allclose(found["jaccard"][at], slow.jaccard(bits, i, j))
    np.testing.assert_allclose(found["chance_permuted"], found["chance"], atol=0.005)
    everywhere = bits.all(1)
    share = float(found["set_share"].sel(set="en+de+th"))
    assert share == pytest.approx(everywhere.mean())
    specific = (bits[:, 2] & ~bits[:, 0] & ~bits[:, 1]).sum(0)
    listed = neuron_list(chosen, "specific", "th", top=10, resamples=20)
    np.testing.assert_array_equal(listed["count"], np.sort(specific.ravel())[::-1][:10])
    for n, i, count in zip(
        listed["layer"].values, listed["neuron"].values, listed["count"].values, strict=True
    ):
        assert specific[n, i] == count
    some = Selection(examples=[(0, 20)]).of(open_store(str(out)))
    scores = alignment(some, "en", resamples=20).sel(direction="both", language="th")
    rows = bits[: len(some)]
    for n in range(bits.shape[2]):
        assert float(scores["score"].isel(layer=n)) == np.mean(slow.aligned(rows[:, 0, n], rows[:, 2, n]))

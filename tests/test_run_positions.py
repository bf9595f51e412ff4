"""Corpora and attribution through the command line into a store; stopped, and continued to the same arrays."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

import fastneurons
from fastneurons.analysis.contributions import contributions
from fastneurons.analysis.selection import Selection
from tests.command import Running, fastneurons_command
from tests.engine import tiny
from tests.engine.support import examples
from tests.test_run import assert_same_store, committed, wait_for_windows

pytestmark = pytest.mark.engine

TEXTS = 400


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.make("Llama", tmp_path_factory.mktemp("positions") / "llama")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Texts in two languages, one a line, twice as many in the first."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = examples(TEXTS, seed=60)
    (folder / "en.txt").write_text("".join(row.prompts["en"] + "\n" for row in rows))
    (folder / "th.txt").write_text("".join(row.prompts["th"] + "\n" for row in rows[: TEXTS // 2]))
    return folder


def command(*more: str | Path) -> list[str]:
    return [
        "run", *map(str, more), "--window", "16", "--dtype", "float32",
        "--max-model-len", "256", "--max-num-batched-tokens", "128", "--max-num-seqs", "16",
    ]  # fmt: skip


def test_a_corpus_in_blocks_that_was_killed_is_continued_to_the_same_counts(model, corpus, tmp_path):
    asked = [
        "--tasks",
        "corpus",
        "--data",
        corpus,
        "--position",
        "corpus",
        "--block-size",
        "24",
        "--threshold",
        "0.1",
        "--histogram",
        "16",
    ]
    whole = tmp_path / "whole.zarr"
    done = fastneurons_command(*command(model, *asked, "--out", whole))
    assert done.returncode == 0, done.stderr
    store = fastneurons.open(whole)
    assert store.header.languages == ["en", "th"]
    lengths = {
        code: len((corpus / f"{code}.txt").read_text().replace("\n", "").encode()) for code in ("en", "th")
    }
    assert store["corpus_tokens"][:].tolist() == list(lengths.values())
    assert store.num_examples == sum(-(-length // 24) for length in lengths.values())
    assert store["activation_count"].shape == (1, 2, tiny.LAYERS, tiny.NEURONS)
    assert 0 < store["activation_count"][:].sum() < sum(lengths.values()) * tiny.LAYERS * tiny.NEURONS

    tokens = np.array(list(lengths.values()))
    assert (store["histogram"][:].sum(-1) == tokens[:, None, None]).all()
    assert (store["sign_count"][:].sum(-1) == tokens[:, None, None]).all()
    assert "histograms of 16 bins" in done.stderr

    out = tmp_path / "run.zarr"
    process = Running(*command(model, *asked, "--out", out))
    wait_for_windows(out, 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = committed(out)
    assert 32 <= before < store.num_examples
    done = fastneurons_command(*command(model, *asked, "--out", out, "--resume"))
    assert done.returncode == 0, done.stderr
    assert "from a sample" not in done.stderr  # its edges are those of the store
    assert f"continuing after {before} examples" in done.stderr
    assert_same_store(out, whole)


def test_a_corpus_that_has_changed_is_not_continued(model, corpus, tmp_path):
    out = tmp_path / "run.zarr"
    changing = tmp_path / "texts"
    changing.mkdir()
    for code in ("en", "th"):
        (changing / f"{code}.txt").write_bytes((corpus / f"{code}.txt").read_bytes())
    asked = command(model, "--tasks", "corpus", "--data", changing, "--position", "corpus", "--out", out)
    process = Running(*asked)
    wait_for_windows(out, 1, process)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    (changing / "th.txt").write_text("x\n")
    done = fastneurons_command(*asked, "--resume")
    assert done.returncode == 1, done.stderr
    assert "the data has changed since the run began" in done.stderr
    assert "Traceback" not in done.stderr


def test_attribution_reaches_the_store_and_the_summary(model, tmp_path):
    rows = examples(40, seed=61)
    answers = {"en": "Wien", "de": "Wien", "th": "กข"}
    data = tmp_path / "facts.jsonl"
    data.write_text(
        "".join(
            json.dumps({"id": row.id, "prompts": row.prompts, "answers": answers}, ensure_ascii=False) + "\n"
            for row in rows
        )
    )
    out = tmp_path / "run.zarr"
    asked = command(
        model, "--data", data, "--languages", "en,de,th", "--attribution", "--top-k", "7", "--keep-coefficients",
        "--out", out,
    )  # fmt: skip
    done = fastneurons_command(*asked)
    assert done.returncode == 0, done.stderr
    assert "of 1,024 MiB" in done.stderr
    store = fastneurons.open(out)
    assert store.header.top_k == 7
    shares = store["contribution_share"][:]
    np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-6)
    assert np.isin(np.round(shares * 7, 4) % 1, [0, 1]).all()
    # The coefficients' signs tell what the bits do: a gate above 0 leaves the sign of `up`.
    assert store["coefficient"].shape == (40, 3, tiny.LAYERS, tiny.NEURONS)
    # A category's sum over its mean is its size.
    sizes = store["contribution_sum"][:] / store["contribution_mean"][:]
    counts = store["category_count"][:, 0][:, None].repeat(3, axis=1)
    np.testing.assert_allclose(np.nan_to_num(sizes), counts, rtol=1e-4)
    shown = fastneurons_command("summary", str(out))
    assert "contribution" in shown.stdout
    told = json.loads(fastneurons_command("summary", str(out), "--json").stdout)
    assert "attribution" in told
    found = contributions(Selection().of(store), resamples=20)
    sums = np.nan_to_num(store["contribution_sum"][:].astype(float))  # [E, L, N, 4]
    expected = (sums / sums.sum(-1, keepdims=True)).mean((0, 1, 2))
    np.testing.assert_allclose(found["sum_share"], expected, rtol=1e-6)
    np.testing.assert_allclose(
        found["neuron_share"], store["category_count"][:, 0].mean((0, 1)) / tiny.NEURONS
    )


@pytest.mark.parametrize("position", ["any", "answer"])
def test_other_positions_are_summarised_like_the_last(position, model, tmp_path):
    rows = [
        fastneurons.Example(row.id, row.prompts, dict.fromkeys(row.prompts, "Wien")) for row in examples(12)
    ]
    store = fastneurons.run(
        model, rows, "en,de,th", tmp_path / "run.zarr", position=position, signal="product", thresholds=(0.0, 0.2),
        progress=False, dtype="float32", max_model_len=256, max_num_batched_tokens=128, max_num_seqs=16,
    )  # fmt: skip
    assert (store.header.position, store.header.signal) == (position, "product")
    assert (store["activated_count"][:, 0] >= store["activated_count"][:, 1]).all()
    shown = fastneurons_command("summary", str(tmp_path / "run.zarr"))
    assert shown.returncode == 0, shown.stderr

"""Exported files, read with pandas, pyarrow and safetensors, have the numbers of the simulated bits."""

import json
import sys

import numpy as np
import pandas
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from fastneurons.analysis.distributions import neuron_moments, neuron_quantiles
from fastneurons.errors import InputError, OutputError
from fastneurons.report.export import export, tables
from fastneurons.store import CATEGORIES, open_store
from tests.report.page.simulated import AWKWARD_IDS, simulate
from tests.store.runs import draw

TASKS = ["capitals", "貨幣"]
RUN = simulate(
    40,
    top_k=4,
    tasks=TASKS,
    task=",".join(TASKS),
    thresholds=[0.0, 0.5],
    layers=[3, 5, 7],
    neurons=21,
    window=16,
)
ROWS = np.arange(40)
MEASURED = RUN.measured(ROWS)
L = len(RUN.header.languages)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return RUN.write(tmp_path_factory.mktemp("export") / "run.zarr")


@pytest.fixture(scope="module")
def bits():
    return RUN.bits(0, 40)  # bool [E, S, L, N, I]


@pytest.fixture(scope="module", params=["csv", "parquet"])
def read(request, path, tmp_path_factory):
    """Reads a table, in either format."""
    folder = tmp_path_factory.mktemp(request.param)
    files = export(open_store(path), folder, request.param)
    assert sorted(folder.iterdir()) == sorted(files)

    def read(name):
        file = folder / f"{name}.{request.param}"
        if request.param == "csv":
            return pandas.read_csv(file, keep_default_na=False, na_values=[""])
        return pandas.read_parquet(file)

    return read


def test_examples_and_prompts_are_rows(read):
    examples = read("examples")
    assert examples["id"].tolist() == RUN.ids(ROWS)
    assert set(AWKWARD_IDS.values()) <= set(examples["id"])
    assert examples["task"].tolist() == [TASKS[k] for k in RUN.task(ROWS)]
    assert examples["outcome"].tolist() == ["measured" if each else "skipped" for each in MEASURED]
    prompts = read("prompts")
    assert len(prompts) == L * MEASURED.sum()
    assert prompts["prompt"].tolist() == [text for texts in RUN.prompts(ROWS[MEASURED]) for text in texts]
    assert prompts["language"].tolist() == RUN.header.languages * int(MEASURED.sum())


def test_counts_of_examples_are_those_of_the_bits(read, bits):
    number = bits.sum(2)  # [E, S, N, I]
    masks = [number == 0, number == 1, (number > 1) & (number < L), number == L]
    expected = np.stack(masks, -1).sum(3)[MEASURED]  # [E, S, N, 4]
    counts = read("category_counts")
    assert len(counts) == expected.size
    assert counts["neurons"].to_numpy().reshape(expected.shape).tolist() == expected.tolist()
    assert counts["share"].to_numpy() == pytest.approx(expected.ravel() / 21)
    assert counts["layer"].unique().tolist() == [3, 5, 7]
    assert counts["threshold"].unique().tolist() == [0.0, 0.5]
    assert counts["category"].tolist()[:4] == list(CATEGORIES)
    assert counts["example"].unique().tolist() == ROWS[MEASURED].tolist()
    activated = read("activated_counts")
    assert activated["neurons"].tolist() == bits.sum(-1)[MEASURED].ravel().tolist()


def test_counts_of_neurons_are_those_of_the_bits(read, bits):
    by_language = read("neuron_languages").set_index(["task", "threshold", "layer", "neuron", "language"])
    by_category = read("neuron_categories").set_index(["task", "threshold", "layer", "neuron", "category"])
    for k, task in enumerate(TASKS):
        rows = MEASURED & (RUN.task(ROWS) == k)
        expected = bits[rows].sum(0)  # [S, L, N, I]
        found = by_language.loc[task]
        assert len(found) == expected.size
        assert found["examples"].tolist() == expected.transpose(0, 2, 3, 1).ravel().tolist()
        assert found["share"].to_numpy() * rows.sum() == pytest.approx(found["examples"].to_numpy())
        everywhere = bits[rows].all(2).sum(0)  # [S, N, I]
        found = by_category.loc[task].xs("all-shared", level="category")
        assert found["examples"].tolist() == everywhere.ravel().tolist()
    sums = read("neuron_contributions")
    expected = bits[:, 0].sum(0).transpose(1, 2, 0)  # of the simulation: [N, I, L]
    assert sums["contribution"].tolist() == expected.ravel().tolist()


def test_attribution_and_skipped_rows(read, path):
    found = read("attribution")
    store = open_store(path)
    assert len(found) == MEASURED.sum() * L * 3 * 4
    for name in ("contribution_share", "effective_min"):
        assert found[name].to_numpy() == pytest.approx(store[name][:][MEASURED].ravel(), rel=1e-6)
    skipped = read("skipped")
    assert skipped["example"].tolist() == ROWS[~MEASURED].tolist()
    assert skipped["id"].tolist() == [f"é{i}" for i in ROWS[~MEASURED]]


def test_chosen_tables_without_texts(path, tmp_path):
    files = export(open_store(path), tmp_path, "csv", ["prompts"], texts=False)
    assert [file.name for file in files] == ["prompts.csv"]
    assert "prompt" not in pandas.read_csv(files[0]).columns
    with pytest.raises(InputError, match="has no table heads; it has examples, prompts, category_counts"):
        export(open_store(path), tmp_path, "csv", ["heads"])


def test_safetensors_has_the_arrays(path, bits, tmp_path):
    store = open_store(path)
    file, labels = export(store, tmp_path, "safetensors", large=True)
    found = load_file(file)
    for name in store:
        if store[name].dtype.kind in "biuf":
            assert found[name].dtype == store[name].dtype
            assert np.array_equal(found[name], store[name][:], equal_nan=True), name
    assert found["activated"].shape == (40, 2, L, 3, 3)
    counts = np.stack([bits[MEASURED & (RUN.task(ROWS) == k)].sum(0) for k in range(2)])
    assert found["neuron_activated_count"].tolist() == counts.tolist()
    with safe_open(file, "numpy") as opened:
        metadata = {name: json.loads(text) for name, text in opened.metadata().items()}
    assert metadata["dimensions"]["occupancy"] == ["task", "threshold", "layer", "neuron", "category"]
    assert metadata["header"]["model"] == "org/Simulated-1B"
    named = json.loads(labels.read_text("utf-8"))
    assert named["task"] == TASKS
    assert named["example"] == RUN.ids(ROWS)
    without, _ = export(store, tmp_path / "without", "safetensors")
    assert "activated" not in load_file(without)


def test_a_corpus_has_tokens_by_neuron(tmp_path):
    run = draw(14, position="corpus", languages=["en", "de", "th"], signal="product")
    run.write(tmp_path / "run.zarr")
    store = open_store(str(tmp_path / "run.zarr"))
    assert [table.name for table in tables(store)][:3] == ["examples", "prompts", "neuron_languages"]
    export(store, tmp_path / "out", "parquet")
    found = pandas.read_parquet(tmp_path / "out" / "neuron_languages.parquet")
    counts = store["activation_count"][:]
    assert found["tokens"].tolist() == counts.transpose(0, 2, 3, 1).ravel().tolist()
    assert "activation_count" in load_file(export(store, tmp_path / "out", "safetensors")[0])


def test_a_corpus_with_histograms_has_distributions_by_neuron(tmp_path):
    draw(14, position="corpus", bins=16, counts_signs=True).write(tmp_path / "run.zarr")
    store = open_store(str(tmp_path / "run.zarr"))
    export(store, tmp_path / "out", "parquet")
    found = pandas.read_parquet(tmp_path / "out" / "neuron_distributions.parquet")
    mean, deviation = neuron_moments(store, "de")
    of = found[found["language"] == "de"]
    assert of["mean"].tolist() == mean.ravel().tolist()
    assert of["deviation"].tolist() == deviation.ravel().tolist()
    assert of["quantile_0.5"].tolist() == neuron_quantiles(store, "de", [0.5]).ravel().tolist()
    counts = store["sign_count"][1]  # [N, I, 4]
    assert of["tokens_gate<=0 up>0"].tolist() == counts[..., 2].ravel().tolist()
    small = load_file(export(store, tmp_path / "small", "safetensors")[0])
    whole = load_file(export(store, tmp_path / "whole", "safetensors", (), True, True)[0])
    assert "histogram" not in small and "bin_edge" in small
    np.testing.assert_array_equal(whole["histogram"], store["histogram"][...])


def test_an_unfinished_store_gives_what_is_committed(tmp_path):
    RUN.write(tmp_path / "run.zarr", only=16)
    export(open_store(str(tmp_path / "run.zarr")), tmp_path / "out")
    assert pandas.read_csv(tmp_path / "out" / "examples.csv")["id"].tolist() == RUN.ids(ROWS[:16])


def test_blocks_are_bounded(path, monkeypatch):
    """However many examples there are, no block has many more rows than one layer's neurons or the limit."""
    monkeypatch.setattr(sys.modules["fastneurons.report.export.tables"], "_BLOCK_ROWS", 50)
    sizes = {
        table.name: max(len(next(iter(block.values()))) for block in table.blocks())
        for table in tables(open_store(path))
    }
    assert sizes["category_counts"] == 2 * 24  # two examples of 2 * 3 * 4 values
    assert sizes["activated_counts"] == 2 * 3 * L  # one example is the least
    assert sizes["neuron_languages"] == 21 * L


def test_a_missing_pyarrow_is_named_before_anything_is_written(path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'fastneurons\[parquet\]'; or take --format csv"):
        export(open_store(path), tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def test_a_failed_file_is_not_left_in_part(path, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastneurons.report.export.formats._cells", fail)
    with pytest.raises(OutputError, match=r"examples\.csv: cannot be written: No space left on device"):
        export(open_store(path), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []

"""`lape` and the commands for files of other projects, on counts in which known neurons are of one language alone."""

import csv
import json

import numpy as np
import pytest

from fastneurons.cli import main
from fastneurons.neuron_sets import load, load_set
from fastneurons.store import open_store
from tests.analysis.planted import OWN, RATES, planted, written

OPTIONS = (
    "--top-rate", RATES.top_rate, "--filter-rate", RATES.filter_rate, "--activation-bar-ratio",
    RATES.activation_bar_ratio,
)  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("lape") / "run.zarr"
    written(path, planted(24))
    return path


def call(capsys, *words, status=0):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert end.value.code == status, err
    return out, err


def test_tables_say_how_many_neurons_by_layer_and_how_sure_that_is(path, capsys):
    out, _ = call(capsys, "lape", path, *OPTIONS, "--resamples", 20)
    text = " ".join(out.split())
    assert "layer en de th" in text and "3 4 4 4" in text and "all 8 8 8" in text
    assert "24 of 80 neurons are selected; by chance, at most:" in text
    assert "en 8 8 to 8 100.0 5.3 100.0 100.0" in text
    assert "en de 0 0.80 0.0 5.3" in text
    assert max(map(len, out.splitlines())) <= 100


def test_json_and_csv_have_the_same_neurons(path, capsys, tmp_path):
    out, _ = call(capsys, "lape", path, *OPTIONS, "--resamples", 2, "--json", "--csv", tmp_path / "l.csv")
    data = json.loads(out)["data_vars"]
    assert "member" not in data
    rows = list(csv.DictReader((tmp_path / "l.csv").open()))
    expected = [(code, layer, i) for code, own in OWN.items() for layer in (3, 4) for i in own]
    assert [(r["set_name"], int(r["layer_number"]), int(r["neuron_number"])) for r in rows] == expected
    columns = (data[name]["data"] for name in ("set_name", "layer_number", "neuron_number"))
    assert list(zip(*columns, strict=True)) == expected


def test_methods_are_listed_and_others_refused(path, capsys):
    out, _ = call(capsys, "lape", "--method", "list")
    assert [line.split()[0] for line in out.splitlines()] == ["lape", "k-of-l", "average-precision"]
    out, _ = call(capsys, "lape", path, "--method", "k-of-l", "--resamples", 0)
    assert "agnostic" in out and "Stability is not known: none was asked for." in out
    _, err = call(capsys, "lape", path, "--method", "best", status=2)
    assert "no method best; there are lape, k-of-l, average-precision" in err
    _, err = call(capsys, "lape", path, "--method", "average-precision", status=2)
    assert "has no histograms of the signal; measure with --histogram" in err
    _, err = call(capsys, "lape", status=2)
    assert "STORE is missing" in err


def test_sets_are_saved_exported_and_imported(path, capsys, tmp_path):
    call(capsys, "lape", path, *OPTIONS, "--resamples", 0, "--save", tmp_path / "sets")
    files = [tmp_path / "sets" / f"{code}.safetensors" for code in OWN]
    for file, own in zip(files, OWN.values(), strict=True):
        assert list(load_set(file)) == [(layer, i) for layer in (3, 4) for i in own]
    call(capsys, "export-masks", *files, "-o", tmp_path / "masks.pt")
    out, _ = call(
        capsys, "import-masks", tmp_path / "masks.pt", "--like", files[0], "--languages", "en,de,th",
        "-o", tmp_path / "back", "--scale", 0,
    )  # fmt: skip
    assert [line.split() for line in out.splitlines() if line.strip()[:2] in OWN] == [
        [code, "8"] for code in OWN
    ]
    assert load(tmp_path / "back" / "de.safetensors").neurons == load_set(files[1])
    _, err = call(capsys, "import-masks", tmp_path / "masks.pt", "-o", tmp_path / "x", status=2)
    assert "give --like or --width" in err


def test_counts_go_out_and_come_back(path, capsys, tmp_path):
    out, _ = call(capsys, "export-counts", path, "-o", tmp_path / "counts")
    call(capsys, "import-counts", *out.split(), "--out", tmp_path / "back.zarr", "--model", "m")
    for name in ("activation_count", "corpus_tokens"):
        assert np.array_equal(
            open_store(str(tmp_path / "back.zarr"))[name][...], open_store(str(path))[name][...]
        )
    out, _ = call(capsys, "lape", tmp_path / "back.zarr", *OPTIONS)
    assert "all   8   8   8" in out and "the store has no counts by parts of the corpus" in out

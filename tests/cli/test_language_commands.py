"""The commands sharing, alignment, neurons and contribution: what they print is what the functions return."""

import csv
import json
import math

import numpy as np
import pytest
import xarray

from fastneurons.analysis.alignment import alignment
from fastneurons.analysis.contributions import contributions
from fastneurons.analysis.language_sharing import language_sharing
from fastneurons.analysis.neuron_life import neuron_life
from fastneurons.analysis.neuron_lists import neuron_list
from fastneurons.analysis.selection import Selection
from fastneurons.cli import main
from fastneurons.store import StoreWriter, open_store
from tests.store.runs import draw

RUN = draw(30, seed=5, window=16, neurons=31, top_k=3, tasks=["capitals", "currencies"])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    RUN.activation[:, :2, 1, 3] = -1
    RUN.activation[:, 2, 1, 3] = 1
    path = tmp_path_factory.mktemp("commands") / "run.zarr"
    RUN.write(path)
    return str(path)


@pytest.fixture(scope="module")
def places(path, tmp_path_factory):
    """Stores that lack what commands need."""
    folder = tmp_path_factory.mktemp("lacking")
    draw(4).write(folder / "counts.zarr", keep_bits=False)
    draw(4, position="corpus").write(folder / "corpus.zarr")
    return {"path": path, "counts": folder / "counts.zarr", "corpus": folder / "corpus.zarr"}


@pytest.fixture
def call(capsys):
    def of(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    return of


COMMANDS = {
    "sharing": ((), lambda c: language_sharing(c, resamples=20), ("jaccard", "chance", "q")),
    "alignment": (("--reference", "zh"), lambda c: alignment(c, "zh", resamples=20), ("score", "q")),
    "neurons": (
        ("--category", "specific", "--language", "zh", "--top", "5"),
        lambda c: neuron_list(c, "specific", "zh", top=5, resamples=20),
        ("count", "count_share_low", "q"),
    ),
    "contribution": (
        (),
        lambda c: contributions(c, 20),
        ("sum_share_by_layer", "contribution_mean_by_layer_low"),
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_json_and_csv_hold_what_the_function_returns(command, path, call, tmp_path):
    options, function, columns = COMMANDS[command]
    file = tmp_path / "numbers.csv"
    chosen = ("--task", "currencies", "--languages", "zh,en", "--resamples", "20")
    status, out, _ = call(command, path, *options, *chosen, "--json", "--csv", str(file))
    assert status == 0
    expected = function(Selection(tasks=("currencies",), languages=("zh", "en")).of(open_store(path)))
    printed = xarray.Dataset.from_dict(json.loads(out))
    assert set(printed.variables) == set(expected.variables)
    for name in expected.data_vars:
        if expected[name].dtype.kind in "fi":
            np.testing.assert_allclose(printed[name].astype(float), expected[name], err_msg=str(name))
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for name in columns:
        values = [float(row[name]) if row[name] else math.nan for row in rows]
        np.testing.assert_allclose(values, expected[name].values.ravel(), err_msg=name)


@pytest.mark.parametrize(
    ("call_of", "words"),
    [
        (
            "sharing {path}",
            ("en/de", "beyond", "unpaired", "order in the tree", "en+de+zh", "same script", "Mantel"),
        ),
        (
            "alignment {path}",
            ("alignment with en", "By chance: 2.13 %, in one direction 4.17 %", "mean over"),
        ),
        (
            "neurons {path} --category specific --language zh",
            ("1:3 ", "100.0 ±0.00", "1 of 62 neurons", "by chance"),
        ),
        ("neurons {path}", ("by specificity", "1:3     zh", "have a p as small as those listed")),
        ("neurons {path} --neuron 1:3", ("neuron 1:3", "specific", "layer's", "activated in")),
        ("contribution {path}", ("All-shared neurons are", "of summed", "top 3", "by language", "effective")),
    ],
)
def test_tables_say_what_was_found(call_of, words, path, call):
    status, out, _ = call(*call_of.format(path=path).split(), "--resamples", "20")
    assert status == 0
    for word in words:
        assert word in out, out
    assert all(len(line) <= 100 for line in out.splitlines())


def test_the_headline_has_the_numbers(path, call):
    found = contributions(Selection().of(open_store(path)), 20).sel(category="all-shared")
    _, out, _ = call("contribution", path, "--resamples", "20")
    for name in ("neuron_share", "sum_share"):
        share, low, high = (100 * float(found[f"{name}{end}"]) for end in ("", "_low", "_high"))
        assert f"{share:.1f} % ({low:.1f} to {high:.1f})" in out


def test_similarities_from_files(path, call, tmp_path):
    file = tmp_path / "lang2vec.csv"
    file.write_text("en,de,0.9\nen,zh,0.2\nde,zh,0.3\n")
    _, out, _ = call("sharing", path, "--similarity", str(file), "--json", "--resamples", "20")
    printed = xarray.Dataset.from_dict(json.loads(out))
    assert printed["measure"].values.tolist() == ["lang2vec", "same script", "same family"]
    np.testing.assert_array_equal(printed["similarity"].sel(measure="lang2vec"), [0.9, 0.2, 0.3])
    status, _, err = call("sharing", path, "--similarity", str(tmp_path / "missing.csv"))
    assert status == 2 and "missing.csv: cannot be read" in err


@pytest.mark.parametrize(
    ("call_of", "message"),
    [
        ("neurons {path} --neuron 3", "is not a layer and an index, such as 12:345"),
        ("neurons {path} --neuron 7:1", "has no layer 7; it has 0 to 1"),
        ("neurons {path} --neuron 1:3 --category specific", "--neuron shows one neuron; --category"),
        ("neurons {path} --by occupancy", "needs a category"),
        ("neurons {counts} --by contribution", "does not say what each neuron contributes"),
        ("neurons {path} --language fr", "has no language fr"),
        ("alignment {path} --reference fr", "has no language fr"),
        ("alignment {path} --languages en,de --reference zh", "--reference zh: is not among"),
        ("sharing {path} --correct-only", "does not say which answers are right"),
        ("sharing {path} --task rivers", "has no task rivers; it has capitals, currencies"),
        ("contribution {counts}", "has no attribution"),
        ("sharing {counts}", "--no-keep-bits"),
        ("sharing {corpus}", "is of a corpus"),
        ("neurons {corpus}", "is of a corpus"),
    ],
)
def test_a_call_that_cannot_be_answered_is_one_line(call_of, message, places, call):
    status, out, err = call(*call_of.format(**places).split())
    assert (status, out) == (2, "")
    assert message in err and err.count("\n") == 1


def test_an_unfinished_store_says_so(call, tmp_path):
    path = str(tmp_path / "run.zarr")
    with StoreWriter.create(path, RUN.header) as writer:
        writer.commit(next(RUN.windows()))
    for command in COMMANDS:
        status, out, _ = call(command, path, "--resamples", "0")
        assert status == 0 and "the run is not complete" in out, out


def test_the_life_in_csv_has_every_example(path, call, tmp_path):
    file = tmp_path / "life.csv"
    call("neurons", path, "--neuron", "1:3", "--csv", str(file), "--resamples", "0")
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    life = neuron_life(Selection().of(open_store(path)), 1, 3, 0)
    assert [row["activated"] == "True" for row in rows] == life["activated"].values.ravel().tolist()
    assert rows[0].keys() >= {"example", "language", "task", "activated"}

"""`neurons --save` and `sets show`, `combine`, `random`: what they write is what the functions return."""

import json
import os

import numpy as np
import pytest

from fastneurons.analysis.neuron_lists import neuron_list
from fastneurons.analysis.selection import Selection
from fastneurons.analysis.store_sets import set_of_list
from fastneurons.cli import main
from fastneurons.neuron_sets import Edit, ModelNeurons, NeuronSet, load_set, save
from fastneurons.store import open_store
from tests.cli.test_untrusted_text import EVIL, acting
from tests.store.runs import draw

AMONG = ModelNeurons("org/model", "f1", (0, 1), (9, 20))
ONE = NeuronSet.from_pairs(AMONG, [(0, 1), (0, 2), (1, 19)])
TWO = NeuronSet.from_pairs(AMONG, [(0, 2), (1, 3)])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("commands") / "run.zarr"
    draw(30, seed=5, window=16, neurons=31, tasks=["capitals", "currencies"]).write(path)
    return str(path)


@pytest.fixture
def files(tmp_path):
    save(ONE, tmp_path / "one")
    save(TWO, tmp_path / "two")
    save(Edit(ONE, scale=1.5, scope="prompt", value=np.ones((2, 20))), tmp_path / "edit")
    save(NeuronSet.from_layers(ModelNeurons("other", "f2", (0, 1), (9, 20))), tmp_path / "other")
    return tmp_path


def called(capsys, *arguments, status=0):
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert end.value.code == status, captured.err
    return captured.out, captured.err


CONDITIONS = ("--category", "all-shared", "--min-share", 0.1, "--languages", "en,zh", "--task", "capitals")


def test_neurons_saves_all_that_meet_the_conditions(path, tmp_path, capsys):
    # More than the list shows.
    run = draw(8, neurons=200, window=8)
    run.write(tmp_path / "wide.zarr")
    _, err = called(
        capsys, "neurons", tmp_path / "wide.zarr", *CONDITIONS, "--save", tmp_path / "s", "--resamples", 0
    )
    found = load_set(tmp_path / "s")
    every = run.bits[run.measured, 0][:, [0, 2]].all(1)  # bool [E, N, I]
    assert list(found) == [(int(n), int(i)) for n, i in np.argwhere(every.mean(0) >= 0.1)]
    assert len(found) > 50 and f"{len(found)} neurons, all that meet the conditions" in err


def test_neurons_saves_the_first_ones_if_their_number_is_given(path, tmp_path, capsys):
    out, err = called(capsys, "neurons", path, *CONDITIONS, "--top", 3, "--json", "--save", tmp_path / "s")
    coords = json.loads(out)["coords"]
    listed = set(zip(coords["layer"]["data"], coords["neuron"]["data"], strict=True))
    assert set(load_set(tmp_path / "s")) == listed and len(listed) == 3
    assert "3 neurons, those listed" in err
    chosen = Selection(tasks=("capitals",), languages=("en", "zh")).of(open_store(path))
    assert load_set(tmp_path / "s") == set_of_list(chosen, "all-shared", top=3, min_share=0.1)
    assert neuron_list(chosen, "all-shared", top=3, resamples=0).sizes["entry"] == 3


def test_paths_need_not_be_utf_8(tmp_path, capsys):
    store, file = (os.fsdecode(os.fsencode(tmp_path) + name) for name in (b"/run\xff.zarr", b"/s\xff"))
    draw(4).write(store)
    called(capsys, "neurons", store, "--category", "specific", "--save", file, "--resamples", 0)
    out, _ = called(capsys, "sets", "show", file)
    assert "/run\\xff.zarr" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("one", "two"), ONE | TWO),
        (("one", "two", "--by", "union"), ONE | TWO),
        (("one", "two", "--by", "intersection"), ONE & TWO),
        (("one", "two", "--by", "difference"), ONE - TWO),
        (("one", "edit", "two", "--by", "difference"), ONE - ONE - TWO),
        (("one", "two", "--layers", "1"), (ONE | TWO).in_layers("1")),
        (("one", "--layers", "1"), ONE.in_layers("1")),
    ],
)
def test_combine(files, monkeypatch, capsys, arguments, expected):
    monkeypatch.chdir(files)
    out, err = called(capsys, "sets", "combine", *arguments, "--save", "new", "--json")
    found = load_set("new")
    assert found == expected
    assert json.loads(out)["sizes"] == list(expected.sizes.values())
    assert err == f"wrote new: {len(expected)} neurons\n"


def test_random(files, capsys):
    out, _ = called(capsys, "sets", "random", files / "one", "--seed", 7, "--save", files / "new", "--json")
    drawn = load_set(files / "new")
    assert drawn == ONE.random_like(7) and drawn.sizes == ONE.sizes
    printed = json.loads(out)["overlap"]
    assert printed["common"] == [sum(pair[0] == n for pair in set(drawn) & set(ONE)) for n in (0, 1)]
    np.testing.assert_allclose(printed["by_chance"], [2 * 2 / 9, 1 * 1 / 20])
    out, _ = called(capsys, "sets", "random", files / "one", "--seed", 7, "--save", files / "new")
    assert "in common  by chance" in out and "random of the same sizes of 1: seed 7" in out


def test_show(files, capsys):
    out, err = called(capsys, "sets", "show", files / "one")
    rows = [line.split() for line in out.splitlines()]
    assert (
        ["0", "2", "9", "22.2"] in rows
        and ["1", "1", "20", "5.0"] in rows
        and ["all", "3", "29", "10.3"] in rows
    )
    assert "edit" not in out and "1. list" in out and err == ""
    out, _ = called(capsys, "sets", "show", files / "edit")
    assert "edit: 1.5 x product + values of their own, at tokens of the prompt" in out
    printed = json.loads(called(capsys, "sets", "show", files / "edit", "--json")[0])
    assert printed["edit"] == {"site": "product", "scale": 1.5, "scope": "prompt", "has_value": True}
    assert (printed["neurons"], printed["model_fingerprint"]) == (3, "f1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "missing"), "missing: cannot be read: No such file"),
        (("combine", "one", "--save", "new"), "one set alone"),
        (("combine", "one", "two"), "Missing option '--save'"),
        (
            ("combine", "one", "other", "--save", "new"),
            "one and other are of different models: org/model and other",
        ),
        (("combine", "one", "two", "--layers", "7", "--save", "new"), "no layer 7; there are layers 0-1"),
        (("combine", "one", "two", "--layers", "x", "--save", "new"), "layers 'x': are written as 10-20"),
        (("combine", "one", "two", "--save", "missing/new"), "missing/new: the folder"),
        (("random", "one", "--seed", "-1", "--save", "new"), "greater than or equal to 0"),
    ],
)
def test_a_wrong_call_is_one_line_and_writes_nothing(files, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(files)
    out, err = called(capsys, "sets", *arguments, status=2)
    assert said in err and err.count("\n") == 1 and out == ""
    assert not (files / "new").exists()


def test_a_set_of_one_neuron_is_not_shown_as_many(path, tmp_path, capsys):
    _, err = called(
        capsys, "neurons", path, "--neuron", "0:1", "--save", tmp_path / "s", "--resamples", 0, status=2
    )
    assert "--neuron shows one neuron; --save is for many" in err and not (tmp_path / "s").exists()


def test_text_of_a_file_does_not_act_on_the_terminal(tmp_path, capsys):
    among = ModelNeurons(f"m{EVIL}", f"f{EVIL}", (0, 1), (9, 20))
    evil = NeuronSet.from_layers(among)
    save(NeuronSet.from_bits(among, evil.bits, f"kind{EVIL}", {f"key{EVIL}": [EVIL]}), tmp_path / "s")
    save(ONE, tmp_path / "one")
    for arguments in (["show", tmp_path / "s"], ["show", tmp_path / "s", "--json"]):
        out, err = called(capsys, "sets", *arguments)
        assert not acting(out) and not acting(err)
    out, err = called(
        capsys, "sets", "combine", tmp_path / "one", tmp_path / "s", "--save", tmp_path / "n", status=2
    )
    assert not acting(err)

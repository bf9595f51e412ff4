"""The commands of findings: tables, JSON and CSV of one store, and errors in one line."""

import csv
import json

import numpy as np
import pytest
import xarray

from fastneurons.cli import main
from tests.cli.test_untrusted_text import EVIL, acting
from tests.store.runs import draw

RUN = draw(30, seed=1, window=16, neurons=31, tasks=["capitals", "currencies"], position="any")
COMMANDS = ["categories", "thresholds", "repeating", "inactive", "recategorise"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("findings") / "run.zarr"
    RUN.write(path)
    return str(path)


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    path = tmp_path_factory.mktemp("evil") / "run.zarr"
    changed = {"languages": [f"l{k}{EVIL}" for k in range(3)], "tasks": [f"t{EVIL}", f"u{EVIL}"]}
    draw(12, model=f"m{EVIL}", task=f"t{EVIL}", position="any", **changed).write(path)
    return str(path)


def called(capsys, *arguments, status=0):
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert end.value.code == status, captured.err
    return captured.out, captured.err


def arguments(command, path):
    return [command, path, path] if command == "compare" else [command, path]


@pytest.mark.parametrize("command", [*COMMANDS, "compare"])
def test_json_is_the_result_and_csv_has_its_numbers(command, path, tmp_path, capsys):
    file = tmp_path / "out.csv"
    out, _ = called(capsys, *arguments(command, path), "--resamples", 20, "--json", "--csv", file)
    found = xarray.Dataset.from_dict(json.loads(out))
    assert found.attrs["languages"] == ["en", "de", "zh"]
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    first = next(iter(rows[0])) if rows else None
    assert rows or command == "inactive", first
    name = {
        "repeating": "repeating", "inactive": "neuron", "recategorise": "subset_share", "compare": "difference"
    }.get(command, "share")  # fmt: skip
    written = [float(row[name]) for row in rows]
    np.testing.assert_allclose(written, found[name].values.astype(float).ravel())


def test_a_row_of_the_csv_file_has_its_labels(path, tmp_path, capsys):
    called(capsys, "categories", path, "--threshold", 0.5, "--csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    chosen = RUN.measured & (RUN.task == 1)
    share = RUN.arrays()["category_count"][chosen, 1, 1, 3].mean() / 31
    [row] = [r for r in rows if (r["task"], r["layer"], r["category"]) == ("currencies", "1", "all-shared")]
    assert float(row["share"]) == pytest.approx(share)
    assert float(row["share_low"]) <= share <= float(row["share_high"])


@pytest.mark.parametrize("command", [*COMMANDS, "compare"])
def test_tables_fit_and_show_the_text_of_a_store_without_letting_it_act(command, path, evil, capsys):
    out, _ = called(capsys, *arguments(command, path), "--resamples", 20)
    assert out and max(map(len, out.splitlines())) <= 110
    out, _ = called(capsys, *arguments(command, evil), "--resamples", 20)
    assert not acting(out)
    called(capsys, *arguments(command, evil), "--resamples", 20, "--json")


def test_the_table_of_categories(path, capsys):
    out, _ = called(capsys, "categories", path, "--task", "capitals", "--resamples", 0)
    chosen = RUN.measured & (RUN.task == 0)
    shares = RUN.arrays()["category_count"][chosen, 0].mean(0) / 31
    for layer in range(2):
        cells = [f"{100 * share:.1f}" for share in shares[layer]]
        assert [str(layer), *cells] in [line.split() for line in out.splitlines()]


def test_several_stores(path, capsys):
    out, _ = called(capsys, "categories", path, path, "--resamples", 0)
    assert "run 4" in out and "currencies" in out


def test_a_store_of_a_subset(path, tmp_path, capsys):
    out, _ = called(capsys, "recategorise", path, "--languages", "zh,en", "--out", tmp_path / "two.zarr")
    assert out == f"{tmp_path / 'two.zarr'}\n"
    shown, _ = called(capsys, "summary", tmp_path / "two.zarr", "--json")
    bits = RUN.bits[RUN.measured, 0][:, [2, 0]]
    summary = json.loads(shown)
    assert summary["languages"] == ["zh", "en"]
    assert summary["categories"]["all-shared"]["mean"] == pytest.approx(bits.all(1).mean())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--languages", "en,th"], "has no language th"),
        (["--languages", ","], "names nothing"),
        (["--task", "riddles"], "has no task riddles"),
        (["--threshold", "0.3"], "has no threshold 0.3"),
        (["--correct-only"], "does not say which answers are right"),
        (["--csv", "/nowhere/out.csv"], "the folder /nowhere does not exist"),
    ],
)
def test_wrong_calls_are_one_line(path, arguments, message, capsys):
    _, err = called(capsys, "categories", path, *arguments, status=2)
    assert message in err and len(err.splitlines()) == 1

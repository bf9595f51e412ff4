"""`align` and `align-report` as commands: what they print, write and refuse."""

import csv
import io
import json

import numpy as np
import pytest
import xarray

from fastneurons.analysis.align_report import align_report
from fastneurons.cli import main
from fastneurons.store import open_store
from fastneurons.training.progress import Bar, Lines
from tests.analysis.test_align_report import RUNS


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alignment")
    for k, run in enumerate(RUNS[:3]):
        run.write(folder / f"{k}.zarr")
    return [str(folder / f"{k}.zarr") for k in range(3)]


def called(capsys, *arguments, status=0):
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert end.value.code == status, captured.err
    return captured


def test_align_report_prints_draws_and_writes(stores, capsys, tmp_path):
    picture, table = tmp_path / "a.svg", tmp_path / "a.csv"
    before, after, control = stores
    call = ["align-report", before, after, "--control", control, "--resamples", "20"]
    shown = called(capsys, *call, "--figure", picture, "--csv", table).out
    assert "aligned in: en, de; not in: zh" in shown
    assert "after - control" in shown and "trained - untrained" in shown and "became right" in shown
    cells = [
        line for line in shown.splitlines() if not line.startswith((" ", "before", "after:", "control:"))
    ]
    assert max(map(len, cells)) <= 100
    drawn = picture.read_text()
    assert "all-shared" in drawn and "accuracy, points" in drawn
    with table.open() as file:
        rows = list(csv.DictReader(file))
    found = align_report(*(open_store(each) for each in (before, after)), [open_store(control)], None, 20)
    assert len(rows) == found["change"].size
    picked = next(r for r in rows if r["comparison"] == "after - control" and r["layer"] == "1")
    wanted = found["change"].sel(comparison="after - control", layer=1, category=picked["category"])
    assert float(picked["change"]) == pytest.approx(float(wanted))
    numbers = xarray.Dataset.from_dict(json.loads(called(capsys, *call, "--json").out))
    np.testing.assert_allclose(
        numbers["growth_gained"].values.astype(float), found["growth_gained"].values, equal_nan=True
    )


def test_align_report_refuses_stores_that_cannot_be_compared(stores, capsys, tmp_path):
    error = called(capsys, "align-report", stores[0], tmp_path / "nowhere.zarr", status=1).err
    assert "does not exist" in error
    error = called(capsys, "align-report", *stores[:2], "--figure", tmp_path / "a.txt", status=2).err
    assert "a.txt" in error


def test_align_trains_by_the_command(models, capsys, tmp_path):
    pytest.importorskip("peft")
    pytest.importorskip("accelerate")
    data = tmp_path / "data.jsonl"
    rows = [
        {"id": k, "prompts": {"en": f"a {k}", "de": f"b {k}"}, "answers": {"en": "x", "de": "y"}}
        for k in range(8)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    call = ["align", models("Llama"), "--data", data, "--out", tmp_path / "out", "--max-steps", "2"]
    shown = called(
        capsys, *call, "--logging-steps", "1", "--lora-rank", "2", "--target-modules", "q_proj,down_proj"
    ).err
    assert "step 2 of 2  loss " in shown and " left" in shown
    assert f"fastneurons run {models('Llama')} --lora {tmp_path / 'out'}" in shown
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 4)
    assert set(config["target_modules"]) == {"q_proj", "down_proj"}
    assert "holds a training already; pass --resume" in called(capsys, *call, status=2).err
    assert "is missing" in called(capsys, *call[:2], "--out", tmp_path / "new", status=2).err


def test_progress_shows_loss_and_time_left():
    for kind in (Lines, Bar):
        stream = io.StringIO()
        shown = kind(stream)
        shown.message("loading m\x1b[31m")
        shown.start(10, 4)
        shown.step(5)
        shown.loss(5, 1.25, 2.5)
        shown.step(6)
        shown.stop()
        text = stream.getvalue()
        assert r"loading m\x1b[31m" in text
        assert "loss 1.2500, 2.5000 on held-out examples" in text
        assert "left" in text

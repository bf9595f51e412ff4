"""The scripts of docs/examples do what they say, as a reader would start them."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def start(name: str, *arguments: object) -> list[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.engine
def test_own_data_is_measured_and_read_with_xarray(models, tmp_path):
    by_layer = start("own_jsonl.py", models(), tmp_path)
    shares = [line.split(":")[1].split()[0] for line in by_layer]
    all_shared, *pairs = start("store_with_xarray.py", tmp_path / "facts.zarr")
    assert all_shared == f"all-shared neurons by layer: {', '.join(shares)}"
    assert [line.split(" share ")[0] for line in pairs] == ["en and de", "en and es", "de and es"]


@pytest.mark.engine
def test_two_tasks_are_compared(models, tmp_path):
    lines = start("two_tasks.py", models(), tmp_path)
    assert [line.split()[0] for line in lines] == ["mgsm"] * 4 + ["parallel"] * 4
    for task in ("mgsm", "parallel"):
        means = [float(line.split()[2].rstrip("%")) for line in lines if line.startswith(task)]
        assert sum(means) == pytest.approx(100, abs=0.3)
        assert means[2] == 0  # of two languages, none is some but not all

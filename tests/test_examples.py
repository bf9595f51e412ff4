"""The scripts of docs/examples do what they say, as a reader would start them."""

import re
from pathlib import Path

import numpy as np
import pytest

from fastneurons.neuron_sets import load_set
from tests.command import python_script

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def start(name: str, *arguments: object) -> list[str]:
    done = python_script(EXAMPLES / name, *arguments)
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
def test_language_neurons_of_real_texts_are_not_there_by_chance_and_matter(tmp_path):
    from fastneurons.data.demo.model import demo_model

    codes = ("en", "de", "ru")
    lines = start("language_neurons.py", demo_model(), tmp_path)
    for line, code in zip(lines[:3], codes, strict=True):
        found = re.fullmatch(
            rf"{code}: (\d+) neurons; halves of the corpus agree in (\d+) %, by chance in ([\d.]+) %", line
        )
        assert found, line
        number, agreement, chance = int(found[1]), int(found[2]), float(found[3])
        mask = load_set(tmp_path / "masks" / f"{code}.safetensors")
        control = load_set(tmp_path / "controls" / f"random-{code}.safetensors")
        assert len(mask) == number > 0
        assert agreement > 3 * chance
        np.testing.assert_array_equal(control.counts, mask.counts)
        assert len(mask & control) < number / 10
    # One in a hundred of 30 layers of 1,536 neurons.
    found = re.fullmatch(r"selected: 461 neurons; of these, at most ([\d.]+) % by chance", lines[3])
    assert found and float(found[1]) < 50, lines[3]
    matrix = [re.findall(r"[a-z]{2} ([-+][\d.]+) %", line.partition(": ")[2]) for line in lines[4:]]
    rises = np.array(matrix, np.float64)
    assert rises.shape == (6, 3)
    for k in range(3):
        # Of the masks, each language (a column) suffers most without its own neurons.
        assert rises[k, k] > max(0, *np.delete(rises[:3, k], k)), lines[4:]
    for k in (1, 2):
        # German and Russian, far more than without as many random ones; of English, the text says no such thing.
        assert rises[k, k] > 2 * rises[3 + k, k], lines[4:]


@pytest.mark.engine
def test_two_tasks_are_compared(models, tmp_path):
    lines = start("two_tasks.py", models(), tmp_path)
    assert [line.split()[0] for line in lines] == ["mgsm"] * 4 + ["parallel"] * 4
    for task in ("mgsm", "parallel"):
        means = [float(line.split()[2].rstrip("%")) for line in lines if line.startswith(task)]
        assert sum(means) == pytest.approx(100, abs=0.3)
        assert means[2] == 0  # of two languages, none is some but not all

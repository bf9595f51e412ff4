"""What the kernels compile to, without a GPU: no spills, wide loads, the rounding that the contract states.

In a process of its own, where nothing has asked Triton for its interpreter.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kernels_static.py"
ARCHITECTURES = (80, 90, 100)
OTHERS = (75, 86, 89, 120, "gfx942")


def compiled(*options):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, str(SCRIPT), "--json", *map(str, options)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def rows():
    """Every case of the benchmark on every target; from Triton's cache after the first run."""
    return compiled("--arch", *ARCHITECTURES)


def label(row):
    return f"{row['kernel']} {row['variant']} sm_{row['arch']}"


def test_every_function_and_target_is_compiled(rows):
    from fastneurons_kernels.functions import FUNCTIONS

    compiled = {(row["variant"].split()[0], row["arch"]) for row in rows if row["kernel"] == "activation"}
    assert compiled == {(function, arch) for function in FUNCTIONS for arch in ARCHITECTURES}
    for kernel in ("categories", "attribution", "top", "histogram"):
        assert {row["arch"] for row in rows if row["kernel"] == kernel} == set(ARCHITECTURES)


def test_nothing_spills(rows):
    assert [label(row) for row in rows if row["spilled_bytes"]] == []


def test_nothing_spills_on_the_other_targets():
    rows = compiled("--few", "--arch", *OTHERS)
    assert {row["arch"] for row in rows} == set(OTHERS)
    assert [label(row) for row in rows if row["spilled_bytes"]] == []
    for row in rows:
        if row["arch"] == 75:
            assert "bf16" not in row["variant"], label(row)
        if row["kernel"] == "activation":
            # 64 threads a warp: a thread has half as many neurons.
            assert row["loads"].get("8" if row["arch"] == "gfx942" else "16"), label(row)


def test_aligned_rows_are_read_and_written_16_bytes_at_a_time(rows):
    for row in rows:
        if row["kernel"] != "activation" or "I=1538" in row["variant"]:
            continue
        vectors = (2 if "fp32" in row["variant"] else 1) * (2 if "gated" in row["variant"] else 1)
        if "values edited" in row["variant"]:
            vectors += 2  # eight numbers in fp32
        assert row["loads"].get("16") == vectors, label(row)
        kept = 2 if "coefficients" in row["variant"] else 1
        assert row["stores"].get("16") == kept * (2 if "fp32" in row["variant"] else 1), label(row)
        # What is narrower is one integer or threshold a program: nothing of x or out.
        narrow = {width for width in (*row["loads"], *row["stores"]) if width != "16"}
        assert narrow <= {"4"}, label(row)
        if "unobserved" in row["variant"]:
            assert not narrow, label(row)


def test_rows_off_the_boundary_are_compiled_for_what_they_are(rows):
    found = [row for row in rows if "I=1538" in row["variant"]]
    assert found
    assert all("16" not in row["loads"] and "16" not in row["stores"] for row in found)


def test_histograms_are_counted_by_atomics_that_return_nothing(rows):
    found = [row for row in rows if row["kernel"] == "histogram"]
    assert found
    for row in found:
        # Rows are as wide as without; a byte of the table for each value, and the anchors.
        assert row["loads"].get("16"), label(row)
        assert row["loads"].get("1", 0) >= 8, label(row)
        signs = 4 * 8 if "gated" in row["variant"] else 0
        thresholds = 4 if "S=8" in row["variant"] else 1
        # Of each of a thread's eight values: its bin, four sums, signs, and the counts of thresholds.
        assert row["atomics"] == 8 * (1 + 4 + thresholds) + signs + 1, label(row)


def test_scores_are_read_16_bytes_at_a_time(rows):
    for row in rows:
        if row["kernel"] == "top" or (row["kernel"] == "attribution" and "I=1538" not in row["variant"]):
            # What is narrower: an index, bytes of planes, categories of what was found.
            assert row["loads"].get("16"), label(row)
            assert row["loads"].get("4", 0) <= 2, label(row)
            assert not {"8", "2"} & row["loads"].keys(), label(row)


def test_bf16_is_rounded_to_nearest(rows):
    for row in rows:
        assert set(row["bf16_roundings"]) <= {"rn"}, label(row)
        if "silu" in row["variant"] and "bf16" in row["variant"]:
            assert row["bf16_roundings"], label(row)


def test_bits_are_counted_by_the_instruction_for_it(rows):
    for row in rows:
        if row["kernel"] == "categories":
            languages = int(row["variant"].split()[0].removeprefix("L="))
            # One a language of a round and a category; of two languages none is partial-shared, as the compiler knows.
            in_a_round = {2: 2, 10: 10, 17: 6, 64: 8}[languages]
            assert row["popc"] == in_a_round + (2 if languages == 2 else 3), label(row)
            assert row["atomics"] <= 4, label(row)


def test_no_launch_moves_much_more_than_it_must(rows):
    for row in rows:
        if row["kernel"] in ("attribution", "top"):
            continue  # what is searched is read again and again, from the caches
        allowed = 1.01 if row["kernel"] == "activation" else 1.3
        if "corpus" in row["variant"]:
            allowed = 1.05  # counts go out every sixteen rows
        if row["kernel"] == "histogram":
            allowed = 1.5  # so do sums, of eight bytes each
        if "S=8" in row["variant"]:
            allowed = 1.7  # more thresholds than a program takes: x is read again
        assert row["bytes_least"] <= row["bytes_moved"] <= allowed * row["bytes_least"], label(row)

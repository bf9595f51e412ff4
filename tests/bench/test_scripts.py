"""The scripts that need no GPU run; the one for GPU owners names nothing that is not there."""

import json
import os
import re
import subprocess
import sys

import matplotlib.image
import pytest

from fastneurons.bench.contenders import CONTENDERS
from tests.bench.scripts import BENCHMARKS

ROOT = BENCHMARKS.parent


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command], capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **environment}
    )


@pytest.mark.engine
def test_growth_gives_rates_and_memory_of_each_point(tmp_path):
    figures, picture = tmp_path / "growth.json", tmp_path / "growth.png"
    script = str(BENCHMARKS / "growth.py")
    done = run(sys.executable, script, "--quick", "--json", str(figures), "--plot", str(picture))
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(figures.read_text())["rows"]
    assert [(r["axis"], r["value"], r["tokens"]) for r in rows] == [("thresholds", 2, 480)]
    assert all(200 < r["peak_mib"] < 4000 for r in rows)
    assert all(0 < r["tokens_per_s"]["p20"] <= r["tokens_per_s"]["median"] for r in rows)
    assert matplotlib.image.imread(picture)[..., :3].std() > 0.01


def test_kernels_agree_with_their_reference_by_the_script_that_times_them():
    script = str(BENCHMARKS / "kernel_rate.py")
    sizes = ["--neurons", "96", "--rows", "64", "--dtype", "fp16"]
    done = run(sys.executable, script, "--check", "--device", "cpu", *sizes, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "7 ways of reading agree with the reference at 64 rows\n"
    without_gpu = run(sys.executable, script)
    assert without_gpu.returncode != 0
    assert "needs an NVIDIA GPU" in without_gpu.stderr


def test_the_script_for_gpus_names_what_exists():
    path = BENCHMARKS / "gpu.sh"
    assert os.access(path, os.X_OK)
    assert run("bash", "-n", str(path)).returncode == 0
    text = path.read_text()
    for file in re.findall(r"(?:benchmarks|tests)/[\w/]+\.(?:py|sh)", text):
        assert (ROOT / file).is_file(), file
    lists = re.findall(r"^(?:eager|compiled|others)=(\S+)$", text, re.M) + re.findall(
        r"--contenders (\w\S*)", text
    )
    assert len(lists) == 5
    for name in ",".join(lists).split(","):
        assert name in CONTENDERS, name
    helps = {
        "fastneurons bench": run(
            sys.executable, "-m", "fastneurons", "bench", "--help", COLUMNS="200"
        ).stdout,
        "kernel_rate": (BENCHMARKS / "kernel_rate.py").read_text(),
    }
    for option in set(re.findall(r"(?<!\w)--[a-z][a-z-]+", text)) - {
        "--list-gpus",
        "--query-gpu",
        "--format",
    }:
        assert any(option in known for known in helps.values()), option


def test_without_a_gpu_it_says_so():
    if run("sh", "-c", "command -v nvidia-smi").returncode == 0:
        pytest.skip("there is one")
    done = run("bash", str(BENCHMARKS / "gpu.sh"))
    assert done.returncode == 2
    assert "needs a machine with an NVIDIA GPU" in done.stderr

"""The scripts that need no GPU run; the one for GPU owners names nothing that is not there."""

import json
import os
import re
import subprocess
import sys

import matplotlib.image
import pytest

from fastneurons.bench.contenders import CONTENDERS
from tests.bench.scripts import BENCHMARKS, script
from tests.command import python_script

ROOT = BENCHMARKS.parent


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command], capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **environment}
    )


@pytest.mark.engine
def test_growth_gives_rates_and_memory_of_each_point(tmp_path):
    figures, picture = tmp_path / "growth.json", tmp_path / "growth.png"
    done = python_script(BENCHMARKS / "growth.py", "--quick", "--json", figures, "--plot", picture)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(figures.read_text())["rows"]
    assert [(r["axis"], r["value"], r["tokens"]) for r in rows] == [("thresholds", 2, 480)]
    assert all(200 < r["peak_mib"] < 4000 for r in rows)
    assert all(0 < r["tokens_per_s"]["p20"] <= r["tokens_per_s"]["median"] for r in rows)
    assert matplotlib.image.imread(picture)[..., :3].std() > 0.01


def test_kernels_agree_with_their_reference_by_the_script_that_times_them():
    rate = str(BENCHMARKS / "kernel_rate.py")
    sizes = ["--neurons", "96", "--rows", "64", "--dtype", "fp16"]
    done = run(sys.executable, rate, "--check", "--device", "cpu", *sizes, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "7 ways of reading agree with the reference at 64 rows\n"
    without_gpu = run(sys.executable, rate)
    assert without_gpu.returncode != 0
    assert "needs an NVIDIA GPU" in without_gpu.stderr


def test_the_script_for_gpus_names_what_exists():
    path = BENCHMARKS / "gpu.sh"
    assert os.access(path, os.X_OK)
    assert run("bash", "-n", str(path)).returncode == 0
    text = path.read_text()
    for file in re.findall(r"(?:benchmarks|tests)/[\w/]+\.(?:py|sh)", text):
        assert (ROOT / file).is_file(), file
    lists = re.findall(r"^ +bench \S+ (\S+,\S+)", text, re.M)
    assert len(lists) == 6
    for name in ",".join(lists).split(","):
        assert name in CONTENDERS, name
    helps = [run(sys.executable, "-m", "fastneurons", "bench", "--help", COLUMNS="200").stdout]
    helps += [
        (BENCHMARKS / f"{name}.py").read_text()
        for name in ("kernel_rate", "same_bits", "profile_steps", "random_model", "growth")
    ]
    known = (
        " ".join(helps).replace("steps: Annotated", "--steps").replace("examples: Annotated", "--examples")
    )
    known = known.replace("ways: Annotated", "--ways").replace("device: Annotated", "--device")
    for option in set(re.findall(r"(?<!\w)--[a-z][a-z-]+", text)) - {
        "--list-gpus",
        "--query-gpu",
        "--format",
        "--no-weights",
        "--weights",
        "--help",
    }:
        assert option in known, option
    stages = run("bash", str(path), "list").stdout.split()
    assert stages == re.findall(r"^        (\w+)\)", text, re.M)
    assert list(script("gpu_summary")._STAGES) == stages


def test_without_a_gpu_it_says_so(tmp_path):
    if run("sh", "-c", "command -v nvidia-smi").returncode == 0:
        pytest.skip("there is one")
    done = run("bash", str(BENCHMARKS / "gpu.sh"), str(tmp_path / "out"))
    assert done.returncode == 2
    assert "needs a machine with an NVIDIA GPU" in done.stderr
    done = run("bash", str(BENCHMARKS / "gpu.sh"), str(tmp_path / "out"), "everything")
    assert done.returncode == 2
    assert "everything: must be one of machine kernels bits" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_script_for_gpus_goes_on_after_a_stage_that_fails(tmp_path):
    """On the CPU, with small numbers: the others of its stages start engines, and take a minute or more each."""
    out = tmp_path / "out"
    environment = {"SCALE": "small", "PYTHON": sys.executable, "MODEL": str(tmp_path / "no-model")}
    done = run("bash", str(BENCHMARKS / "gpu.sh"), str(out), "profile", "kernels", **environment)
    assert done.returncode == 1
    assert (out / "profile.status").read_text().split()[0] == "1"
    assert "no such folder" in " ".join((out / "profile.log").read_text().split())
    assert (out / "kernels.status").read_text().split()[0] == "0"
    assert (out / "kernels.txt").read_text() == "7 ways of reading agree with the reference at 64 rows\n"
    summary = (out / "summary.txt").read_text()
    assert "FAILED with exit status 1" in summary
    assert "each kernel gives the reference's results" in summary
    assert summary.endswith(f"results: {out}\nfailed: profile\n")
    assert summary in done.stdout


def test_the_summary_says_what_results_mean(tmp_path, capsys):
    summary = script("gpu_summary")
    way = {"way": "eager", "ok": True, "bits": 1000, "different": 0, "from_transformers": 3, "why_not": None}
    bits = [
        way,
        way | {"way": "compiled", "different": 4},
        way | {"way": "tp2", "different": 300, "ok": False},
        way | {"way": "pp2", "why_not": "no NCCL"},
    ]
    rate = {"median": 1000.0}
    result = {"prompt_length": 32, "why_not": None, "compared_with": "the same engine", "tokens_per_s": rate}
    results = [
        result | {"contender": "unpatched", "ratio": None},
        result | {"contender": "last", "ratio": {"median": 0.99}},
        result | {"contender": "any", "ratio": {"median": 0.8}},
        result | {"contender": "notebook", "tokens_per_s": None, "why_not": "no weights"},
    ]
    written = {
        "bits": bits,
        "profile": {"steps": 20, "seconds": 1.5, "device_idle_share": 0.2},
        "bench": {"checked": False, "results": results},
    }
    for name, value in written.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
        (tmp_path / f"{name}.status").write_text("0 7")
    (tmp_path / "growth.status").write_text("1 2")
    assert summary.main(tmp_path) == 1
    said = capsys.readouterr().out
    for line in (
        "eager: 0 of 1,000 bits (0.000%) differ from the first way, 0.300% from a plain forward pass: the same",
        "compiled: 4 of 1,000 bits (0.400%) differ from the first way, 0.300% from a plain forward pass: activations "
        "within rounding of the threshold",
        "tp2: 300 of 1,000 bits (30.000%) differ",
        "MORE THAN ROUNDING DOES",
        "pp2 did not run, so nothing is known of it: no NCCL",
        "no kernel ran during 20.0% of them: the device waits for the host",
        "last: 1,000 to 1,000 tokens/s (prompts of 32 tokens), 0.990 to 0.990 of the same engine: as fast as vLLM",
        "any: 1,000 to 1,000 tokens/s (prompts of 32 tokens), 0.800 to 0.800 of the same engine\n",
        "notebook: not timed: no weights",
        "no result was compared with a reference",
        "growth (2 s): FAILED with exit status 1",
    ):
        assert line in said, line


@pytest.mark.parametrize(
    ("spans", "idle"),
    [([], None), ([(0, 10)], 0.0), ([(5, 6), (0, 4), (1, 2)], 0.1667), ([(0, 1), (3, 4)], 0.5)],
)
def test_the_time_without_a_kernel(spans, idle):
    assert script("profile_steps")._idle_share(spans) == idle


@pytest.mark.parametrize(
    ("shape", "parameters"),
    # As their publishers count them; Qwen names its smaller ones by what they have without embeddings.
    [
        ("llama-1b", 1_235_814_400),
        ("llama-8b", 8_030_261_248),
        ("qwen3-0.6b", 596_049_920),
        ("smallest", None),
    ],
)
def test_shapes_are_those_of_real_models(shape, parameters, tmp_path):
    import torch
    import transformers

    made = script("random_model")
    folder = made.write_shape(shape, tmp_path / shape, weights=False)
    config = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name not in tied}
    written = {name: size for part in made._parts(shape) for name, size in part.items()}
    assert written == expected
    if parameters is not None:
        assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("กข a").input_ids) == "กข a"
    assert len(tokenizer("กข a").input_ids) == 8

"""lm-evaluation-harness over edited models: tasks from data, the command, and what is made of its files."""

import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastneurons.data.example import Example, Skipped
from fastneurons.errors import EngineError, InputError
from fastneurons.harness.results import folders_of, print_results, read_results, results_numbers
from fastneurons.harness.run import check_arguments
from fastneurons.harness.write_task import write_tasks
from fastneurons.neuron_sets import Edit, ModelNeurons, NeuronSet, save
from tests.engine import tiny

CAPITALS = [
    Example(
        f"c{number}",
        {"en": f"The capital of {country} is", "zh": f"{country}的首都是"},
        {"en": capital, "zh": capital},
        choices={"en": ("Paris", "Rome", "Oslo")},
    )
    for number, (country, capital) in enumerate(
        [("France", "Paris"), ("Italy", "Rome"), ("Norway", "Oslo")] * 4
    )
]


def test_tasks_hold_the_data(tmp_path):
    rows = [*CAPITALS, Skipped("x", "", "broken"), Example("y", {"en": "no answer"})]
    assert write_tasks(rows, ["en", "zh", "de"], tmp_path / "t", "caps") == {"en": 12, "zh": 12}
    assert {path.name for path in (tmp_path / "t").iterdir()} == {
        "caps.yaml", "caps_en.yaml", "caps_en.jsonl", "caps_zh.yaml", "caps_zh.jsonl",
    }  # fmt: skip
    first = json.loads((tmp_path / "t" / "caps_en.jsonl").read_text().splitlines()[1])
    assert first == {
        "id": "c1", "prompt": "The capital of Italy is", "answer": "Rome",
        "choices": ["Paris", "Rome", "Oslo"], "gold": 1,
    }  # fmt: skip
    english, chinese = ((tmp_path / "t" / f"caps_{code}.yaml").read_text() for code in ("en", "zh"))
    assert 'output_type: "multiple_choice"' in english and 'target_delimiter: " "' in english
    assert 'output_type: "generate_until"' in chinese and 'target_delimiter: ""' in chinese
    with pytest.raises(InputError, match="holds something already"):
        write_tasks(rows, ["en"], tmp_path / "t", "caps")
    with pytest.raises(InputError, match="no example has an answer"):
        write_tasks(rows, ["fr"], tmp_path / "u", "caps")
    with pytest.raises(InputError, match="--name a/b"):
        write_tasks(rows, ["en"], tmp_path / "v", "a/b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "t"], "name the model with --model_args pretrained=MODEL"),
        (
            ["--model", "vllm", "--model_args", "pretrained=m"],
            "lm-eval run --model: the model is fastneurons' own",
        ),
        (
            ["--use_cache=c", "--model_args", "pretrained=m"],
            "lm-eval run --use_cache: answers of one condition",
        ),
    ],
)
def test_arguments_that_cannot_be_used_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        check_arguments(arguments)


def written(folder: Path, values: list[float], aggregate: float) -> None:
    """Files as the harness writes them."""
    own = folder / "model"
    own.mkdir(parents=True)
    results = {"results": {"caps": {"alias": "caps", "acc,none": aggregate, "acc_stderr,none": 0.1}}}
    (own / "results_2026-01-01T00-00-00.000000.json").write_text(json.dumps(results))
    lines = [
        json.dumps({"doc_id": k, "filter": "none", "metrics": ["acc"], "acc": value})
        for k, value in enumerate(values)
    ]
    (own / "samples_caps_2026-01-01T00-00-00.000000.jsonl").write_text("\n".join(lines))


def test_results_are_paired_by_document(tmp_path):
    rng = np.random.default_rng(0)
    before, after = (rng.random(200) < 0.8).astype(float), (rng.random(200) < 0.3).astype(float)
    folders = folders_of(tmp_path, ["intact", "off", "same"])
    for condition, values in (("intact", before), ("off", after), ("same", before)):
        written(folders[condition], values.tolist(), float(values.mean()))
    found = read_results(folders)
    assert found["intact"]["caps", "acc"].change is None
    off, same = (found[name]["caps", "acc"].change for name in ("off", "same"))
    assert off.mean == pytest.approx(after.mean() - before.mean()) and off.documents == 200
    # Half the width of the normal interval of paired differences.
    half = 1.96 * (after - before).std() / 200**0.5
    assert off.low == pytest.approx(off.mean - half, abs=0.03) and off.high == pytest.approx(
        off.mean + half, abs=0.03
    )
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    stream = io.StringIO()
    print_results(found, stream)
    assert "0.1000" in stream.getvalue() and "*" in stream.getvalue()
    assert results_numbers(found)["off"]["caps"]["acc"]["change"]["mean"] == off.mean
    with pytest.raises(EngineError, match="lm-eval wrote no results"):
        read_results({"intact": tmp_path / "nothing"})


def called(*arguments: str, **environment: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "fastneurons", "lm-eval", *arguments], capture_output=True, text=True,
        check=False, env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", **environment},
    )  # fmt: skip


@pytest.mark.engine
@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")
def test_the_harness_runs_intact_and_edited_in_one_engine(models, tmp_path):
    write_tasks(CAPITALS, ["en", "zh"], tmp_path / "tasks", "caps")
    among = ModelNeurons("tiny", None, tuple(range(tiny.LAYERS)), (tiny.NEURONS,) * tiny.LAYERS)
    every = NeuronSet.from_layers(among)
    save(every, tmp_path / "off.safetensors")
    save(Edit(every, scale=1.0), tmp_path / "same.safetensors")
    arguments = [
        "run", "--model_args",
        f"pretrained={models()},dtype=float32,max_model_len=256,kv_cache_memory_bytes={1 << 26}",
        "--tasks", "caps", "--include_path", str(tmp_path / "tasks"),
        "--edit", str(tmp_path / "off.safetensors"), "--edit", str(tmp_path / "same.safetensors"),
    ]  # fmt: skip
    done = called(
        *arguments, "--output_path", str(tmp_path / "out"), "--json",
        HF_HOME=str(tmp_path / "hf"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    numbers = json.loads(done.stdout[done.stdout.rindex("\n{") + 1 :])
    assert numbers.keys() == {"intact", "off", "same"}
    assert {"caps_en", "caps_zh"} <= numbers["intact"].keys()
    same = numbers["same"]["caps_en"]["acc"]["change"]
    assert (same["mean"], same["documents"]) == (0, 12)
    assert json.loads((tmp_path / "out" / "conditions.json").read_text()) == ["intact", "off", "same"]

    # Log-likelihoods of the choices: equal under an edit of nothing, others with everything off.
    def likelihoods(number: int) -> np.ndarray:
        [samples] = (tmp_path / "out" / str(number)).rglob("samples_caps_en_*.jsonl")
        lines = [json.loads(line) for line in samples.read_text().splitlines()]
        lines.sort(key=lambda line: line["doc_id"])
        return np.array([[float(answer[0][0]) for answer in line["resps"]] for line in lines])

    np.testing.assert_array_equal(likelihoods(2), likelihoods(0))
    assert np.abs(likelihoods(1) - likelihoods(0)).max() > 0.1

    refused = called(*arguments[:2], f"{arguments[2]},data_parallel_size=2", *arguments[3:])
    assert refused.returncode == 2
    assert "data_parallel_size=2: engines that lm-eval starts by itself cannot be edited" in refused.stderr

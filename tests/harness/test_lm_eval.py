"""lm-evaluation-harness over edited models: tasks from data, the command, and what is made of its files."""

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest

from fastneurons.data.example import Example, Skipped
from fastneurons.engine.adapters import check_judged, read_adapter
from fastneurons.errors import EngineError, InputError
from fastneurons.harness.results import folders_of, print_results, read_results, results_numbers
from fastneurons.harness.run import check_arguments
from fastneurons.harness.write_task import write_tasks
from fastneurons.neuron_sets import Edit, ModelNeurons, NeuronSet, save
from tests.command import fastneurons_command
from tests.engine import tiny
from tests.engine.edited import edited_by_hooks
from tests.engine.lora import make_adapter, merge

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


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """What is cached of the documents stays in the test's folder."""
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))


def likelihoods(folder: Path) -> np.ndarray:
    """Log-likelihoods of the English choices [documents, choices], in the harness' files of a condition."""
    [samples] = folder.rglob("samples_caps_en_*.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    lines.sort(key=lambda line: line["doc_id"])
    return np.array([[float(answer[0][0]) for answer in line["resps"]] for line in lines])


@pytest.mark.engine
@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")
def test_the_harness_runs_intact_and_edited_in_one_engine(models, offline, tmp_path):
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
    done = fastneurons_command("lm-eval", *arguments, "--output_path", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    numbers = json.loads(done.stdout[done.stdout.rindex("\n{") + 1 :])
    assert numbers.keys() == {"intact", "off", "same"}
    assert {"caps_en", "caps_zh"} <= numbers["intact"].keys()
    same = numbers["same"]["caps_en"]["acc"]["change"]
    assert (same["mean"], same["documents"]) == (0, 12)
    assert json.loads((tmp_path / "out" / "conditions.json").read_text()) == ["intact", "off", "same"]

    # Log-likelihoods of the choices: equal under an edit of nothing, others with everything off.
    intact, off, same = (likelihoods(tmp_path / "out" / number) for number in "012")
    np.testing.assert_array_equal(same, intact)
    assert np.abs(off - intact).max() > 0.1

    refused = fastneurons_command(
        "lm-eval", *arguments[:2], f"{arguments[2]},data_parallel_size=2", *arguments[3:]
    )
    assert refused.returncode == 2
    assert "data_parallel_size=2: engines that lm-eval starts by itself cannot be edited" in refused.stderr


@pytest.mark.engine
@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")
def test_an_adapter_is_that_of_the_merged_model_intact_and_edited(models, offline, tmp_path):
    pytest.importorskip("peft")
    import torch
    import transformers

    documents, choices = CAPITALS[:3], CAPITALS[0].choices["en"]
    write_tasks(documents, ["en"], tmp_path / "tasks", "caps")
    model = models(tie_word_embeddings=False)
    adapter = make_adapter(model, tmp_path / "adapter")
    merged = merge(model, adapter, tmp_path / "merged")
    among = ModelNeurons("tiny", None, tuple(range(tiny.LAYERS)), (tiny.NEURONS,) * tiny.LAYERS)
    some = NeuronSet.from_bits(among, np.random.default_rng(1).random(among.shape) < 0.4)
    save(some, tmp_path / "off.safetensors")
    done = fastneurons_command(
        "lm-eval", "run", "--model_args",
        f"pretrained={model},dtype=float32,max_model_len=256,kv_cache_memory_bytes={1 << 26}",
        "--tasks", "caps", "--include_path", str(tmp_path / "tasks"), "--lora", str(adapter),
        "--edit", str(tmp_path / "off.safetensors"), "--output_path", str(tmp_path / "out"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"adapter: {adapter}\n" in done.stdout
    named = json.loads((tmp_path / "out" / "adapter.json").read_text())
    assert (named["folder"], named["fingerprint"]) == (str(adapter), read_adapter(adapter).fingerprint)
    tokenise = tiny.tokenizer()
    texts = [
        {
            "ids": tokenise(f"{row.prompts['en']} {choice}")["input_ids"], "edit": edit,
            "boundary": len(tokenise(row.prompts["en"])["input_ids"]), "most": 0,
        }
        for edit in (None, 0) for row in documents for choice in choices
    ]  # fmt: skip
    arrays = {
        "bits": some.bits[None], "values": np.zeros((1, *among.shape), np.float32), "scale": np.zeros(1),
        "site": np.array(["product"]), "scope": np.array(["both"]),
    }  # fmt: skip
    logs, _ = edited_by_hooks(merged, arrays, texts)
    wanted = np.reshape([each.sum(dtype=np.float64) for each in logs], (2, len(documents), len(choices)))
    found = np.stack([likelihoods(tmp_path / "out" / number) for number in "01"])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    ids, first = texts[0]["ids"], texts[0]["boundary"]
    with torch.no_grad():
        logs = base(torch.tensor([ids])).logits[0].log_softmax(-1)
    without = sum(float(logs[at - 1, ids[at]]) for at in range(first, len(ids)))
    assert abs(without - wanted[0, 0, 0]) > 0.1, "the adapter changes too little to tell"
    # vLLM adds LoRA to the logits of sampled rows alone, and the harness judges others.
    head = make_adapter(model, tmp_path / "head", ["lm_head"])
    with pytest.raises(InputError, match="it changes the unembedding"):
        check_judged(read_adapter(head))


def test_the_table_and_the_numbers_name_the_adapter(tmp_path):
    folders = folders_of(tmp_path, ["intact"])
    written(folders["intact"], [1.0, 0.0], 0.5)
    stream = io.StringIO()
    print_results(read_results(folders), stream, "/models/adapter")
    assert stream.getvalue().startswith("adapter: /models/adapter\n")
    numbers = results_numbers(read_results(folders), {"folder": "/models/adapter"})
    assert numbers["lora"] == {"folder": "/models/adapter"}
    assert numbers["intact"]["caps"]["acc"]["value"] == 0.5

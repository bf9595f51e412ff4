"""Trainings from data to weights: on a toy task, interrupted, repeated, and refused."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file

import fastneurons
from fastneurons.errors import InputError, TrainingError
from fastneurons.neuron_sets import ModelNeurons, NeuronSet, save
from fastneurons.training import trainer as trainers
from tests.engine.lora import merge
from tests.training.conftest import write_rows

SHORT: dict[str, Any] = {
    "max_steps": 6,
    "lora_rank": 4,
    "learning_rate": 5e-3,
    "logging_steps": 2,
    "save_steps": 2,
}


def accuracy(folder: Path, rows: list[dict[str, Any]]) -> float:
    """Share of prompts whose answer's letters are the most probable ones."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    right = []
    for row in rows:
        for code, prompt in row["prompts"].items():
            ids = tokenizer(f"{prompt} {row['answers'][code]}")["input_ids"]
            with torch.no_grad():
                best = model(torch.tensor([ids])).logits[0].argmax(-1)
            right.append(best[-3:-1].tolist() == ids[-2:])
    return float(np.mean(right))


def test_a_toy_task_is_learned(models, toy, tmp_path, said):
    model, heard = models("Llama"), said()
    done = fastneurons.align(
        model, toy, None, tmp_path / "out", merge=True, max_steps=100, learning_rate=1e-2, progress=heard,
        logging_steps=20,
    )  # fmt: skip
    assert done
    rows = [json.loads(line) for line in toy.read_text().splitlines()]
    assert accuracy(tmp_path / "out", rows) > 0.7
    assert accuracy(model, rows) < 0.2
    record = json.loads((tmp_path / "out" / "alignment.json").read_text())
    assert record["status"] == "complete"
    assert (record["examples"], record["held_out_examples"], record["languages"]) == (36, 4, ["en", "de"])
    assert record["held_out_loss"]["all"] < 0.3 * record["held_out_loss_before"]["all"]
    assert set(record["held_out_loss"]) == {"en", "de", "all"}
    assert [entry["step"] for entry in record["losses"]] == [20, 40, 60, 80, 100]
    assert [step for step, _, validation in heard.losses if validation is not None] == [20, 40, 60, 80, 100]
    assert heard.steps == list(range(101))
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_held_out_losses_are_those_of_a_plain_forward_pass(models):
    model = transformers.AutoModelForCausalLM.from_pretrained(models("Llama"), dtype=torch.float32)
    texts = [
        trainers.Text(code, ids, [trainers.NOT_COUNTED] * 2 + ids[2:])
        for code, ids in (("en", [5, 6, 7, 8]), ("en", [9, 10, 11]), ("de", [12, 13, 14, 15, 16]))
    ]
    found = trainers.held_out_loss(model, texts, trainers.Padded(0), batch_size=2)
    losses: dict[str, list[float]] = {"en": [], "de": []}
    for text in texts:
        with torch.no_grad():
            logs = model(torch.tensor([text.token_ids])).logits[0].double().log_softmax(-1)
        losses[text.language] += [
            -float(logs[k - 1, text.token_ids[k]]) for k in range(2, len(text.token_ids))
        ]
    for code, each in losses.items():
        assert found[code] == pytest.approx(np.mean(each), rel=1e-5)
    assert found["all"] == pytest.approx(np.mean(losses["en"] + losses["de"]), rel=1e-5)


def test_one_seed_gives_one_adapter_also_when_interrupted(models, toy, tmp_path, said):
    def train(name: str, **changes: Any) -> dict[str, np.ndarray]:
        fastneurons.align(models("Llama"), toy, None, tmp_path / name, progress=False, **(SHORT | changes))
        return load_file(tmp_path / name / "adapter_model.safetensors")

    once, other = train("once"), train("other seed", seed=1)
    assert any((once[name] != other[name]).any() for name in once)

    class StopsAfter(said):
        def step(self, done: int) -> None:
            super().step(done)
            if done == 3:
                stop.set()

    # Interrupted after a step without a regular checkpoint.
    stop, heard = threading.Event(), StopsAfter()
    from fastneurons.data.tasks import open_tasks, tasks_and_data
    from fastneurons.training import TrainingOptions, align
    from fastneurons.training.align import BaseModel

    source = open_tasks(*tasks_and_data(None, [str(toy)]), None)
    out = tmp_path / "interrupted"
    base = BaseModel(str(models("Llama")))
    assert not align(base, source, out, TrainingOptions(**SHORT), progress=heard, stop=stop)
    assert "stopped after step 3; continue with --resume" in heard.messages
    assert not (out / "adapter_model.safetensors").exists()
    broken = out / "checkpoints" / "checkpoint-5"  # a later one, of which only a part was written
    broken.mkdir()
    (broken / "trainer_state.json").write_text('{"global')
    with pytest.raises(InputError, match="holds a training already; pass --resume, --overwrite"):
        train("interrupted")
    with pytest.raises(
        InputError, match=r"was begun with --learning-rate 0.005, this is --learning-rate 0.1"
    ):
        train("interrupted", learning_rate=0.1, resume=True)
    resumed = said()
    assert align(base, source, out, TrainingOptions(**SHORT), progress=resumed, resume=True)
    assert "continuing after step 3" in resumed.messages
    assert resumed.steps == [3, 4, 5, 6]
    again = load_file(out / "adapter_model.safetensors")
    for name in once:
        np.testing.assert_array_equal(again[name], once[name])
    complete = said()
    assert align(base, source, out, TrainingOptions(**SHORT), progress=complete, resume=True)
    assert complete.messages[-1] == "the training is complete already; nothing to do"
    with toy.open("a") as file:
        file.write('{"id": "new", "prompts": {"en": "a", "de": "b"}, "answers": {"en": "a", "de": "b"}}\n')
    with pytest.raises(InputError, match="was begun with other texts: the data has changed"):
        train("interrupted", resume=True)


def test_a_merged_model_is_the_adapter_merged(models, toy, tmp_path):
    model = models("Llama")
    for name, merged in (("adapter", False), ("merged", True)):
        fastneurons.align(model, toy, "en", tmp_path / name, progress=False, merge=merged, **SHORT)
    expected = merge(model, tmp_path / "adapter", tmp_path / "by PEFT")
    found = load_file(tmp_path / "merged" / "model.safetensors")
    for name, values in load_file(expected / "model.safetensors").items():
        np.testing.assert_allclose(found[name], values, atol=1e-6)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "merged")("a")["input_ids"]


def test_neurons_alone_are_trained(models, toy, tmp_path):
    model = models("Llama")
    among = ModelNeurons("m", None, (0, 1, 2), (88,) * 3)
    save(NeuronSet.from_pairs(among, [(1, 5), (1, 6)]), tmp_path / "set.safetensors")
    fastneurons.align(
        model, toy, None, tmp_path / "out", progress=False, neurons=str(tmp_path / "set.safetensors"),
        **(SHORT | {"lora_rank": 16}),
    )  # fmt: skip
    before, after = (load_file(folder / "model.safetensors") for folder in (model, tmp_path / "out"))
    assert before.keys() == after.keys()
    for name, values in before.items():
        changed = np.argwhere(values != after[name])
        part = name.rpartition("mlp.")[2] if "layers.1.mlp" in name else ""
        if part in ("gate_proj.weight", "up_proj.weight"):
            assert set(changed[:, 0]) == {5, 6}
        elif part == "down_proj.weight":
            assert set(changed[:, 1]) == {5, 6}
        else:
            assert not len(changed), name


def test_problems_of_the_data_are_counted_and_listed(models, tmp_path, said):
    rows: list[dict[str, Any]] = [
        {"id": f"e{k}", "prompts": {"en": f"a {k}", "de": f"b {k}"}, "answers": {"en": "x", "de": "y"}}
        for k in range(6)
    ]
    rows[1]["answers"] = {"en": "x"}
    rows[2]["answers"]["de"] = "y" * 100
    rows[3]["prompts"] = {"en": "a"}
    data, heard = write_rows(tmp_path / "data.jsonl", rows), said()
    fastneurons.align(
        models("Llama"), data, None, tmp_path / "out", progress=heard, max_model_len=50, **SHORT
    )
    skipped = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    reasons = {row["id"]: row["reason"] for row in skipped}
    assert set(reasons) == {"e1", "e2", "e3"}
    assert reasons["e1"] == "no answer in de"
    assert "more than the 50 that fit (--max-model-len)" in reasons["e2"]
    assert all(row["where"] for row in skipped)
    assert any(line.startswith("3 examples were skipped, the first, 'e") for line in heard.messages)


@pytest.mark.parametrize("missing", ["peft", "accelerate"])
def test_missing_extras_are_named(missing, models, toy, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(InputError, match=rf"^align needs {missing} .*pip install 'fastneurons\[train\]'$"):
        fastneurons.align(models("Llama"), toy, None, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("[enforce fail] can't allocate memory: 9")],
)
def test_out_of_memory_is_a_line(error, models, toy, tmp_path, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(trainers.OrderedTrainer, "train", fail)
    with pytest.raises(
        TrainingError, match=r"^out of memory with --per-device-train-batch-size 8 and texts of up to"
    ):
        fastneurons.align(models("Llama"), toy, None, tmp_path / "out", progress=False, **SHORT)


def test_a_loss_that_is_not_finite_ends_the_training(models, toy, tmp_path):
    with pytest.raises(TrainingError, match=r"^the loss is \w+ at step \d+: try a smaller --learning-rate"):
        fastneurons.align(
            models("Llama"), toy, None, tmp_path / "out", progress=False, **(SHORT | {"learning_rate": 1e8})
        )


def test_folders_of_others_are_left_alone(models, toy, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    for changes in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(InputError, match=r"^--out "):
            fastneurons.align(models("Llama"), toy, None, out, progress=False, **changes)
    assert (out / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": "learn"}, "--objective learn: must be one of answers, translate"),
        ({"max_steps": 0}, "--max-steps 0"),
        ({"learning_rate": float("nan")}, "--learning-rate nan"),
        ({"validation_share": 1.0}, "--validation-share 1"),
        ({"dtype": "int8"}, "--dtype int8"),
        ({"target_modules": ("nothing",)}, "--target-modules nothing"),
        ({"translation_template": "x"}, "--translation-template needs --objective translate"),
        ({"max_model_len": 1000}, "--max-model-len 1000: .* has 512 positions"),
        ({"no_such": 1}, "no_such: align has no option of that name"),
    ],
)
def test_options_that_cannot_be(changes, said, models, toy, tmp_path):
    with pytest.raises(InputError, match=said):
        fastneurons.align(models("Llama"), toy, None, tmp_path / "out", progress=False, **changes)

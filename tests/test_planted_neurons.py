"""A real model in which known neurons fire in one language alone: from texts through the engine to the right masks."""

import json
from pathlib import Path

import numpy as np
import pytest

import fastneurons
from fastneurons.analysis.find_language_neurons import language_neurons
from fastneurons.analysis.lape import Rates
from fastneurons.neuron_sets import load_set
from tests.command import fastneurons_command
from tests.engine import tiny

pytestmark = pytest.mark.engine

# Each language has letters of its own, and a direction of the residual stream in which they lie.
LETTERS = {"en": "abcdefgh", "de": "ijklmnop", "fr": "qrstuvwx"}
# By layer: the neurons that fire in one language. Neuron 40 fires in en and de, 41 in all three, the others in none.
OWN = {
    "en": [[3, 8], [87], [0, 1, 2]],
    "de": [[5], [6, 7, 64], [31]],
    "fr": [[17, 19], [], [32, 63]],
}


@pytest.fixture(scope="module")
def planted_model(tmp_path_factory) -> Path:
    """A Llama without attention whose layers leave the residual stream as it is: a token's embedding decides."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tiny.make("Llama", tmp_path_factory.mktemp("planted") / "llama")
    model = AutoModelForCausalLM.from_pretrained(folder)
    vocabulary = tiny.tokenizer().get_vocab()
    with torch.no_grad():
        embeddings = model.model.embed_tokens.weight
        embeddings.zero_()
        for direction, letters in enumerate(LETTERS.values()):
            for letter in letters:
                embeddings[vocabulary[letter], direction] = 1
        for n, layer in enumerate(model.model.layers):
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
            layer.post_attention_layernorm.weight.fill_(1)
            gate = layer.mlp.gate_proj.weight
            gate.zero_()
            gate[:, :3] = -1
            for direction, own in enumerate(OWN.values()):
                gate[own[n], direction] = 1
            gate[40, :2] = 1
            gate[41, :3] = 1
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def store(planted_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    for code, letters in LETTERS.items():
        texts = ["".join(rng.choice(list(letters), rng.integers(5, 40))) for _ in range(24)]
        (folder / f"{code}.txt").write_text("\n".join(texts) + "\n")
    out = folder / "run.zarr"
    command = [
        "run", planted_model, "--tasks", "corpus", "--data", folder,
        "--languages", "en,de,fr", "--position", "corpus", "--window", "6", "--dtype", "float32",
        "--max-model-len", "128", "--max-num-batched-tokens", "128", "--max-num-seqs", "16", "--out", out,
    ]  # fmt: skip
    done = fastneurons_command(*command)
    assert done.returncode == 0, done.stderr
    return out


def rates() -> Rates:
    """All neurons of one language and no others; of the probabilities, those that are not 0."""
    own = sum(len(layer) for layers in OWN.values() for layer in layers)
    total = 3 * tiny.LAYERS * tiny.NEURONS
    zeros = total - own - 5 * tiny.LAYERS
    return Rates(own / (tiny.LAYERS * tiny.NEURONS), zeros / total, zeros / total)


def test_the_neurons_of_each_language_are_recovered_exactly(store):
    opened = fastneurons.open(store)
    assert "fold_tokens" in opened and (opened["fold_tokens"][...] > 0).all()
    found = language_neurons(opened, rates=rates(), resamples=10)
    for code, layers in OWN.items():
        for n, own in enumerate(layers):
            assert np.flatnonzero(found["member"].sel(set=code).values[n]).tolist() == own
    assert found["score"].values.tolist() == [0] * len(found["score"])
    for name in ("agreement", "again", "stable"):
        assert found[name].values.tolist() == [1, 1, 1]
    by_number = language_neurons(opened, "k-of-l", rates=rates(), resamples=0)
    assert np.array_equal(by_number["member"].values[:3], found["member"].values)
    related, agnostic = (
        by_number["member"].sel(set="related").values,
        by_number["member"].sel(set="agnostic").values,
    )
    assert np.argwhere(related).tolist() == [[n, 40] for n in range(3)]
    assert np.argwhere(agnostic).tolist() == [[n, 41] for n in range(3)]


def test_the_command_saves_them_in_both_formats(store, tmp_path):
    import torch

    of = rates()
    command = [
        "lape", store, "--top-rate", of.top_rate, "--filter-rate", of.filter_rate,
        "--activation-bar-ratio", of.activation_bar_ratio, "--resamples", 2, "--save", tmp_path / "sets", "--json",
    ]  # fmt: skip
    done = fastneurons_command(*command)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)["data_vars"]
    assert data["layer_count"]["data"] == [[len(layer) for layer in layers] for layers in OWN.values()]
    masks = torch.load(tmp_path / "sets" / "masks.pt", weights_only=True)
    assert [[layer.tolist() for layer in mask] for mask in masks] == list(OWN.values())
    for code, layers in OWN.items():
        pairs = [(n, i) for n, own in enumerate(layers) for i in own]
        assert list(load_set(tmp_path / "sets" / f"{code}.safetensors")) == pairs

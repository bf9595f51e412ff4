"""Gradient masks: weights outside a set of neurons stay equal, bit for bit."""

import numpy as np
import pytest
import torch
import transformers

from fastneurons.errors import InputError
from fastneurons.neuron_sets import ModelNeurons, NeuronSet
from fastneurons.training.neurons import train_only
from tests.engine.tiny import LAYERS

CHOSEN = [(0, 3), (0, 40), (2, 87)]


def chosen(width: int = 88, layers: int = LAYERS) -> NeuronSet:
    among = ModelNeurons("m", None, tuple(range(layers)), (width,) * layers)
    return NeuronSet.from_pairs(among, CHOSEN)


def expected_change(name: str, shape: torch.Size, architecture: str) -> np.ndarray:
    """bool, where a weight may change: written down by hand for each architecture."""
    may = np.zeros(shape, bool)
    for layer, neuron in CHOSEN:
        if f".{layer}." not in name:
            continue
        if architecture == "GPT2" and name.endswith("mlp.c_fc.weight"):
            may[:, neuron] = True
        elif architecture == "GPT2" and name.endswith("mlp.c_proj.weight"):
            may[neuron] = True
        elif name.endswith("gate_up_proj.weight"):
            may[[neuron, 88 + neuron]] = True
        elif name.endswith(("gate_proj.weight", "up_proj.weight", "fc1.weight")):
            may[neuron] = True
        elif name.endswith(("down_proj.weight", "fc2.weight")):
            may[:, neuron] = True
    return may


@pytest.mark.parametrize("architecture", ["Llama", "Phi3", "GPT2", "OPT"])
def test_weights_outside_the_set_stay_bit_equal(architecture, models):
    model = transformers.AutoModelForCausalLM.from_pretrained(models(architecture), dtype=torch.float32)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    parts = train_only(model, chosen())
    # Layer 1 has no neuron of the set, so none of its weights is trained.
    assert len(parts) == {"Llama": 6, "Phi3": 4, "GPT2": 4, "OPT": 4}[architecture]
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=0.01, weight_decay=0.0
    )
    for step in range(3):
        ids = torch.randint(3, 300, (2, 12), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    for name, parameter in model.named_parameters():
        changed = (parameter.detach().view(torch.int32) != before[name].view(torch.int32)).numpy()
        may = expected_change(name, parameter.shape, architecture)
        assert not (changed & ~may).any(), name
        # In OPT, a neuron whose activation (ReLU) is never above 0 has no gradient.
        assert architecture == "OPT" or not may.any() or changed[may].mean() > 0.9, name


def test_sets_of_other_models_are_refused(models):
    model = transformers.AutoModelForCausalLM.from_pretrained(models("Llama"))
    with pytest.raises(InputError, match=r"96 neurons in a layer, .*gate_proj of the model has 88"):
        train_only(model, chosen(width=96))
    deeper = ModelNeurons("m", None, (0, 7), (88, 88))
    with pytest.raises(InputError, match="layer 7, which the model has not"):
        train_only(model, NeuronSet.from_pairs(deeper, [(7, 1)]))
    with pytest.raises(InputError, match="the set is empty"):
        train_only(model, NeuronSet.from_pairs(deeper, []))

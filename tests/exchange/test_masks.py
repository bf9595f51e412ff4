"""Masks of LAPE's published code: to sets of neurons and edits, and back."""

import numpy as np
import pytest
import torch

from fastneurons.errors import InputError
from fastneurons.exchange.masks import edits_of, read_masks, save_sets, write_masks
from fastneurons.neuron_sets import ModelNeurons, NeuronSet, load_edit, load_set

AMONG = ModelNeurons("m", None, (0, 1, 2), (9, 9, 9))
PAIRS = {"en": [(0, 3), (0, 8), (2, 0)], "zh": [], "de": [(1, 5)]}


def published(pairs: dict) -> list:
    """The masks as identify.py of LAPE's repository makes them: by language and layer, in ascending order."""
    final = []
    for own in pairs.values():
        layers = [[] for _ in range(3)]
        for layer, neuron in sorted(own):
            layers[layer].append(neuron)
        final.append([torch.tensor(layer).long() for layer in layers])
    return final


def test_published_masks_become_sets_and_come_back(tmp_path):
    torch.save(published(PAIRS), tmp_path / "masks")
    sets = read_masks(tmp_path / "masks", AMONG, list(PAIRS))
    assert {name: list(each) for name, each in sets.items()} == PAIRS
    assert sets["en"].history[0].details["set"] == "en"
    write_masks(list(sets.values()), tmp_path / "back")
    back = torch.load(tmp_path / "back", weights_only=True)
    for mask, expected in zip(back, published(PAIRS), strict=True):
        for own, layer in zip(mask, expected, strict=True):
            assert own.dtype == torch.int64 and torch.equal(own, layer)


def test_without_a_model_a_width_is_enough(tmp_path):
    torch.save(published(PAIRS), tmp_path / "masks")
    sets = read_masks(tmp_path / "masks", None, width=9, model="llama")
    assert list(sets) == ["mask-0", "mask-1", "mask-2"]
    assert sets["mask-0"].among == ModelNeurons("llama", None, (0, 1, 2), (9, 9, 9))
    with pytest.raises(InputError, match="does not say how many neurons a layer has: give a width"):
        read_masks(tmp_path / "masks", None)


def test_layers_without_neurons_may_be_empty_floats(tmp_path):
    torch.save([[torch.tensor([]), torch.tensor([2, 1]), torch.tensor([])]], tmp_path / "masks")
    assert list(read_masks(tmp_path / "masks", AMONG)["mask-0"]) == [(1, 1), (1, 2)]


def test_a_folder_has_a_set_for_each_and_all_of_them(tmp_path):
    sets = {name: NeuronSet.from_pairs(AMONG, own) for name, own in PAIRS.items()}
    save_sets(sets, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "de.safetensors",
        "en.safetensors",
        "masks.pt",
        "zh.safetensors",
    ]
    assert load_set(tmp_path / "out" / "en.safetensors") == sets["en"]
    assert read_masks(tmp_path / "out" / "masks.pt", AMONG, list(PAIRS)) == sets


def test_masks_become_edits(tmp_path):
    sets = {name: NeuronSet.from_pairs(AMONG, own) for name, own in PAIRS.items()}
    save_sets(sets, tmp_path / "off", edits_of(sets, scale=0))
    edit = load_edit(tmp_path / "off" / "en.safetensors")
    assert (edit.neurons, edit.scale, edit.site) == (sets["en"], 0, "product")
    assert not (tmp_path / "off" / "zh.safetensors").exists()  # nothing to edit
    files = []
    for k in range(3):
        average = torch.arange(27).reshape(3, 9) / 10 + k
        files.append(tmp_path / f"{k}.pt")
        torch.save({"n": 3, "over_zero": torch.zeros(3, 9).int(), "average_activations": average}, files[-1])
    found = edits_of(sets, means=files)
    assert list(found) == ["en", "de"]
    assert (found["de"].site, found["de"].scale) == ("gate", 0)
    assert found["de"].value[1, 5] == np.float32(1.4) + 2
    assert edits_of(sets) is None
    with pytest.raises(InputError, match="--means names 2 files, and there are 3 masks"):
        edits_of(sets, means=files[:2])
    torch.save({"average_activations": torch.zeros(3, 8)}, files[0])
    with pytest.raises(
        InputError, match="is of 3 layers of 8 neurons, and the masks' model has 3 layers of 9"
    ):
        edits_of(sets, means=files)
    torch.save({"average_activations": torch.full((3, 9), torch.nan)}, files[0])
    with pytest.raises(InputError, match="average_activations has numbers that are not finite"):
        edits_of(sets, means=files)
    torch.save({"n": 3}, files[0])
    with pytest.raises(InputError, match="has no average_activations"):
        edits_of(sets, means=files)


LAYER = torch.tensor([1, 2])
MALFORMED = {
    "a dictionary": ({"en": [LAYER] * 3}, "must be a list by language of lists by layer"),
    "empty": ([], "must be a list by language"),
    "no layers": ([[]], "mask 0 is a list: must be a list by layer"),
    "a tensor": ([LAYER], "mask 0 is a Tensor: must be a list by layer"),
    "unequal": ([[LAYER] * 3, [LAYER] * 2], "mask 1 has 2 layers, and mask 0 3"),
    "another depth": ([[LAYER] * 2], "has 2 layers, and the model 3"),
    "floats": (
        [[LAYER / 2] * 3],
        r"mask 0, layer 0 is float32 \[2\]: must be a tensor of whole numbers in 1 dimension$",
    ),
    "two dimensions": ([[LAYER[None]] * 3], r"mask 0, layer 0 is int64 \[1, 2\]"),
    "lists": ([[[1, 2]] * 3], "mask 0, layer 0 is a list: must be a tensor"),
    "negative": ([[LAYER, LAYER, LAYER - 5]], "mask 0, layer 2 has neuron -4: must be 0 or greater"),
    "twice": ([[LAYER * 0] * 3], "mask 0, layer 0 names a neuron twice"),
    "beyond": ([[LAYER, LAYER + 8, LAYER]], "mask-0: no neuron 1:10; layer 1 has 9 neurons"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_one_clear_line(case, tmp_path):
    content, match = MALFORMED[case]
    torch.save(content, tmp_path / "masks")
    with pytest.raises(InputError, match=match) as caught:
        read_masks(tmp_path / "masks", AMONG)
    assert str(caught.value).startswith(f"{tmp_path / 'masks'}: ") and "\n" not in str(caught.value)


def test_names_and_sets_that_do_not_fit(tmp_path):
    torch.save(published(PAIRS), tmp_path / "masks")
    with pytest.raises(InputError, match="has masks of 3 languages, and --languages names 2"):
        read_masks(tmp_path / "masks", AMONG, ["en", "de"])
    other = NeuronSet.from_pairs(ModelNeurons("o", None, (0,), (9,)), [])
    with pytest.raises(InputError, match="the sets are of different models"):
        write_masks([NeuronSet.from_pairs(AMONG, []), other], tmp_path / "x")

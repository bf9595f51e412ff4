"""Sets of a model's neurons, and edits: how a model is to be changed at the neurons of a set.

    from fastneurons.neuron_sets import Edit, NeuronSet, load_set, save

    shared = load_set("shared.safetensors")
    middle = shared & NeuronSet.from_layers(shared.among, "10-20")
    control = middle.random_like(seed=1)
    save(Edit(middle, scale=0.5), "halved.safetensors")

A leaf: imports nothing of ours but errors. `fastneurons.analysis.store_sets` makes sets from a store.
"""

from fastneurons.neuron_sets.edits import Edit
from fastneurons.neuron_sets.files import load, load_edit, load_set, save
from fastneurons.neuron_sets.history import Step, history_lines
from fastneurons.neuron_sets.model import ModelNeurons, parse_layers
from fastneurons.neuron_sets.sets import NeuronSet, Overlap

__all__ = [
    "Edit",
    "ModelNeurons",
    "NeuronSet",
    "Overlap",
    "Step",
    "history_lines",
    "load",
    "load_edit",
    "load_set",
    "parse_layers",
    "save",
]

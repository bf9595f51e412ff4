"""Train single neurons: gradients reach only their rows of the up and gate projections and their columns of the down
projection.

Projections are found by name in the decoder layers of Transformers' models, and must have the set's widths.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastneurons.errors import InputError
from fastneurons.neuron_sets import NeuronSet

# Names of the linear layers of a feed-forward part; those of `_FUSED` hold gate and up, one after the other.
_UP = frozenset({"gate_proj", "up_proj", "fc1", "c_fc", "fc_in", "dense_h_to_4h", "w1", "w3"})
_FUSED = frozenset({"gate_up_proj"})
_DOWN = frozenset({"down_proj", "fc2", "c_proj", "fc_out", "dense_4h_to_h", "w2"})
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|layer)\.(\d+)\.")


@dataclass(frozen=True)
class Part:
    """A weight of which some rows or columns are trained.

    Args:
        path: Its name in the model.
        weight: The parameter.
        axis: The axis of the neurons.
        chosen: bool, which indices of that axis are trained.
    """

    path: str
    weight: nn.Parameter
    axis: int
    chosen: Tensor

    def mask(self) -> Tensor:
        """The chosen indices, in a shape that multiplies the weight."""
        shape = [1] * self.weight.dim()
        shape[self.axis] = -1
        return self.chosen.to(self.weight.device).view(shape)


def train_only(model: nn.Module, neurons: NeuronSet) -> list[Part]:
    """Freeze a model but for a set's neurons; return the weights that are trained in part.

    Optimizers must not decay weights: those with a gradient of 0 would shrink.

    Raises:
        InputError: the set is empty, or of other layers or widths than the model's.
    """
    if not len(neurons):
        raise InputError("--neurons: the set is empty, so nothing would be trained")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    parts = [part for layer in neurons.among.layers for part in _parts_of_layer(model, neurons, layer)]
    for part in parts:
        part.weight.requires_grad_(True)
        part.weight.register_hook(_masked(part))
    return parts


def _masked(part: Part) -> Any:
    def only_chosen(gradient: Tensor) -> Tensor:
        # Not a product: 0 times infinity is NaN.
        return gradient.masked_fill(~part.mask(), 0)

    return only_chosen


def _parts_of_layer(model: nn.Module, neurons: NeuronSet, layer: int) -> list[Part]:
    row = neurons.among.layers.index(layer)
    width = neurons.among.widths[row]
    chosen = torch.from_numpy(np.array(neurons.bits[row, :width]))
    found = [(path, module) for path, module in model.named_modules() if _layer_of(path) == layer]
    linears = [
        (path, module) for path, module in found if _has_matrix(module) and not _ATTENTION.search(path)
    ]
    if not found:
        raise InputError(f"--neurons: the set has layer {layer}, which the model has not")
    parts, down = [], []
    for path, module in linears:
        name = path.rpartition(".")[2]
        # Conv1D, of GPT-2 and its like, holds its weight [in, out], a linear layer [out, in].
        rows, columns = (1, 0) if type(module).__name__ == "Conv1D" else (0, 1)
        if name in _UP or name in _FUSED:
            pattern = chosen.repeat(2) if name in _FUSED else chosen
            parts.append(_part(path, module, rows, pattern, width))
        elif name in _DOWN:
            down.append(_part(path, module, columns, chosen, width))
    if not parts or len(down) != 1:
        names = ", ".join(path for path, _ in linears[:8]) or "none"
        raise InputError(
            f"--neurons: layer {layer} has no up and down projection that fastneurons knows by name; its linear "
            f"layers: {names}"
        )
    return [part for part in (*parts, *down) if bool(part.chosen.any())]


def _part(path: str, module: Any, axis: int, chosen: Tensor, width: int) -> Part:
    has = module.weight.shape[axis] * width // len(chosen)
    if module.weight.shape[axis] != len(chosen):
        raise InputError(
            f"--neurons: the set has {width:,} neurons in a layer, {path} of the model has {has:,}"
        )
    return Part(f"{path}.weight", module.weight, axis, chosen)


def _has_matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, nn.Parameter) and weight.dim() == 2


def _layer_of(path: str) -> int | None:
    match = _LAYER.search(f"{path}.")
    return int(match[1]) if match is not None else None

"""One result from the slices that an engine's workers hold.

A tensor-parallel rank holds a slice of the neurons of its layers, a pipeline stage a slice of the
layers. Bits and per-neuron counts are put side by side, counts of neurons add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Slice:
    """What one rank holds: layers (global numbers) and neurons `first_neuron` to `first_neuron + neurons`."""

    layers: tuple[int, ...]
    first_neuron: int
    neurons: int


# The layer axis of each array that `Observer.collect` gives.
_LAYER_AXIS = {
    "activated": 3,
    "activated_count": 3,
    "near_threshold_count": 3,
    "category_count": 2,
    "occupancy": 1,
}


def merge(slices: Sequence[Slice], arrays: Sequence[Arrays]) -> Arrays:
    """The whole model's arrays from each rank's, in whatever order the ranks come.

    Ranks that hold the same layers and neurons (layers that vLLM replicates) count once.
    """
    stages: dict[tuple[int, ...], dict[int, int]] = {}
    for rank, part in enumerate(slices):
        stages.setdefault(part.layers, {}).setdefault(part.first_neuron, rank)
    merged = []
    for layers in sorted(stages):
        ranks = [rank for _, rank in sorted(stages[layers].items())]
        merged.append(_merge_neurons([slices[r].neurons for r in ranks], [arrays[r] for r in ranks]))
    if len(merged) == 1:
        return merged[0]
    return {name: np.concatenate([m[name] for m in merged], axis=_LAYER_AXIS[name]) for name in merged[0]}


def _merge_neurons(neurons: list[int], arrays: list[Arrays]) -> Arrays:
    if len(arrays) == 1:
        return arrays[0]
    out = {}
    for name in arrays[0]:
        parts = [a[name] for a in arrays]
        if name == "activated":
            out[name] = concatenate_bits(parts, neurons)
        elif name == "occupancy":
            out[name] = np.concatenate(parts, axis=2)
        else:
            out[name] = np.sum(parts, axis=0, dtype=parts[0].dtype)
    return out


def concatenate_bits(parts: list[NDArray[np.uint8]], neurons: list[int]) -> NDArray[np.uint8]:
    """Packed rows side by side: each uint8 [..., ceil(I_r / 8)] with I_r bits, little bit order."""
    if all(n % 8 == 0 for n in neurons[:-1]):
        return np.concatenate(parts, axis=-1)
    unpacked = [
        np.unpackbits(p, axis=-1, count=n, bitorder="little") for p, n in zip(parts, neurons, strict=True)
    ]
    return np.packbits(np.concatenate(unpacked, axis=-1), axis=-1, bitorder="little")

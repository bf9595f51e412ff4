"""One result from the slices that an engine's workers hold.

A tensor-parallel rank holds a slice of the neurons of its layers, a pipeline stage a slice of the
layers. Bits, per-neuron counts and coefficients are put side by side, counts of neurons add up; of
scores, the largest of all is the largest of each rank's largest, and likewise what else is kept of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

# What the store has of scores, float32 [E, L, N, 4] each; docs/store.md says what they are.
ATTRIBUTION = (
    "contribution_share",
    "contribution_max",
    "contribution_mean",
    "contribution_min",
    "contribution_sum",
    "effective_max",
    "effective_mean",
    "effective_min",
)

# The layer and neuron axes of the arrays of each rank; what has no neuron axis adds up unless said below.
_LAYER_AXIS = {
    "activated": 3,
    "activated_count": 3,
    "near_threshold_count": 3,
    "category_count": 2,
    "occupancy": 1,
    "activation_count": 2,
    "coefficient": 2,
    **dict.fromkeys(ATTRIBUTION, 2),
}
_NEURON_AXIS = {"occupancy": 2, "activation_count": 3, "coefficient": 3}
# The same on every rank of a stage.
_SHARED = ("present", "answered", "top_count")


@dataclass(frozen=True)
class Slice:
    """What one rank holds: layers (global numbers) and neurons `first_neuron` to `first_neuron + neurons`."""

    layers: tuple[int, ...]
    first_neuron: int
    neurons: int


def merge(slices: Sequence[Slice], arrays: Sequence[Arrays]) -> Arrays:
    """The whole model's arrays from each rank's, in whatever order the ranks come.

    Ranks that hold the same layers and neurons (layers that vLLM replicates) count once.

    Args:
        slices: What each rank holds.
        arrays: What `Observer.collect` or `Observer.count` gave there.
    Returns:
        The arrays that are given; with scores, those of `ATTRIBUTION` in the place of theirs.
    """
    stages: dict[tuple[int, ...], dict[int, int]] = {}
    for rank, part in enumerate(slices):
        stages.setdefault(part.layers, {}).setdefault(part.first_neuron, rank)
    merged = []
    for layers in sorted(stages):
        ranks = [rank for _, rank in sorted(stages[layers].items())]
        stage = _merge_neurons([slices[r].neurons for r in ranks], [arrays[r] for r in ranks])
        merged.append(_with_attribution(stage) if "top_count" in stage else stage)
    if len(merged) == 1:
        return merged[0]
    return {name: np.concatenate([m[name] for m in merged], axis=_LAYER_AXIS[name]) for name in merged[0]}


def _merge_neurons(neurons: list[int], arrays: list[Arrays]) -> Arrays:
    if len(arrays) == 1:
        return arrays[0]
    out = {}
    for name in arrays[0]:
        parts = [a[name] for a in arrays]
        if name in _SHARED:
            out[name] = parts[0]
        elif name == "activated":
            out[name] = concatenate_bits(parts, neurons)
        elif name in _NEURON_AXIS:
            out[name] = np.concatenate(parts, axis=_NEURON_AXIS[name])
        elif name.endswith("_max"):
            out[name] = np.maximum.reduce(parts)
        elif name.endswith("_min"):
            out[name] = np.minimum.reduce(parts)
        elif name.endswith("_sum"):
            with np.errstate(invalid="ignore"):  # infinite ones of both signs have no sum
                out[name] = np.add.reduce(parts, dtype=np.float64)
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


def _with_attribution(stage: Arrays) -> Arrays:
    """A stage's arrays with those of `ATTRIBUTION` in the place of what all its ranks gave for them.

    There is no value (NaN) where a category is empty, the language is missing or, of effective scores,
    there is no answer.
    """
    out = dict(stage)
    present, answered = out.pop("present"), out.pop("answered")  # [E, L]
    count = stage["category_count"][:, None, 0]  # [E, 1, N, 4], of the first threshold
    place = (slice(None), slice(None), None, None)
    scored = {"contribution": (count > 0) & present[place], "effective": (count > 0) & answered[place]}
    for kind, there in scored.items():
        # Empty categories are divided by 0; what is too large for float32 becomes infinite.
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            total = out.pop(f"{kind}_sum")
            values = {
                "max": out.pop(f"{kind}_max"),
                "min": out.pop(f"{kind}_min"),
                "mean": total / count,
                "sum": total,
            }
            for name, value in values.items():
                if f"{kind}_{name}" in ATTRIBUTION:
                    out[f"{kind}_{name}"] = np.where(there, value, np.nan).astype(np.float32)
    counted = out.pop("top_count")  # [E, L, N, 4]
    share = counted / np.maximum(counted.sum(-1, keepdims=True), 1, dtype=np.float32)
    out["contribution_share"] = np.where(present[place], share, np.nan).astype(np.float32)
    return out

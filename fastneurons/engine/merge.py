"""Merge the slices that an engine's workers hold into one result.

A tensor-parallel rank holds a slice of the neurons of its layers, a pipeline stage a slice of the layers.
`fastneurons/arrays.py` says of each array how the ranks' slices combine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.arrays import ATTRIBUTION, Array, Arrays, spec_of


@dataclass(frozen=True)
class Slice:
    """The slice of one rank: layers (global numbers) and neurons `first_neuron` to `first_neuron + neurons`."""

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
    return {
        name: np.concatenate([m[name] for m in merged], axis=spec_of(name).part_dims.index("layer"))
        for name in merged[0]
    }


def _merge_neurons(neurons: list[int], arrays: list[Arrays]) -> Arrays:
    if len(arrays) == 1:
        return arrays[0]
    return {name: _merged(spec_of(name), [a[name] for a in arrays], neurons) for name in arrays[0]}


def _merged(spec: Array, parts: list[NDArray[Any]], neurons: list[int]) -> NDArray[Any]:
    """One array from each rank's, of which each has the neurons of its slice."""
    if spec.ranks == "same":
        return parts[0]
    if spec.ranks == "bits":
        return concatenate_bits(parts, neurons)
    if spec.ranks == "neurons":
        return np.concatenate(parts, axis=spec.part_dims.index("neuron"))
    assert spec.ranks is not None, f"{spec.name} comes from no worker"
    combine = {"sum": np.add, "max": np.maximum, "min": np.minimum}[spec.ranks]
    # Scores are added in float64.
    exact = np.float64 if spec.ranks == "sum" and parts[0].dtype.kind == "f" else parts[0].dtype
    with np.errstate(invalid="ignore"):  # infinite ones of both signs have no sum
        whole: NDArray[Any] = combine.reduce(parts, dtype=exact)
    return whole


def concatenate_bits(parts: list[NDArray[np.uint8]], neurons: list[int]) -> NDArray[np.uint8]:
    """Join packed rows side by side: each uint8 [..., ceil(I_r / 8)] with I_r bits, little bit order."""
    if all(n % 8 == 0 for n in neurons[:-1]):
        return np.concatenate(parts, axis=-1)
    unpacked = [
        np.unpackbits(p, axis=-1, count=n, bitorder="little") for p, n in zip(parts, neurons, strict=True)
    ]
    return np.packbits(np.concatenate(unpacked, axis=-1), axis=-1, bitorder="little")


def _with_attribution(stage: Arrays) -> Arrays:
    """A stage's arrays, with those of `ATTRIBUTION` computed from its ranks' partial results.

    There is no value (NaN) where a category is empty, the language is missing or, of effective scores,
    there is no answer.
    """
    out = dict(stage)
    present, answered = out.pop("present"), out.pop("answered")  # [E, L]
    count = stage["category_count"][:, None, 0]  # [E, 1, N, 4], of the first threshold
    place = (slice(None), slice(None), None, None)
    scored = {"contribution": (count > 0) & present[place], "effective": (count > 0) & answered[place]}
    for kind, there in scored.items():
        # Empty categories are divided by 0; values too large for float32 become infinite.
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

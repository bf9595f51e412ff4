"""The neurons of a model that sets are taken from: which layers, how wide, of which model."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastneurons.errors import InputError


@dataclass(frozen=True)
class ModelNeurons:
    """The layers of a model and their widths.

    Args:
        model: Its folder or name, for people.
        model_fingerprint: As in a store's header; None if unknown. Models that differ in nothing but their weights
            have the same.
        layers: The N layer numbers, ascending.
        widths: Number of neurons in each layer.
    Raises:
        InputError: layers or widths that cannot be.
    """

    model: str
    model_fingerprint: str | None
    layers: tuple[int, ...]
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise InputError("layers is empty: a model has at least one layer")
        if len(self.layers) != len(self.widths):
            raise InputError(f"{len(self.layers)} layers have {len(self.widths)} widths: give one for each")
        if self.layers[0] < 0 or any(b <= a for a, b in zip(self.layers, self.layers[1:], strict=False)):
            raise InputError(f"layers {_shortened(self.layers)}: must be ascending, from 0 on")
        if min(self.widths) < 1:
            raise InputError(f"widths {_shortened(self.widths)}: a layer has at least one neuron")

    @property
    def shape(self) -> tuple[int, int]:
        """N, and I, the widest layer's number of neurons."""
        return len(self.layers), max(self.widths)

    @property
    def num_bytes(self) -> int:
        """B, bytes in a layer's row of a packed mask."""
        return -(-max(self.widths) // 8)

    @cached_property
    def exists(self) -> NDArray[np.bool_]:
        """bool [N, I], False past the end of a layer that is narrower than the widest."""
        return np.arange(max(self.widths)) < np.array(self.widths)[:, None]

    def rows(self, layers: str | Iterable[int] | None) -> list[int]:
        """Indices of layers on the layer axis.

        Args:
            layers: Layer numbers, or a text: "10-20" (both ends included), "0,3,10-20"; None for all layers.
        Raises:
            InputError: a layer does not exist, or the text cannot be read.
        """
        if layers is None:
            return list(range(len(self.layers)))
        numbers = (
            parse_layers(layers) if isinstance(layers, str) else sorted({int(layer) for layer in layers})
        )
        place = {layer: row for row, layer in enumerate(self.layers)}
        unknown = [number for number in numbers if number not in place]
        if unknown:
            raise InputError(f"no layer {unknown[0]}; there are layers {_ranges(self.layers)}")
        return [place[number] for number in numbers]

    def ranges(self, rows: list[int]) -> str:
        """Write layers, given by their indices, as `0-3, 7`."""
        return _ranges(tuple(self.layers[row] for row in rows))

    def why_apart(self, other: "ModelNeurons") -> str | None:
        """Say why sets of the two cannot be combined, "this: that"; None if they can.

        Layers and widths must be equal, and so must fingerprints; if one is unknown, the models' names.
        """
        if self.layers != other.layers:
            return f"layers {_ranges(self.layers)} and {_ranges(other.layers)}"
        if self.widths != other.widths:
            return f"layers of {_widths(self.widths)} and of {_widths(other.widths)} neurons"
        if self.model_fingerprint is None or other.model_fingerprint is None:
            return None if self.model == other.model else f"{self.model} and {other.model}"
        if self.model_fingerprint != other.model_fingerprint:
            return f"{self.model} and {other.model}, whose fingerprints differ"
        return None

    def why_not_of(self, model: "ModelNeurons") -> str | None:
        """Say why neurons of these layers cannot be looked up in a model; None if they can.

        The model may have more layers. Its name does not count, as the same model may lie in several places; its
        fingerprint does, if both are known.
        """
        width_of = dict(zip(model.layers, model.widths, strict=True))
        for layer, width in zip(self.layers, self.widths, strict=True):
            if layer not in width_of:
                return f"it has layer {layer}, and {model.model} has layers {_ranges(model.layers)}"
            if width_of[layer] != width:
                return f"its layer {layer} has {width:,} neurons, that of {model.model} {width_of[layer]:,}"
        known = self.model_fingerprint is not None and model.model_fingerprint is not None
        if known and self.model_fingerprint != model.model_fingerprint:
            return f"it was made for {self.model}, whose fingerprint differs from that of {model.model}"
        return None


def parse_layers(text: str) -> list[int]:
    """Layer numbers of a text such as "10-20" (both ends included) or "0,3,10-20", ascending.

    Raises:
        InputError: it cannot be read, or a range runs backwards.
    """
    numbers: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*([0-9]{1,6})\s*(?:-\s*([0-9]{1,6})\s*)?", part)
        if found is None:
            raise InputError(f"layers {text!r}: are written as 10-20 (both included) or 0,3,10-20")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise InputError(f"layers {text!r}: {first}-{last} runs backwards")
        numbers.update(range(first, last + 1))
    return sorted(numbers)


def _ranges(layers: tuple[int, ...]) -> str:
    """Write ascending numbers as ranges: `0-3, 7`."""
    starts = [k for k in range(len(layers)) if k == 0 or layers[k] != layers[k - 1] + 1]
    ends = [*starts[1:], len(layers)]
    parts = [(layers[start], layers[end - 1]) for start, end in zip(starts, ends, strict=True)]
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _widths(widths: tuple[int, ...]) -> str:
    distinct = sorted(set(widths))
    return f"{distinct[0]:,}" if len(distinct) == 1 else f"{distinct[0]:,} to {distinct[-1]:,}"


def _shortened(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers[:6])) + (", ..." if len(numbers) > 6 else "")

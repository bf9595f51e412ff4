"""How much each category matters for the answer: means of what attribution stores, with their uncertainty."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import REPLICATES, Estimate, Floats, measured_blocks
from fastneurons.errors import InputError, StoreError
from fastneurons.store import ATTRIBUTION, CATEGORIES, Store

# Shares are float32 of counts: they add up to 1 but for rounding.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Attribution:
    """Means of the arrays of `fastneurons.store.ATTRIBUTION`, by their names.

    Each value (of an example, a language and a layer) counts once. There is none where the example has no
    prompt in the language, where the category has no neurons, or, of effective scores, where there is no
    answer; a mean over no values is NaN.

    Args:
        top_k: Neurons of a layer that count as its most contributing ones.
        threshold: What the categories are of: the store's first.
        num_examples: Examples measured.
        languages: The L codes.
        layers: The N layer numbers.
        overall: Each [4], over examples, languages and layers.
        by_layer: Each [N, 4], over examples and languages.
        by_language: Each [L, 4], over examples and layers.
        by_language_and_layer: Each [L, N, 4], over examples.
    """

    top_k: int
    threshold: float
    num_examples: int
    languages: tuple[str, ...]
    layers: tuple[int, ...]
    overall: Mapping[str, Estimate]
    by_layer: Mapping[str, Estimate]
    by_language: Mapping[str, Estimate]
    by_language_and_layer: Mapping[str, Floats]


def attribution(store: Store, replicates: int = REPLICATES) -> Attribution:
    """How much each category matters, over all examples measured.

    Args:
        store: A store, complete or not, of a run with attribution.
        replicates: Bootstrap replicates; even.
    Raises:
        InputError: the run had no attribution.
        StoreError: an array is damaged.
    """
    header = store.header
    if header.top_k is None:
        raise InputError(f"{store.path} has no attribution; measure with --attribution")
    means = _Means(len(header.languages), len(header.layers), replicates)
    num_examples = 0
    for examples, block, weights in measured_blocks(store, replicates, "present", *ATTRIBUTION):
        num_examples += len(examples)
        total = block["contribution_share"].sum(-1)  # [E, L, N]
        wrong = block["present"] != (abs(total - 1) < _ROUNDING).all(-1)
        if wrong.any():
            raise StoreError(
                f"{store.path}: array contribution_share is damaged: "
                f"the shares of example {examples[np.flatnonzero(wrong.any(-1))[0]]} do not add up to 1"
            )
        means.add(np.stack([block[name] for name in ATTRIBUTION], 1), weights)
    return Attribution(
        top_k=header.top_k,
        threshold=header.thresholds[0],
        num_examples=num_examples,
        languages=tuple(header.languages),
        layers=tuple(header.layers),
        overall=means.overall(),
        by_layer=means.by_layer(),
        by_language=means.by_language(),
        by_language_and_layer=dict(zip(ATTRIBUTION, _ratio(means.plain), strict=True)),
    )


class _Means:
    """Sums of values and how many there are, plain and for each replicate.

    Replicates are kept by layer and by language, not for each of both: of 80 layers and 30 languages that
    would take more than a gigabyte.
    """

    def __init__(self, num_languages: int, num_layers: int, replicates: int) -> None:
        sums = (2, len(ATTRIBUTION))  # of values, and their number
        C = len(CATEGORIES)
        self.plain = np.zeros((*sums, num_languages, num_layers, C))
        self._layer = np.zeros((replicates, *sums, num_layers, C))
        self._language = np.zeros((replicates, *sums, num_languages, C))

    def add(self, values: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
        """Values [E, 8, L, N, 4] of the arrays of ATTRIBUTION, NaN where there is none, and weights [E, R]."""
        there = np.isfinite(values)
        both = np.stack([np.where(there, values, 0), there], 1, dtype=np.float64)
        drawn = weights.T.astype(np.float64)
        self.plain += both.sum(0)
        self._layer += np.tensordot(drawn, both.sum(3), 1)
        self._language += np.tensordot(drawn, both.sum(4), 1)

    def overall(self) -> dict[str, Estimate]:
        """Each [4]."""
        return self._estimates((2, 3), self._layer.sum(3))

    def by_layer(self) -> dict[str, Estimate]:
        """Each [N, 4]."""
        return self._estimates((2,), self._layer)

    def by_language(self) -> dict[str, Estimate]:
        """Each [L, 4]."""
        return self._estimates((3,), self._language)

    def _estimates(self, axes: tuple[int, ...], replicated: Floats) -> dict[str, Estimate]:
        means, replicates = _ratio(self.plain.sum(axes)), _ratio(replicated.swapaxes(0, 1))
        return {
            name: Estimate.of(means[index], replicates[:, index]) for index, name in enumerate(ATTRIBUTION)
        }


def _ratio(sums: Floats) -> Floats:
    """Means from sums and numbers, on the first axis."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = sums[0] / sums[1]
    return mean

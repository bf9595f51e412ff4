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
    means = {name: _Means(len(header.languages), len(header.layers), replicates) for name in ATTRIBUTION}
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
        for name, sums in means.items():
            sums.add(block[name], weights)
    return Attribution(
        top_k=header.top_k,
        threshold=header.thresholds[0],
        num_examples=num_examples,
        languages=tuple(header.languages),
        layers=tuple(header.layers),
        overall={name: sums.overall() for name, sums in means.items()},
        by_layer={name: sums.by_layer() for name, sums in means.items()},
        by_language={name: sums.by_language() for name, sums in means.items()},
        by_language_and_layer={name: sums.by_language_and_layer() for name, sums in means.items()},
    )


class _Means:
    """Sums of values and how many there are, plain and for each replicate.

    Replicates are kept by layer and by language, not for each of both: of 80 layers and 30 languages that
    would take more than a gigabyte.
    """

    def __init__(self, num_languages: int, num_layers: int, replicates: int) -> None:
        C = len(CATEGORIES)
        self._plain = np.zeros((2, num_languages, num_layers, C))  # values, and their number
        self._layer = np.zeros((2, replicates, num_layers, C))
        self._language = np.zeros((2, replicates, num_languages, C))

    def add(self, values: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
        """Examples [E, L, N, 4], NaN where there is no value, with their weights [E, R]."""
        there = np.isfinite(values)
        drawn = weights.T.astype(np.float64)
        for k, numbers in enumerate(
            (np.where(there, values, 0).astype(np.float64), there.astype(np.float64))
        ):
            self._plain[k] += numbers.sum(0)
            self._layer[k] += np.tensordot(drawn, numbers.sum(1), 1)
            self._language[k] += np.tensordot(drawn, numbers.sum(2), 1)

    def overall(self) -> Estimate:
        """[4]."""
        return Estimate.of(_ratio(self._plain.sum((1, 2))), _ratio(self._layer.sum(2)))

    def by_layer(self) -> Estimate:
        """[N, 4]."""
        return Estimate.of(_ratio(self._plain.sum(1)), _ratio(self._layer))

    def by_language(self) -> Estimate:
        """[L, 4]."""
        return Estimate.of(_ratio(self._plain.sum(2)), _ratio(self._language))

    def by_language_and_layer(self) -> Floats:
        """[L, N, 4]."""
        return _ratio(self._plain)


def _ratio(sums: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = sums[0] / sums[1]
    return mean

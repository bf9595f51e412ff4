"""How much each category matters for the answer: means of attribution's arrays, with their uncertainty.

    from fastneurons.analysis import contribution

    found = contribution.attribution({"contribution_share": share, "effective_mean": effective})
    found.by_layer["contribution_share"].mean  # [N, 4]

`ContributionSums` does the same block by block, for more examples than memory holds.
`fastneurons.analysis.attribution` reads the arrays from a store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import (
    REPLICATES,
    Estimate,
    Floats,
    blocks,
    bootstrap_generator,
    poisson_weights,
)
from fastneurons.analysis.checks import ContradictionError, check_shapes
from fastneurons.errors import InputError

# Shares of the most contributing neurons, which add up to 1 over the categories.
SHARE = "contribution_share"
# They are float32 of counts: they add up to 1 but for rounding.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class ContributionMeans:
    """Means of arrays [E, L, N, 4], by the arrays' names.

    Each finite value (of an example, a language and a layer) counts once. There is none (NaN) where the example
    has no prompt in the language, where the category has no neurons, or, of effective scores, where there is no
    answer; a mean over no values is NaN.

    Args:
        num_examples: Examples that the means are over.
        overall: Each [4], over examples, languages and layers.
        by_layer: Each [N, 4], over examples and languages.
        by_language: Each [L, 4], over examples and layers.
        by_language_and_layer: Each float64 [L, N, 4], over examples.
    """

    num_examples: int
    overall: Mapping[str, Estimate]
    by_layer: Mapping[str, Estimate]
    by_language: Mapping[str, Estimate]
    by_language_and_layer: Mapping[str, Floats]


def attribution(
    values: Mapping[str, NDArray[np.floating]],
    present: NDArray[np.bool_] | None = None,
    replicates: int = REPLICATES,
) -> ContributionMeans:
    """How much each category matters, over all examples of some arrays.

    Args:
        values: Arrays by name, each float [E, L, N, 4]; NaN where there is no value.
        present: bool [E, L], whether the example has a prompt in the language; None: do not compare
            `contribution_share` with it.
        replicates: Bootstrap replicates; even.
    Raises:
        InputError: there is no array, or the shapes do not fit together.
        ContradictionError: shares of `contribution_share` do not add up to 1 where there is a prompt, or are there
            where there is none.
    """
    if not values:
        raise InputError("values holds no array; it needs at least one [E, L, N, 4]")
    first = next(iter(values.values()))
    check_shapes({}, **{name: (array, "ELNC") for name, array in values.items()})
    _, L, N, C = first.shape
    sums = ContributionSums(tuple(values), L, N, C, replicates)
    rng = bootstrap_generator()
    for rows in blocks(len(first)):
        weights = poisson_weights(rng, rows.stop - rows.start, replicates)
        block = {name: array[rows] for name, array in values.items()}
        sums.add(block, weights, None if present is None else present[rows])
    return sums.means()


class ContributionSums:
    """Sums of values and how many there are, plain and for each bootstrap replicate.

    Replicates are kept by layer and by language, not for each of both: of 80 layers and 30 languages that
    would take more than a gigabyte. The size does not depend on the number of examples.

    Args:
        names: Of the A arrays.
        num_languages: L.
        num_layers: N.
        num_categories: C.
        replicates: R, of the weights.
    """

    def __init__(
        self, names: Sequence[str], num_languages: int, num_layers: int, num_categories: int, replicates: int
    ) -> None:
        self._names = tuple(names)
        self._sizes = {"L": num_languages, "N": num_layers, "C": num_categories, "R": replicates}
        self._num_examples = 0
        sums = (2, len(names))  # of values, and their number
        self._plain = np.zeros((*sums, num_languages, num_layers, num_categories))
        self._layer = np.zeros((replicates, *sums, num_layers, num_categories))
        self._language = np.zeros((replicates, *sums, num_languages, num_categories))

    def add(
        self,
        values: Mapping[str, NDArray[np.floating]],
        weights: NDArray[np.float32],
        present: NDArray[np.bool_] | None = None,
        examples: NDArray[np.int64] | None = None,
    ) -> None:
        """Add a block of examples.

        Args:
            values: As for `attribution`; all of the names, others are ignored.
            weights: float32 [E, R], of `poisson_weights`.
            present: As for `attribution`.
            examples: int64 [E], numbers of the examples for messages; None counts those added before.
        Raises:
            As `attribution`.
        """
        arrays = {name: (values[name], "ELNC") for name in self._names}
        check_shapes(self._sizes, weights=(weights, "ER"), **arrays)
        if present is not None and SHARE in values:
            check_shapes(self._sizes, **{SHARE: (values[SHARE], "ELNC")}, present=(present, "EL"))
            self._check_shares(values[SHARE], present, examples)
        self._num_examples += len(weights)
        stacked = np.stack([values[name] for name in self._names], 1)  # [E, A, L, N, C]
        there = np.isfinite(stacked)
        both = np.stack([np.where(there, stacked, 0), there], 1, dtype=np.float64)
        drawn = weights.T.astype(np.float64)
        self._plain += both.sum(0)
        self._layer += np.tensordot(drawn, both.sum(3), 1)
        self._language += np.tensordot(drawn, both.sum(4), 1)

    def means(self) -> ContributionMeans:
        """Means over all examples added so far."""
        return ContributionMeans(
            num_examples=self._num_examples,
            overall=self._estimates((2, 3), self._layer.sum(3)),
            by_layer=self._estimates((2,), self._layer),
            by_language=self._estimates((3,), self._language),
            by_language_and_layer=dict(zip(self._names, _ratio(self._plain), strict=True)),
        )

    def _check_shares(
        self,
        share: NDArray[np.floating],
        present: NDArray[np.bool_],
        examples: NDArray[np.int64] | None,
    ) -> None:
        wrong = present != (abs(share.sum(-1) - 1) < _ROUNDING).all(-1)  # [E, L]
        if wrong.any():
            row = np.flatnonzero(wrong.any(-1))[0]
            example = self._num_examples + row if examples is None else examples[row]
            raise ContradictionError(SHARE, f"the shares of example {example} do not add up to 1")

    def _estimates(self, axes: tuple[int, ...], replicated: Floats) -> dict[str, Estimate]:
        means, replicates = _ratio(self._plain.sum(axes)), _ratio(replicated.swapaxes(0, 1))
        return {
            name: Estimate.of(means[index], replicates[:, index]) for index, name in enumerate(self._names)
        }


def _ratio(sums: Floats) -> Floats:
    """Means from sums and numbers, on the first axis."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = sums[0] / sums[1]
    return mean

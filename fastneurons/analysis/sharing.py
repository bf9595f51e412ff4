"""Shares of neurons by category, by language and by layer, from arrays of counts.

    from fastneurons.analysis import sharing

    found = sharing.shares(category_count, activated_count, near_threshold_count, present, neurons=14336)
    found.category.mean  # [N, 4]

`ShareSums` does the same block by block, for more examples than memory holds. `fastneurons.analysis.shares` reads the
arrays from a store.
"""

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

NUM_CATEGORIES = 4


@dataclass(frozen=True)
class ShareMeans:
    """Shares of neurons at one threshold: means over examples. NaN where there is no example.

    Args:
        num_examples: Examples that the means are over.
        category: [N, 4], share of each layer's neurons in each category.
        category_overall: [4], likewise of all layers' neurons.
        activated: float64 [L, N], share of each layer's neurons that each language activates, mean over the
            examples that have a prompt in that language.
        activated_overall: [L], likewise of all layers' neurons.
        activated_mean: float64 [N], mean of `activated` over the languages that have a value.
        activated_overall_mean: Mean of `activated_overall`, likewise.
        near_threshold: Share of activations so near the threshold that rounding could turn them.
    """

    num_examples: int
    category: Estimate
    category_overall: Estimate
    activated: Floats
    activated_overall: Estimate
    activated_mean: Floats
    activated_overall_mean: float
    near_threshold: float


def shares(
    category_count: NDArray[np.integer],
    activated_count: NDArray[np.integer],
    near_threshold_count: NDArray[np.integer],
    present: NDArray[np.bool_],
    neurons: int,
    replicates: int = REPLICATES,
) -> ShareMeans:
    """Shares of neurons over all examples of some arrays; pass only measured examples.

    Args:
        category_count: Integers [E, N, 4], neurons of each layer in each category.
        activated_count: Integers [E, L, N], neurons of each layer that each language activates; 0 where the
            example has no prompt in the language.
        near_threshold_count: Integers [E, L, N], activations near the threshold.
        present: bool [E, L], whether the example has a prompt in the language.
        neurons: I, of a layer.
        replicates: Bootstrap replicates; even.
    Raises:
        InputError: the shapes do not fit together.
        ContradictionError: an example's categories do not add up to the layer's neurons.
    """
    check_shapes({"C": NUM_CATEGORIES}, category_count=(category_count, "ENC"))
    sums = ShareSums(activated_count.shape[1], category_count.shape[1], neurons, replicates)
    rng = bootstrap_generator()
    for rows in blocks(len(category_count)):
        weights = poisson_weights(rng, rows.stop - rows.start, replicates)
        sums.add(
            category_count[rows], activated_count[rows], near_threshold_count[rows], present[rows], weights
        )
    return sums.means()


class ShareSums:
    """Sums over examples from which shares follow, plain and for each bootstrap replicate.

    Their size does not depend on the number of examples.

    Args:
        num_languages: L.
        num_layers: N.
        neurons: I, of a layer.
        replicates: R, of the weights.
    """

    def __init__(self, num_languages: int, num_layers: int, neurons: int, replicates: int) -> None:
        self._sizes = {"L": num_languages, "N": num_layers, "C": NUM_CATEGORIES, "R": replicates}
        self._neurons = neurons
        self._num_examples = 0
        self._category = np.zeros((num_layers, NUM_CATEGORIES))
        self._activated = np.zeros((num_languages, num_layers))
        self._present = np.zeros(num_languages)
        self._near_threshold = 0.0
        # The same per replicate: examples, [N * 4] of categories, [L] of languages, [L] of their presence.
        self._replicated = np.zeros((replicates, 1 + num_layers * NUM_CATEGORIES + 2 * num_languages))

    def add(
        self,
        category_count: NDArray[np.integer],
        activated_count: NDArray[np.integer],
        near_threshold_count: NDArray[np.integer],
        present: NDArray[np.bool_],
        weights: NDArray[np.float32],
        examples: NDArray[np.int64] | None = None,
    ) -> None:
        """Add a block of examples.

        Args:
            category_count: As for `shares`, as are the next three.
            weights: float32 [E, R], of `poisson_weights`.
            examples: int64 [E], numbers of the examples for messages; None counts those added before.
        Raises:
            InputError: the shapes do not fit together.
            ContradictionError: an example's categories do not add up to the layer's neurons.
        """
        check_shapes(
            self._sizes,
            category_count=(category_count, "ENC"),
            activated_count=(activated_count, "ELN"),
            near_threshold_count=(near_threshold_count, "ELN"),
            present=(present, "EL"),
            weights=(weights, "ER"),
        )
        wrong = np.flatnonzero((category_count.sum(-1) != self._neurons).any(-1))
        if len(wrong):
            example = self._num_examples + wrong[0] if examples is None else examples[wrong[0]]
            raise ContradictionError(
                "category_count",
                f"the categories of example {example} do not add up to {self._neurons} neurons",
            )
        E = len(category_count)
        category, activated = category_count / self._neurons, activated_count / self._neurons
        self._num_examples += E
        self._category += category.sum(0)
        self._activated += activated.sum(0)
        self._present += present.sum(0)
        self._near_threshold += float(near_threshold_count.sum((1, 2), dtype=np.float64).sum())
        columns = [np.ones((E, 1)), category.reshape(E, self._category.size), activated.mean(-1), present]
        self._replicated += weights.T.astype(np.float64) @ np.concatenate(columns, 1)

    def means(self) -> ShareMeans:
        """Shares over all examples added so far."""
        N, C, L = *self._category.shape, len(self._present)
        examples, category, activated, present = np.split(self._replicated, np.cumsum([1, N * C, L]), 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            category = (category / examples).reshape(-1, N, C)
            mean = self._category / self._num_examples if self._num_examples else np.full((N, C), np.nan)
            by_language = self._activated / self._present[:, None]
            overall = Estimate.of(by_language.mean(1), activated / present)
        activations = float(self._present.sum()) * N * self._neurons
        return ShareMeans(
            num_examples=self._num_examples,
            category=Estimate.of(mean, category),
            category_overall=Estimate.of(mean.mean(0), category.mean(1)),
            activated=by_language,
            activated_overall=overall,
            activated_mean=mean_over_languages(by_language),
            activated_overall_mean=float(mean_over_languages(overall.mean)),
            near_threshold=self._near_threshold / activations if activations else float("nan"),
        )


def mean_over_languages(values: Floats) -> Floats:
    """Mean of float64 [L, ...] over the languages that have a value; NaN where none has."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(there, values, 0).sum(0) / there.sum(0)
    return mean

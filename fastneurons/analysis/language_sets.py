"""Counts of the sets of languages that activate a neuron together, as UpSet plots show them, from packed bits.

    from fastneurons.analysis.language_sets import SetSums, set_counts

A set is a number whose bit *l* says whether language *l* is in it: of L languages there are 2**L sets, the empty one
included. Each neuron of an example belongs to exactly one, so the shares of all sets add up to 1.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import REPLICATES, Estimate, Floats
from fastneurons.analysis.checks import check_shapes
from fastneurons.analysis.words import digits_to_bytes, in_parallel

# 2**12 sets: more fit no figure, and their bootstrap no memory.
MOST_LANGUAGES = 12
# Of the layers of which sets are counted at a time: their bits, a byte each, stay in a core's second-level cache.
_LAYER_NEURONS = 2**17
# Examples that a step of the bootstrap takes: each step goes through all replicates of all sets.
_EXAMPLES_AT_ONCE = 128


@dataclass(frozen=True)
class SetShares:
    """Shares of neurons by the set of languages that activates them. NaN without examples.

    Args:
        num_examples: E.
        share: [2**L], of all layers' neurons, mean over examples.
        chance: float64 [2**L], share if languages activated neurons independently, each as many in every example and
            layer as it does.
        excess: [2**L], `share` less `chance`.
        by_layer: float64 [2**L, N], share of each layer's neurons.
        chance_by_layer: float64 [2**L, N].
    """

    num_examples: int
    share: Estimate
    chance: Floats
    excess: Estimate
    by_layer: Floats
    chance_by_layer: Floats


class SetSums:
    """Sums over examples from which the shares of sets follow. Their size does not depend on the examples.

    Args:
        num_languages: L, at most `MOST_LANGUAGES`.
        num_layers: N.
        neurons: I, of a layer.
        replicates: R, of the weights.
    """

    def __init__(
        self, num_languages: int, num_layers: int, neurons: int, replicates: int = REPLICATES
    ) -> None:
        self._sizes = {"L": num_languages, "N": num_layers, "S": 2**num_languages, "R": replicates}
        self._neurons = neurons
        self._num_examples = 0
        self._counts, self._expected = np.zeros((2, num_layers, 2**num_languages))
        self._drawn = np.zeros(replicates)
        self._replicated = np.zeros((replicates, 2, 2**num_languages))
        self._waiting: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []

    def add(
        self,
        counts: NDArray[np.integer],
        activated: NDArray[np.integer],
        weights: NDArray[np.float32],
    ) -> None:
        """Add a block of examples, each of which has a prompt in every language.

        Args:
            counts: Integers [E, N, 2**L], of `set_counts`.
            activated: Integers [E, L, N], neurons that each language activates.
            weights: float32 [E, R], of `poisson_weights`.
        Raises:
            InputError: the shapes do not fit together.
        """
        check_shapes(
            self._sizes, counts=(counts, "ENS"), activated=(activated, "ELN"), weights=(weights, "ER")
        )
        expected = independent_shares(activated / self._neurons) * self._neurons
        self._num_examples += len(counts)
        self._counts += counts.sum(0)
        self._expected += expected.sum(0)
        both = np.stack([counts.sum(1), expected.sum(1)], 1, dtype=np.float64)  # [E, 2, S]
        self._waiting.append((both.astype(np.float32), weights))
        if sum(len(each) for each, _ in self._waiting) >= _EXAMPLES_AT_ONCE:
            self._draw()

    def _draw(self) -> None:
        """Add the examples that wait for it to the replicates."""
        if self._waiting:
            both, weights = (np.concatenate(part) for part in zip(*self._waiting, strict=True))
            self._waiting = []
            self._drawn += weights.sum(0)
            # float32 takes half the time; a step's sums keep seven digits, and steps are added in float64.
            self._replicated += np.tensordot(weights.T, both, 1)

    def shares(self) -> SetShares:
        """Shares over all examples added so far."""
        self._draw()
        N = len(self._counts)
        with np.errstate(invalid="ignore", divide="ignore"):
            of_layer = self._neurons * np.float64(self._num_examples)
            by_layer, chance = self._counts.T / of_layer, self._expected.T / of_layer  # [S, N]
            drawn = self._replicated / (self._drawn * self._neurons * N)[:, None, None]
        return SetShares(
            num_examples=self._num_examples,
            share=Estimate.of(by_layer.mean(1), drawn[:, 0]),
            chance=chance.mean(1),
            excess=Estimate.of((by_layer - chance).mean(1), drawn[:, 0] - drawn[:, 1]),
            by_layer=by_layer,
            chance_by_layer=chance,
        )


def set_counts(bits: NDArray[np.uint8], neurons: int) -> NDArray[np.int32]:
    """Count the neurons of each set of languages.

    Args:
        bits: uint8 [E, L, N, B], packed, with at most `MOST_LANGUAGES` languages.
        neurons: I.
    Returns:
        int32 [E, N, 2**L].
    """
    E, L, N, _ = bits.shape
    counts = np.empty((E, N, 2**L), np.int32)
    at_once = max(1, _LAYER_NEURONS // neurons)

    def count(tile: tuple[int, int]) -> None:
        at, first = tile
        rows = bits[at, :, first : first + at_once]
        sets = digits_to_bytes(rows[:8]).astype(np.intp)
        if L > 8:
            sets |= digits_to_bytes(rows[8:]).astype(np.intp) << 8
        for layer, of_neurons in enumerate(sets, first):
            counts[at, layer] = np.bincount(of_neurons[:neurons], minlength=2**L)

    in_parallel(count, product(range(E), range(0, N, at_once)))
    return counts


def independent_shares(rates: Floats) -> Floats:
    """Share of each set if languages activated neurons independently.

    Args:
        rates: float64 [E, L, N], share of a layer's neurons that each language activates.
    Returns:
        float64 [E, N, 2**L]: the product over languages of the rate, or of 1 less the rate.
    """
    E, L, N = rates.shape
    shares = np.ones((E, N, 1))
    for index in range(L):
        rate = rates[:, index, :, None]
        shares = np.concatenate(
            [shares * (1 - rate), shares * rate], -1
        )  # the sets with the language come second
    return shares


def members(number: int, languages: tuple[str, ...]) -> tuple[str, ...]:
    """The languages of a set, given by its number."""
    return tuple(code for index, code in enumerate(languages) if number >> index & 1)

"""Overlap of the neurons that two languages activate, next to the overlap that chance gives, from counts.

    from fastneurons.analysis.overlap import OverlapSums

    sums = OverlapSums(num_languages=3, num_layers=32, neurons=14336)
    sums.add(pair_counts(words), weights)  # int [E, L, L, N] of fastneurons.analysis.words, block by block
    sums.overlaps().jaccard.mean  # [P]

The overlap of a pair is its Jaccard index, pooled over examples: neurons activated in both languages over neurons
activated in either one, both summed over examples (and layers) first. Two baselines accompany it:

- `chance`: in each example and layer, each language activates as many neurons as it does, but they are drawn at
  random. The number in common then is hypergeometric, so its mean and variance are known without drawing.
- `unpaired`: the prompts of a pair come from two different examples. Neurons that many prompts activate, whatever they
  say, overlap here as well; what the overlap has beyond `unpaired` comes from prompts that say the same.
"""

from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster import hierarchy

from fastneurons.analysis.bootstrap import REPLICATES, Estimate, Floats
from fastneurons.analysis.checks import check_shapes
from fastneurons.analysis.multiple import two_sided

# Bootstrap sums by pair and layer take no more than this; where they would, layers get fewer replicates.
_REPLICATE_BYTES = 2**28
_LEAST_REPLICATES = 200
# Examples that a step of the bootstrap takes: each step goes through all replicates of all layers.
_EXAMPLES_AT_ONCE = 256


@dataclass(frozen=True)
class Overlaps:
    """Overlaps of P = L (L - 1) / 2 pairs of languages, in the order of `pairs`. NaN where nothing is activated.

    Args:
        num_examples: E.
        jaccard: [P], over all layers.
        jaccard_by_layer: [P, N].
        excess: [P], `jaccard` less `chance`.
        excess_by_layer: [P, N], likewise.
        chance: float64 [P], overlap of as many neurons drawn at random.
        chance_low, chance_high: float64 [P], where 95 % of such draws lie.
        chance_by_layer: float64 [P, N].
        p: float64 [P], two-sided, of an overlap as far from `chance`.
        p_by_layer: float64 [P, N], likewise.
        unpaired: float64 [P], overlap of prompts of different examples; NaN for one example.
        unpaired_by_layer: float64 [P, N].
        layer: [N], mean of `jaccard_by_layer` over pairs.
        layer_chance: float64 [N], mean of `chance_by_layer` over pairs.
        replicates: float64 [R, P], bootstrap replicates of `jaccard`.
    """

    num_examples: int
    jaccard: Estimate
    jaccard_by_layer: Estimate
    excess: Estimate
    excess_by_layer: Estimate
    chance: Floats
    chance_low: Floats
    chance_high: Floats
    chance_by_layer: Floats
    p: Floats
    p_by_layer: Floats
    unpaired: Floats
    unpaired_by_layer: Floats
    layer: Estimate
    layer_chance: Floats
    replicates: Floats


class OverlapSums:
    """Sums over examples from which overlaps follow. Their size does not depend on the number of examples.

    Args:
        num_languages: L.
        num_layers: N.
        neurons: I, of a layer.
        replicates: R, of the weights.
    """

    def __init__(
        self, num_languages: int, num_layers: int, neurons: int, replicates: int = REPLICATES
    ) -> None:
        self._sizes = {"L": num_languages, "N": num_layers, "R": replicates}
        self._neurons = neurons
        self._pairs = np.array(pairs(num_languages)).reshape(-1, 2)
        P, N = len(self._pairs), num_layers
        self._num_examples = 0
        self._common, self._both, self._expected, self._variance = np.zeros((4, P, N))
        self._replicated = np.zeros((replicates, 3, P))
        of_layers = min(replicates, max(_LEAST_REPLICATES, _REPLICATE_BYTES // max(1, 24 * P * N)))
        self._replicated_layers = np.zeros((of_layers, 3, P, N))
        self._waiting: list[tuple[NDArray[np.float32], Floats, NDArray[np.float32]]] = []

    def add(self, shared: NDArray[np.integer], weights: NDArray[np.float32]) -> None:
        """Add a block of examples, each of which has a prompt in every language.

        Args:
            shared: Integers [E, L, L, N], neurons that both languages of a pair activate; on the diagonal, those that
                each language activates.
            weights: float32 [E, R], of `poisson_weights`.
        Raises:
            InputError: the shapes do not fit together.
        """
        check_shapes(self._sizes, shared=(shared, "ELLN"), weights=(weights, "ER"))
        I, (i, j) = self._neurons, self._pairs.T  # noqa: E741
        common = shared[:, i, j].astype(np.float64)  # [E, P, N]
        first, second = shared[:, i, i].astype(np.float64), shared[:, j, j].astype(np.float64)
        expected = first * second / I
        parts = np.stack([common, first + second, expected], 1)  # [E, 3, P, N]
        self._num_examples += len(shared)
        for total, part in zip((self._common, self._both, self._expected), parts.sum(0), strict=True):
            total += part
        self._variance += (expected * (I - first) * (I - second) / (I * max(I - 1, 1))).sum(0)
        self._waiting.append((parts.astype(np.float32), parts.sum(-1), weights))
        if sum(len(each) for each, _, _ in self._waiting) >= _EXAMPLES_AT_ONCE:
            self._draw()

    def _draw(self) -> None:
        """Add the examples that wait for it to the replicates."""
        if self._waiting:
            parts, overall, weights = (np.concatenate(part) for part in zip(*self._waiting, strict=True))
            self._waiting = []
            self._replicated += np.tensordot(weights.T.astype(np.float64), overall, 1)
            # float32 takes half the time; a step's sums keep seven digits, and steps are added in float64.
            layers = weights.T[: len(self._replicated_layers)]
            self._replicated_layers += np.tensordot(layers, parts, 1)

    def overlaps(self, per_neuron: NDArray[np.integer] | None = None) -> Overlaps:
        """Overlaps over all examples added so far.

        Args:
            per_neuron: Integers [L, N, I], examples in which each language activates each neuron; None leaves
                `unpaired` at NaN.
        """
        self._draw()
        common, sizes, expected, variance = self._common, self._both, self._expected, self._variance
        overall = partial(np.sum, axis=1)
        spread = 1.959964 * np.sqrt(overall(variance))
        jaccard, chance = pooled(overall(common), overall(sizes)), pooled(overall(expected), overall(sizes))
        by_layer, chance_by_layer = pooled(common, sizes), pooled(expected, sizes)
        replicated, replicated_layers = self._replicated, self._replicated_layers
        drawn = pooled(replicated[:, 0], replicated[:, 1])
        drawn_layers = pooled(replicated_layers[:, 0], replicated_layers[:, 1])
        drawn_chance = pooled(replicated[:, 2], replicated[:, 1])
        drawn_chance_layers = pooled(replicated_layers[:, 2], replicated_layers[:, 1])
        unpaired = self._unpaired(per_neuron)
        with np.errstate(invalid="ignore", divide="ignore"):
            z = overall(common - expected) / np.sqrt(overall(variance))
            z_by_layer = (common - expected) / np.sqrt(variance)
        return Overlaps(
            num_examples=self._num_examples,
            jaccard=Estimate.of(jaccard, drawn),
            jaccard_by_layer=Estimate.of(by_layer, drawn_layers),
            excess=Estimate.of(jaccard - chance, drawn - drawn_chance),
            excess_by_layer=Estimate.of(by_layer - chance_by_layer, drawn_layers - drawn_chance_layers),
            chance=chance,
            chance_low=pooled(np.maximum(overall(expected) - spread, 0), overall(sizes)),
            chance_high=pooled(np.minimum(overall(expected) + spread, overall(sizes) / 2), overall(sizes)),
            chance_by_layer=chance_by_layer,
            p=np.where(np.isnan(jaccard), np.nan, two_sided(z)),
            p_by_layer=np.where(np.isnan(by_layer), np.nan, two_sided(z_by_layer)),
            unpaired=pooled(overall(unpaired), overall(sizes)),
            unpaired_by_layer=pooled(unpaired, sizes),
            layer=Estimate.of(mean_there(by_layer, 0), mean_there(drawn_layers, 1)),
            layer_chance=mean_there(chance_by_layer, 0),
            replicates=drawn,
        )

    def _unpaired(self, per_neuron: NDArray[np.integer] | None) -> Floats:
        """Expected neurons in common, [P, N], if each prompt met all of the other language's but its own example's."""
        E = self._num_examples
        if E < 2 or per_neuron is None:
            return np.full_like(self._common, np.nan)
        counts = per_neuron.transpose(1, 0, 2).astype(np.float64)  # [N, L, I]
        products = counts @ counts.swapaxes(1, 2)  # [N, L, L]
        met = products[:, self._pairs[:, 0], self._pairs[:, 1]].T  # [P, N]
        unpaired: Floats = (met - self._common) / (E - 1)
        return unpaired


def pairs(num_languages: int) -> list[tuple[int, int]]:
    """Pairs of L languages by their indices, in the order of all arrays by pair."""
    return list(combinations(range(num_languages), 2))


def pooled(common: Floats, sizes: Floats) -> Floats:
    """Jaccard index from the neurons in common and the sum of both languages' neurons; NaN where both have none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        jaccard: Floats = common / (sizes - common)
    return jaccard


def permuted_common(
    activated: NDArray[np.integer], neurons: int, permutations: int, rng: np.random.Generator
) -> Floats:
    """Neurons in common under random permutations of each layer's neurons, each example and pair by itself.

    After a permutation the number in common is hypergeometric, from which this draws.

    Args:
        activated: Integers [E, L, N], neurons that each language activates.
        neurons: I.
        permutations: R.
    Returns:
        float64 [R, P, N], summed over examples.
    """
    _, L, N = activated.shape
    found = np.zeros((permutations, len(pairs(L)), N))
    for k, (first, second) in enumerate(pairs(L)):
        for example in activated:
            found[:, k] += rng.hypergeometric(
                example[first], neurons - example[first], example[second], (permutations, N)
            )
    return found


def tree(jaccard: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Dendrogram of languages by average linkage of the distances 1 - Jaccard.

    Args:
        jaccard: float64 [P]; NaN, where neither language activates a neuron, counts as the distance 1.
    Returns:
        The linkage matrix float64 [L - 1, 4] as scipy.cluster.hierarchy defines it, and the languages' indices int64
        [L] in the order of the leaves in which neighbours are as alike as the tree allows.
    Source: Bar-Joseph et al. 2001, Bioinformatics 17, for the order of leaves.
    """
    distances = 1 - np.nan_to_num(np.asarray(jaccard, np.float64), nan=0.0)
    linkage: Floats = hierarchy.linkage(distances, "average", optimal_ordering=True)
    return linkage, hierarchy.leaves_list(linkage).astype(np.int64)


def mean_there(values: Floats, axis: int) -> Floats:
    """Mean over the values that there are; NaN where there is none."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(there, values, 0).sum(axis) / there.sum(axis)
    return mean

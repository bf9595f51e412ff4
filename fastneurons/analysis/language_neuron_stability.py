"""How stable language neurons are, from the parts of a corpus that a store counts apart.

    from fastneurons.analysis.language_neuron_stability import stability

    found = stability(counts.folds, method, whole, replicates=200, seed=None)
    found.agreement  # Jaccard index of the sets from two halves of the corpus

Parts, not tokens, are what is drawn: tokens of a text depend on each other, so that a bootstrap over tokens would make
everything look certain.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import Estimate, Floats, bootstrap_generator
from fastneurons.analysis.corpus_counts import Folds
from fastneurons.analysis.language_neurons import LanguageNeurons, Method

# A neuron is stable if it is in the set again in this share of the replicates.
STABLE = 0.9
_MOST_REPLICATES, _LEAST_REPLICATES = 200, 10
# Replicates are fewer where they would add up more numbers than this.
_NUMBERS = 2 * 10**9
# Divisions into halves, and exchanges of languages: one for so many replicates.
_FOR_EACH_DIVISION = 10


@dataclass(frozen=True, eq=False)
class Stability:
    """Agreement of G sets of neurons between parts of a corpus. NaN for a set that is empty in both halves.

    Args:
        replicates: Bootstrap replicates.
        divisions: Divisions into halves, and exchanges of languages.
        agreement: float64 [G], Jaccard index of the sets from two halves, mean over divisions.
        agreement_chance: float64 [G], what sets of these sizes would have if each layer's were drawn at random.
        size: [G], number of neurons with its bootstrap interval over parts of the corpus.
        layer_size: [G, N], likewise by layer.
        again: float64 [G], of a set's neurons, the mean share of the replicates that have them in the set again.
        stable: float64 [G], share of the set's neurons that at least `STABLE` of the replicates have in it again.
        by_chance: Neurons that would be chosen if it were random which part is of which language, mean over exchanges.
            An upper bound, as random parts may well be mostly of one language.
    """

    replicates: int
    divisions: int
    agreement: Floats
    agreement_chance: Floats
    size: Estimate
    layer_size: Estimate
    again: Floats
    stable: Floats
    by_chance: float


def affordable(folds: Folds, asked: int | None) -> int:
    """The number of replicates: as asked, or as many as take a bearable time."""
    if asked is not None:
        return asked
    numbers = int(np.prod(folds.shape)) * len(folds.tokens)
    return max(_LEAST_REPLICATES, min(_MOST_REPLICATES, _NUMBERS // numbers))


def stability(
    folds: Folds, method: Method, whole: LanguageNeurons, replicates: int, seed: int | None = None
) -> Stability:
    """Find the neurons again in halves and in bootstrap samples of a corpus.

    Args:
        folds: Parts of the corpus; each language must have tokens in two of them.
        method: How the neurons were found.
        whole: What it found in the whole corpus.
        replicates: R, at least 1.
        seed: Of the draws; None for the one that all analyses share.
    """
    rng = bootstrap_generator(seed)
    divisions = max(1, replicates // _FOR_EACH_DIVISION)
    size = whole.member.sum((1, 2))
    agreement, chance, by_chance = [], [], []
    for _ in range(divisions):
        one, other = (_find(folds, method, half).member for half in folds.halves(rng))
        agreement.append(jaccard((one & other).sum(2), one.sum(2), other.sum(2)))
        common = one.sum(2) * other.sum(2) / one.shape[2]
        chance.append(jaccard(common, one.sum(2), other.sum(2)))
        weights = folds.exchanged(rng)
        by_chance.append(method.count_alike(whole, folds.sums(weights), folds.tokens_of(weights)))
    again = np.zeros(whole.member.shape, np.int32)
    layer_sizes = np.empty((replicates, *whole.member.shape[:2]))
    for k in range(replicates):
        member = _find(folds, method, folds.resampled(rng)).member
        again += member & whole.member
        layer_sizes[k] = member.sum(2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_again = again.sum((1, 2)) / replicates / size
        stable = (again >= STABLE * replicates).sum((1, 2), where=whole.member) / size
    return Stability(
        replicates=replicates,
        divisions=divisions,
        agreement=_mean(agreement),
        agreement_chance=_mean(chance),
        size=Estimate.of(size.astype(np.float64), layer_sizes.sum(2)),
        layer_size=Estimate.of(whole.member.sum(2).astype(np.float64), layer_sizes),
        again=mean_again,
        stable=stable,
        by_chance=float(np.mean(by_chance)),
    )


def jaccard(common: NDArray[np.number], one: NDArray[np.number], other: NDArray[np.number]) -> Floats:
    """Jaccard indices from counts by layer [..., N]; NaN where both sets are empty."""
    shared = common.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        index: Floats = shared / (one.sum(-1) + other.sum(-1) - shared)
    return index


def _find(folds: Folds, method: Method, weights: NDArray[np.int64]) -> LanguageNeurons:
    return method.find(folds.sums(weights), folds.tokens_of(weights))


def _mean(values: list[Floats]) -> Floats:
    stacked = np.stack(values)
    there = np.isfinite(stacked)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(there, stacked, 0).sum(0) / there.sum(0)
    return mean

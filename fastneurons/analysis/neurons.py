"""Single neurons: how often each is in each category, how language-specific it is, and what chance would give.

    from fastneurons.analysis import neurons

    tests = neurons.preference(activated, occupancy, num_examples)  # int [L, N, I], int [N, I, 4]
    tests.p  # [L, N, I]

`fastneurons.analysis.neuron_lists` reads a store.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import REPLICATES, Estimate, Floats
from fastneurons.analysis.checks import check_shapes
from fastneurons.analysis.multiple import at_least_by_chance


@dataclass(frozen=True)
class Preference:
    """How much more often a language activates a neuron than a neuron would that cannot tell languages apart.

    Args:
        share: float64 [L, N, I], share of the neuron's activations that are in the language; NaN for a neuron that
            is never activated.
        entropy: float64 [N, I], of those shares, divided by log L: 1 for a neuron activated equally often in all
            languages, 0 in one alone; NaN for a neuron that is never activated.
        p: float64 [L, N, I], one-sided.
    """

    share: Floats
    entropy: Floats
    p: Floats


def preference(
    activated: NDArray[np.integer], occupancy: NDArray[np.integer], num_examples: int
) -> Preference:
    """Test each neuron's preference for each language.

    A neuron that cannot tell languages apart is activated in any k of an example's languages with equal probability.
    Examples in which no language or every language activates it then say nothing; in each other one, a language has
    the probability k / L. Over those examples the binomial tail with their mean probability bounds p from above.

    Args:
        activated: Integers [L, N, I], examples in which each language activates each neuron.
        occupancy: Integers [N, I, 4], examples in which each neuron is in each category.
        num_examples: E; each has a prompt in all L languages.
    Raises:
        InputError: the shapes do not fit together.
    """
    check_shapes({"C": 4}, activated=(activated, "LNI"), occupancy=(occupancy, "NIC"))
    never, always = occupancy[..., 0], occupancy[..., 3]
    telling = num_examples - never - always
    excess = activated - always  # among the telling examples
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(telling > 0, excess.mean(0) / telling, 0.0)
    share, entropy = shares_and_entropy(activated)
    return Preference(share, entropy, at_least_by_chance(excess, telling, mean))


def shares_and_entropy(activated: NDArray[np.number]) -> tuple[Floats, Floats]:
    """Shares of a neuron's activations by language, and their normalised entropy.

    Args:
        activated: Numbers [L, ...], how often each language activates it.
    Returns:
        float64 [L, ...] and float64 [...]; NaN where it is never activated.
    Source: the entropy is that of LAPE (Tang et al. 2024, arXiv:2402.16438), over examples in place of tokens.
    """
    L = len(activated)
    with np.errstate(invalid="ignore", divide="ignore"):
        share: Floats = activated / activated.sum(0, dtype=np.float64)
        logarithms = np.where(share > 0, np.log(share, where=share > 0, out=np.zeros_like(share)), 0.0)
        entropy: Floats = np.abs(-(share * logarithms).sum(0) / np.log(L))
    return share, entropy


def members_by_chance(count: NDArray[np.integer], num_examples: int, at_least: int) -> float:
    """How many neurons would be counted `at_least` times if all of a layer's were equally likely in every example.

    Args:
        count: Integers [N, I], examples in which each neuron is counted.
        num_examples: E.
        at_least: Times, 1 or more.
    Returns:
        The expected number of neurons over all layers; an upper bound where `at_least` is above a layer's mean by one
        or more, and where examples differ.
    """
    rate = count.mean(1) / max(num_examples, 1)  # [N]
    expected = count.shape[1] * at_least_by_chance(at_least, num_examples, rate)
    return float(expected.sum())


@dataclass(frozen=True)
class NeuronRates:
    """Rates of K neurons over examples. NaN without examples.

    Args:
        num_examples: E.
        rate: [K, L], share of examples in which each language activates the neuron.
        category: [K, 4], share of examples in which it is in each category.
        share: [K, L], share of its activations that are in each language; NaN if it is never activated.
        entropy: [K], normalised entropy of `share`.
    """

    num_examples: int
    rate: Estimate
    category: Estimate
    share: Estimate
    entropy: Estimate


class NeuronSums:
    """Sums over examples for K neurons, plain and for each bootstrap replicate.

    Args:
        num_neurons: K.
        num_languages: L.
        replicates: R, of the weights.
    """

    def __init__(self, num_neurons: int, num_languages: int, replicates: int = REPLICATES) -> None:
        self._sizes = {"K": num_neurons, "L": num_languages, "R": replicates}
        self._num_examples = 0
        self._plain = np.zeros((num_neurons, num_languages + 4))
        self._drawn = np.zeros(replicates)
        self._replicated = np.zeros((replicates, num_neurons, num_languages + 4))

    def add(self, activated: NDArray[np.bool_], weights: NDArray[np.float32]) -> None:
        """Add a block of examples, each of which has a prompt in every language.

        Args:
            activated: bool [E, L, K].
            weights: float32 [E, R], of `poisson_weights`.
        Raises:
            InputError: the shapes do not fit together.
        """
        check_shapes(self._sizes, activated=(activated, "ELK"), weights=(weights, "ER"))
        categories = categories_of(activated)[..., None] == np.arange(4)  # [E, K, 4]
        both = np.concatenate([activated.swapaxes(1, 2), categories], -1).astype(np.float64)
        self._num_examples += len(activated)
        self._plain += both.sum(0)
        self._drawn += weights.sum(0)
        self._replicated += np.tensordot(weights.T.astype(np.float64), both, 1)

    def rates(self) -> NeuronRates:
        """Rates over all examples added so far."""
        L = self._sizes["L"]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self._plain / np.float64(self._num_examples)
            drawn = self._replicated / self._drawn[:, None, None]
        share, entropy = shares_and_entropy(self._plain[:, :L].T)
        drawn_share, drawn_entropy = shares_and_entropy(np.moveaxis(self._replicated[..., :L], -1, 0))
        return NeuronRates(
            num_examples=self._num_examples,
            rate=Estimate.of(mean[:, :L], drawn[..., :L]),
            category=Estimate.of(mean[:, L:], drawn[..., L:]),
            share=Estimate.of(share.T, np.moveaxis(drawn_share, 0, -1)),
            entropy=Estimate.of(entropy, drawn_entropy),
        )


def categories_of(activated: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Category codes int8 [E, K] of bool [E, L, K]."""
    number, L = activated.sum(1), activated.shape[1]
    codes: NDArray[np.int8] = np.select([number == 0, number == L, number == 1], [0, 3, 1], 2).astype(np.int8)
    return codes

"""Methods that find language neurons in the counts of a corpus, by name.

    from fastneurons.analysis.language_neurons import METHODS

    method = METHODS["k-of-l"](languages, Rates())
    found = method.find([counts], tokens)  # counts int64 [L, N, I], tokens int64 [L]
    found.member[found.sets.index("agnostic")]  # bool [N, I]

A method is a small class: `find` takes counts and gives sets of neurons; `count_alike` applies the limits that it found
to other counts, which tells how many neurons chance would put below them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import Floats
from fastneurons.analysis.lape import RIGHT_TO, Rates, active, check_shape, entropies, lape
from fastneurons.analysis.probability_ranks import Counts, probability_at_ranks, rank_of

RELATED, AGNOSTIC = "related", "agnostic"
AVERAGE_PRECISION = "average-precision"


@dataclass(frozen=True, eq=False)
class LanguageNeurons:
    """Sets of neurons that a method found.

    Args:
        sets: G names: languages, and what else the method tells apart.
        member: bool [G, N, I].
        chosen: How many neurons the method chose, whatever set they are in.
        exclusive: Whether no neuron can be in two sets.
        score: float64 [N, I] or [G, N, I], what it ranks neurons by; None if it ranks none.
        details: Limits that it found, by name, for the record.
        limits: The same as the method needs them to apply them again.
    """

    sets: tuple[str, ...]
    member: NDArray[np.bool_]
    chosen: int
    exclusive: bool = False
    score: Floats | None = None
    details: dict[str, Any] = field(default_factory=dict)
    limits: Any = None


class Method(Protocol):
    """A way to find language neurons in counts."""

    def find(self, counts: Counts, tokens: NDArray[np.int64]) -> LanguageNeurons:
        """Find the neurons.

        Args:
            counts: Blocks int64 [L, n, I] of all layers, in order.
            tokens: int64 [L], above 0.
        Raises:
            InputError: a rate is not above 0 and up to 1.
            ContradictionError: a count exceeds its language's tokens.
        """

    def count_alike(self, found: LanguageNeurons, counts: Counts, tokens: NDArray[np.int64]) -> int:
        """How many neurons of other counts the limits of `found` would choose."""


class LapeMethod:
    """Lowest entropy over languages (Tang et al. 2024, arXiv:2402.16438)."""

    def __init__(self, languages: tuple[str, ...], rates: Rates) -> None:
        self._languages, self._rates = languages, rates

    def find(self, counts: Counts, tokens: NDArray[np.int64]) -> LanguageNeurons:
        """Find the neurons, as `fastneurons.analysis.lape.lape` does."""
        found = lape(counts, tokens, self._rates)
        details = {
            "filter_bar": float(found.filter_bar),
            "activation_bar": float(found.activation_bar),
            "highest_entropy": found.highest,
            "passed_filter": int(np.isfinite(found.entropy).sum()),
        }
        limits = (found.filter_bar, found.highest)
        chosen = int(found.selected.sum())
        return LanguageNeurons(self._languages, found.member, chosen, False, found.entropy, details, limits)

    def count_alike(self, found: LanguageNeurons, counts: Counts, tokens: NDArray[np.int64]) -> int:
        """Neurons that pass the filter's bar with an entropy no higher than the highest selected."""
        bar, highest = found.limits
        return int((entropies(counts, tokens, bar) <= highest + RIGHT_TO).sum())


class KOfL:
    """The number of languages in which a neuron is active, k of L.

    Active in a language: its activation probability there exceeds the one at the rank of `activation_bar_ratio` of all
    neurons' and languages'. With k = 1 the neuron is specific to that language, with 1 < k < L it is related to its k
    languages, with k = L language-agnostic.

    Source: Zhang et al. 2025, arXiv:2505.21505, who count languages in this way; without their search for the weight of
    the highest probability against the entropy.
    """

    def __init__(self, languages: tuple[str, ...], rates: Rates) -> None:
        self._languages, self._rates = languages, rates

    def find(self, counts: Counts, tokens: NDArray[np.int64]) -> LanguageNeurons:
        """Find the specific neurons of each language, then the related and the agnostic ones."""
        _, total = check_shape(counts, tokens)
        rank = rank_of(self._rates.activation_bar_ratio, total, "--activation-bar-ratio")
        (bar,) = probability_at_ranks(counts, tokens, [rank])
        there = active(counts, tokens, bar)
        k, L = there.sum(0), len(tokens)
        member = np.concatenate([there & (k == 1), [(k > 1) & (k < L), k == L]])
        sets = (*self._languages, RELATED, AGNOSTIC)
        chosen = int((k == 1).sum())
        return LanguageNeurons(sets, member, chosen, True, details={"activation_bar": float(bar)}, limits=bar)

    def count_alike(self, found: LanguageNeurons, counts: Counts, tokens: NDArray[np.int64]) -> int:
        """Neurons that exceed the bar in exactly one language."""
        return int((active(counts, tokens, found.limits).sum(0) == 1).sum())


METHODS: dict[str, Callable[[tuple[str, ...], Rates], Method]] = {"lape": LapeMethod, "k-of-l": KOfL}
TITLES = {
    "lape": "lowest entropy of the activation probabilities over languages (LAPE, arXiv:2402.16438)",
    "k-of-l": "active in one language, in some, or in all: specific, related, agnostic (arXiv:2505.21505)",
    AVERAGE_PRECISION: "best detectors of a language, from a run with --histogram (arXiv:2404.02431)",
}

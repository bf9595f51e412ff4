"""LAPE: neurons whose activation probability is concentrated on few languages, from counts of a corpus.

    from fastneurons.analysis.lape import Lape, lape

    found = lape([counts], tokens, Rates(top_rate=0.01))  # counts int64 [L, N, I], tokens int64 [L]
    found.member[language]                                # bool [N, I]

Counts come as blocks of layers that can be read again and again, so that a store need not fit into memory: what is
held is one block, the entropies, and the members.

Source: Tang et al. 2024, Language-Specific Neurons, arXiv:2402.16438, in the order of the authors' published code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from math import gcd, lcm

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import Floats
from fastneurons.analysis.probability_ranks import (
    Counts,
    check_counts,
    counts_above,
    probability_at_ranks,
    rank_of,
)
from fastneurons.errors import InputError

# Entropies as float64 are right to this, whatever the number of languages. Those that differ by less are compared by
# their exact values, so that neurons with the same shares in each language are tied, however many their tokens.
RIGHT_TO = 1e-12
# Digits of the exact comparison. Of two entropies that differ at all, with up to 2**52 tokens in each language, the
# difference shows long before.
_DIGITS, _COMPARED_DIGITS = 80, 60


@dataclass(frozen=True)
class Rates:
    """LAPE's options, named as its authors name them.

    Args:
        top_rate: Share of all neurons that are selected.
        filter_rate: Rank, as a share of all probabilities, of the one that a neuron must exceed in some language.
        activation_bar_ratio: Likewise of the one that it must exceed in a language to belong to it.
    """

    top_rate: float = 0.01
    filter_rate: float = 0.95
    activation_bar_ratio: float = 0.95


@dataclass(frozen=True, eq=False)
class Lape:
    """Language-specific neurons.

    Args:
        member: bool [L, N, I], whether a neuron belongs to each language; to none, one or several.
        selected: bool [N, I], the neurons of lowest entropy, of which the members are.
        entropy: float64 [N, I], of the activation probabilities over languages, in nats; infinite for neurons that
            exceed the filter's bar in no language.
        highest: The highest entropy that was selected; NaN where nothing was.
        filter_bar: The probability at the rank of `filter_rate`.
        activation_bar: Likewise of `activation_bar_ratio`.
    """

    member: NDArray[np.bool_]
    selected: NDArray[np.bool_]
    entropy: Floats
    highest: float
    filter_bar: Fraction
    activation_bar: Fraction


def lape(counts: Counts, tokens: NDArray[np.int64], rates: Rates | None = None) -> Lape:
    """Select the neurons with the lowest entropy, and give each to the languages in which it is most active.

    With p a neuron's activation probability in each language: (1) the entropy is that of p / sum of p. (2) Neurons
    whose p exceeds the probability at the rank of `filter_rate` in no language are out. (3) Of the others, as many as
    `top_rate` of all neurons are selected, those with the lowest entropy; of equal ones, those of lower layers, and
    within a layer those of lower index. (4) A selected neuron belongs to each language in which its p exceeds the
    probability at the rank of `activation_bar_ratio`. Ranks are among all neurons' and languages' probabilities,
    ascending, from 1, rounded half to even.

    Args:
        counts: Blocks int64 [L, n, I] of all N layers in order: tokens that activate each neuron.
        tokens: int64 [L], tokens of each language, above 0.
    Raises:
        InputError: there are fewer than two languages, or a rate is not above 0 and up to 1.
        ContradictionError: a count exceeds its language's tokens.
    """
    rates = rates or Rates()
    neurons, total = check_shape(counts, tokens)
    top = rank_of(rates.top_rate, neurons, "--top-rate")
    filter_bar, activation_bar = probability_at_ranks(
        counts,
        tokens,
        [
            rank_of(rates.filter_rate, total, "--filter-rate"),
            rank_of(rates.activation_bar_ratio, total, "--activation-bar-ratio"),
        ],
    )
    entropy = entropies(counts, tokens, filter_bar)
    selected = _lowest(entropy, top, counts, tokens)
    return Lape(
        member=active(counts, tokens, activation_bar) & selected,
        selected=selected,
        entropy=entropy,
        highest=float(entropy[selected].max()) if selected.any() else float("nan"),
        filter_bar=filter_bar,
        activation_bar=activation_bar,
    )


def entropies(counts: Counts, tokens: NDArray[np.int64], bar: Fraction) -> Floats:
    """Entropy over languages of each neuron that exceeds a bar in one of them.

    Args:
        counts, tokens: As of `lape`.
        bar: A probability.
    Returns:
        float64 [N, I], in nats; infinite for the other neurons.
    """
    above = counts_above(bar, tokens)[:, None, None]
    parts = []
    for block in counts:
        # In ascending order, so that the sums do not depend on that of the languages.
        probability: Floats = np.sort(block / tokens[:, None, None], axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = probability / probability.sum(0)
            terms = np.where(probability > 0, share * np.log(share), 0)
        parts.append(np.where((block > above).any(0), np.abs(terms.sum(0)), np.inf))
    return np.concatenate(parts)


def active(counts: Counts, tokens: NDArray[np.int64], bar: Fraction) -> NDArray[np.bool_]:
    """Whether each neuron's activation probability exceeds a bar in each language, bool [L, N, I]."""
    above = counts_above(bar, tokens)[:, None, None]
    return np.concatenate([block > above for block in counts], axis=1)


def _lowest(entropy: Floats, number: int, counts: Counts, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The neurons of lowest entropy, bool [N, I]: so many, or all that have one."""
    flat = entropy.ravel()
    selected = np.isfinite(flat)
    if selected.sum() > number:
        last = np.partition(flat, number - 1)[number - 1]
        selected = flat < last - RIGHT_TO
        undecided = np.flatnonzero(~selected & (flat <= last + RIGHT_TO))
        missing = number - int(selected.sum())
        if missing < len(undecided):
            undecided = undecided[_exact_order(undecided, counts, tokens)[:missing]]
        selected[undecided] = True
    return selected.reshape(entropy.shape)


def _exact_order(neurons: NDArray[np.int64], counts: Counts, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order of some neurons, given by ascending index into [N, I], by entropy and then by index."""
    parts, first = [], 0
    for block in counts:
        here = neurons[(neurons >= first) & (neurons < first + block[0].size)] - first
        parts.append(block.reshape(len(block), -1)[:, here])
        first += block[0].size
    known: dict[tuple[int, ...], Decimal] = {}
    found = []
    for own in np.concatenate(parts, axis=1).T.tolist():
        shares = sorted(
            Fraction(count, total) for count, total in zip(own, tokens.tolist(), strict=True) if count
        )
        common = lcm(*(share.denominator for share in shares))
        weights = [share.numerator * (common // share.denominator) for share in shares]
        divisor = gcd(*weights)
        key = tuple(weight // divisor for weight in weights)
        if key not in known:
            known[key] = _exact_entropy(key)
        found.append(known[key])
    return np.array(
        sorted(range(len(found)), key=found.__getitem__), np.int64
    )  # sorted() keeps the order of ties


def _exact_entropy(weights: tuple[int, ...]) -> Decimal:
    """Entropy of shares that are proportional to some weights, in nats, to 60 digits."""
    with localcontext() as context:
        context.prec = _DIGITS
        total = Decimal(sum(weights))
        entropy = sum(
            (weight / total * (total / weight).ln() for weight in map(Decimal, weights)), Decimal(0)
        )
        return entropy.quantize(Decimal(1).scaleb(-_COMPARED_DIGITS))


def check_shape(counts: Counts, tokens: NDArray[np.int64]) -> tuple[int, int]:
    """Check counts and return how many neurons and how many probabilities there are.

    Raises:
        InputError: there are fewer than two languages, or shapes do not fit together.
        ContradictionError: a count exceeds its language's tokens, or a language has none.
    """
    if len(tokens) < 2:
        raise InputError("one language alone: neurons are compared across 2 languages or more")
    if tokens.min() < 1:
        raise InputError("a language without tokens has no activation probabilities; leave it out")
    neurons = 0
    for block in _of_languages(counts, len(tokens)):
        check_counts(block, tokens)
        neurons += block[0].size
    if not neurons:
        raise InputError("there are no neurons")
    return neurons, neurons * len(tokens)


def _of_languages(counts: Counts, number: int) -> Iterator[NDArray[np.int64]]:
    for block in counts:
        if block.ndim != 3 or len(block) != number:
            raise InputError(f"counts have shape {list(block.shape)}; they must be [L = {number}, N, I]")
        yield block

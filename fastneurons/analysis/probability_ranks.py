"""Ranks of activation probabilities, exactly and in bounded memory: the bars that methods for language neurons use.

    from fastneurons.analysis.probability_ranks import counts_above, probability_at_ranks

    (bar,) = probability_at_ranks([counts], tokens, [rank])  # a Fraction
    counts > counts_above(bar, tokens)[:, None, None]        # where the probability exceeds it

A probability is a count divided by a language's tokens. As float64, two that differ may become equal (with 2**40 tokens
in one language and one less in another, say), and "exceeds" would then be wrong. Rounding never reverses an order,
though, so floats find the place of a rank, and fractions decide among those that are equal as floats: in each language,
these have one and the same count, hence a handful of fractions. All further comparisons are of integers.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import Floats
from fastneurons.analysis.checks import ContradictionError
from fastneurons.errors import InputError

# int64 [L, n, I] each: blocks of layers, in order. Read several times, so not an iterator.
Counts = Iterable[NDArray[np.int64]]

# Up to here, counts of one language that differ have probabilities that differ as float64.
_MOST_TOKENS = 2**52
_DIGIT_BITS = 16
# So many probabilities are held at once; more are counted by their digits.
_HELD = 2**22


def rank_of(rate: float, number: int, option: str) -> int:
    """The rank, counted from 1, of a rate among `number` values: their product, rounded half to even.

    Args:
        option: The rate's name, for messages.
    Raises:
        InputError: the rate is not above 0 and up to 1, or so small that it gives no rank.
    """
    if not 0 < rate <= 1:
        raise InputError(f"{option} {rate:g}: must be above 0 and up to 1")
    rank = round(rate * number)
    if not rank:
        raise InputError(f"{option} {rate:g}: of {number:,} values, that is none")
    return rank


def check_counts(block: NDArray[np.int64], tokens: NDArray[np.int64]) -> None:
    """Check that counts can be those of so many tokens.

    Args:
        block: int64 [L, n, I].
        tokens: int64 [L].
    Raises:
        ContradictionError: a count is negative or exceeds its language's tokens, or there are too many of these to be
            compared.
    """
    if tokens.max(initial=0) > _MOST_TOKENS:
        raise ContradictionError("corpus_tokens", f"{tokens.max():,} tokens: at most 2**52 can be compared")
    if block.size and block.min() < 0:
        raise ContradictionError("activation_count", f"a count is {block.min():,}")
    if (block > tokens[:, None, None]).any():
        raise ContradictionError("activation_count", "more tokens activate a neuron than were read")


def probability_at_ranks(counts: Counts, tokens: NDArray[np.int64], ranks: Sequence[int]) -> list[Fraction]:
    """The activation probabilities at some ranks of all languages' and neurons' together, in ascending order.

    At most six passes over the counts, in memory for one block, and for 2**22 probabilities or a histogram of 2**16
    numbers for each rank.

    Args:
        counts: Blocks int64 [L, n, I].
        tokens: int64 [L], above 0.
        ranks: Counted from 1; each at most the number of probabilities.
    Raises:
        ContradictionError: as `check_counts`.
    """
    held = _all_if_few(counts, tokens)
    values, places = _by_digits(counts, tokens, ranks) if held is None else _by_partition(held, ranks)
    equal: list[dict[int, list[int]]] = [{} for _ in ranks]  # by language: its count, and how often
    for block in counts:
        bits = _bits(block, tokens)
        for value, found in zip(values, equal, strict=True):
            same = bits == value
            for language in np.flatnonzero(same.any((1, 2))).tolist():
                here = same[language]
                known = found.setdefault(language, [int(block[language][here][0]), 0])
                known[1] += int(here.sum())
    return [_at_place(found, tokens, place) for found, place in zip(equal, places, strict=True)]


def counts_above(bar: Fraction, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each language, the count that a neuron must exceed for its probability to exceed a bar.

    Args:
        bar: A probability.
        tokens: int64 [L].
    Returns:
        int64 [L].
    """
    return np.array([bar.numerator * each // bar.denominator for each in tokens.tolist()], np.int64)


def _all_if_few(counts: Counts, tokens: NDArray[np.int64]) -> NDArray[np.uint64] | None:
    """All probabilities as bits, which have their order; None if they are too many. Checks the counts."""
    parts, number = [], 0
    for block in counts:
        check_counts(block, tokens)
        number += block.size
        if number <= _HELD:
            parts.append(_bits(block, tokens).ravel())
    return np.concatenate(parts) if number <= _HELD else None


def _by_partition(held: NDArray[np.uint64], ranks: Sequence[int]) -> tuple[list[int], list[int]]:
    """The probability at each rank, as its bits; and the rank among those that equal it."""
    partly_sorted = np.partition(held, sorted({rank - 1 for rank in ranks}))
    values = [int(partly_sorted[rank - 1]) for rank in ranks]
    return values, [rank - int((held < value).sum()) for rank, value in zip(ranks, values, strict=True)]


def _by_digits(
    counts: Counts, tokens: NDArray[np.int64], ranks: Sequence[int]
) -> tuple[list[int], list[int]]:
    """The same by a radix selection, whatever their number."""
    prefixes, places = [0] * len(ranks), list(ranks)
    for shift in range(64 - _DIGIT_BITS, -1, -_DIGIT_BITS):
        begun = dict.fromkeys(prefixes)
        histogram = {prefix: np.zeros(2**_DIGIT_BITS, np.int64) for prefix in begun}
        for block in counts:
            digits = (_bits(block, tokens) >> np.uint64(shift)).ravel()
            for prefix, numbers in histogram.items():
                first = prefix << _DIGIT_BITS
                inside = digits - np.uint64(first)  # wraps around below the prefix
                inside = inside[inside < 2**_DIGIT_BITS]
                numbers += np.bincount(inside.astype(np.int64), minlength=2**_DIGIT_BITS)
        for k, prefix in enumerate(prefixes):
            up_to = np.cumsum(histogram[prefix])
            digit = int(np.searchsorted(up_to, places[k]))
            places[k] -= int(up_to[digit - 1]) if digit else 0
            prefixes[k] = (prefix << _DIGIT_BITS) + digit
    return prefixes, places


def _bits(block: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.uint64]:
    probability: Floats = block / tokens[:, None, None]
    return probability.view(np.uint64)


def _at_place(found: dict[int, list[int]], tokens: NDArray[np.int64], place: int) -> Fraction:
    """The probability at a place among some that are equal as floats."""
    exact = sorted((Fraction(count, int(tokens[k])), number) for k, (count, number) in found.items())
    for value, number in exact:
        place -= number
        if place <= 0:
            return value
    raise AssertionError("the counts changed between two passes")

"""Quantiles, overlaps, means and sign cases of neurons' signals, from arrays of counts.

    from fastneurons.analysis import histograms

    histograms.quantiles(histogram[language, layer], bin_edge[layer], [0.5, 0.99])  # [I, 2]

A histogram has B bins between B - 1 edges; its first and its last bin are open. `distributions.py` reads a store.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import Floats
from fastneurons.analysis.checks import ContradictionError
from fastneurons.errors import InputError


def moments(
    signal_sum: NDArray[np.float64], signal_square_sum: NDArray[np.float64], tokens: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Mean and standard deviation of a signal over tokens.

    Args:
        signal_sum: float64 [L, ...], sums of the signal.
        signal_square_sum: float64 [L, ...], sums of its square.
        tokens: int64 [L].
    Returns:
        Two float64 [L, ...]; NaN for a language with no tokens. The deviation is that of these tokens (divided by
        their number, not by one less).
    """
    number = tokens.reshape(-1, *[1] * (signal_sum.ndim - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = signal_sum / number
        # Rounding may leave the variance of a constant just below 0.
        deviation: Floats = np.sqrt(np.maximum(signal_square_sum / number - mean**2, 0))
    return mean, deviation


def quantiles(counts: NDArray[np.int64], edges: NDArray[np.float32], levels: Sequence[float]) -> Floats:
    """Values below which given shares of the tokens lie; within a bin, tokens are taken to be spread evenly.

    Args:
        counts: int64 [..., B].
        edges: float32 [B - 1], of one layer.
        levels: Q of them, from 0 to 1.
    Returns:
        float64 [..., Q]. In an open bin, its edge: the first one bounds the quantile from above, the last one from
        below. NaN without tokens.
    Raises:
        InputError: a level is not from 0 to 1.
    """
    if not all(0 <= level <= 1 for level in levels):
        raise InputError(f"levels {', '.join(f'{level:g}' for level in levels)}: must be from 0 to 1")
    flat = counts.reshape(-1, counts.shape[-1])
    reached = np.cumsum(flat, axis=1)
    total = reached[:, -1:]
    low = np.concatenate([edges[:1], edges]).astype(np.float64)
    high = np.concatenate([edges, edges[-1:]]).astype(np.float64)
    found = np.full((len(flat), len(levels)), np.nan)
    rows = np.flatnonzero(total[:, 0])
    for k, level in enumerate(levels):
        rank = level * total[rows]  # of the token that is looked for
        # The first bin that reaches it, of those with tokens: empty ones before it do not count for level 0.
        bin_ = ((reached[rows] < rank) | (reached[rows] == 0)).sum(1)
        inside = flat[rows, bin_]
        share = 1 - (reached[rows, bin_] - rank[:, 0]) / inside
        found[rows, k] = low[bin_] + share * (high[bin_] - low[bin_])
    return found.reshape(*counts.shape[:-1], len(levels))


def overlap(first: Floats, second: Floats) -> Floats:
    """The overlapping coefficient of two distributions: the sum over bins of the smaller share.

    1 for equal distributions, 0 for those that share no bin.

    Args:
        first: float [..., B], shares of the bins, which add up to 1.
        second: Likewise.
    Returns:
        float64 [...]; NaN where either has no tokens.
    Source: Inman and Bradley 1989, for distributions in general.
    """
    found: Floats = np.minimum(first, second).sum(-1, dtype=np.float64)
    return found


def overlap_by_chance(first: Floats, second: Floats, first_tokens: float, second_tokens: float) -> Floats:
    """The overlap to expect of two samples from the mean of two distributions, if tokens were drawn independently.

    A sum of bins' expected differences, each by the normal approximation. Tokens of a text are alike, so real samples
    of one language differ more than that.

    Args:
        first: float [..., B], as for `overlap`.
        second: Likewise.
        first_tokens: Tokens in the first.
        second_tokens: Tokens in the second.
    Returns:
        float64 [...].
    """
    pooled = (first + second) / 2
    variance = pooled * (1 - pooled) * (1 / first_tokens + 1 / second_tokens)
    found: Floats = 1 - 0.5 * np.sqrt(2 / np.pi * variance).sum(-1, dtype=np.float64)
    return found


def shares_of(counts: NDArray[np.int64]) -> Floats:
    """Shares of the bins, float32 [..., B]; NaN without tokens."""
    total = counts.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = (counts / total).astype(np.float32)
    return found


def check_totals(counts: NDArray[np.int64], tokens: int, name: str, language: str) -> None:
    """Check that each neuron's counts add up to the tokens of a language.

    Args:
        counts: int64 [..., K], of K bins or cases.
        name: The array's.
        language: Code, for the message.
    Raises:
        ContradictionError: they do not.
    """
    total = counts.sum(-1)
    if (total != tokens).any() or (counts < 0).any():
        wrong = int(total[total != tokens][0]) if (total != tokens).any() else int(counts.min())
        raise ContradictionError(
            name, f"counts of a neuron in {language} add up to {wrong:,}, and {tokens:,} tokens were read"
        )

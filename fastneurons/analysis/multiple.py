"""Correct p values for the number of tests, and compute the part of a list that chance alone would give.

from fastneurons.analysis.multiple import adjusted

adjusted(p)  # Benjamini-Hochberg: of the tests up to 0.05, at most 5 % are false on average
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from fastneurons.analysis.bootstrap import Floats


def adjusted(p: ArrayLike) -> Floats:
    """p values corrected by Benjamini and Hochberg over all tests of an array, whatever its shape.

    Args:
        p: In [0, 1]; NaN where nothing was tested, which counts as no test.
    Returns:
        float64 in the shape of `p`: the smallest false discovery rate at which each test is significant.
    Source: Benjamini and Hochberg 1995, JRSS B 57(1), as scipy.stats.false_discovery_control has it.
    """
    values = np.asarray(p, np.float64)
    found = np.full(values.shape, np.nan)
    tested = np.isfinite(values)
    if tested.any():
        found[tested] = stats.false_discovery_control(values[tested])
    return found


def at_least_by_chance(count: ArrayLike, trials: ArrayLike, probability: ArrayLike) -> Floats:
    """Probability of at least `count` successes in `trials` independent examples, one-sided.

    Examples need not be alike: where their probabilities differ, `probability` is their mean, and the binomial tail
    is an upper bound for counts above the mean plus one, so that p values err on the safe side.

    Args:
        count, trials: Integers; they broadcast with `probability`.
        probability: Mean over the examples, in [0, 1].
    Source: Hoeffding 1956, Annals of Mathematical Statistics 27(3), theorem 5.
    """
    tail: Floats = stats.binom.sf(np.asarray(count) - 1, trials, probability)
    return np.asarray(tail, np.float64)


def two_sided(z: ArrayLike) -> Floats:
    """Two-sided p values of standard normal scores; 1 where the score is NaN because nothing can vary."""
    p = 2 * stats.norm.sf(np.abs(np.asarray(z, np.float64)))
    return np.where(np.isnan(p), 1.0, p)


def permutation_p(statistic: float, permuted: NDArray[np.float64]) -> float:
    """Two-sided p value of a statistic against its values under R random permutations; never below 1 / (R + 1).

    Source: Phipson and Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9(1).
    """
    # Statistics that are equal but for rounding count as equal.
    at_least = np.abs(permuted) >= abs(statistic) - 1e-12
    return float((1 + at_least.sum()) / (1 + len(permuted)))

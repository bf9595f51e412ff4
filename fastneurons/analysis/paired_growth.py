"""How numbers and answers of the same examples change together between two models, from plain arrays."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import REPLICATES, Estimate, Floats, blocks, bootstrap_generator
from fastneurons.analysis.reading import drawn_weights

# What answers of a (prompt, model) pair can become.
OUTCOMES = ("became right", "stayed wrong", "became wrong", "stayed right")


def paired_mean(
    values: NDArray[Any], replicates: int = REPLICATES, seed: int | None = None
) -> tuple[Floats, Floats]:
    """Means over the examples that have a value, and their bootstrap replicates.

    All values of an example share its weights, and the same seed gives the same weights: differences of such means, of
    different arrays too, are paired.

    Args:
        values: Floats [E, ...]; NaN where an example has no value.
        replicates: R; 0 for none.
        seed: Of the weights.
    Returns:
        float64 [...] and [R, ...]; NaN where no example, or none that is drawn, has a value.
    """
    shape = values.shape[1:]
    flat = np.asarray(values, np.float64).reshape(len(values), int(np.prod(shape)))
    given = ~np.isnan(flat)
    filled = np.where(given, flat, 0.0)
    rng = bootstrap_generator(seed)
    total, number = np.zeros((replicates, flat.shape[1])), np.zeros((replicates, flat.shape[1]))
    for rows in blocks(len(flat)) if replicates else ():
        drawn = drawn_weights(rng, rows.stop - rows.start, replicates).T.astype(np.float64)
        total += drawn @ filled[rows]
        number += drawn @ given[rows].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(0) / given.sum(0)
        replicated = total / number
    return mean.reshape(shape), replicated.reshape(replicates, *shape)


def estimated(values: NDArray[Any], replicates: int = REPLICATES, seed: int | None = None) -> Estimate:
    """The means of `paired_mean`, with their 95 % intervals."""
    return Estimate.of(*paired_mean(values, replicates, seed))


class Growth(NamedTuple):
    """How a number grew in examples, by what became of their answers.

    Args:
        number: int64 [4], pairs of example and language, in the order of `OUTCOMES`.
        mean: [4, ...], mean growth of the examples of these pairs.
        gained: [...], that of pairs that became right less that of pairs that stayed wrong.
        lost: [...], that of pairs that became wrong less that of pairs that stayed right.
    """

    number: NDArray[np.int64]
    mean: Estimate
    gained: Estimate
    lost: Estimate


def growth_by_outcome(
    growth: NDArray[Any],
    before: NDArray[Any],
    after: NDArray[Any],
    replicates: int = REPLICATES,
    seed: int | None = None,
) -> Growth:
    """Whether the examples in which a number grew are those whose answers became right.

    An example counts once for each language in which it had that outcome, so that the means are over pairs of example
    and language. The bootstrap draws examples.

    Args:
        growth: Floats [E, ...]; finite.
        before: Floats [E, L], whether the answer was right, 1 or 0; NaN if it was not judged.
        after: Likewise.
    """
    both = ~(np.isnan(before) | np.isnan(after))
    right = [np.nan_to_num(each) > 0 for each in (before, after)]
    pairs = [
        both & ~right[0] & right[1],
        both & ~right[0] & ~right[1],
        both & right[0] & ~right[1],
        both & right[0] & right[1],
    ]
    number = np.stack([each.sum(1) for each in pairs], 1)  # [E, 4]
    widened = number.reshape(*number.shape, *(1,) * (growth.ndim - 1))
    sums, drawn_sums = paired_mean(widened * growth[:, None], replicates, seed)  # [4, ...]
    counts, drawn_counts = paired_mean(widened.astype(np.float64), replicates, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, drawn = sums / counts, drawn_sums / drawn_counts
    return Growth(
        number.sum(0),
        Estimate.of(mean, drawn),
        Estimate.of(mean[0] - mean[1], drawn[:, 0] - drawn[:, 1]),
        Estimate.of(mean[2] - mean[3], drawn[:, 2] - drawn[:, 3]),
    )


def correlation(
    growth: NDArray[Any], gain: NDArray[Any], replicates: int = REPLICATES, seed: int | None = None
) -> Estimate:
    """Pearson's correlation over examples between two changes.

    Args:
        growth: Floats [E, ...]; finite.
        gain: Floats [E]; NaN where an example has no value.
    Returns:
        [...]; NaN where one of the two does not vary.
    """
    x = np.asarray(growth, np.float64)
    y = np.asarray(gain, np.float64).reshape(-1, *(1,) * (x.ndim - 1)) + np.zeros_like(x)
    x = np.where(np.isnan(y), np.nan, x)
    # Moments of numbers around 0 lose no digits.
    x, y = (each - _mean_of_given(each) for each in (x, y))
    moments = np.stack([x, y, x * x, y * y, x * y], 1)
    mean, drawn = paired_mean(moments, replicates, seed)
    return Estimate.of(_pearson(mean), _pearson(np.moveaxis(drawn, 1, 0)))


def _pearson(moments: Floats) -> Floats:
    x, y, xx, yy, xy = moments
    spread = (xx - x * x) * (yy - y * y)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Rounding leaves a variance of about 1e-17 of the squares where nothing varies.
        varies = spread > 1e-24 * np.maximum(xx * yy, np.finfo(float).tiny)
        found: Floats = np.where(varies, (xy - x * y) / np.sqrt(spread), np.nan)
    return found


def _mean_of_given(values: Floats) -> Floats:
    given = ~np.isnan(values)
    mean: Floats = np.where(given, values, 0).sum(0) / np.maximum(given.sum(0), 1)
    return mean

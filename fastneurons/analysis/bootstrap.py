"""Means over examples with their uncertainty, in one pass and in memory that does not grow with the examples.

Arrays alone: the functions know nothing of stores. Examples come in blocks, each with weights that say how often
every bootstrap replicate draws every example; a mean and its replicates are then quotients of weighted sums.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, factorial, prod

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REPLICATES = 1000
_SEED = 20240613
_BLOCK_EXAMPLES = 1024
_TAIL = 2.5  # per cent on either side: intervals of 95 %


@dataclass(frozen=True)
class Estimate:
    """A mean over examples, with its 95 % bootstrap interval over examples; NaN where there is no value.

    Args:
        mean: float64, of any shape.
        low: Lower ends of the intervals, in the shape of `mean`.
        high: Upper ends, likewise.
    """

    mean: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, mean: Floats, replicated: Floats) -> "Estimate":
        """Take the interval from replicates [R, ...]; one that drew no value (NaN or infinite) does not count."""
        low, high = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
        found = np.isfinite(replicated).any(0)
        if found.any():
            drawn = replicated[:, found]
            # With NaN, numpy takes every value by itself, a hundred times slower.
            percentile = np.nanpercentile if np.isnan(drawn).any() else np.percentile
            low[found], high[found] = percentile(drawn, [_TAIL, 100 - _TAIL], axis=0)
        return cls(mean, low, high)


def bootstrap_generator(seed: int | None = None) -> np.random.Generator:
    """Random generator with the seed that all analyses share: the same examples give the same intervals.

    Args:
        seed: Another seed; None for the shared one.
    """
    return np.random.default_rng(_SEED if seed is None else seed)


def blocks(num_examples: int) -> Iterator[slice]:
    """Cut examples into blocks short enough that their weights take little memory."""
    for start in range(0, num_examples, _BLOCK_EXAMPLES):
        yield slice(start, min(start + _BLOCK_EXAMPLES, num_examples))


def poisson_weights(rng: np.random.Generator, num_examples: int, replicates: int) -> NDArray[np.float32]:
    """Bootstrap weights: how often each replicate draws each example.

    Independent Poisson(1) counts stand in for drawing with replacement, which would need to know the number
    of examples beforehand. They are looked up in a table of 2**16 quantiles, ten times faster than
    numpy's own draws; the means differ by less than 1e-5. Weights are drawn example by example, so that they
    do not depend on the blocks in which examples arrive.

    Args:
        replicates: Even, as numpy draws these numbers in pairs.
    Returns:
        float32 [E, R].
    """
    weights: NDArray[np.float32] = _POISSON[rng.integers(0, 2**16, (num_examples, replicates), np.uint16)]
    return weights


class WeightedMeans:
    """Means over examples and their bootstrap replicates, from blocks of examples.

    The size does not depend on the number of examples.

    Args:
        shape: Of an example's values.
        replicates: R; 0 for means without intervals.
        seed: Of the weights; None for the one that all analyses share.
    """

    def __init__(self, shape: tuple[int, ...], replicates: int = REPLICATES, seed: int | None = None) -> None:
        self._shape = shape
        self._rng = bootstrap_generator(seed)
        self.num_examples = 0
        self._sum = np.zeros(prod(shape))
        self._replicated = np.zeros((replicates, prod(shape)))
        self._drawn = np.zeros(replicates)

    def add(self, values: NDArray[np.number]) -> None:
        """Add a block of examples, [E, *shape]."""
        flat = np.asarray(values, np.float64).reshape(len(values), -1 if len(values) else self._sum.size)
        self.num_examples += len(flat)
        self._sum += flat.sum(0)
        replicates = len(self._drawn)
        for rows in blocks(len(flat)) if replicates else ():
            weights = poisson_weights(self._rng, rows.stop - rows.start, replicates + replicates % 2)
            weights = weights[:, :replicates]
            self._drawn += weights.sum(0, dtype=np.float64)
            self._replicated += weights.T.astype(np.float64) @ flat[rows]

    def estimate(self) -> Estimate:
        """The means of all examples added so far, each of `shape`; without replicates, the intervals are NaN."""
        mean, replicated = self.replicates()
        return Estimate.of(mean, replicated)

    def replicates(self) -> tuple[Floats, Floats]:
        """The means, and those of each replicate, [R, *shape]; NaN over no examples."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (
                (self._sum / self.num_examples).reshape(self._shape)
                if self.num_examples
                else np.full(self._shape, np.nan)
            )
            replicated = (self._replicated / self._drawn[:, None]).reshape(-1, *self._shape)
        return mean, replicated


def _poisson_table() -> NDArray[np.float32]:
    counts = np.arange(12)
    cumulative = np.cumsum([exp(-1) / factorial(k) for k in counts])
    quantiles = (np.arange(2**16) + 0.5) / 2**16
    return np.searchsorted(cumulative, quantiles).astype(np.float32)


_POISSON = _poisson_table()

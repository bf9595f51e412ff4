"""Scores of examples put together: per language, over languages, and one run against another.

A score is a number in [0, 1] for one example in one language; NaN is one that was not given. Scores of a run
are a float array [E, L]: E examples in rows, since the prompts of an example are translations of each other
and resampled together. Intervals are two-sided.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastneurons.errors import InputError

__all__ = ["Mean", "difference", "mean_by_language", "mean_over_languages", "wilson_interval"]

_RESAMPLES_AT_ONCE = 64  # times E: their weights are all of the memory that a bootstrap takes


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of scores, or a difference of two, and its interval.

    Args:
        mean: NaN where there are no scores.
        low: The interval's ends; NaN where there are no scores.
        high: See `low`.
        num_examples: How many examples have a score.
    """

    mean: float
    low: float
    high: float
    num_examples: int


def wilson_interval(num_right: int, num_examples: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a share of right answers; (NaN, NaN) for no examples.

    With n examples, share p and z the normal quantile: (p + z²/2n ± z sqrt(p (1 - p)/n + z²/4n²)) / (1 + z²/n).
    It stays within [0, 1] and has a width at 0 and 1, where p ± z sqrt(p (1 - p)/n) has none.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    if num_examples == 0:
        return float("nan"), float("nan")
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    p, n = num_right / num_examples, num_examples
    middle = p + z2 / (2 * n)
    half = (z2 * (p * (1 - p) / n + z2 / (4 * n * n))) ** 0.5
    # At 0 and 1 an end of the interval is p itself, but for rounding.
    low = 0.0 if num_right == 0 else (middle - half) / (1 + z2 / n)
    high = 1.0 if num_right == n else (middle + half) / (1 + z2 / n)
    return low, high


def mean_by_language(
    scores: ArrayLike,
    languages: Sequence[str],
    *,
    confidence: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Mean]:
    """The mean score of each language: Wilson's interval where all its scores are 0 or 1, else the bootstrap's.

    Args:
        scores: [E, L].
        languages: L codes.
        num_resamples: Bootstrap: examples drawn with replacement; the interval is of percentiles.
        seed: The same seed, the same interval.
    Raises:
        InputError: a shape that does not fit, or a score outside [0, 1].
    """
    table = _table(scores, len(languages))
    means: dict[str, Mean] = {}
    resampled: NDArray[np.float64] | None = None
    for i, language in enumerate(languages):
        given = table[:, i][~np.isnan(table[:, i])]
        if given.size == 0:
            means[language] = Mean(float("nan"), float("nan"), float("nan"), 0)
            continue
        if np.isin(given, (0.0, 1.0)).all():
            low, high = wilson_interval(int(given.sum()), given.size, confidence=confidence)
        else:
            if resampled is None:
                resampled = _resampled_means(table, num_resamples, seed)
            low, high = _percentiles(resampled[:, i], confidence)
        means[language] = Mean(float(given.mean()), low, high, given.size)
    return means


def mean_over_languages(
    scores: ArrayLike, *, confidence: float = 0.95, num_resamples: int = 1000, seed: int = 0
) -> Mean:
    """The mean of the languages' means, each language counting the same; bootstrap over examples.

    A language without scores is left out. `num_examples` counts examples with a score in any language.

    Args:
        scores: [E, L].
    Raises:
        InputError: not two axes, or a score outside [0, 1].
    """
    table = _table(scores)
    table = table[:, ~np.isnan(table).all(0)]
    if table.size == 0:
        return Mean(float("nan"), float("nan"), float("nan"), 0)
    resampled = _mean_of_rows(_resampled_means(table, num_resamples, seed))
    mean = float(np.nanmean(table, axis=0).mean())
    return Mean(mean, *_percentiles(resampled, confidence), int((~np.isnan(table)).any(1).sum()))


def difference(
    after: ArrayLike,
    before: ArrayLike,
    languages: Sequence[str],
    *,
    confidence: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Mean]:
    """The gain in the scores of the same examples from before to after, per language.

    Pairs with a NaN on either side are left out. Bootstrap over the paired examples, which is narrower than the
    difference of two intervals: what makes an example hard does so both times.

    Args:
        after: [E, L], say with neurons deactivated.
        before: [E, L], the same examples and languages.
    Raises:
        InputError: shapes that do not fit, or a score outside [0, 1].
    """
    first, second = _table(after, len(languages)), _table(before, len(languages))
    if first.shape != second.shape:
        raise InputError(f"scores of {len(first)} and of {len(second)} examples cannot be paired")
    change = first - second
    resampled = _resampled_means(change, num_resamples, seed)
    means = {}
    for i, language in enumerate(languages):
        given = change[:, i][~np.isnan(change[:, i])]
        mean = float(given.mean()) if given.size else float("nan")
        means[language] = Mean(mean, *_percentiles(resampled[:, i], confidence), given.size)
    return means


def difference_over_languages(
    after: ArrayLike,
    before: ArrayLike,
    *,
    confidence: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Mean:
    """The mean of the languages' gains from before to after, each language counting the same.

    Pairs with a NaN on either side, and languages without pairs, are left out. Bootstrap over the paired examples.
    `num_examples` counts examples with a pair in any language.

    Args:
        after: [E, L].
        before: [E, L], the same examples and languages.
    Raises:
        InputError: shapes that do not fit, or a score outside [0, 1].
    """
    first, second = _table(after), _table(before)
    if first.shape != second.shape:
        raise InputError(f"scores of shapes {first.shape} and {second.shape} cannot be paired")
    change = first - second
    change = change[:, ~np.isnan(change).all(0)]
    if change.size == 0:
        return Mean(float("nan"), float("nan"), float("nan"), 0)
    resampled = _mean_of_rows(_resampled_means(change, num_resamples, seed))
    mean = float(np.nanmean(change, axis=0).mean())
    return Mean(mean, *_percentiles(resampled, confidence), int((~np.isnan(change)).any(1).sum()))


def _table(scores: ArrayLike, num_languages: int | None = None) -> NDArray[np.float64]:
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or (num_languages is not None and table.shape[1] != num_languages):
        wanted = "languages" if num_languages is None else f"{num_languages} languages"
        raise InputError(f"scores of shape {table.shape}, where [examples, {wanted}] is needed")
    if ((table < 0) | (table > 1)).any():
        raise InputError("a score is outside 0 to 1")
    return table


def _resampled_means(table: NDArray[np.float64], num_resamples: int, seed: int) -> NDArray[np.float64]:
    """[num_resamples, L], NaN where a resample holds no score of a language."""
    E = len(table)
    if E == 0:
        return np.full((num_resamples, table.shape[1]), np.nan)
    generator = np.random.default_rng(seed)
    given = ~np.isnan(table)
    filled, counted = np.where(given, table, 0.0), given.astype(np.float64)
    means = []
    for start in range(0, num_resamples, _RESAMPLES_AT_ONCE):
        R = min(_RESAMPLES_AT_ONCE, num_resamples - start)
        # How often each example was drawn says as much as the draws, and makes the sums a product.
        weights = generator.multinomial(E, np.full(E, 1 / E), size=R).astype(np.float64)  # [R, E]
        with np.errstate(invalid="ignore"):
            means.append((weights @ filled) / (weights @ counted))
    return np.concatenate(means)


def _mean_of_rows(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row's entries that are not NaN; each row has one."""
    means: NDArray[np.float64] = np.nansum(table, axis=1) / (~np.isnan(table)).sum(1)
    return means


def _percentiles(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if values.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(values, ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)

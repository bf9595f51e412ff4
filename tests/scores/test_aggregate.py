"""Means and their intervals: against published numbers, by hand, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastneurons.errors import InputError
from fastneurons.scores.aggregate import (
    difference,
    mean_by_language,
    mean_over_languages,
    wilson_interval,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("num_right", "num_examples", "low", "high"),
    [
        # Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<857, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_wilson_interval_is_that_of_the_literature(num_right, num_examples, low, high):
    assert wilson_interval(num_right, num_examples) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_share(counts):
    low, high = wilson_interval(*counts)
    assert 0 <= low <= counts[0] / counts[1] <= high <= 1
    assert low < high
    wider = wilson_interval(*counts, confidence=0.99)
    assert wider[0] <= low and wider[1] >= high


def test_no_examples_have_no_interval():
    assert all(math.isnan(end) for end in wilson_interval(0, 0))


def test_accuracy_per_language():
    scores = [[1, 0, NAN], [1, 1, NAN], [0, NAN, NAN], [1, 0, NAN]]
    means = mean_by_language(scores, ("en", "de", "th"))
    assert list(means) == ["en", "de", "th"]
    assert (means["en"].mean, means["en"].num_examples) == (0.75, 4)
    assert (means["en"].low, means["en"].high) == wilson_interval(3, 4)
    assert (means["de"].mean, means["de"].num_examples) == (pytest.approx(1 / 3), 3)
    assert means["th"].num_examples == 0
    assert math.isnan(means["th"].mean) and math.isnan(means["th"].low) and math.isnan(means["th"].high)


def test_scores_between_0_and_1_are_resampled():
    scores = np.random.default_rng(1).beta(2, 3, size=(400, 1))
    mean = mean_by_language(scores, ["en"], num_resamples=4000)["en"]
    half = 1.96 * scores.std() / 20
    assert mean.mean == pytest.approx(scores.mean())
    assert mean.low == pytest.approx(scores.mean() - half, abs=0.1 * half)
    assert mean.high == pytest.approx(scores.mean() + half, abs=0.1 * half)
    assert mean == mean_by_language(scores, ["en"], num_resamples=4000)["en"]
    assert mean != mean_by_language(scores, ["en"], num_resamples=4000, seed=1)["en"]


def test_each_language_counts_the_same():
    scores = [[1, 0], [1, NAN], [1, NAN], [1, NAN], [NAN, NAN]]
    mean = mean_over_languages(scores)
    assert (mean.mean, mean.num_examples) == (0.5, 4)
    assert 0 <= mean.low <= 0.5 <= mean.high <= 1
    assert mean_over_languages([[1.0, NAN], [0.0, NAN]]).mean == 0.5


def test_examples_are_resampled_with_all_their_languages():
    # The same score in all languages: as uncertain as one language, not as the mean of ten.
    column = np.random.default_rng(2).integers(0, 2, size=(300, 1)).astype(float)
    one, ten = mean_over_languages(column), mean_over_languages(np.repeat(column, 10, axis=1))
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high))
    unlike = mean_over_languages(np.random.default_rng(3).integers(0, 2, size=(300, 10)))
    assert unlike.high - unlike.low < 0.5 * (one.high - one.low)


def test_a_difference_is_of_pairs():
    generator = np.random.default_rng(4)
    before = generator.integers(0, 2, size=(500, 2)).astype(float)
    after = before.copy()
    after[:50, 0] = 0  # a tenth of the examples, about half of them right before
    found = difference(after, before, ["en", "de"])
    assert found["en"].mean == pytest.approx(-before[:50, 0].sum() / 500)
    assert -0.08 < found["en"].low < found["en"].mean < found["en"].high < -0.02
    assert (found["de"].mean, found["de"].low, found["de"].high) == (0, 0, 0)
    after[:, 1] = NAN
    missing = difference(after, before, ["en", "de"])["de"]
    assert missing.num_examples == 0 and math.isnan(missing.mean)


def test_intervals_cover_as_often_as_they_say():
    generator = np.random.default_rng(5)
    hits = []
    for i in range(200):
        before = generator.random((80, 1))
        after = np.clip(before + generator.normal(-0.0, 0.1, (80, 1)), 0, 1)
        found = difference(after, before, ["en"], num_resamples=200, seed=i)["en"]
        hits.append(found.low <= 0 <= found.high)
    assert 0.88 <= np.mean(hits) <= 0.99


def test_no_examples_at_all():
    assert mean_by_language(np.empty((0, 1)), ["en"])["en"].num_examples == 0
    assert mean_over_languages(np.empty((0, 2))).num_examples == 0
    assert math.isnan(difference(np.empty((0, 1)), np.empty((0, 1)), ["en"])["en"].low)


def test_wrong_calls_are_told():
    with pytest.raises(InputError, match=r"shape \(2, 3\), where \[examples, 2 languages\]"):
        mean_by_language(np.zeros((2, 3)), ["en", "de"])
    with pytest.raises(InputError, match=r"shape \(2,\), where \[examples, languages\]"):
        mean_over_languages([0, 1])
    with pytest.raises(InputError, match="outside 0 to 1"):
        mean_by_language([[100.0]], ["en"])
    with pytest.raises(InputError, match="2 and of 3 examples"):
        difference(np.zeros((2, 1)), np.zeros((3, 1)), ["en"])

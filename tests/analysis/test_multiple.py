"""Corrections for many tests, against their definitions; p values are never too small under chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastneurons.analysis.multiple import adjusted, at_least_by_chance, permutation_p, two_sided


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusted_is_the_definition_of_benjamini_and_hochberg(p):
    n = len(p)
    ranked = sorted(p)
    expected = [min(1.0, min(ranked[k] * n / (k + 1) for k in range(n) if ranked[k] >= one)) for one in p]
    np.testing.assert_allclose(adjusted(p), expected)


def test_what_was_not_tested_does_not_count():
    q = adjusted(np.array([[0.01, np.nan], [0.04, np.nan]]))
    np.testing.assert_allclose(q, [[0.02, np.nan], [0.04, np.nan]])
    assert np.isnan(adjusted([np.nan])).all()
    assert adjusted([]).shape == (0,)


def _tail(count: int, probabilities: list[float]) -> float:
    """Probability of at least `count` successes, by adding up one example after another."""
    law = np.array([1.0])
    for p in probabilities:
        law = np.convolve(law, [1 - p, p])
    return float(law[count:].sum())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15), st.data())
def test_a_chance_of_counts_is_never_too_small(probabilities, data):
    n, mean = len(probabilities), float(np.mean(probabilities))
    least = min(n, int(np.ceil(n * mean + 1)))
    count = data.draw(st.integers(least, n))
    if count >= n * mean + 1:
        assert at_least_by_chance(count, n, mean) >= _tail(count, probabilities) - 1e-9


def test_a_chance_of_counts_is_exact_where_examples_are_alike():
    for count in range(8):
        assert at_least_by_chance(count, 7, 0.3) == pytest.approx(_tail(count, [0.3] * 7))


def test_two_sided():
    np.testing.assert_allclose(two_sided([0, 1.959964, -1.959964, np.nan]), [1, 0.05, 0.05, 1], atol=1e-6)


def test_permutation_p_counts_the_statistic_itself():
    assert permutation_p(0.5, np.array([0.1, -0.6, 0.5, 0.2])) == pytest.approx(3 / 5)
    assert permutation_p(9.0, np.zeros(99)) == pytest.approx(0.01)

"""Sets of languages, against their definition on unpacked bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fastneurons.analysis.bootstrap import poisson_weights
from fastneurons.analysis.language_sets import SetShares, SetSums, independent_shares, members, set_counts
from tests.analysis import slow


def shares_of(bits: np.ndarray, replicates: int = 10, seed: int = 0) -> SetShares:
    _, L, N, I = bits.shape  # noqa: E741
    sums = SetSums(L, N, I, replicates)
    rng = np.random.default_rng(seed)
    for rows in (slice(0, 2), slice(2, None)):
        part = bits[rows]
        counts = set_counts(np.packbits(part, -1, "little"), I)
        sums.add(counts, part.sum(-1), poisson_weights(rng, len(part), replicates))
    return sums.shares()


BITS = arrays.arrays(
    np.bool_,
    st.tuples(st.integers(1, 4), st.integers(2, 4), st.integers(1, 2), st.integers(1, 19)),
)


@settings(max_examples=40)
@given(BITS)
def test_shares_are_their_definition(bits):
    found = shares_of(bits)
    expected = slow.set_shares(bits)
    L = bits.shape[1]
    languages = tuple(range(L))
    for number, share in enumerate(found.share.mean):
        assert share == pytest.approx(expected[frozenset(members(number, languages))])
    np.testing.assert_allclose(found.by_layer.sum(0), 1)
    np.testing.assert_allclose(found.chance_by_layer.sum(0), 1)
    np.testing.assert_allclose(found.excess.mean, found.share.mean - found.chance, atol=1e-12)


def test_independent_shares_are_products_of_rates():
    rates = np.array([[[0.2], [0.5], [0.9]]])  # [E, L, N]
    found = independent_shares(rates)[0, 0]
    for number in range(8):
        expected = np.prod([r if number >> k & 1 else 1 - r for k, r in enumerate((0.2, 0.5, 0.9))])
        assert found[number] == pytest.approx(expected)


def test_independent_languages_have_no_excess_and_its_interval_covers_that():
    rng = np.random.default_rng(0)
    covered = 0
    for draw in range(200):
        bits = rng.random((40, 3, 1, 60)) < np.array([0.2, 0.4, 0.6])[:, None, None]
        found = shares_of(bits, 200, draw)
        covered += bool(found.excess.low[7] <= 0 <= found.excess.high[7])
    assert 0.90 <= covered / 200 <= 0.99


def test_copies_are_never_apart():
    bits = np.random.default_rng(0).random((10, 3, 1, 40)) < 0.5
    bits[:, 1] = bits[:, 0]
    found = shares_of(bits)
    for number in range(8):
        if (number & 1) != (number >> 1 & 1):
            assert found.share.mean[number] == found.share.high[number] == 0

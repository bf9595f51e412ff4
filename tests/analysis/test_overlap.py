"""Overlaps of languages, against their definition on unpacked bits, and where the answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fastneurons.analysis.bootstrap import poisson_weights
from fastneurons.analysis.overlap import Overlaps, OverlapSums, pairs, permuted_common, pooled, tree
from fastneurons.errors import InputError
from tests.analysis import slow


def shared_counts(bits: np.ndarray) -> np.ndarray:
    return np.einsum("elni,emni->elmn", bits.astype(np.int64), bits.astype(np.int64))


def overlaps_of(bits: np.ndarray, replicates: int = 100, seed: int = 0) -> Overlaps:
    _, L, N, I = bits.shape  # noqa: E741
    sums = OverlapSums(L, N, I, replicates)
    rng = np.random.default_rng(seed)
    for rows in (slice(0, 2), slice(2, None)):  # in two blocks
        part = bits[rows]
        sums.add(shared_counts(part), poisson_weights(rng, len(part), replicates))
    return sums.overlaps(bits.sum(0))


BITS = arrays.arrays(
    np.bool_,
    st.tuples(st.integers(2, 4), st.integers(2, 4), st.integers(1, 2), st.integers(2, 9)),
)


@settings(max_examples=40)
@given(BITS)
def test_overlaps_are_their_definitions(bits):
    found = overlaps_of(bits, 10)
    L, N = bits.shape[1:3]
    for at, (i, j) in enumerate(pairs(L)):
        np.testing.assert_allclose(found.jaccard.mean[at], slow.jaccard(bits, i, j))
        np.testing.assert_allclose(found.unpaired[at], slow.unpaired_jaccard(bits, i, j))
        mean, variance = slow.chance_common(bits, i, j)
        sizes = bits[:, i].sum() + bits[:, j].sum()
        np.testing.assert_allclose(found.chance[at], mean / (sizes - mean) if sizes else np.nan)
        common = (bits[:, i] & bits[:, j]).sum()
        if variance > 1e-9:
            high = min(mean + 1.959964 * variance**0.5, sizes / 2)
            np.testing.assert_allclose(found.chance_high[at], high / (sizes - high))
            z = (common - mean) / variance**0.5
            assert (found.p[at] < 0.05) == (abs(z) > 1.959964)
        for n in range(N):
            one = bits[:, :, n : n + 1]
            np.testing.assert_allclose(found.jaccard_by_layer.mean[at, n], slow.jaccard(one, i, j))
            np.testing.assert_allclose(found.unpaired_by_layer[at, n], slow.unpaired_jaccard(one, i, j))


def test_two_languages_that_are_copies_share_everything():
    rng = np.random.default_rng(0)
    bits = rng.random((20, 3, 2, 64)) < 0.4
    bits[:, 1] = bits[:, 0]
    found = overlaps_of(bits)
    assert found.jaccard.mean[0] == found.jaccard.low[0] == found.jaccard.high[0] == 1
    assert found.p[0] < 1e-12 < found.p[1]
    assert found.excess.low[0] > 0.5
    _, leaves = tree(found.jaccard.mean)
    assert set(leaves[1:]) == {0, 1} or set(leaves[:2]) == {0, 1}


def test_neurons_of_their_own_rates_overlap_without_a_common_example():
    # Half of the neurons are activated by every prompt: far beyond chance, but no more than unpaired.
    bits = np.zeros((30, 2, 1, 200), np.bool_)
    bits[..., :100] = True
    bits[..., 100:] = np.random.default_rng(0).random((30, 2, 1, 100)) < 0.05
    found = overlaps_of(bits)
    assert found.excess.low[0] > 0.3 and found.p[0] < 1e-6
    assert found.unpaired[0] == pytest.approx(found.jaccard.mean[0], abs=0.02)


def test_permutations_agree_with_shuffled_bits_and_with_the_analytic_chance():
    rng = np.random.default_rng(0)
    bits = rng.random((6, 3, 2, 40)) < np.array([0.2, 0.5, 0.7])[:, None, None]
    drawn = permuted_common(bits.sum(-1), 40, 2000, rng)  # [R, P, N]
    shuffled = np.zeros((2000, 3, 2))
    for r in range(2000):
        moved = rng.permuted(bits, axis=-1)
        shuffled[r] = [(moved[:, i] & moved[:, j]).sum((0, 2)) for i, j in pairs(3)]
    np.testing.assert_allclose(drawn.mean(0), shuffled.mean(0), rtol=0.02)
    np.testing.assert_allclose(drawn.var(0), shuffled.var(0), rtol=0.15)
    analytic = [slow.chance_common(bits, i, j) for i, j in pairs(3)]
    np.testing.assert_allclose(drawn.sum(2).mean(0), [mean for mean, _ in analytic], rtol=0.01)
    np.testing.assert_allclose(drawn.sum(2).var(0), [variance for _, variance in analytic], rtol=0.15)


def test_under_chance_p_is_uniform_and_intervals_cover_the_truth():
    rng = np.random.default_rng(1)
    rate, draws, E = 0.4, 200, 40
    truth = pooled(np.array(rate * rate), np.array(2 * rate))
    covered, p = 0, []
    for draw in range(draws):
        bits = rng.random((E, 2, 2, 50)) < rate
        found = overlaps_of(bits, 200, draw)
        covered += bool(found.jaccard.low[0] <= truth <= found.jaccard.high[0])
        p.append(float(found.p[0]))
    assert 0.90 <= covered / draws <= 0.99
    # 200 uniform values: within 2 standard errors and a bit of each decile, on both ends.
    for level in (0.1, 0.3, 0.5, 0.7, 0.9):
        assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=0.1)


def test_nothing_activated_is_no_value():
    found = overlaps_of(np.zeros((3, 2, 1, 8), np.bool_))
    for values in (found.jaccard.mean, found.chance, found.unpaired, found.p, found.jaccard.low):
        assert np.isnan(values).all()
    linkage, leaves = tree(found.jaccard.mean)
    assert linkage[0, 2] == 1 and sorted(leaves) == [0, 1]


def test_one_example_has_no_unpaired_prompts():
    bits = np.ones((1, 2, 1, 8), np.bool_)
    sums = OverlapSums(2, 1, 8, 10)
    sums.add(shared_counts(bits), np.ones((1, 10), np.float32))
    assert np.isnan(sums.overlaps(bits.sum(0)).unpaired).all()


def test_the_tree_joins_the_most_alike_first():
    # a and c, then b, then d.
    jaccard = np.array([0.3, 0.9, 0.1, 0.3, 0.1, 0.1])
    linkage, leaves = tree(jaccard)
    assert set(linkage[0, :2]) == {0, 2} and linkage[0, 2] == pytest.approx(0.1)
    np.testing.assert_allclose(linkage[:, 2], [0.1, 0.7, 0.9])
    assert leaves[0] == 3 or leaves[-1] == 3


def test_shapes_must_fit():
    with pytest.raises(InputError, match="shared has shape"):
        OverlapSums(3, 1, 8, 10).add(np.zeros((2, 2, 2, 1), int), np.ones((2, 10), np.float32))

"""LAPE and its variants against slow versions of their definitions, on counts with all that makes ranks difficult."""

from fractions import Fraction

import numpy as np
import pytest

from fastneurons.analysis.average_precision import average_precision, best_detectors
from fastneurons.analysis.checks import ContradictionError
from fastneurons.analysis.language_neurons import METHODS
from fastneurons.analysis.lape import Rates, lape
from fastneurons.analysis.probability_ranks import counts_above, probability_at_ranks
from fastneurons.errors import InputError
from tests.analysis.slow_lape import probabilities, slow_k_of_l, slow_lape

RATES = [Rates(), Rates(0.1, 0.5, 0.5), Rates(0.05, 0.95, 0.8), Rates(1, 1e-2, 1), Rates(0.3, 0.75, 0.25)]


def drawn(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Counts int64 [L, N, I] and tokens int64 [L]."""
    rng = np.random.default_rng(seed)
    shape = (4, 3, 17)
    if kind == "few tokens":  # ties everywhere
        tokens = np.array([6, 3, 4, 12])
        count = rng.integers(0, tokens[:, None, None] + 1, shape)
    elif kind == "zeros":  # most neurons are never activated
        tokens = np.array([50, 50, 50, 50])
        count = rng.integers(0, 51, shape) * (rng.random(shape) < 0.15)
    elif kind == "near 2**40":  # fractions that are equal as float64
        tokens = 2**40 - np.array([0, 1, 2, 3])
        near = rng.choice([2**39, 2**40 - 9, 1, 2**20], shape)
        count = np.minimum(near + rng.integers(-1, 2, shape), tokens[:, None, None])
    else:
        tokens = np.array([1000, 777, 12345, 40])
        p = rng.beta(0.3, 0.7, (1, *shape[1:])) * rng.beta(2, 1, shape)
        count = rng.binomial(tokens[:, None, None], p)
    return count.astype(np.int64), tokens.astype(np.int64)


KINDS = ["few tokens", "zeros", "near 2**40", "usual"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rates", RATES, ids=str)
def test_lape_is_its_definition(kind, rates):
    for seed in range(3):
        count, tokens = drawn(kind, seed)
        member, selected = slow_lape(
            count, tokens, rates.top_rate, rates.filter_rate, rates.activation_bar_ratio
        )
        found = lape([count], tokens, rates)
        assert list(zip(*np.nonzero(found.selected), strict=True)) == sorted(selected)
        assert np.array_equal(found.member, member)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_the_number_of_languages_is_its_definition(kind, ratio):
    count, tokens = drawn(kind)
    found = METHODS["k-of-l"](("en", "de", "th", "zh"), Rates(activation_bar_ratio=ratio)).find(
        [count], tokens
    )
    assert found.sets == ("en", "de", "th", "zh", "related", "agnostic")
    assert np.array_equal(found.member, slow_k_of_l(count, tokens, ratio))


@pytest.mark.parametrize("held", [0, 2**22], ids=["by digits", "by partition"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_probability_at_any_rank_is_that_of_the_sorted_fractions(kind, held, monkeypatch):
    monkeypatch.setattr("fastneurons.analysis.probability_ranks._HELD", held)
    count, tokens = drawn(kind)
    values = sorted(v for language in probabilities(count, tokens) for layer in language for v in layer)
    ranks = [1, 2, 3, 50, 100, 101, 150, len(values) - 1, len(values)]
    found = probability_at_ranks([count[:, :1], count[:, 1:]], tokens, ranks)
    assert found == [values[rank - 1] for rank in ranks]
    for bar in found:
        above = count > counts_above(bar, tokens)[:, None, None]
        exact = [[[Fraction(int(c), int(t)) > bar for c in layer] for layer in language]
                 for language, t in zip(count, tokens, strict=True)]  # fmt: skip
        assert np.array_equal(above, exact)


def test_fractions_that_are_equal_as_floats_are_told_apart():
    tokens = np.array([2**40, 2**40 - 1])
    count = np.array([[[2**40 - 3]], [[2**40 - 4]]])
    assert count[0, 0, 0] / tokens[0] == count[1, 0, 0] / tokens[1]
    low, high = probability_at_ranks([count], tokens, [1, 2])
    assert low < high == Fraction(2**40 - 3, 2**40)
    assert (count > counts_above(low, tokens)[:, None, None]).ravel().tolist() == [True, False]


@pytest.mark.parametrize("cut", [1, 2])
def test_blocks_of_layers_make_no_difference(cut):
    count, tokens = drawn("usual", 5)
    one, other = lape([count], tokens, RATES[1]), lape([count[:, :cut], count[:, cut:]], tokens, RATES[1])
    assert np.array_equal(one.member, other.member)
    assert np.array_equal(one.entropy, other.entropy)


def test_the_order_of_languages_makes_no_difference():
    count, tokens = drawn("few tokens", 3)
    for order in ([3, 1, 0, 2], [1, 0, 3, 2]):
        one, other = lape([count], tokens, RATES[4]), lape([count[order]], tokens[order], RATES[4])
        assert np.array_equal(one.member[order], other.member)
        assert np.array_equal(one.entropy, other.entropy)


def test_ties_go_to_the_lower_layer_and_then_to_the_lower_index():
    count = np.zeros((2, 2, 4), np.int64)
    count[0] = 5  # all neurons are of the first language alone: all entropies are 0
    found = lape([count], np.array([10, 10]), Rates(0.75, 0.5, 0.5))
    assert found.selected.tolist() == [[True] * 4, [True, True, False, False]]
    assert found.highest == 0


def test_counts_by_hand():
    # Two languages of 10 tokens, five neurons of one layer.
    count = np.array([[[9, 5, 0, 1, 8]], [[0, 5, 9, 1, 2]]])
    found = lape([count], np.array([10, 10]), Rates(0.4, 0.5, 0.5))
    # Sorted: 0 0 .1 .1 .2 .5 .5 .8 .9 .9; rank 5 is 0.2. Neuron 3 exceeds it nowhere; 0 and 2 have entropy 0.
    assert found.filter_bar == found.activation_bar == Fraction(1, 5)
    assert np.isinf(found.entropy).tolist() == [[False, False, False, True, False]]
    assert found.member[:, 0].tolist() == [
        [True, False, False, False, False],
        [False, False, True, False, False],
    ]
    assert found.entropy[0, 1] == pytest.approx(np.log(2))


def test_fewer_neurons_than_wanted_pass_the_filter():
    count = np.zeros((2, 1, 10), np.int64)
    count[1, 0, 7] = 3
    found = lape([count], np.array([10, 10]), Rates(0.5, 0.5, 0.5))
    assert np.argwhere(found.member).tolist() == [[1, 0, 7]]
    nothing = lape([count * 0], np.array([10, 10]), Rates(0.5, 0.5, 0.5))
    assert not nothing.member.any() and np.isnan(nothing.highest)


@pytest.mark.parametrize(
    ("rates", "match"),
    [
        (Rates(top_rate=0), "--top-rate 0: must be above 0 and up to 1"),
        (Rates(filter_rate=1.5), "--filter-rate 1.5: must be above 0"),
        (Rates(activation_bar_ratio=float("nan")), "--activation-bar-ratio nan: must be above 0"),
        (Rates(top_rate=0.001), "--top-rate 0.001: of 51 values, that is none"),
    ],
)
def test_rates_that_cannot_be(rates, match):
    count, tokens = drawn("usual")
    with pytest.raises(InputError, match=match):
        lape([count], tokens, rates)


def test_counts_that_cannot_be():
    count, tokens = drawn("usual")
    with pytest.raises(InputError, match="one language alone"):
        lape([count[:1]], tokens[:1])
    with pytest.raises(InputError, match="without tokens"):
        lape([count * 0], tokens * 0)
    with pytest.raises(InputError, match=r"counts have shape \[4, 3, 17\]; they must be \[L = 3, N, I\]"):
        lape([count], tokens[:3])
    with pytest.raises(ContradictionError, match="more tokens activate a neuron than were read"):
        lape([count + 41], tokens)
    with pytest.raises(ContradictionError, match="a count is -1"):
        lape([-np.ones_like(count)], tokens)
    with pytest.raises(ContradictionError, match="at most 2"):
        lape([count], tokens + 2**53)


def test_average_precision_is_that_of_tokens_one_by_one():
    rng = np.random.default_rng(4)
    histogram = rng.integers(0, 6, (3, 5, 4)) * (rng.random((3, 5, 4)) < 0.7)
    histogram[:, 0] = [[0, 0, 0, 9], [4, 0, 0, 0], [2, 2, 0, 0]]  # a perfect detector of the first language
    histogram[:, 1] = 3  # one that knows nothing
    found = average_precision(histogram.astype(np.int64))
    assert found[0, 0] == 1
    assert found[:, 1] == pytest.approx([1 / 3] * 3)
    for language in range(3):
        for neuron in range(5):
            weights = [1 / histogram[k, neuron].sum() if histogram[k, neuron].any() else 0 for k in range(3)]
            tokens = [(b, k == language, weights[k]) for k in range(3) for b in range(4)
                      for _ in range(histogram[k, neuron, b])]  # fmt: skip
            total = 0.0
            for level in {b for b, _, _ in tokens}:
                above = [(own, weight) for b, own, weight in tokens if b >= level]
                hits = sum(weight for own, weight in above if own)
                gain = sum(weight for b, own, weight in tokens if b == level and own)
                total += gain * hits / sum(weight for _, weight in above)
            assert found[language, neuron] == pytest.approx(total, rel=1e-12), (language, neuron)


def test_the_best_detectors_of_each_language():
    histogram = np.zeros((2, 4, 3), np.int64)
    histogram[0], histogram[1] = [5, 0, 0], [5, 0, 0]
    histogram[0, 2], histogram[1, 1] = [0, 0, 5], [0, 5, 0]
    found = best_detectors([histogram, histogram], ("en", "de"), 2 / 8)
    assert [np.argwhere(own).tolist() for own in found.member] == [[[0, 2], [1, 2]], [[0, 1], [1, 1]]]
    assert found.score[0, 0].tolist() == [0.5, 0.5, 1, 0.5]
    assert found.chosen == 4
    with pytest.raises(InputError, match="--top-rate 2: must be above 0"):
        best_detectors([histogram], ("en", "de"), 2)

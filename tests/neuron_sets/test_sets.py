"""NeuronSet against Python's own sets of (layer, neuron); draws against the distribution that they should have."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fastneurons.errors import InputError
from fastneurons.neuron_sets import ModelNeurons, NeuronSet, history_lines, parse_layers

# Widths off a byte, at its edge and past it; layers that do not begin at 0 and have a gap.
AMONG = ModelNeurons("org/model", "f1", (1, 2, 5), (7, 16, 17))
EVERY = {(layer, i) for layer, width in zip(AMONG.layers, AMONG.widths, strict=True) for i in range(width)}
PAIRS = st.sets(st.sampled_from(sorted(EVERY)))
LAYERS = st.sets(st.sampled_from(AMONG.layers), min_size=1).map(sorted)


def made(pairs) -> NeuronSet:
    return NeuronSet.from_pairs(AMONG, pairs)


@given(PAIRS, PAIRS, LAYERS)
def test_operations_are_those_of_python_sets(one, two, layers):
    a, b = made(one), made(two)
    for found, expected in [
        (a, one),
        (a | b, one | two),
        (a & b, one & two),
        (a - b, one - two),
        (a.complement(), EVERY - one),
        (a.complement(layers), {pair for pair in EVERY - one if pair[0] in layers}),
        (a.in_layers(layers), {pair for pair in one if pair[0] in layers}),
        (NeuronSet.from_layers(AMONG, layers), {pair for pair in EVERY if pair[0] in layers}),
        (NeuronSet.from_bits(AMONG, a.bits), one),
    ]:
        assert list(found) == sorted(expected)
        assert len(found) == len(expected)
        assert found.sizes == {n: sum(layer == n for layer, _ in expected) for n in AMONG.layers}
        for pair in [*EVERY, (0, 0), (1, 7), (1, -1), (5, 17)]:
            assert (pair in found) == (pair in expected)
    assert (a == b) == (one == two)
    assert (a != b) or hash(a) == hash(b)
    assert [int(n) for n in a.overlap(b).common] == list((a & b).sizes.values())


def test_bits_lie_as_in_a_store():
    found = made([(1, 0), (1, 3), (5, 16)])
    assert found.mask.tolist() == [[0b1001, 0, 0], [0, 0, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match="read-only"):
        found.mask[0, 0] = 1


def test_the_operands_stay_as_they_are():
    mask = made([(1, 0)]).mask.copy()
    a = NeuronSet(AMONG, mask, made([]).history)
    mask[:] = 0  # the caller's array is the caller's
    b = a.complement()
    _ = a | b, a & b, a - b
    assert list(a) == [(1, 0)]


def test_the_history_names_every_step_once():
    a, b = made([(1, 0)]), NeuronSet.from_layers(AMONG, "2,5")
    found = (a | b) - (a | b).random_like(4).in_layers("5")
    assert history_lines(found.history) == [
        "1. list",
        "2. all neurons: layers 2, 5",
        "3. union of 1 and 2",
        "4. random of the same sizes of 3: seed 4",
        "5. part of 4: layers 5",
        "6. difference of 3 and 5",
    ]
    for _ in range(100):  # as a tree, it would double each time
        found = found | found.complement()
    assert len(found.history) == 206


@pytest.mark.parametrize("layers", ["1-2", "2,1", (1, 2), [2, 1, 1], range(1, 3), np.array([1, 2])])
def test_layers_are_numbers_or_ranges(layers):
    assert NeuronSet.from_pairs(AMONG, [pair for pair in EVERY if pair[0] < 5]) == NeuronSet.from_layers(
        AMONG, layers
    )


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("10-12", [10, 11, 12]), ("3", [3]), ("0,3-4, 9", [0, 3, 4, 9]), ("4-4", [4]), ("2-3,1-2", [1, 2, 3])],
)
def test_ranges_include_both_ends(text, numbers):
    assert parse_layers(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-1", "1,,2", "1-2-3", "1.5", "٣", "9" * 30])
def test_what_is_no_range_is_said(text):
    with pytest.raises(InputError, match=r"^layers "):
        parse_layers(text)


# -- draws --------------------------------------------------------------------------------------------------


@given(PAIRS, st.integers(0, 2**70))
def test_a_control_has_as_many_neurons_in_each_layer(pairs, seed):
    a = made(pairs)
    drawn = a.random_like(seed)
    assert drawn.sizes == a.sizes
    assert drawn == a.random_like(seed)
    assert set(drawn) <= EVERY


def test_controls_are_uniform_and_independent_between_layers():
    among = ModelNeurons("m", None, (0, 1), (5, 5))
    a = NeuronSet.from_pairs(among, [(0, 0), (0, 1), (1, 3), (1, 4)])
    counts: dict[tuple, int] = {}
    draws = 4000
    for seed in range(draws):
        drawn = a.random_like(seed)
        rows = tuple(frozenset(i for layer, i in drawn if layer == n) for n in (0, 1))
        counts[rows] = counts.get(rows, 0) + 1
    # Every pair of two-element subsets of the two layers, 10 x 10, is equally likely.
    every = [frozenset(each) for each in itertools.combinations(range(5), 2)]
    seen = [counts.pop(rows, 0) for rows in itertools.product(every, every)]
    assert not counts
    assert stats.chisquare(seen).pvalue > 1e-3


def test_one_seed_gives_independent_draws_for_different_sets_and_purposes():
    among = ModelNeurons("m", None, (0,), (400,))
    every = NeuronSet.from_layers(among)
    expected, deviation = 100, stats.hypergeom(400, 200, 200).std()
    for seed in range(20):
        half = every.sample(0.5, seed)
        control = half.random_like(seed)
        for one, two in [
            (half, control),
            (control, control.random_like(seed)),
            (control, half.sample(1, seed)),
        ]:
            assert abs(int(one.overlap(two).common[0]) - expected) < 6 * deviation


def test_the_overlap_by_chance_is_what_draws_have():
    among = ModelNeurons("m", None, (0, 1), (40, 40))
    a = NeuronSet.from_pairs(among, [*((0, i) for i in range(20)), *((1, i) for i in range(4))])
    found = [a.random_like(seed).overlap(a) for seed in range(1500)]
    np.testing.assert_allclose(found[0].by_chance, [20 * 20 / 40, 4 * 4 / 40])
    mean = np.mean([each.common for each in found], 0)
    # The variance of the hypergeometric distribution, five standard errors of the mean.
    deviation = [stats.hypergeom(40, n, n).std() for n in (20, 4)]
    np.testing.assert_array_less(abs(mean - found[0].by_chance), 5 * np.array(deviation) / np.sqrt(1500))


@settings(max_examples=50)
@given(PAIRS, st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_shares_are_parts_of_the_set_and_of_each_other(pairs, one, two, seed):
    a = made(pairs)
    small, large = (a.sample(share, seed) for share in sorted((one, two)))
    assert set(small) <= set(large) <= set(a)
    for n, size in a.sizes.items():
        assert abs(large.sizes[n] - max(one, two) * size) <= 0.5 + 1e-9
    assert a.sample(1, seed) == a and not len(a.sample(0, seed))


def test_shares_are_drawn_uniformly():
    among = ModelNeurons("m", None, (0,), (9,))
    a = NeuronSet.from_pairs(among, [(0, i) for i in (1, 3, 4, 8)])
    counts = {(0, i): 0 for i in (1, 3, 4, 8)}
    for seed in range(2000):
        (pair,) = a.sample(0.25, seed)
        counts[pair] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


@given(PAIRS, st.floats(0, 1), st.lists(st.integers(-3, 3), min_size=51, max_size=51))
def test_the_highest_scores_are_kept(pairs, share, scores):
    score = np.array(scores, float).reshape(3, 17)
    a = made(pairs)
    kept = a.highest(share, score)
    assert kept.sizes == a.sample(share, 0).sizes
    for row, n in enumerate(AMONG.layers):
        own = [i for layer, i in a if layer == n]
        first = sorted(own, key=lambda i: (-score[row, i], i))[: kept.sizes[n]]
        assert [i for layer, i in kept if layer == n] == sorted(first)


def test_scores_outside_the_set_may_be_missing():
    score = np.full((3, 17), np.nan)
    score[0, :2] = 1, 2
    assert list(made([(1, 0), (1, 1)]).highest(0.5, score)) == [(1, 1)]
    with pytest.raises(InputError, match=r"^contribution: 1 of the set's neurons have no value$"):
        made([(1, 0), (1, 2)]).highest(0.5, score, "contribution")


# -- refusals -----------------------------------------------------------------------------------------------


def other(**changed) -> ModelNeurons:
    given = {"model": "org/model", "model_fingerprint": "f1", "layers": (1, 2, 5), "widths": (7, 16, 17)}
    return ModelNeurons(**(given | changed))


@pytest.mark.parametrize(
    ("among", "reason"),
    [
        (other(layers=(1, 2, 3)), "layers 1-2, 5 and 1-3"),
        (other(widths=(7, 16, 18)), "layers of 7 to 17 and of 7 to 18 neurons"),
        (other(model="b", model_fingerprint="f2"), "org/model and b, whose fingerprints differ"),
        (other(model="b", model_fingerprint=None), "org/model and b"),
    ],
)
def test_sets_of_different_models_do_not_combine(among, reason):
    a, b = NeuronSet.from_layers(AMONG), NeuronSet.from_layers(among)
    assert a != b
    for operation in (lambda: a | b, lambda: a & b, lambda: a - b, lambda: a.overlap(b)):
        with pytest.raises(InputError) as error:
            operation()
        assert str(error.value) == f"the sets are of different models: {reason}"


def test_one_model_in_two_places_is_one_model():
    moved = other(model="/elsewhere/model")
    assert NeuronSet.from_layers(AMONG) == NeuronSet.from_layers(moved)
    assert len(NeuronSet.from_layers(AMONG) & NeuronSet.from_layers(moved)) == 40
    unknown = other(model_fingerprint=None)
    assert len(NeuronSet.from_layers(AMONG) & NeuronSet.from_layers(unknown)) == 40


def test_a_set_combines_with_sets_alone():
    with pytest.raises(TypeError):
        _ = made([]) | {(1, 0)}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: made([(3, 0)]), "no layer 3; there are layers 1-2, 5"),
        (lambda: made([(1, 7)]), "no neuron 1:7; layer 1 has 7 neurons"),
        (lambda: made([(1, -1)]), "no neuron 1:-1; layer 1 has 7 neurons"),
        (lambda: NeuronSet.from_layers(AMONG, "4-5"), "no layer 4; there are layers 1-2, 5"),
        (lambda: NeuronSet.from_bits(AMONG, np.ones((3, 17), bool)), r"mask marks neurons past the 7 that layer 1 has"),
        (lambda: NeuronSet.from_bits(AMONG, np.ones((3, 16), bool)), r"bits are bool \[3, 16\]: must be .*"),
        (lambda: NeuronSet.from_bits(AMONG, np.ones((3, 17))), r"bits are float64 .*"),
        (lambda: NeuronSet(AMONG, np.zeros((3, 3), np.int8), made([]).history), r"mask is int8 \[3, 3\]: must be .*"),
        (lambda: NeuronSet(AMONG, np.zeros((3, 2), np.uint8), made([]).history), r"mask is uint8 \[3, 2\]: .*"),
        (lambda: made([]).random_like(-1), "seed -1: must be 0 or greater"),
        (lambda: made([]).sample(1.01, 0), "share 1.01: must be from 0 to 1"),
        (lambda: made([]).sample(float("nan"), 0), "share nan: must be from 0 to 1"),
        (lambda: made([]).highest(0.5, np.zeros((3, 16))), r"scores have shape \[3, 16\]: must have \[3, 17\]"),
        (lambda: other(layers=()), "layers is empty: .*"),
        (lambda: other(layers=(1, 2)), "2 layers have 3 widths: .*"),
        (lambda: other(layers=(1, 2, 2)), "layers 1, 2, 2: must be ascending, from 0 on"),
        (lambda: other(layers=(-1, 2, 3)), "layers -1, 2, 3: must be ascending, from 0 on"),
        (lambda: other(widths=(1, 0, 1)), "widths 1, 0, 1: a layer has at least one neuron"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(make, said):
    with pytest.raises(InputError, match=f"^({said})$"):
        make()

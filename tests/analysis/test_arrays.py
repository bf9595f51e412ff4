"""The array functions, with plain numpy and no store: small arrays by hand, drawn ones against numpy."""

import ast
from pathlib import Path

import numpy as np
import pytest

from fastneurons.analysis import contribution, corpus, sharing
from fastneurons.analysis.bootstrap import bootstrap_generator, poisson_weights
from fastneurons.analysis.checks import ContradictionError
from fastneurons.errors import InputError

NAN = np.nan


def some_counts(seed=0, E=50, L=3, N=2, neurons=31):
    rng = np.random.default_rng(seed)
    cut = np.sort(rng.integers(0, neurons + 1, (E, N, 3)), -1)
    category = np.diff(cut, axis=-1, prepend=0, append=neurons).astype(np.int32)
    activated = rng.integers(0, neurons + 1, (E, L, N), np.int32)
    near = rng.integers(0, 3, (E, L, N), np.int32)
    return category, activated, near, np.ones((E, L), np.bool_)


def test_shares_by_hand():
    # Two examples, two languages, one layer of ten neurons; the second example has no German prompt.
    category = np.array([[[5, 2, 0, 3]], [[7, 2, 0, 1]]])
    activated = np.array([[[5], [3]], [[3], [0]]])
    near = np.array([[[1], [0]], [[2], [0]]])
    present = np.array([[True, True], [True, False]])
    found = sharing.shares(category, activated, near, present, neurons=10)
    assert found.num_examples == 2
    np.testing.assert_allclose(found.category.mean, [[0.6, 0.2, 0.0, 0.2]])
    np.testing.assert_allclose(found.category.low, [[0.5, 0.2, 0.0, 0.1]])
    np.testing.assert_allclose(found.category.high, [[0.7, 0.2, 0.0, 0.3]])
    np.testing.assert_allclose(found.activated, [[0.4], [0.3]])
    np.testing.assert_allclose(found.activated_overall.mean, [0.4, 0.3])
    np.testing.assert_allclose([*found.activated_mean, found.activated_overall_mean], 0.35)
    assert found.near_threshold == pytest.approx(3 / 30)


def test_shares_are_numpys_and_their_intervals_weighted_means():
    category, activated, near, present = some_counts()
    found = sharing.shares(category, activated, near, present, 31, replicates=200)
    np.testing.assert_allclose(found.category.mean, category.mean(0) / 31)
    np.testing.assert_allclose(found.category_overall.mean, category.mean((0, 1)) / 31)
    np.testing.assert_allclose(found.activated, activated.mean(0) / 31)
    np.testing.assert_allclose(found.activated_overall.mean, activated.mean((0, 2)) / 31)
    assert found.near_threshold == pytest.approx(near.mean() / 31)
    weights = poisson_weights(bootstrap_generator(), 50, 200).astype(np.float64)
    drawn = np.einsum("er,enc->rnc", weights, category / 31) / weights.sum(0)[:, None, None]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    np.testing.assert_allclose(found.category.low, low)
    np.testing.assert_allclose(found.category.high, high)


def test_shares_of_blocks_are_those_of_the_whole():
    arrays = some_counts(seed=1)
    whole = sharing.shares(*arrays, 31, replicates=100)
    sums, rng = sharing.ShareSums(3, 2, 31, 100), bootstrap_generator()
    for start, end in ((0, 1), (1, 1), (1, 37), (37, 50)):
        block = [array[start:end] for array in arrays]
        sums.add(*block, poisson_weights(rng, end - start, 100))
    found = sums.means()
    assert found.num_examples == 50
    np.testing.assert_allclose(found.category.low, whole.category.low)
    np.testing.assert_allclose(found.activated_overall.high, whole.activated_overall.high)
    assert found.near_threshold == pytest.approx(whole.near_threshold)


def test_no_example_is_no_value():
    found = sharing.shares(*(array[:0] for array in some_counts()), neurons=31)
    assert found.num_examples == 0
    for values in (found.category.mean, found.category.low, found.activated, found.activated_mean):
        assert np.isnan(values).all()
    assert np.isnan([found.near_threshold, found.activated_overall_mean]).all()


def test_categories_that_do_not_add_up_are_named_by_example():
    category, activated, near, present = some_counts()
    category[7, 1, 2] += 1
    with pytest.raises(ContradictionError, match="categories of example 7 do not add up to 31") as caught:
        sharing.shares(category, activated, near, present, 31)
    assert caught.value.array == "category_count"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({0: np.zeros((50, 2, 3), int)}, r"category_count has shape \[50, 2, 3\]; it must be \[E.*, C = 4\]"),
        ({1: np.zeros((50, 3, 4), int)}, r"activated_count has shape \[50, 3, 4\]; .*N = 2\]"),
        ({2: np.zeros((3, 2), int)}, r"near_threshold_count has shape \[3, 2\]"),
        ({3: np.ones((50, 2), bool)}, r"present has shape \[50, 2\]; it must be \[E = 50, L = 3\]"),
    ],
)
def test_shapes_that_do_not_fit_are_named(changed, message):
    arrays = [changed.get(k, array) for k, array in enumerate(some_counts())]
    with pytest.raises(InputError, match=message):
        sharing.shares(*arrays, 31)


def test_contributions_by_hand():
    # Two examples, two languages, one layer; two categories, of which the second is empty once.
    share = np.array([[[[0.5, 0.5]], [[1.0, 0.0]]], [[[0.7, 0.3]], [[NAN, NAN]]]], np.float32)
    score = np.array([[[[2.0, NAN]], [[4.0, 1.0]]], [[[6.0, 3.0]], [[NAN, NAN]]]], np.float32)
    present = np.array([[True, True], [True, False]])
    found = contribution.attribution({"contribution_share": share, "score": score}, present)
    assert found.num_examples == 2
    np.testing.assert_allclose(found.overall["contribution_share"].mean, [2.2 / 3, 0.8 / 3], rtol=1e-6)
    np.testing.assert_allclose(found.overall["score"].mean, [4, 2])
    np.testing.assert_allclose(found.by_layer["score"].mean, [[4, 2]])
    np.testing.assert_allclose(found.by_language["score"].mean, [[4, 3], [4, 1]])
    np.testing.assert_allclose(found.by_language_and_layer["score"], [[[4, 3]], [[4, 1]]])
    with pytest.raises(ContradictionError, match="the shares of example 1 do not add up to 1"):
        contribution.attribution({"contribution_share": share}, np.ones((2, 2), bool))
    with pytest.raises(InputError, match="values holds no array"):
        contribution.attribution({})
    with pytest.raises(InputError, match=r"b has shape \[2, 2, 1, 3\]; it must be"):
        contribution.attribution({"a": share, "b": np.zeros((2, 2, 1, 3))})


def test_contributions_of_blocks_are_those_of_the_whole():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(30, 2, 3, 4)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = NAN
    whole = contribution.attribution({"score": values}, replicates=100)
    np.testing.assert_allclose(whole.by_layer["score"].mean, np.nanmean(values, (0, 1), np.float64))
    sums, generator = contribution.ContributionSums(["score"], 2, 3, 4, 100), bootstrap_generator()
    for rows in (slice(0, 11), slice(11, 30)):
        block = values[rows]
        sums.add({"score": block}, poisson_weights(generator, len(block), 100))
    np.testing.assert_allclose(sums.means().by_language["score"].low, whole.by_language["score"].low)


def test_probabilities_by_hand():
    count = np.array([[[1, 4], [0, 2]], [[0, 0], [0, 0]]])  # [L, N, I]
    probability = corpus.activation_probability(count, np.array([4, 0]))
    np.testing.assert_array_equal(probability[0], [[0.25, 1.0], [0.0, 0.5]])
    assert np.isnan(probability[1]).all()
    assert probability.dtype == np.float64
    # Thresholds, or anything else, on axes before.
    several = corpus.activation_probability(np.stack([count, count // 2]), np.array([4, 0]))
    np.testing.assert_array_equal(several[1, 0], [[0.0, 0.5], [0.0, 0.25]])
    found = corpus.token_shares(count, np.array([4, 0]))
    np.testing.assert_array_equal(found.activated, [[0.625, 0.25], [NAN, NAN]])
    np.testing.assert_array_equal(found.activated_overall, [0.4375, NAN])
    np.testing.assert_array_equal(found.activated_mean, [0.625, 0.25])
    assert found.activated_overall_mean == 0.4375


def test_counts_beyond_the_tokens_are_named_by_language():
    count = np.array([[[1, 4]], [[0, 6]]])
    with pytest.raises(ContradictionError, match="6 tokens of language 1 activate a neuron, and 5 were read"):
        corpus.activation_probability(count, np.array([4, 5]))
    with pytest.raises(ContradictionError, match="6 tokens of de activate"):
        corpus.activation_probability(count, np.array([4, 5]), ["en", "de"])
    with pytest.raises(InputError, match=r"corpus_tokens has shape \[3\]; it must be \[L = 2\]"):
        corpus.activation_probability(count, np.array([4, 5, 6]))
    with pytest.raises(InputError, match=r"activation_count has shape \[2\]; it must be \[L, N, I\]"):
        corpus.activation_probability(np.array([4, 5]), np.array([4, 5]))


@pytest.mark.parametrize("module", ["bootstrap", "checks", "contribution", "corpus", "sharing"])
def test_they_know_no_store(module):
    source = (Path(sharing.__file__).parent / f"{module}.py").read_text()
    imported = [
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not [name for name in imported if name and ("store" in name or "zarr" in name)]

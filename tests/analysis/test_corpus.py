"""Activation probabilities against numpy on whole arrays."""

import numpy as np
import pytest

from fastneurons.analysis import activation_probability, attribution, shares, token_shares
from fastneurons.errors import InputError, StoreError
from fastneurons.store import StoreWriter, open_store
from tests.store.runs import draw

RUN = draw(24, seed=2, window=5, position="corpus")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "run.zarr"
    RUN.write(path)
    return open_store(str(path))


def test_probabilities_are_shares_of_a_languages_tokens(store):
    count, tokens = RUN.counts().sum(0), RUN.token_count.sum(0)
    expected = count / tokens[:, None, None]
    probability = activation_probability(store)
    assert (probability.shape, probability.dtype) == ((2, 3, 2, 13), np.float64)
    np.testing.assert_array_equal(probability, expected)
    for t, threshold in enumerate(RUN.header.thresholds):
        found = token_shares(store, threshold)
        np.testing.assert_allclose(found.activated, expected[t].mean(-1))
        np.testing.assert_allclose(found.activated_overall, expected[t].mean((1, 2)))
        assert found.threshold == threshold
    assert found.tokens.tolist() == tokens.tolist()
    assert found.texts.tolist() == RUN.present.sum(0).tolist()
    assert found.num_texts == RUN.measured.sum()


def test_an_incomplete_corpus_is_read_as_well(tmp_path):
    path = str(tmp_path / "run.zarr")
    with StoreWriter.create(path, RUN.header) as writer:
        assert np.isnan(activation_probability(open_store(path))).all()
        writer.commit(RUN.window(0, 5))
        assert writer.committed == 5
        found = activation_probability(open_store(path))
    np.testing.assert_array_equal(found, RUN.counts()[:5].sum(0) / RUN.token_count[:5].sum(0)[:, None, None])


def test_a_language_with_no_tokens_has_no_probability(tmp_path):
    draw(3, position="corpus").write(tmp_path / "run.zarr")  # the second text is skipped
    store = open_store(str(tmp_path / "run.zarr"))
    probability = activation_probability(store)
    assert np.isnan(probability[:, 1]).all()
    assert np.isfinite(probability[:, [0, 2]]).all()
    assert np.isnan(token_shares(store).activated_overall).tolist() == [False, True, False]


def test_more_activations_than_tokens_are_damage(tmp_path):
    window = RUN.window(0, 5)
    window.arrays["activation_count"][0, 2, 1, 3] = window.arrays["corpus_tokens"][2] + 1
    with StoreWriter.create(str(tmp_path / "run.zarr"), RUN.header) as writer:
        writer.commit(window)
    store = open_store(str(tmp_path / "run.zarr"))
    for read in (activation_probability, token_shares):
        with pytest.raises(StoreError, match=r"activation_count is damaged: 4 tokens of zh .* 3 were read"):
            read(store)


def test_what_a_store_is_not_of_is_told(store, tmp_path):
    with pytest.raises(InputError, match="is of a corpus: it counts tokens, and has no categories"):
        shares(store)
    with pytest.raises(InputError, match="has no attribution"):
        attribution(store)
    draw(2).write(tmp_path / "run.zarr")
    with pytest.raises(InputError, match="is not of a corpus; measure with --position corpus"):
        activation_probability(open_store(str(tmp_path / "run.zarr")))

"""Alignment scores, against a slow definition and where the answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fastneurons.analysis.alignment import alignment, chance, cosines, retrieved
from fastneurons.analysis.selection import Selection
from fastneurons.errors import InputError
from fastneurons.store import open_store
from tests.analysis import slow
from tests.store.runs import draw


@settings(max_examples=60)
@given(st.integers(2, 6).flatmap(lambda n: arrays.arrays(np.bool_, (2, n, 7))))
def test_pairs_retrieved_are_each_others_nearest(states):
    first, second = states
    common = first.astype(float) @ second.T.astype(float)
    found = retrieved(cosines(common, first.sum(1), second.sum(1)))
    assert found["both"].tolist() == slow.aligned(first, second)
    np.testing.assert_array_equal(found["both"], found["forward"] & found["backward"])


def test_directions_by_hand():
    similarity = np.array([[0.9, 0.2, 0.1], [0.8, 0.7, 0.1], [0.3, 0.3, 0.3]])
    found = retrieved(similarity)
    assert found["forward"].tolist() == [True, False, False]  # rows; a tie does not count
    assert found["backward"].tolist() == [True, True, True]  # columns
    assert found["both"].tolist() == [True, False, False]


def test_chance_is_the_share_retrieved_at_random():
    rng = np.random.default_rng(0)
    drawn = [{k: v.mean() for k, v in retrieved(rng.random((5, 5))).items()} for _ in range(4000)]
    for direction, probability in chance(5).items():
        assert np.mean([each[direction] for each in drawn]) == pytest.approx(probability, abs=0.01)


@pytest.fixture(scope="module")
def run():
    run = draw(40, seed=3, window=16, neurons=60, languages=["en", "de", "zh"])
    run.activation[:, 1] = run.activation[:, 0]
    return run


@pytest.fixture(scope="module")
def store(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("alignment") / "run.zarr"
    run.write(path)
    return open_store(str(path))


@pytest.mark.parametrize(("threshold", "reference"), [(0.0, None), (0.5, "zh")])
def test_a_stores_scores_are_the_slow_ones(run, store, threshold, reference):
    found = alignment(Selection(threshold=threshold).of(store), reference)
    bits = run.bits[run.measured, run.header.thresholds.index(threshold)]  # [E, L, N, I]
    at = run.header.languages.index(reference or "en")
    for code in found["language"].values:
        other = run.header.languages.index(code)
        for n, layer in enumerate(run.header.layers):
            expected = np.mean(slow.aligned(bits[:, at, n], bits[:, other, n]))
            assert float(found["score"].sel(direction="both", language=code, layer=layer)) == expected
        flat = bits.reshape(*bits.shape[:2], -1)
        expected = np.mean(slow.aligned(flat[:, at], flat[:, other]))
        assert float(found["overall"].sel(direction="both", language=code)) == expected
    assert found.attrs["sampled_examples"] == run.measured.sum()


def test_copies_are_aligned_and_chance_is_not(store):
    found = alignment(Selection().of(store)).sel(direction="both")
    assert float(found["overall"].sel(language="de")) == float(found["overall_low"].sel(language="de")) == 1
    assert float(found["overall_q"].sel(language="de")) < 1e-12
    assert float(found["overall"].sel(language="zh")) < 0.15
    assert float(found["overall_q"].sel(language="zh")) > 0.01


def test_intervals_are_those_of_resampling_hits(store):
    found = alignment(Selection().of(store), "zh", resamples=4000).sel(direction="forward", language="en")
    hits, n = float(found["layer_mean"]), found.attrs["sampled_examples"]
    assert float(found["layer_mean_low"]) <= hits <= float(found["layer_mean_high"])
    score = found["score"].isel(layer=0)
    rng = np.random.default_rng(0)
    drawn = rng.binomial(n, float(score), 4000) / n
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert float(found["score_low"].isel(layer=0)) == pytest.approx(low, abs=0.035)
    assert float(found["score_high"].isel(layer=0)) == pytest.approx(high, abs=0.035)


def test_a_sample_is_drawn_by_seed(store):
    chosen = Selection().of(store)
    one, same, other = (alignment(chosen, sample=10, seed=seed) for seed in (1, 1, 2))
    assert one.attrs["sampled_examples"] == 10
    assert one.equals(same) and not one.equals(other)


def test_selections_that_cannot_be_aligned(store, tmp_path):
    with pytest.raises(InputError, match="--reference zh: is not among the languages en, de"):
        alignment(Selection(languages=("en", "de")).of(store), "zh")
    draw(1).write(tmp_path / "one.zarr")
    with pytest.raises(InputError, match="1 of the chosen examples has"):
        alignment(Selection().of(open_store(str(tmp_path / "one.zarr"))))
    draw(4).write(tmp_path / "counts.zarr", keep_bits=False)
    with pytest.raises(InputError, match="--no-keep-bits"):
        alignment(Selection().of(open_store(str(tmp_path / "counts.zarr"))))

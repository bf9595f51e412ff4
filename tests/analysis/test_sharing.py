"""Shares against numpy on whole arrays, and their intervals against a bootstrap by resampling."""

import numpy as np
import pytest

from fastneurons.analysis import shares, shares_by_task
from fastneurons.analysis.bootstrap import poisson_weights
from fastneurons.errors import InputError, StoreError
from fastneurons.store import StoreWriter, open_store
from tests.store.runs import draw

RUN = draw(60, seed=3, window=16, neurons=31, tasks=["capitals", "currencies"])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("shares") / "run.zarr"
    RUN.write(path)
    return open_store(str(path))


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_means_are_numpys_over_the_measured_examples(store, threshold):
    t, good = RUN.header.thresholds.index(threshold), RUN.measured
    arrays = RUN.arrays()
    category = arrays["category_count"][good, t] / 31  # [E, N, 4]
    activated = arrays["activated_count"][good, t] / 31  # [E, L, N]
    found = shares(store, threshold)
    assert (found.threshold, found.num_examples, found.task) == (threshold, good.sum(), None)
    np.testing.assert_allclose(found.category.mean, category.mean(0))
    np.testing.assert_allclose(found.category.mean.sum(1), 1)
    np.testing.assert_allclose(found.category_overall.mean, category.mean((0, 1)))
    np.testing.assert_allclose(found.activated, activated.mean(0))
    np.testing.assert_allclose(found.activated_overall.mean, activated.mean((0, 2)))
    near = abs(RUN.activation[good] - threshold) < 1e-3
    assert found.near_threshold == pytest.approx(near.mean())


def test_by_hand(tmp_path):
    # Ten neurons, two languages, two examples. In both, neuron 0 fires in each language; in the second
    # neurons 1 to 4 fire in English.
    run = draw(3, languages=["en", "de"], layers=[0], neurons=10, thresholds=[0.0])
    run.activation[:] = -1.0
    run.activation[[0, 2], :, 0, 0] = 1.0
    run.activation[2, 0, 0, 1:5] = 1.0
    run.write(tmp_path / "run.zarr")
    found = shares(open_store(str(tmp_path / "run.zarr")))
    assert found.num_examples == 2  # the one between was skipped
    np.testing.assert_allclose(found.category.mean, [[0.7, 0.2, 0.0, 0.1]])
    np.testing.assert_allclose(found.activated, [[0.3], [0.1]])
    # Replicates of two examples lie between them.
    np.testing.assert_allclose(found.category.low, [[0.5, 0.0, 0.0, 0.1]])
    np.testing.assert_allclose(found.category.high, [[0.9, 0.4, 0.0, 0.1]])


def test_intervals_are_those_of_resampling_examples(store):
    rng = np.random.default_rng(0)
    category = RUN.arrays()["category_count"][RUN.measured, 0] / 31
    drawn = category[rng.integers(0, len(category), (4000, len(category)))].mean(1)  # [R, N, 4]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    found = shares(store, replicates=4000)
    width = high - low
    np.testing.assert_array_less(abs(found.category.low - low), 0.12 * width)
    np.testing.assert_array_less(abs(found.category.high - high), 0.12 * width)
    overall = np.percentile(drawn.mean(1), [2.5, 97.5], axis=0)
    np.testing.assert_allclose([found.category_overall.low, found.category_overall.high], overall, atol=0.002)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        sample = rng.exponential(size=80)
        weights = poisson_weights(rng, 80, 400).astype(float)
        low, high = np.percentile(sample @ weights / weights.sum(0), [2.5, 97.5])
        covered += low <= 1.0 <= high
    assert 0.88 < covered / 300 < 0.98


def test_weights_are_poisson_and_do_not_depend_on_blocks():
    weights = poisson_weights(np.random.default_rng(0), 500, 1000)
    assert weights.mean() == pytest.approx(1, abs=0.005)
    assert weights.var() == pytest.approx(1, abs=0.01)
    assert (weights == 0).mean() == pytest.approx(np.exp(-1), abs=0.003)
    rng = np.random.default_rng(0)
    blocks = [poisson_weights(rng, size, 1000) for size in (1, 99, 400)]
    np.testing.assert_array_equal(np.concatenate(blocks), weights)


def test_results_do_not_depend_on_how_they_were_stored(store, tmp_path, monkeypatch):
    other = draw(60, seed=3, window=7, neurons=31, tasks=["capitals", "currencies"])
    other.write(tmp_path / "run.zarr", keep_bits=False)
    monkeypatch.setattr("fastneurons.analysis.bootstrap._BLOCK_EXAMPLES", 5)
    again = shares(open_store(str(tmp_path / "run.zarr")))
    found = shares(store)
    np.testing.assert_allclose(again.category.low, found.category.low)
    np.testing.assert_allclose(again.activated_overall.high, found.activated_overall.high)


def test_tasks_apart(store):
    by_task = shares_by_task(store)
    assert list(by_task) == ["capitals", "currencies"]
    category = RUN.arrays()["category_count"][:, 0] / 31
    for k, (task, found) in enumerate(by_task.items()):
        rows = RUN.measured & (RUN.task == k)
        assert (found.task, found.num_examples) == (task, rows.sum())
        np.testing.assert_allclose(found.category.mean, category[rows].mean(0))


def test_an_example_without_a_language_does_not_count_for_it(tmp_path):
    run = draw(4, thresholds=[0.0])
    window = run.window(0, 4)
    window.arrays["present"][0, 1] = False
    window.arrays["activated_count"][0, :, 1] = 0
    with StoreWriter.create(str(tmp_path / "run.zarr"), run.header) as writer:
        writer.commit(window)
    found = shares(open_store(str(tmp_path / "run.zarr")))
    np.testing.assert_allclose(found.activated[1], window.arrays["activated_count"][2:, 0, 1].mean(0) / 13)
    np.testing.assert_allclose(
        found.activated[0], window.arrays["activated_count"][[0, 2, 3], 0, 0].mean(0) / 13
    )


def test_nothing_measured_is_no_value_and_no_error(tmp_path):
    run = draw(0)
    run.write(tmp_path / "run.zarr")
    found = shares(open_store(str(tmp_path / "run.zarr")))
    assert found.num_examples == 0
    for values in (found.category.mean, found.category.low, found.activated, found.near_threshold):
        assert np.isnan(values).all()


def test_an_unknown_threshold_is_refused(store):
    with pytest.raises(InputError, match=r"no threshold 0.1; it has 0, 0.5"):
        shares(store, 0.1)


def test_counts_that_do_not_add_up_are_damage(tmp_path):
    run = draw(8)
    window = run.window(0, 4)
    window.arrays["category_count"][2, 0, 1, 3] += 1
    with StoreWriter.create(str(tmp_path / "run.zarr"), run.header) as writer:
        writer.commit(window)
    with pytest.raises(StoreError, match="categories of example 2 do not add up to 13 neurons"):
        shares(open_store(str(tmp_path / "run.zarr")))

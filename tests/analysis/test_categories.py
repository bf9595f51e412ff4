"""Categories and thresholds against numpy on whole arrays; intervals that cover the truth as often as they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastneurons.analysis.categories import SpreadSums, categories, side_by_side, spread
from fastneurons.analysis.selection import Selection
from fastneurons.analysis.thresholds import thresholds
from fastneurons.errors import InputError, StoreError
from fastneurons.store import CATEGORIES, StoreWriter, open_store
from tests.analysis.test_words import slow_categories
from tests.store.runs import draw

RUN = draw(60, seed=3, window=16, neurons=31, tasks=["capitals", "currencies"])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("categories") / "run.zarr"
    RUN.write(path)
    return open_store(str(path))


def slow_shares(chosen, threshold: int) -> np.ndarray:
    """float64 [E, N, 4] of the chosen examples and languages."""
    bits = RUN.bits[chosen.examples, threshold][:, list(chosen.language_index)]
    return slow_categories(bits, chosen.present).mean(2)


def assert_spread(found, shares: np.ndarray) -> None:
    """A dataset by layer and category against the shares of each example."""
    np.testing.assert_allclose(found["share"], shares.mean(0))
    np.testing.assert_allclose(found["overall_share"], shares.mean((0, 1)))
    for name, q in (("least", 0), ("p5", 5), ("p95", 95), ("most", 100)):
        np.testing.assert_allclose(found[name], np.percentile(shares, q, axis=0), err_msg=name)
        np.testing.assert_allclose(found[f"overall_{name}"], np.percentile(shares.mean(1), q, axis=0))


@settings(max_examples=40)
@given(st.integers(1, 30), st.integers(1, 3), st.sampled_from([1, 9, 64]), st.integers(0, 2**32))
def test_spread_is_numpys(E, N, neurons, seed):
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(neurons, rng.dirichlet(np.ones(4), (E, N)))
    found = spread(counts, neurons, replicates=0)
    shares = counts / neurons
    np.testing.assert_allclose(found.share.mean, shares.mean(0), atol=1e-12)
    np.testing.assert_allclose(found.band, np.percentile(shares, [0, 5, 95, 100], axis=0), atol=1e-12)
    overall = np.percentile(shares.mean(1), [0, 5, 95, 100], axis=0)
    np.testing.assert_allclose(found.overall_band, overall, atol=1e-12)
    assert np.isnan(found.share.low).all()
    sums = SpreadSums(N, neurons, 0)
    for cut in np.array_split(counts, 3):
        sums.add(cut)
    np.testing.assert_allclose(sums.spread().band, found.band)


@pytest.mark.parametrize("languages", [[], ["zh", "en"]], ids=["stored counts", "from the bits"])
def test_categories_by_task(store, languages):
    found = categories(Selection(languages=languages, threshold=0.5).of(store), 100)
    assert found.task.values.tolist() == ["capitals", "currencies", "all tasks"]
    assert found.category.values.tolist() == list(CATEGORIES)
    for k, tasks in enumerate((["capitals"], ["currencies"], [])):
        chosen = Selection(tasks, languages, 0.5).of(store)
        assert_spread(found.isel(task=k), slow_shares(chosen, 1))
        assert int(found.examples[k]) == len(chosen)
    assert (found.share_low <= found.share).all() and (found.share <= found.share_high).all()


def test_intervals_are_those_of_resampling_examples(store):
    chosen = Selection().of(store)
    shares = slow_shares(chosen, 0)
    rng = np.random.default_rng(0)
    drawn = shares[rng.integers(0, len(shares), (4000, len(shares)))].mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    found = categories(chosen, 4000).isel(task=-1)
    np.testing.assert_array_less(abs(found.share_low.values - low), 0.12 * (high - low))
    np.testing.assert_array_less(abs(found.share_high.values - high), 0.12 * (high - low))


def test_all_is_chance_and_intervals_cover_the_truth():
    # Every language activates each neuron with probability 0.4, whatever the others do.
    rng, p, L, I, covered = np.random.default_rng(7), 0.4, 3, 40, 0  # noqa: E741
    truth = [(1 - p) ** L, L * p * (1 - p) ** (L - 1), L * p**2 * (1 - p), p**L]
    for seed in range(200):
        counts = rng.multinomial(I, truth, (60, 1))
        share = spread(counts, I, replicates=200, seed=seed).share
        covered += ((share.low[0] <= truth) & (truth <= share.high[0])).astype(int)
    assert (covered >= 180).all() and (covered <= 198).all(), covered


@pytest.mark.parametrize("languages", [[], ["de", "en"]], ids=["stored counts", "from the bits"])
def test_every_threshold(store, languages):
    chosen = Selection(["currencies"], languages).of(store)
    found = thresholds(chosen, 0)
    assert found.threshold.values.tolist() == [0.0, 0.5]
    for t in range(2):
        assert_spread(found.isel(threshold=t), slow_shares(chosen, t))


def test_two_languages_that_are_copies_share_all_they_activate(tmp_path):
    run = draw(12, thresholds=[0.0])
    run.activation[:, 1] = run.activation[:, 0]
    run.write(tmp_path / "run.zarr")
    store = open_store(str(tmp_path / "run.zarr"))
    found = categories(Selection(languages=["en", "de"]).of(store), 0).isel(task=0)
    activated = run.bits[run.measured, 0, 0].mean((0, 2))
    np.testing.assert_allclose(found.share.sel(category="all-shared"), activated)
    np.testing.assert_allclose(found.share.sel(category="specific"), 0)
    np.testing.assert_allclose(found.share.sel(category="non-activated"), 1 - activated)


def test_stores_side_by_side(store, tmp_path):
    other = draw(20, seed=4, layers=[1, 2], neurons=9, thresholds=[0.0])
    other.write(tmp_path / "other.zarr")
    found = [
        categories(Selection().of(each), 0) for each in (store, open_store(str(tmp_path / "other.zarr")))
    ]
    joined = side_by_side(found)
    assert joined.task.values.tolist() == ["capitals", "currencies", "capitals"]
    assert joined.layer.values.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(joined.share.isel(run=1).sel(layer=[0, 1]), found[0].share[1])
    np.testing.assert_array_equal(joined.share.isel(run=2).sel(layer=[1, 2]), found[1].share[0])
    assert joined.share.isel(run=2).sel(layer=0).isnull().all()
    assert joined.attrs["same_languages"] == 1


def test_nothing_chosen_is_no_value(store):
    found = categories(Selection(examples=[(1, 2)]).of(store), 10)  # which was skipped
    assert found.share.isnull().all() and found.p5.isnull().all() and not found.examples.any()


def test_counts_that_do_not_add_up_are_damage(tmp_path):
    run = draw(8)
    window = run.window(0, 4)
    window.arrays["category_count"][2, 0, 1, 3] += 1
    with StoreWriter.create(str(tmp_path / "run.zarr"), run.header) as writer:
        writer.commit(window)
    store = open_store(str(tmp_path / "run.zarr"))
    with pytest.raises(StoreError, match="categories of example 2 do not add up to 13 neurons"):
        categories(Selection().of(store))


def test_a_shape_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="category_count has shape"):
        spread(np.zeros((2, 3, 5), np.int64), 3)

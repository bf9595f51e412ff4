"""What each category contributes, against numpy on whole arrays."""

import numpy as np
import pytest

from fastneurons.analysis import attribution
from fastneurons.errors import InputError, StoreError
from fastneurons.store import ATTRIBUTION, StoreWriter, open_store
from tests.store.runs import draw

RUN = draw(40, seed=5, window=16, top_k=3)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("attribution") / "run.zarr"
    RUN.write(path)
    return open_store(str(path))


def test_means_are_numpys_over_the_values_that_there_are(store):
    found = attribution(store)
    assert (found.top_k, found.threshold, found.num_examples) == (3, 0.0, RUN.measured.sum())
    assert tuple(found.overall) == ATTRIBUTION
    with np.errstate(invalid="ignore"):
        for name, values in RUN.attribution().items():  # [E, L, N, 4]
            values = values.astype(np.float64)
            for mean, axes in (
                (found.overall[name].mean, (0, 1, 2)),
                (found.by_layer[name].mean, (0, 1)),
                (found.by_language[name].mean, (0, 2)),
                (found.by_language_and_layer[name], 0),
            ):
                np.testing.assert_allclose(mean, np.nanmean(values, axes), err_msg=name)
    np.testing.assert_allclose(found.by_layer["contribution_share"].mean.sum(-1), 1)


def test_by_hand(tmp_path):
    # Two languages, one layer of four neurons, top 2. The first neuron fires in both languages, the second in
    # English, the others in none; coefficients are theirs times their left neighbour's.
    run = draw(1, languages=["en", "de"], layers=[0], neurons=4, thresholds=[0.0], top_k=2)
    run.activation[0, :, 0] = [[3, 1, -3, -4], [2, -1, -3, -4]]
    run.write(tmp_path / "run.zarr")
    found = attribution(open_store(str(tmp_path / "run.zarr")))
    # Contribution scores: abs([-12, 3, -3, 12]) and abs([-8, -2, 3, 12]), times 0.5, 1, 1.5, 2.
    np.testing.assert_allclose(found.overall["contribution_share"].mean, [0.75, 0, 0, 0.25])
    np.testing.assert_allclose(found.by_language["contribution_share"].mean, [[0.5, 0, 0, 0.5], [1, 0, 0, 0]])
    np.testing.assert_allclose(found.by_layer["contribution_mean"].mean, [[14.25, 2.5, np.nan, 5]])


def test_intervals_are_those_of_resampling_examples(store):
    rng = np.random.default_rng(0)
    found = attribution(store, replicates=4000)
    for name in ("contribution_share", "contribution_max", "effective_mean"):
        values = RUN.attribution()[name][RUN.measured].astype(np.float64)
        drawn = values[rng.integers(0, len(values), (4000, len(values)))]  # [R, E, L, N, 4]
        for estimate, axes in ((found.by_layer[name], (1, 2)), (found.by_language[name], (1, 3))):
            low, high = np.percentile(np.nanmean(drawn, axes), [2.5, 97.5], axis=0)
            np.testing.assert_array_less(abs(estimate.low - low), 0.15 * (high - low) + 1e-12, err_msg=name)
            np.testing.assert_array_less(abs(estimate.high - high), 0.15 * (high - low) + 1e-12, err_msg=name)


def test_results_do_not_depend_on_how_they_were_stored(store, tmp_path, monkeypatch):
    draw(40, seed=5, window=7, top_k=3).write(tmp_path / "run.zarr")
    monkeypatch.setattr("fastneurons.analysis.bootstrap._BLOCK_EXAMPLES", 5)
    again, found = attribution(open_store(str(tmp_path / "run.zarr"))), attribution(store)
    for name in ATTRIBUTION:
        np.testing.assert_allclose(again.by_layer[name].low, found.by_layer[name].low)


def test_nothing_measured_is_no_value_and_no_error(tmp_path):
    draw(0, top_k=3).write(tmp_path / "run.zarr")
    found = attribution(open_store(str(tmp_path / "run.zarr")))
    assert found.num_examples == 0
    for estimate in (*found.overall.values(), *found.by_layer.values(), *found.by_language.values()):
        assert np.isnan([estimate.mean, estimate.low, estimate.high]).all()


def test_a_run_without_attribution_is_told(tmp_path):
    draw(2).write(tmp_path / "run.zarr")
    with pytest.raises(InputError, match="has no attribution; measure with --attribution"):
        attribution(open_store(str(tmp_path / "run.zarr")))


@pytest.mark.parametrize("share", [0.9, np.nan])
def test_shares_that_do_not_add_up_are_damage(share, tmp_path):
    run = draw(8, top_k=3)
    window = run.window(0, 4)
    window.arrays["contribution_share"][2, 0, 1, 3] = share
    with StoreWriter.create(str(tmp_path / "run.zarr"), run.header) as writer:
        writer.commit(window)
    with pytest.raises(StoreError, match="the shares of example 2 do not add up to 1"):
        attribution(open_store(str(tmp_path / "run.zarr")))

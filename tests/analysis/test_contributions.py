"""Contributions of a store beside shares of neurons, against numpy on whole arrays."""

import numpy as np
import pytest

from fastneurons.analysis.contributions import contributions, derived
from fastneurons.analysis.selection import Selection
from fastneurons.errors import InputError, StoreError
from fastneurons.store import ATTRIBUTION, StoreWriter, open_store
from tests.store.runs import draw

RUN = draw(40, seed=5, window=16, top_k=3, tasks=["capitals", "currencies"])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("contributions") / "run.zarr"
    RUN.write(path)
    return open_store(str(path))


def values_of(rows: np.ndarray, languages: list[int]) -> dict[str, np.ndarray]:
    """Float64 [E, L, N, 4] by name."""
    values = {name: array[rows][:, languages].astype(np.float64) for name, array in RUN.attribution().items()}
    share = RUN.categories[rows, 0].mean(2)[:, None]  # [E, 1, N, 4]
    sums = np.nan_to_num(values["contribution_sum"])
    values["neuron_share"] = np.broadcast_to(share, values["contribution_share"].shape)
    values["sum_share"] = sums / sums.sum(-1, keepdims=True)
    values["top_gain"] = values["contribution_share"] - share
    values["sum_gain"] = values["sum_share"] - share
    return values


@pytest.mark.parametrize(
    ("selection", "rows", "languages"),
    [
        (Selection(), RUN.measured, [0, 1, 2]),
        (Selection(tasks=("currencies",), languages=("zh", "en")), RUN.measured & (RUN.task == 1), [2, 0]),
    ],
    ids=["all", "some"],
)
def test_means_are_numpys(store, selection, rows, languages):
    found = contributions(selection.of(store), resamples=20)
    with np.errstate(invalid="ignore"):
        for name, values in values_of(rows, languages).items():
            for suffix, axes in (
                ("", (0, 1, 2)),
                ("_by_layer", (0, 1)),
                ("_by_language", (0, 2)),
                ("_by_language_and_layer", 0),
            ):
                np.testing.assert_allclose(
                    found[name + suffix], np.nanmean(values, axes), err_msg=name + suffix, atol=1e-7
                )
    np.testing.assert_allclose(found["sum_share"].sum(), 1)
    np.testing.assert_allclose(found["neuron_share"].sum(), 1)
    np.testing.assert_allclose(found["sum_gain"], found["sum_share"] - found["neuron_share"], atol=1e-12)
    assert found.attrs["categories_over"] == ["en", "de", "zh"]


def test_intervals_are_those_of_resampling_examples(store):
    rng = np.random.default_rng(0)
    found = contributions(Selection().of(store), resamples=4000)
    for name in ("sum_share", "sum_gain", "neuron_share"):
        values = values_of(RUN.measured, [0, 1, 2])[name]
        drawn = values[rng.integers(0, len(values), (4000, len(values)))].mean((1, 2, 3))  # [R, 4]
        low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
        np.testing.assert_allclose(found[f"{name}_low"], low, atol=0.15 * (high - low).max())
        np.testing.assert_allclose(found[f"{name}_high"], high, atol=0.15 * (high - low).max())


def test_a_category_without_neurons_contributes_nothing():
    values = {
        "contribution_sum": np.array([[[[3.0, np.nan, 1.0, np.nan]]], [[[np.nan] * 4]]]),
        "contribution_share": np.array([[[[0.5, 0, 0.5, 0]]], [[[np.nan] * 4]]]),
    }
    neuron_share = np.array([[[0.5, 0, 0.5, 0]], [[0.25] * 4]])
    found = derived(values, neuron_share, np.array([[True], [False]]))
    np.testing.assert_allclose(found["sum_share"][:, 0, 0], [[0.75, 0, 0.25, 0], [np.nan] * 4])
    np.testing.assert_allclose(found["sum_gain"][0, 0, 0], [0.25, 0, -0.25, 0])
    assert np.isnan(found["neuron_share"][1]).all()


def test_stores_that_cannot_say(store, tmp_path):
    with pytest.raises(InputError, match=r"attribution for its first threshold, 0, not for 0\.5"):
        contributions(Selection(threshold=0.5).of(store))
    draw(2).write(tmp_path / "run.zarr")
    with pytest.raises(InputError, match="has no attribution; measure with --attribution"):
        contributions(Selection().of(open_store(str(tmp_path / "run.zarr"))))


def test_shares_that_do_not_add_up_are_damage(tmp_path):
    run = draw(8, top_k=3)
    window = run.window(0, 4)
    window.arrays["contribution_share"][2, 0, 1, 3] = 0.9
    with StoreWriter.create(str(tmp_path / "run.zarr"), run.header) as writer:
        writer.commit(window)
    with pytest.raises(StoreError, match="the shares of example 2 do not add up to 1"):
        contributions(Selection().of(open_store(str(tmp_path / "run.zarr"))))


def test_every_array_of_attribution_is_there(store):
    found = contributions(Selection().of(store), resamples=0)
    assert set(ATTRIBUTION) <= set(found.data_vars)
    assert np.isnan(found["contribution_share_low"]).all()

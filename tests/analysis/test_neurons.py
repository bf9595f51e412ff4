"""Lists and lives of neurons, against numpy on unpacked bits, and where the answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fastneurons.analysis.bootstrap import poisson_weights
from fastneurons.analysis.neuron_life import neuron_life
from fastneurons.analysis.neuron_lists import neuron_list
from fastneurons.analysis.neuron_reading import count_members, count_neurons
from fastneurons.analysis.neurons import NeuronSums, members_by_chance, preference
from fastneurons.analysis.selection import Selection
from fastneurons.errors import InputError, StoreError
from fastneurons.store import CATEGORIES, open_store
from tests.analysis import slow
from tests.store.runs import Run, draw

BITS = arrays.arrays(
    np.bool_,
    st.tuples(st.integers(1, 6), st.integers(2, 4), st.integers(1, 2), st.integers(1, 5)),
)


def occupancy_of(bits: np.ndarray) -> np.ndarray:
    return (slow.categories(bits)[..., None] == np.arange(4)).sum(0)


@settings(max_examples=40)
@given(BITS)
def test_preferences_are_their_definition(bits):
    E, L = bits.shape[:2]
    found = preference(bits.sum(0), occupancy_of(bits), E)
    for n, i in np.ndindex(bits.shape[2:]):
        own = bits[:, :, n, i]
        counts = own.sum(0)
        np.testing.assert_allclose(found.entropy[n, i], slow.entropy(counts), atol=1e-12)
        number = own.sum(1)
        telling = number[(number > 0) & (number < L)]
        for language in range(L):
            if counts.sum():
                assert found.share[language, n, i] == pytest.approx(counts[language] / counts.sum())
            law = np.array([1.0])  # of how often the language is among those of the examples that tell
            for k in telling:
                law = np.convolve(law, [1 - k / L, k / L])
            count = counts[language] - (number == L).sum()
            if count >= telling.sum() / L + 1:
                assert found.p[language, n, i] >= law[count:].sum() - 1e-9
            if len(set(telling.tolist())) <= 1:  # alike: exact
                assert found.p[language, n, i] == pytest.approx(law[count:].sum())


def test_a_neuron_that_cannot_tell_languages_apart_has_no_small_p():
    rng = np.random.default_rng(0)
    E, L, I = 60, 4, 3000  # noqa: E741
    number = rng.binomial(L, rng.random(I), (E, I))  # each neuron has a rate of its own
    order = rng.random((E, L, I)).argsort(1)
    bits = (order < number[:, None])[:, :, None]  # [E, L, 1, I]
    p = preference(bits.sum(0), occupancy_of(bits), E).p
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() <= level * 1.15
    assert (p <= 0.2).mean() > 0.1  # not idle either


@settings(max_examples=40)
@given(BITS, st.integers(0, 9))
def test_rates_are_means_over_examples(bits, seed):
    E, L, N, I = bits.shape  # noqa: E741
    flat = bits.reshape(E, L, N * I)
    sums = NeuronSums(N * I, L, 20)
    rng = np.random.default_rng(seed)
    for rows in (slice(0, 2), slice(2, None)):
        sums.add(flat[rows], poisson_weights(rng, len(flat[rows]), 20))
    found = sums.rates()
    np.testing.assert_allclose(found.rate.mean, flat.mean(0).T)
    np.testing.assert_allclose(found.category.mean, occupancy_of(bits).reshape(-1, 4) / E)
    np.testing.assert_allclose(found.entropy.mean, [slow.entropy(c) for c in flat.sum(0).T], atol=1e-12)


def test_members_by_chance_are_those_of_shuffled_neurons():
    rng = np.random.default_rng(0)
    member = rng.random((20, 2, 100)) < np.array([0.1, 0.3])[:, None]  # [E, N, I]
    expected = []
    for _ in range(400):
        shuffled = rng.permuted(member, axis=2)
        expected.append((shuffled.sum(0) >= 9).sum())
    found = members_by_chance(member.sum(0), 20, 9)
    assert found == pytest.approx(np.mean(expected), rel=0.15)


@pytest.fixture(scope="module")
def run() -> Run:
    """Drawn activations, in which neurons 3 to 6 of layer 1 are Chinese, and neuron 7 is all languages'."""
    run = draw(60, seed=3, window=16, neurons=31, tasks=["capitals", "currencies"])
    run.activation[:, :2, 1, 3:7] = -1
    run.activation[:, 2, 1, 3:7] = np.where(np.arange(60)[:, None] % 3, 1, -1)
    run.activation[:, :, 1, 7] = 1
    return run


@pytest.fixture(scope="module")
def store(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("neurons") / "run.zarr"
    run.write(path)
    return open_store(str(path))


def member_of(run: Run, category: str, language: str | None = None) -> np.ndarray:
    bits = run.bits[run.measured, 0]
    member = slow.categories(bits) == CATEGORIES.index(category)
    if language is not None:
        member &= bits[:, run.header.languages.index(language)]
    return member  # [E, N, I]


@pytest.mark.parametrize(
    ("category", "language"),
    [
        ("specific", "zh"),
        ("specific", None),
        ("partial-shared", "de"),
        ("all-shared", "en"),
        ("non-activated", None),
    ],
)
def test_a_list_by_occupancy_is_the_largest_counts(run, store, category, language):
    found = neuron_list(Selection().of(store), category, language, top=9)
    count = member_of(run, category, language).sum(0)
    np.testing.assert_array_equal(found["count"], np.sort(count.ravel())[::-1][:9])
    for entry in range(9):
        n, i = int(found["layer"][entry]), int(found["neuron"][entry])
        assert count[n, i] == found["count"][entry]
        bits = run.bits[run.measured, 0][:, :, n, i]
        np.testing.assert_allclose(found["activation_rate"][entry], bits.mean(0))
    E = int(run.measured.sum())
    np.testing.assert_allclose(found["count_share"], found["count"] / E)
    assert (found["count_share_low"] <= found["count_share"]).all()
    assert (found["count_share_high"] >= found["count_share"]).all()
    last = int(found["count"][-1])
    assert found.attrs["found"] == (count >= last).sum()
    assert found.attrs["expected_by_chance"] == pytest.approx(members_by_chance(count, E, last))


def test_the_chinese_neurons_are_found(store):
    chosen = Selection().of(store)
    for found in (
        neuron_list(chosen, "specific", "zh", top=4),
        neuron_list(chosen, top=4),
        neuron_list(chosen, None, "zh", top=4),
    ):
        assert set(found["neuron"].values) == {3, 4, 5, 6} and set(found["layer"].values) == {1}
        assert (found["q"] < 1e-4).all()
        assert found.attrs["expected_by_chance"] < 0.01
        np.testing.assert_allclose(found["entropy"], 0, atol=1e-12)
    assert neuron_list(chosen, top=4)["preferred"].values.tolist() == ["zh"] * 4
    first = neuron_list(chosen, "all-shared", top=1)
    assert int(first["neuron"][0]) == 7 and float(first["count_share"][0]) == 1


def test_a_list_of_nothing_but_chance_is_empty(tmp_path):
    draw(40, seed=1, neurons=64, window=8).write(tmp_path / "run.zarr")
    found = neuron_list(Selection().of(open_store(str(tmp_path / "run.zarr"))))
    assert found.sizes["entry"] == 0 and found.attrs["found"] == 0


def test_counts_follow_the_selection(run, store):
    chosen = Selection(tasks=("currencies",), languages=("zh", "en"), threshold=0.5).of(store)
    activated, occupancy = count_neurons(chosen)
    bits = run.bits[run.measured & (run.task == 1), 1][:, [2, 0]]
    np.testing.assert_array_equal(activated, bits.sum(0))
    np.testing.assert_array_equal(occupancy, occupancy_of(bits))
    for number, category in ((1, 1), (2, 3)):
        alone = bits[:, 0] & (bits.sum(1) == number)
        np.testing.assert_array_equal(count_members(chosen, category, 0), alone.sum(0))


def test_the_life_of_a_neuron(run, store):
    found = neuron_life(Selection().of(store), 1, 4)
    bits = run.bits[run.measured, 0]
    np.testing.assert_array_equal(found["activated"], bits[:, :, 1, 4])
    np.testing.assert_array_equal(found["category_code"], slow.categories(bits)[:, 1, 4])
    assert found["example"].values.tolist() == [f"é{i}" for i in np.flatnonzero(run.measured)]
    assert found["task"].values[0] == "capitals"
    np.testing.assert_allclose(found["activation_rate"], bits[:, :, 1, 4].mean(0))
    np.testing.assert_allclose(found["layer_activation_rate"], bits[:, :, 1].mean((0, 2)))
    share = (slow.categories(bits)[:, 1, :, None] == np.arange(4)).mean((0, 1))
    np.testing.assert_allclose(found["layer_category_share"], share)
    assert float(found["q"].sel(language="zh")) < 1e-4 < 0.9 < float(found["q"].sel(language="en"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "occupancy"}, "needs a category"),
        ({"category": "shared"}, "no category shared"),
        ({"category": "non-activated", "language": "en"}, "no language activates non-activated"),
        ({"category": "specific", "language": "fr"}, "has no language fr"),
        ({"category": "specific", "min_share": 2}, "from 0 to 1"),
        ({"min_share": 0.5}, "needs a category"),
        ({"top": 0}, "at least one"),
        ({"by": "contribution"}, "does not say what each neuron contributes"),
    ],
)
def test_wrong_options_are_refused(store, options, message):
    with pytest.raises(InputError, match=message):
        neuron_list(Selection().of(store), **options)


@pytest.mark.parametrize(("place", "message"), [((2, 0), "no layer 2; it has 0 to 1"), ((0, 31), "0 to 30")])
def test_a_neuron_that_is_not_there(store, place, message):
    with pytest.raises(InputError, match=message):
        neuron_life(Selection().of(store), *place)


class _Contributing:
    """A store that also has `neuron_contribution`: sums of scores over its prompts."""

    def __init__(self, store, sums: np.ndarray) -> None:
        self._store, self._sums = store, sums

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def __contains__(self, name: str) -> bool:
        return name == "neuron_contribution" or name in self._store

    def __getitem__(self, name: str):
        return self._sums if name == "neuron_contribution" else self._store[name]


def test_a_list_by_contribution(run, store):
    rng = np.random.default_rng(0)
    sums = rng.exponential(size=(3, 2, 31))
    of = Selection().of(_Contributing(store, sums))
    E = int(run.measured.sum())
    found = neuron_list(of, by="contribution", language="de", top=5)
    order = np.argsort(-sums[1].ravel())[:5]
    np.testing.assert_array_equal(found["layer"].values * 31 + found["neuron"].values, order)
    np.testing.assert_allclose(found["contribution"].sel(language="de"), sums[1].ravel()[order] / E)
    assert np.isnan(found.attrs["expected_by_chance"])
    np.testing.assert_array_equal(found["count"], run.bits[run.measured, 0, 1].sum(0).ravel()[order])
    np.testing.assert_array_equal(
        neuron_list(of, by="contribution", top=62)["count"],
        run.bits[run.measured, 0].any(1).sum(0).ravel()[np.argsort(-sums.sum(0).ravel())],
    )
    # Of a category: those in it in half of the examples or more, beside how many chance gives.
    found = neuron_list(of, "specific", by="contribution", top=99)
    count = member_of(run, "specific").sum(0)
    assert found.sizes["entry"] == found.attrs["found"] == (count >= E / 2).sum() > 0
    assert found.attrs["expected_by_chance"] == pytest.approx(
        members_by_chance(count, E, int(np.ceil(E / 2)))
    )
    # Sums are of all examples: they say nothing about some.
    some = Selection(tasks=("capitals",)).of(_Contributing(store, sums))
    with pytest.raises(InputError, match="holds contributions summed over all of its 48 examples"):
        neuron_list(some, by="contribution")
    assert "contribution" not in neuron_list(some, "specific", top=1)
    with pytest.raises(StoreError, match="neuron_contribution is damaged"):
        neuron_list(Selection().of(_Contributing(store, -sums)), by="contribution")

"""Repeating behaviour and inactive neurons against a count of each example, and against what chance gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastneurons.analysis import repeating as module
from fastneurons.analysis.checks import ContradictionError
from fastneurons.analysis.inactive import inactive, inactive_in_corpus
from fastneurons.analysis.repeating import (
    GroupSums,
    category_changes,
    chance_of_repeating,
    repeating,
    repeating_intervals,
    shares_repeating,
)
from fastneurons.analysis.selection import Selection
from fastneurons.analysis.words import category_planes, to_words
from fastneurons.errors import InputError, StoreError
from fastneurons.store import StoreWriter, open_store
from tests.analysis.test_words import slow_categories
from tests.store.runs import draw


def drawn_run():
    run = draw(60, seed=3, window=16, neurons=31, tasks=["capitals", "currencies"], position="any")
    run.activation[..., 2] = -1.0
    run.activation[:, :, 1, 3] = 1.0
    run.activation[::2, :, 1, 4] = 1.0
    run.activation[1::2, :, 1, 4] = -1.0
    return run


RUN = drawn_run()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("repeating") / "run.zarr"
    RUN.write(path)
    return open_store(str(path))


def drawn_categories(E, seed):
    """bool [E, N, I, 4]."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(4, 0.2), (2, 17))
    return rng.multinomial(1, np.broadcast_to(p, (E, 2, 17, 4))).astype(bool)


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(0, 2**32))
def test_shares_are_counts_of_examples(E, seed):
    categories = drawn_categories(E, seed)
    at_least = [0.5, 0.55, 0.9, 1.0]
    found = shares_repeating(categories.sum(0), E, at_least)
    for q, share in enumerate(at_least):
        often = categories.mean(0) >= share - 1e-9  # [N, I, 4]
        np.testing.assert_allclose(found[q], often.mean(1))
    np.testing.assert_allclose(found[-1], categories.all(0).mean(1))


@settings(max_examples=20)
@given(st.integers(2, 12), st.integers(0, 2**32))
def test_change_is_that_of_pairs_of_examples(E, seed):
    categories = drawn_categories(E, seed)
    code = categories.argmax(-1)  # [E, N, I]
    pairs = [(code[a] != code[b]) for a in range(E) for b in range(a)]
    np.testing.assert_allclose(category_changes(categories.sum(0), E), np.mean(pairs, 0), atol=1e-12)


def test_chance_is_what_drawing_gives():
    rng = np.random.default_rng(0)
    average = np.array([[0.1, 0.05, 0.15, 0.7]])
    drawn = rng.multinomial(10, np.broadcast_to(average[:, None], (1, 40_000, 4)))
    found = shares_repeating(drawn, 10, [0.5, 0.8, 1.0])
    np.testing.assert_allclose(chance_of_repeating(average, 10, [0.5, 0.8, 1.0]), found, atol=0.01)


def test_nothing_measured_and_contradictions():
    assert np.isnan(shares_repeating(np.zeros((1, 3, 4), int), 0)).all()
    assert np.isnan(category_changes(np.eye(4, dtype=int)[None], 1)).all()
    with pytest.raises(ContradictionError):
        shares_repeating(np.ones((1, 3, 4), int), 3)
    with pytest.raises(InputError, match="2 is not a share"):
        shares_repeating(np.ones((1, 3, 4), int), 4, [2])


@pytest.mark.parametrize(
    "selection",
    [Selection(), Selection(["capitals"], ["zh", "de"], 0.5), Selection(examples=[(5, 40)])],
    ids=["all", "languages", "ranges"],
)
@pytest.mark.parametrize("replicates", [0, 50])
def test_a_store(store, selection, replicates):
    chosen = selection.of(store)
    bits = RUN.bits[chosen.examples, chosen.threshold_index][:, list(chosen.language_index)]
    categories = slow_categories(bits, chosen.present)
    found = repeating(chosen, [0.6, 1.0], replicates, top=3)
    np.testing.assert_allclose(found.average, categories.mean((0, 2)))
    np.testing.assert_allclose(found.repeating.sel(at_least=1.0), categories.all(0).mean(1))
    often = categories.mean(0) >= 0.6 - 1e-9
    np.testing.assert_allclose(found.repeating.sel(at_least=0.6), often.mean(1))
    assert found.attrs["keepers_in_every_example"] == categories.all(0).sum()
    if replicates:
        assert (found.repeating_low <= found.repeating + 1e-9).all()
        assert (found.repeating_high >= found.repeating - 1e-9).all()
    else:
        assert found.repeating_low.isnull().all()


def test_lists_name_the_neurons(store):
    found = repeating(Selection().of(store), replicates=0, top=4)
    keepers = list(zip(found.keeper_layer.values, found.keeper_neuron.values, strict=True))
    assert {(0, 0), (0, 2), (1, 2), (1, 3)} | {(1, 0)} >= set(keepers)  # neuron 0 is at the threshold
    assert found.keeper_share.values.tolist() == [1, 1, 1, 1]
    # Neuron 1:4 is in all languages or none, by turns: but measured examples are not split evenly.
    layer, neuron = found.changer_layer.values, found.changer_neuron.values
    change = found.changer_change.values
    counts = RUN.arrays()["occupancy"].sum(0)[0]
    slow = category_changes(counts, int(RUN.measured.sum()))
    np.testing.assert_allclose(change, np.sort(slow.ravel())[::-1][:4])
    np.testing.assert_allclose(change, slow[layer, neuron])
    np.testing.assert_array_equal(found.changer_occupancy, counts[layer, neuron])
    assert found.attrs["changers_as_much"] == (slow >= change[-1]).sum()


def test_as_many_neurons_change_by_chance_as_do_where_all_is_chance():
    rng = np.random.default_rng(0)
    from fastneurons.analysis.repeating import _lists

    average = np.array([[0.4, 0.3, 0.2, 0.1]])
    counts = rng.multinomial(50, np.broadcast_to(average[:, None], (1, 5000, 4))).astype(np.int32)
    _, attributes = _lists(counts, counts.mean(1) / 50, 50, [0], 500, None)
    assert attributes["changers_as_much"] >= 500
    assert attributes["changers_by_chance"] == pytest.approx(attributes["changers_as_much"], rel=0.15)


def test_intervals_cover_the_truth():
    # Examples differ in difficulty: neurons keep their category together, so that intervals have some width.
    rng = np.random.default_rng(5)
    E, J, at_least = 40, 60, [0.7]

    def sample():
        p = np.clip(0.72 + rng.normal(0, 0.12, E), 0, 1)[:, None] + np.linspace(-0.2, 0.2, J)
        inside = rng.random((E, J)) < p
        return np.stack([inside, ~inside, np.zeros_like(inside), np.zeros_like(inside)], -1)

    many = [shares_repeating(sample().sum(0)[None], E, at_least)[0, 0, 0] for _ in range(2000)]
    truth, covered = np.mean(many), 0
    for seed in range(200):
        groups = sample()  # [G, J, 4], each example a group
        share = shares_repeating(groups.sum(0)[None], E, at_least)
        low, high = repeating_intervals([groups.swapaxes(1, 2)], share, at_least, 200, seed)
        covered += low[0, 0, 0] <= truth <= high[0, 0, 0]
    assert 180 <= covered <= 198, covered


@pytest.mark.parametrize("waiting", [1, 2**26])
def test_groups_are_random_examples_of_which_each_is_in_one(waiting, monkeypatch):
    monkeypatch.setattr(module, "_WAITING_BYTES", waiting)
    rng, E, N, I = np.random.default_rng(1), 130, 2, 70  # noqa: E741
    bits = rng.random((E, 3, N, I)) < 0.4
    groups = GroupSums(E, N, I, seed=4)
    planes = category_planes(to_words(np.packbits(bits, axis=-1, bitorder="little"), I))
    for rows in (slice(0, 50), slice(50, 51), slice(51, None)):
        groups.add(planes[rows])
    groups.finish()
    assert np.bincount(groups.labels).tolist() == [3] * 30 + [2] * 20
    assert (np.diff(groups.labels) != 1).any()  # in random order
    categories = slow_categories(bits, np.ones((E, 3), np.bool_))  # [E, N, I, 4]
    for layer in range(N):
        expected = np.stack([categories[groups.labels == g, layer].sum(0).T for g in range(50)])
        np.testing.assert_array_equal(groups[layer], expected)


def test_sorted_examples_have_the_intervals_of_shuffled_ones():
    # Half of the examples have all neurons in a category, the others none: neighbours are alike, or by turns.
    E, N, I = 400, 1, 64  # noqa: E741
    widths = []
    for inside in (np.arange(E) < E // 2, np.arange(E) % 2 == 0):
        bits = np.zeros((E, 2, N, I), np.bool_)
        bits[:, 0] = inside[:, None, None] & (
            np.linspace(0, 1, I) > np.random.default_rng(0).random((E, N, I))
        )
        planes = category_planes(to_words(np.packbits(bits, axis=-1, bitorder="little"), I))
        groups = GroupSums(E, N, I)
        groups.add(planes)
        groups.finish()
        counts = slow_categories(bits, np.ones((E, 2), np.bool_)).sum(0)
        shares = shares_repeating(counts, E, [0.7])
        low, high = repeating_intervals(groups, shares, [0.7], 200)
        widths.append((high - low)[0, 0, 0])
    assert min(widths) > 0 and max(widths) < 1.6 * min(widths), widths


def test_inactive_neurons_are_named(store):
    chosen = Selection().of(store)
    found = inactive(chosen, 50)
    silent = ~RUN.bits[RUN.measured, 0].any((0, 1))  # [N, I]
    np.testing.assert_array_equal(np.stack([found.layer_number, found.neuron], 1), np.argwhere(silent))
    np.testing.assert_allclose(found.inactive, silent.mean(1))
    average = (~RUN.bits[RUN.measured, 0].any(1)).mean((0, 2))
    np.testing.assert_allclose(found.inactive_chance, average ** len(chosen))
    assert found.attrs["activation_bound"] == pytest.approx(1 - 0.05 ** (1 / 48))


def test_inactive_needs_every_token(tmp_path):
    draw(5).write(tmp_path / "run.zarr")
    with pytest.raises(InputError, match="read at position last"):
        inactive(Selection().of(open_store(str(tmp_path / "run.zarr"))))


def test_inactive_in_a_corpus(tmp_path):
    run = draw(11, position="corpus", layers=[4, 7])
    run.activation[..., 5] = -50.0
    run.write(tmp_path / "run.zarr")
    store = open_store(str(tmp_path / "run.zarr"))
    found = inactive_in_corpus(store, ["de"], 0.5)
    silent = run.counts().sum(0)[1, 1] == 0
    np.testing.assert_allclose(found.inactive, silent.mean(1))
    assert 5 in found.neuron.values and found.layer.values.tolist() == [4, 7]
    assert found.attrs["tokens"] == run.token_count[:, 1].sum()


def test_without_bits_there_are_shares_and_no_intervals(tmp_path, store):
    RUN.write(tmp_path / "run.zarr", keep_bits=False)
    bare = repeating(Selection().of(open_store(str(tmp_path / "run.zarr"))))
    np.testing.assert_array_equal(bare.repeating, repeating(Selection().of(store), replicates=0).repeating)
    assert bare.repeating_low.isnull().all()


def test_sums_that_are_not_those_of_the_examples_are_damage(tmp_path):
    run = draw(8)
    window = run.window(0, 4)
    window.arrays["occupancy"][0, 0, 0, 1, 0] += 1
    with StoreWriter.create(str(tmp_path / "run.zarr"), run.header) as writer:
        writer.commit(window)
    with pytest.raises(StoreError, match="occupancy is damaged"):
        repeating(Selection().of(open_store(str(tmp_path / "run.zarr"))), replicates=0)

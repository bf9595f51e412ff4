"""Two runs compared, against numpy on whole arrays; and what tests say where nothing differs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fastneurons.analysis import bits as streaming
from fastneurons.analysis.compare import changed_neurons, compare, matched, paired_difference
from fastneurons.analysis.selection import Selection
from fastneurons.errors import InputError
from fastneurons.store import StoreWriter, open_store
from tests.analysis.test_words import slow_categories
from tests.store.runs import Run, draw, header

ONE = draw(60, seed=3, window=16, neurons=31)


def second_run() -> Run:
    """The same examples with noise; neuron 0:7 is off in every other, neuron 1:9 is not touched."""
    noise = np.random.default_rng(9).normal(scale=0.3, size=ONE.activation.shape)
    activation = ONE.activation + noise
    activation[::2, :, 0, 7] = -1.0
    activation[:, :, 1, 9] = ONE.activation[:, :, 1, 9]
    return Run(header(window=12, neurons=31, model="Qwen/Qwen3-8B-Base"), activation)


TWO = second_run()


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    found = []
    for name, run in (("a", ONE), ("b", TWO)):
        run.write(folder / f"{name}.zarr")
        found.append(open_store(str(folder / f"{name}.zarr")))
    return found


@pytest.mark.parametrize("languages", [[], ["zh", "de"]], ids=["all", "some languages"])
def test_differences_are_numpys(stores, languages, monkeypatch):
    monkeypatch.setattr(streaming, "_COUNT_EXAMPLES", 16)
    one, two = matched(*stores, Selection(languages=languages, threshold=0.5))
    found = compare(one, two, 200, top=60)
    chosen = list(one.language_index)
    bits = [run.bits[run.measured, 1][:, chosen] for run in (ONE, TWO)]
    categories = [slow_categories(each, one.present) for each in bits]  # [E, N, I, 4]
    shares = [each.mean(2) for each in categories]
    np.testing.assert_allclose(found["first"], shares[0].mean(0))
    np.testing.assert_allclose(found.difference, (shares[1] - shares[0]).mean(0), atol=1e-12)
    np.testing.assert_allclose(found.overall_difference, (shares[1] - shares[0]).mean((0, 1)), atol=1e-12)
    assert found.attrs["bits_different"] == (bits[0] != bits[1]).sum()
    assert found.attrs["bits"] == bits[0].size and not found.attrs["identical"]
    code = [each.argmax(-1) for each in categories]
    changed = (code[0] != code[1]).sum(0)  # [N, I]
    listed = (found.changed_layer.values, found.changed_neuron.values)
    np.testing.assert_array_equal(found.changed_examples, changed[listed])
    np.testing.assert_array_equal(found.changed_first, categories[0].sum(0)[listed])
    np.testing.assert_array_equal(found.changed_second, categories[1].sum(0)[listed])
    assert (int(found.changed_layer[0]), int(found.changed_neuron[0])) == (0, 7)
    assert (1, 9) not in set(zip(*(each.tolist() for each in listed), strict=True))
    gone, come = ((first & ~second).sum(0) for first, second in (categories, categories[::-1]))  # [N, I, 4]
    p = np.array(
        [
            min(
                1,
                4
                * min(
                    stats.binomtest(int(g), int(g + c)).pvalue if g + c else 1
                    for g, c in zip(*pair, strict=True)
                ),
            )
            for pair in zip(gone.reshape(-1, 4), come.reshape(-1, 4), strict=True)
        ]
    )
    np.testing.assert_allclose(found.changed_p, p.reshape(changed.shape)[listed])
    q = stats.false_discovery_control(p)
    np.testing.assert_allclose(found.changed_q, q.reshape(changed.shape)[listed])
    assert found.attrs["neurons_significant"] == (q <= 0.05).sum()
    assert languages or (q <= 0.05).any()
    assert found.attrs["neurons_by_chance"] == pytest.approx(0.05 * 62)


def test_intervals_are_those_of_resampling_pairs(stores):
    found = compare(*matched(*stores, Selection()), 4000)
    shares = [run.arrays()["category_count"][run.measured, 0] / 31 for run in (ONE, TWO)]
    difference = shares[1] - shares[0]
    rng = np.random.default_rng(0)
    drawn = difference[rng.integers(0, len(difference), (4000, len(difference)))].mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    np.testing.assert_array_less(abs(found.difference_low.values - low), 0.12 * (high - low))
    np.testing.assert_array_less(abs(found.difference_high.values - high), 0.12 * (high - low))


def test_a_run_does_not_differ_from_itself(stores):
    found = compare(*matched(stores[0], stores[0], Selection()), 100)
    assert found.attrs["identical"] and found.attrs["p_no_difference"] == 1
    assert not found.difference.any() and not found.difference_high.any()
    assert found.attrs["neurons_significant"] == found.sizes["changed"] == 0


def test_chance_differs_as_often_as_p_says():
    # 200 pairs of runs that draw from the same distribution: p is uniform, and intervals hold 0.
    rng, ps, covered = np.random.default_rng(3), [], 0
    for seed in range(200):
        first, second = rng.multinomial(50, [0.4, 0.3, 0.2, 0.1], (2, 40, 2))
        found = paired_difference(first, second, (50, 50), 200, seed)
        ps.append(found.p)
        covered += (found.difference.low <= 0) & (found.difference.high >= 0)
    assert stats.kstest(ps, "uniform").pvalue > 0.001
    assert (covered >= 180).all() and (covered <= 198).all(), covered


@settings(max_examples=30)
@given(st.integers(1, 30), st.integers(0, 2**32))
def test_the_test_of_a_neuron_is_the_sign_test(E, seed):
    rng = np.random.default_rng(seed)
    first, second = rng.multinomial(1, [0.4, 0.3, 0.2, 0.1], (2, E, 5)).astype(bool)
    p = changed_neurons(first.sum(0), second.sum(0), (first & second).sum(0), E)
    for k in range(5):
        gone, come = (first[:, k] & ~second[:, k]).sum(0), (~first[:, k] & second[:, k]).sum(0)
        slow = [
            stats.binomtest(int(g), int(g + c)).pvalue if g + c else 1.0
            for g, c in zip(gone, come, strict=True)
        ]
        assert p[k] == pytest.approx(min(1, 4 * min(slow)))


def test_examples_are_paired_by_id(stores, tmp_path):
    # The second store lacks the first window of the first one, and its run was interrupted.
    run = draw(60, seed=3, window=16, neurons=31)
    with StoreWriter.create(str(tmp_path / "b.zarr"), run.header) as writer:
        for first, window in zip((0, 16), list(run.windows())[1:3], strict=True):
            writer.commit(type(window)(first, window.arrays))
    one, two = matched(stores[0], open_store(str(tmp_path / "b.zarr")), Selection())
    np.testing.assert_array_equal(one.examples, two.examples + 16)
    assert compare(one, two, 0).attrs["identical"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"position": "any"}, "cannot be compared: tokens were read at last in one and any in the other"),
        ({"signal": "product"}, "the signal is gate in one and product in the other"),
        ({"layers": [0, 1, 2]}, "they have 2 and 3 layers"),
        ({"languages": ["en", "de", "th"]}, "choose from those that both have: --languages en,de"),
        ({"languages": ["en", "th", "sw"]}, "fewer than two in common"),
        ({"thresholds": [0.5]}, r"begin with different thresholds; pass --threshold 0.5"),
        ({"position": "corpus"}, "counts tokens"),
    ],
)
def test_stores_that_cannot_be_compared(stores, changed, message, tmp_path):
    draw(8, **({"neurons": 31} | changed)).write(tmp_path / "b.zarr")
    with pytest.raises(InputError, match=message) as error:
        matched(stores[0], open_store(str(tmp_path / "b.zarr")), Selection())
    assert "\n" not in str(error.value)


def test_other_widths_have_shares_and_no_neurons(stores, tmp_path):
    draw(60, seed=3, neurons=20).write(tmp_path / "b.zarr")
    found = compare(*matched(stores[0], open_store(str(tmp_path / "b.zarr")), Selection()), 10)
    assert "bits" not in found.attrs and "changed_p" not in found
    other = draw(60, seed=3, neurons=20).arrays()["category_count"][ONE.measured, 0] / 20
    np.testing.assert_allclose(found["second"], other.mean(0))

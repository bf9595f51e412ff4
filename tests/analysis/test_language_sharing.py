"""Which languages share neurons, of a store: against slow definitions; partial and damaged stores."""

import numpy as np
import pytest

from fastneurons.analysis.alignment import alignment
from fastneurons.analysis.language_sharing import language_sharing
from fastneurons.analysis.neuron_lists import neuron_list
from fastneurons.analysis.overlap import pairs
from fastneurons.analysis.selection import Selection
from fastneurons.errors import InputError, StoreError
from fastneurons.store import StoreWriter, open_store
from tests.analysis import slow
from tests.store.runs import Run, draw

LANGUAGES = ["en", "de", "zh", "th"]


@pytest.fixture(scope="module")
def run() -> Run:
    run = draw(40, seed=3, window=8, neurons=31, languages=LANGUAGES, tasks=["capitals", "currencies"])
    run.activation[:, 1] = run.activation[:, 0]
    return run


@pytest.fixture(scope="module")
def store(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("language_sharing") / "run.zarr"
    run.write(path)
    return open_store(str(path))


def check(found, bits: np.ndarray, languages: list[str]) -> None:
    """Compare a result with the slow definitions."""
    for at, (i, j) in enumerate(pairs(len(languages))):
        assert found["pair"].values[at] == f"{languages[i]}/{languages[j]}"
        np.testing.assert_allclose(found["jaccard"][at], slow.jaccard(bits, i, j))
        np.testing.assert_allclose(found["unpaired"][at], slow.unpaired_jaccard(bits, i, j))
        mean, _ = slow.chance_common(bits, i, j)
        sizes = bits[:, i].sum() + bits[:, j].sum()
        np.testing.assert_allclose(found["chance"][at], mean / (sizes - mean))
        for n in range(bits.shape[2]):
            expected = slow.jaccard(bits[:, :, n : n + 1], i, j)
            np.testing.assert_allclose(found["jaccard_by_layer"][at, n], expected)
    np.testing.assert_allclose(found["chance_permuted"], found["chance"], atol=0.02)
    shares = slow.set_shares(bits)
    for name, share in zip(found["set"].values, found["set_share"].values, strict=True):
        members = frozenset(languages.index(code) for code in name.split("+") if code)
        assert share == pytest.approx(shares[members])
    np.testing.assert_allclose(found["set_share"].sum(), 1)


@pytest.mark.parametrize(
    ("selection", "languages"),
    [
        (Selection(), LANGUAGES),
        (Selection(tasks=("currencies",), languages=("th", "en", "de"), threshold=0.5), ["th", "en", "de"]),
    ],
    ids=["all", "some"],
)
def test_a_stores_overlaps_and_sets_are_the_slow_ones(run, store, selection, languages):
    rows = run.measured & ((run.task == 1) | (not selection.tasks))
    t = run.header.thresholds.index(selection.threshold or 0.0)
    bits = run.bits[rows, t][:, [LANGUAGES.index(code) for code in languages]]
    found = language_sharing(selection.of(store), resamples=20)
    assert found.attrs["compared_examples"] == rows.sum()
    check(found, bits, languages)


def test_copies_stand_side_by_side(store):
    found = language_sharing(Selection().of(store), {"mine": np.array([1.0, 0, 0, 0, 0, 0])}, resamples=20)
    assert float(found["jaccard"].sel(pair="en/de")) == 1
    assert float(found["q"].sel(pair="en/de")) < 1e-12
    leaves = found["leaf"].values.tolist()
    assert abs(leaves.index("en") - leaves.index("de")) == 1
    assert float(found["rho"].sel(measure="mine")) > 0.6
    assert found["measure"].values.tolist() == ["mine", "same script", "same family"]


def test_results_do_not_depend_on_blocks_or_resamples(store, run, tmp_path):
    found = language_sharing(Selection().of(store), resamples=20)
    draw_again = draw(40, seed=3, window=5, neurons=31, languages=LANGUAGES, tasks=["capitals", "currencies"])
    draw_again.activation[:] = run.activation
    draw_again.write(tmp_path / "run.zarr")
    again = language_sharing(Selection().of(open_store(str(tmp_path / "run.zarr"))), resamples=20)
    for name in ("jaccard_low", "excess_by_layer_high", "set_share_low", "chance_permuted", "rho_p"):
        np.testing.assert_allclose(again[name], found[name], err_msg=name)
    without = language_sharing(Selection().of(store), resamples=0)
    assert np.isnan(without["jaccard_low"]).all()
    np.testing.assert_allclose(without["jaccard"], found["jaccard"])


def test_an_unfinished_store_says_what_is_there(run, tmp_path):
    path = str(tmp_path / "run.zarr")
    with StoreWriter.create(path, run.header) as writer:
        for window in list(run.windows())[:2]:
            writer.commit(window)
    found = language_sharing(Selection().of(open_store(path)), resamples=20)
    assert found.attrs["complete"] == 0
    check(found, run.bits[:16][run.measured[:16], 0], LANGUAGES)


def test_an_example_without_a_language_is_left_out(run, tmp_path):
    window = run.window(0, 8)
    window.arrays["present"][3, 1] = False
    window.arrays["activated"][3, :, 1] = 0
    with StoreWriter.create(str(tmp_path / "run.zarr"), run.header) as writer:
        writer.commit(window)
    store = open_store(str(tmp_path / "run.zarr"))
    rows = run.measured[:8] & (np.arange(8) != 3)
    found = language_sharing(Selection().of(store), resamples=20)
    assert found.attrs["compared_examples"] == rows.sum() and found.attrs["incomplete_examples"] == 1
    check(found, run.bits[:8][rows, 0], LANGUAGES)
    listed = neuron_list(Selection().of(store), "all-shared", top=5, resamples=20)
    assert listed.attrs["compared_examples"] == rows.sum()


@pytest.mark.parametrize("analysis", [language_sharing, alignment, lambda c: neuron_list(c, "specific")])
def test_damaged_bits_are_an_error(analysis, run, tmp_path):
    path = tmp_path / "run.zarr"
    run.write(path)
    chosen = Selection().of(open_store(str(path)))
    objects = sorted((path / "activated").rglob("c*"))
    damaged = next(each for each in reversed(objects) if each.is_file())
    content = bytearray(damaged.read_bytes())
    content[len(content) // 3] ^= 0xFF
    damaged.write_bytes(bytes(content))
    with pytest.raises(StoreError, match="array activated is damaged"):
        analysis(chosen)
    damaged.unlink()
    with pytest.raises(StoreError, match="array activated is damaged"):
        analysis(Selection().of(open_store(str(path))))


def test_stores_that_cannot_be_compared(run, tmp_path):
    run.write(tmp_path / "counts.zarr", keep_bits=False)
    with pytest.raises(InputError, match="--no-keep-bits"):
        language_sharing(Selection().of(open_store(str(tmp_path / "counts.zarr"))))
    draw(0).write(tmp_path / "empty.zarr")
    with pytest.raises(InputError, match="none of the chosen examples has all"):
        language_sharing(Selection().of(open_store(str(tmp_path / "empty.zarr"))))

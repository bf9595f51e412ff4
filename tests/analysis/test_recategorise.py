"""Subsets of languages against going through all of them; a store of a subset against a run in these languages."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastneurons.analysis.bits import category_count_blocks
from fastneurons.analysis.recategorise import by_number_of_languages, categories_of_subsets, write_subset
from fastneurons.analysis.selection import Selection
from fastneurons.errors import InputError
from fastneurons.store import StoreWriter, check_output, open_store, verify_store
from tests.analysis.test_words import slow_categories
from tests.store.runs import draw, raw_arrays

LANGUAGES = ["en", "de", "zh", "th", "sw"]
RUN = draw(40, seed=5, window=16, neurons=31, tasks=["capitals", "currencies"], languages=LANGUAGES, top_k=3)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("recategorise") / "run.zarr"
    RUN.write(path)
    return open_store(str(path))


def over_all_subsets(bits: np.ndarray, size: int) -> np.ndarray:
    """float64 [E, N, 4], mean number of neurons by category over all subsets of a size."""
    E, L = bits.shape[:2]
    each = [
        slow_categories(bits[:, list(subset)], np.ones((E, size), np.bool_)).sum(2)
        for subset in combinations(range(L), size)
    ]
    return np.mean(each, 0)


@settings(max_examples=30)
@given(st.integers(2, 6), st.integers(1, 3), st.integers(0, 2**32))
def test_the_mean_over_subsets_is_that_over_each_of_them(L, E, seed):
    rng = np.random.default_rng(seed)
    bits = rng.random((E, L, 2, 11)) < rng.random((E, 1, 2, 11))
    number = bits.sum(1)
    counts = np.stack([(number == k).sum(-1) for k in range(L + 1)], -1)
    found = categories_of_subsets(counts)
    for size in range(2, L + 1):
        np.testing.assert_allclose(found[size - 2], over_all_subsets(bits, size), atol=1e-9)


def test_the_number_of_languages_in_a_store(store):
    chosen = Selection(languages=["sw", "en", "zh", "de"], threshold=0.5).of(store)
    found = by_number_of_languages(chosen, 100)
    bits = RUN.bits[RUN.measured, 1][:, [4, 0, 2, 1]]
    assert found.sizes == {"size": 3, "layer": 2, "category": 4}
    for size in (2, 3, 4):
        expected = over_all_subsets(bits, size) / 31
        np.testing.assert_allclose(found.subset_share.sel(size=size), expected.mean(0))
        np.testing.assert_allclose(found.overall_subset_share.sel(size=size), expected.mean((0, 1)))
    assert (found.subset_share_low <= found.subset_share).all()


def test_examples_that_lack_a_language_do_not_count_for_the_number(tmp_path):
    run = draw(4, thresholds=[0.0])
    window = run.window(0, 4)
    window.arrays["present"][0, 1] = False
    window.arrays["activated"][0, :, 1] = 0
    with StoreWriter.create(str(tmp_path / "run.zarr"), run.header) as writer:
        writer.commit(window)
    found = by_number_of_languages(Selection().of(open_store(str(tmp_path / "run.zarr"))), 0)
    assert found.attrs["complete_examples"] == 2 and found.attrs["incomplete_examples"] == 1
    expected = over_all_subsets(run.bits[[2, 3], 0], 2).mean(0) / 13
    np.testing.assert_allclose(found.subset_share.sel(size=2), expected)


@pytest.mark.parametrize(
    ("selection", "window"),
    [(Selection(languages=["zh", "en"], threshold=0.5), 7), (Selection(["currencies"]), 16)],
)
def test_a_store_of_its_own_is_that_of_a_run_in_these_languages(selection, window, tmp_path):
    run = draw(
        40, seed=5, window=window, neurons=31, tasks=["capitals", "currencies"], languages=LANGUAGES, top_k=3
    )
    run.write(tmp_path / "run.zarr")
    chosen = selection.of(open_store(str(tmp_path / "run.zarr")))
    out = str(tmp_path / "subset.zarr")
    write_subset(chosen, out)
    subset = open_store(out)
    assert subset.is_complete and verify_store(subset).is_whole
    assert subset.header.languages == list(chosen.languages) and subset.header.tasks == list(chosen.tasks)
    assert subset.header.thresholds == [chosen.threshold] and not subset.header.has_attribution
    found, whole = raw_arrays(out), run.arrays()
    t, languages = chosen.threshold_index, list(chosen.language_index)
    bits = run.bits[chosen.examples, t][:, languages]
    categories = slow_categories(bits, chosen.present)
    np.testing.assert_array_equal(found["activated"][:, 0], np.packbits(bits, axis=-1, bitorder="little"))
    np.testing.assert_array_equal(found["category_count"][:, 0], categories.sum(2))
    np.testing.assert_array_equal(found["activated_count"][:, 0], bits.sum(-1))
    for name in ("token_count", "present", "last_token"):
        np.testing.assert_array_equal(found[name], whole[name][chosen.examples][:, languages])
    near = whole["near_threshold_count"][chosen.examples][:, [t]][:, :, languages]
    np.testing.assert_array_equal(found["near_threshold_count"], near)
    np.testing.assert_array_equal(found["example_id"], whole["example_id"][chosen.examples])
    tasks = np.searchsorted(chosen.task_index, chosen.task)
    np.testing.assert_array_equal(found["task"], tasks)
    for k in range(len(chosen.tasks)):
        np.testing.assert_array_equal(found["occupancy"][k, 0], categories[tasks == k].sum(0))
    kept = whole["digest"][chosen.examples] if chosen.has_all_languages else np.zeros(len(chosen), np.uint64)
    np.testing.assert_array_equal(found["digest"], kept)
    again = np.concatenate([counts for _, counts in category_count_blocks(Selection().of(subset))])
    np.testing.assert_array_equal(again, categories.sum(2))


def test_a_store_is_not_written_over_itself_or_anything_else(store, tmp_path):
    chosen = Selection(languages=["en", "de"]).of(store)
    with pytest.raises(InputError, match="is the store to read from"):
        write_subset(chosen, store.path, overwrite=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="pass another --out"):
        write_subset(chosen, str(tmp_path / "notes"), overwrite=True)
    with pytest.raises(InputError, match="no example that was chosen"):
        write_subset(Selection(examples=[(1, 2)]).of(store), str(tmp_path / "none.zarr"))


def test_a_store_of_a_subset_is_not_resumed(store, tmp_path):
    out = str(tmp_path / "subset.zarr")
    write_subset(Selection(languages=["en", "de"]).of(store), out)
    header = open_store(out).header
    for resume in (lambda: check_output(out, resume=True), lambda: StoreWriter.resume(out, header)):
        with pytest.raises(InputError) as refused:
            resume()
        assert "was written by recategorise" in str(refused.value) and store.path in str(refused.value)
        assert "\n" not in str(refused.value)
    check_output(out, overwrite=True)

"""Language neurons of a store: what the array functions find in its counts, their overlaps and their stability."""

from itertools import combinations

import numpy as np
import pytest

from fastneurons.analysis.average_precision import average_precision
from fastneurons.analysis.corpus_counts import CorpusCounts
from fastneurons.analysis.find_language_neurons import language_neurons, sets_of
from fastneurons.analysis.lape import Rates, lape
from fastneurons.errors import InputError, StoreError
from fastneurons.store import Store, Window, open_store
from tests.analysis.planted import LANGUAGES, OWN, RATES, planted, written
from tests.store.runs import draw


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return written(tmp_path_factory.mktemp("lape") / "run.zarr", planted(24))


def test_planted_neurons_are_found_exactly(store):
    found = language_neurons(store, rates=RATES, resamples=20)
    for code in LANGUAGES:
        for row in range(2):
            assert np.flatnonzero(found["member"].sel(set=code).values[row]).tolist() == list(OWN[code])
    assert found["count"].values.tolist() == [8, 8, 8]
    assert found["layer_count"].values.tolist() == [[4, 4]] * 3
    assert found.attrs["chosen"] == 24 and found.attrs["no_stability"] == ""
    # Neurons that are this far apart are the same in any half and in any sample of the corpus.
    for name in ("agreement", "again", "stable"):
        assert found[name].values.tolist() == [1, 1, 1], name
    assert found["count_low"].values.tolist() == found["count_high"].values.tolist() == [8, 8, 8]
    # Sets of 4 of 40 neurons have 0.4 in common by chance: 0.4 / 7.6.
    assert found["agreement_chance"].values == pytest.approx([0.4 / 7.6] * 3)
    assert found["common"].values.tolist() == [0, 0, 0]
    assert found["common_chance"].values == pytest.approx([0.8] * 3)


def test_it_is_what_the_array_function_finds(tmp_path):
    run = draw(40, seed=3, position="corpus", languages=LANGUAGES, window=3)
    run.write(tmp_path / "run.zarr")
    store = open_store(str(tmp_path / "run.zarr"))
    rates = Rates(0.4, 0.3, 0.6)
    for threshold, t in ((0.0, 0), (0.5, 1)):
        counts, tokens = run.counts().sum(0)[t], run.token_count.sum(0).astype(np.int64)
        expected = lape([counts[[2, 0]]], tokens[[2, 0]], rates)
        found = language_neurons(store, "lape", ["th", "en"], threshold, rates, resamples=2)
        assert np.array_equal(found["member"].values, expected.member)
        places = list(
            zip(
                *(found[name].values.tolist() for name in ("set_name", "layer_number", "neuron_number")),
                strict=True,
            )
        )
        assert places == [(["th", "en"][k], n, i) for k, n, i in np.argwhere(expected.member).tolist()]
        assert found["score"].values.tolist() == [
            expected.entropy[n, i] for _, n, i in np.argwhere(expected.member)
        ]
        sets = sets_of(store, found)
        assert [
            np.array_equal(sets[code].bits, own)
            for code, own in zip(["th", "en"], expected.member, strict=True)
        ]
        assert sets["th"].history[0].details["threshold"] == threshold


def test_overlaps_are_beside_their_chance(tmp_path):
    run = draw(40, seed=5, position="corpus", languages=LANGUAGES, window=3)
    run.write(tmp_path / "run.zarr")
    found = language_neurons(open_store(str(tmp_path / "run.zarr")), rates=Rates(0.8, 0.2, 0.2), resamples=0)
    member = found["member"].values
    rng = np.random.default_rng(0)
    for p, (i, j) in enumerate(combinations(range(3), 2)):
        assert found["pair"].values[p] == f"{LANGUAGES[i]}/{LANGUAGES[j]}"
        both, either = (member[i] & member[j]).sum(), (member[i] | member[j]).sum()
        assert found["common"].values[p] == both
        assert found["jaccard"].values[p] == pytest.approx(both / either)
        drawn = [
            sum((rng.permutation(member[i, n]) & member[j, n]).sum() for n in range(2)) for _ in range(2000)
        ]
        assert found["common_chance"].values[p] == pytest.approx(
            np.mean(drawn), abs=4 * np.std(drawn) / 2000**0.5
        )


def test_weighted_parts_are_sums_of_windows(tmp_path):
    windows = planted(26, seed=7)
    store = written(tmp_path / "run.zarr", windows)
    counts = CorpusCounts.of(store)
    folds, rng = counts.folds, np.random.default_rng(1)
    # Text w is in language w % 3 and in part w % 8.
    for weights in (folds.resampled(rng), *folds.halves(rng), folds.exchanged(rng)):
        expected, tokens = np.zeros((3, 2, 40), np.int64), np.zeros(3, np.int64)
        for w, window in enumerate(windows):
            for into in range(3):
                weight = weights[into, w % 8, w % 3]
                expected[into] += weight * window.arrays["activation_count"][0, w % 3]
                tokens[into] += weight * window.arrays["corpus_tokens"][w % 3]
        assert np.array_equal(np.concatenate(list(folds.sums(weights)), 1), expected)
        assert folds.tokens_of(weights).tolist() == tokens.tolist()
    one, other = folds.halves(rng)
    assert folds.tokens_of(one + other).tolist() == counts.tokens.tolist()
    assert folds.tokens_of(folds.exchanged(rng)).sum() == counts.tokens.sum()
    assert np.einsum("kgl->gl", folds.exchanged(rng)).max() == 1


def test_languages_that_do_not_differ_have_as_many_neurons_as_chance_gives(tmp_path):
    rng = np.random.default_rng(2)
    windows = planted(24, seed=2)
    for window in windows:
        tokens = window.arrays["corpus_tokens"]
        alike = rng.beta(2, 6, (2, 40))  # differs from text to text, and not from language to language
        window.arrays["activation_count"][:] = rng.binomial(tokens[None, :, None, None], alike[None, None])
    found = language_neurons(
        written(tmp_path / "run.zarr", windows), rates=Rates(0.25, 0.1, 0.5), resamples=200, seed=1
    )
    assert found.attrs["chosen"] == 20
    assert 10 < found.attrs["chosen_by_chance"] < 35
    assert (found["again"].values < 0.75).all()


def test_planted_neurons_are_not_there_by_chance(store):
    found = language_neurons(store, rates=RATES, resamples=100)
    assert found.attrs["chosen_by_chance"] < 6  # of 24: now and then, random parts are mostly of one language


def test_a_language_without_tokens_is_left_out_and_named(tmp_path):
    windows = planted(12)[::3] + planted(12)[1::3]
    windows = [Window(k, window.arrays) for k, window in enumerate(windows)]
    found = language_neurons(written(tmp_path / "run.zarr", windows), rates=RATES, resamples=5)
    assert found["set"].values.tolist() == ["en", "de"]
    assert found.attrs["without_tokens"] == ["th"]
    one = [Window(k, window.arrays) for k, window in enumerate(planted(6)[::3])]
    with pytest.raises(InputError, match="has tokens in 1 of the languages en, de, th: neurons are compared"):
        language_neurons(written(tmp_path / "one.zarr", one))


def test_stability_that_is_not_known_says_why(tmp_path, store):
    for no, why in (
        (language_neurons(store, rates=RATES, resamples=0), "none was asked for"),
        (
            language_neurons(written(tmp_path / "a.zarr", planted(9), keep_folds=False), rates=RATES),
            "no counts by parts",
        ),
        (
            language_neurons(written(tmp_path / "b.zarr", planted(3)), rates=RATES),
            "all texts in en are in one part",
        ),
    ):
        assert why in no.attrs["no_stability"]
        assert np.isnan(no["agreement"].values).all() and np.isnan(no["count_low"].values).all()
        assert no.attrs["replicates"] == 0 and np.isnan(no.attrs["chosen_by_chance"])


def test_the_same_seed_gives_the_same(store):
    one, same, other = (language_neurons(store, rates=Rates(0.5), resamples=10, seed=s) for s in (1, 1, 2))
    assert one.identical(same) and not one.identical(other)


def test_wrong_calls_and_damaged_counts(tmp_path, store):
    with pytest.raises(InputError, match="no method entropy; there are lape, k-of-l, average-precision"):
        language_neurons(store, "entropy")
    with pytest.raises(InputError, match="has no threshold 3"):
        language_neurons(store, threshold=3)
    draw(4).write(tmp_path / "run.zarr")
    with pytest.raises(InputError, match="is not of a corpus; measure with --position corpus"):
        language_neurons(open_store(str(tmp_path / "run.zarr")))
    windows = planted(9)
    windows[0].arrays["activation_count"][0, 0, 0, 0] = 10**6
    with pytest.raises(StoreError, match="array activation_count is damaged: more tokens activate a neuron"):
        language_neurons(written(tmp_path / "damaged.zarr", windows))


def test_the_best_detectors_come_from_histograms_of_a_store(tmp_path):
    run = draw(24, position="corpus", bins=16, counts_signs=True, neurons=20, layers=[0, 1, 4])
    run.write(tmp_path / "run.zarr")
    store = open_store(str(tmp_path / "run.zarr"))
    found = language_neurons(store, "average-precision", ["zh", "en"], rates=Rates(top_rate=0.1))
    histogram = run.arrays()["histogram"][[2, 0]]
    for k, code in enumerate(("zh", "en")):
        scores = np.stack([average_precision(histogram[:, n])[k] for n in range(3)])
        best = np.sort(np.argsort(-scores, axis=None, kind="stable")[:6])
        assert np.flatnonzero(found["member"].sel(set=code).values).tolist() == best.tolist()
        assert (
            found["score"].values[found["set_name"].values == code].tolist() == scores.ravel()[best].tolist()
        )
    assert "histograms are not kept by parts" in found.attrs["no_stability"]
    with pytest.raises(InputError, match="has no histograms of the signal; measure with --histogram"):
        language_neurons(written(tmp_path / "plain.zarr", planted(6)), "average-precision")

"""Quantiles, overlaps, moments and edits of drawn tokens, against numpy's own of the tokens themselves."""

import json

import numpy as np
import pytest

from fastneurons.analysis.checks import ContradictionError
from fastneurons.analysis.distributions import (
    LEVELS,
    distributions,
    mean_edit,
    neuron_moments,
    neuron_quantiles,
)
from fastneurons.analysis.histograms import (
    check_totals,
    moments,
    overlap,
    overlap_by_chance,
    quantiles,
    shares_of,
)
from fastneurons.arrays import SIGN_CASES
from fastneurons.cli import main
from fastneurons.errors import InputError, StoreError
from fastneurons.neuron_sets import NeuronSet, load_edit, save
from fastneurons.store import StoreWriter, open_store
from tests.store.runs import Run, draw

RUN = draw(24, position="corpus", bins=32, counts_signs=True, neurons=20, layers=[0, 1, 4])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("histograms") / "run.zarr"
    RUN.write(path)
    return open_store(str(path))


def tokens_of(run: Run, language: int) -> tuple[np.ndarray, np.ndarray]:
    """All tokens of a language: signal float64 and sign case, [T, N, I]."""
    L = len(run.header.languages)
    of = [k for k in range(len(run.activation)) if k % L == language and run.measured[k]]
    signal, case = (np.concatenate(parts) for parts in zip(*(run.signals(k) for k in of), strict=True))
    return signal.astype(np.float64), case


def binned(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Shares of the bins, [B], of tokens [T]."""
    return np.histogram(values, np.concatenate([[-np.inf], edges, [np.inf]]))[0] / len(values)


def test_quantiles_are_those_of_the_tokens_to_within_a_bin(store):
    for k, code in enumerate(RUN.header.languages):
        signal, _ = tokens_of(RUN, k)
        found = neuron_quantiles(store, code, (0.0, *LEVELS, 1.0))
        assert found.shape == (3, 20, len(LEVELS) + 2)
        for n, edges in enumerate(RUN.bin_edge):
            for q, level in enumerate((0.0, *LEVELS, 1.0)):
                exact = np.quantile(signal[:, n], level, axis=0, method="inverted_cdf")
                number = np.clip((exact[:, None] >= edges).sum(1), 1, len(edges) - 1)
                low, high = edges[number - 1], edges[number]
                # In a closed bin, both lie in it; in an open one the edge is given.
                closed = (exact >= edges[0]) & (exact < edges[-1])
                inside = (low - 1e-6 <= found[n, :, q]) & (found[n, :, q] <= high + 1e-6)
                assert inside[closed].all()
                assert (found[n, exact < edges[0], q] == edges[0]).all()
                assert (found[n, exact >= edges[-1], q] == edges[-1]).all()


def test_quantiles_by_hand():
    edges = np.array([0.0, 1.0, 3.0], np.float32)
    counts = np.array([[0, 4, 4, 0], [2, 0, 0, 2], [0, 0, 0, 0], [0, 0, 5, 0]])
    found = quantiles(counts, edges, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found[0], [0, 0.5, 1, 2, 3])
    np.testing.assert_allclose(found[1], [0, 0, 0, 3, 3])  # open bins: their edges
    assert np.isnan(found[2]).all()
    np.testing.assert_allclose(found[3], [1, 1.5, 2, 2.5, 3])
    with pytest.raises(InputError, match=r"levels 0.5, 1.5: must be from 0 to 1"):
        quantiles(counts, edges, [0.5, 1.5])


def test_moments_are_those_of_the_tokens(store):
    for k, code in enumerate(RUN.header.languages):
        signal, _ = tokens_of(RUN, k)
        mean, deviation = neuron_moments(store, code)
        np.testing.assert_allclose(mean, signal.mean(0), rtol=1e-13)
        np.testing.assert_allclose(deviation, signal.std(0), rtol=1e-12)
    mean, deviation = moments(np.zeros((2, 3)), np.zeros((2, 3)), np.array([0, 5]))
    assert np.isnan(mean[0]).all() and np.isnan(deviation[0]).all() and (mean[1] == 0).all()
    # A constant's variance is not below 0, whatever rounding does.
    assert moments(np.array([0.1 * 3]), np.array([0.1 * 0.1 * 3 - 1e-18]), np.array([3]))[1] == 0


def test_overlap_is_what_two_histograms_have_in_common():
    p, q = np.array([0.5, 0.5, 0, 0]), np.array([0.25, 0.25, 0.5, 0])
    assert overlap(p, q) == overlap(q, p) == 0.5
    assert overlap(p, p) == 1 and overlap(p, p[::-1]) == 0
    # By chance: two samples of one distribution, over and over.
    rng = np.random.default_rng(0)
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    pairs = [rng.multinomial(n, shares, 4000) / n for n in (300, 700)]
    expected = overlap(*pairs).mean()
    assert overlap_by_chance(shares, shares, 300, 700) == pytest.approx(expected, abs=0.001)


def test_the_dataset_is_made_of_all_tokens(store):
    found = distributions(store, top=5)
    L, N = len(RUN.header.languages), 3
    signals = [tokens_of(RUN, k)[0] for k in range(L)]
    shares = np.array(
        [
            [[binned(signals[k][:, n, i], RUN.bin_edge[n]) for i in range(20)] for n in range(N)]
            for k in range(L)
        ]
    )  # [L, N, I, B]
    assert found["tokens"].values.tolist() == [len(each) for each in signals]
    lowest = []
    for k, code in enumerate(RUN.header.languages):
        of = found.sel(language=code)
        for n, layer in enumerate(RUN.header.layers):
            at = of.sel(layer=layer)
            values = signals[k][:, n]
            assert float(at["mean"]) == pytest.approx(values.mean())
            assert float(at["deviation"]) == pytest.approx(values.std())
            pooled = np.bincount((values.ravel()[:, None] >= RUN.bin_edge[n]).sum(1), minlength=32)
            np.testing.assert_allclose(at["quantile"], quantiles(pooled, RUN.bin_edge[n], LEVELS))
            others = np.mean([shares[j, n] for j in range(L) if j != k], axis=0)
            own = np.minimum(shares[k, n], others).sum(-1)
            lowest += [(own[i], k, layer, i) for i in range(20)]
            assert float(at["others_overlap"]) == pytest.approx(own.mean(), abs=1e-6)
            assert float(at["others_overlap"]) < float(at["others_overlap_chance"]) < 1
            for j, other in enumerate(RUN.header.languages):
                expected = np.minimum(shares[k, n], shares[j, n]).sum(-1).mean()
                assert float(at["overlap"].sel(other=other)) == pytest.approx(expected, abs=1e-6)
            case = tokens_of(RUN, k)[1][:, n]
            assert at["sign_share"].values.tolist() == pytest.approx(
                [(case == c).mean() for c in range(4)], abs=1e-6
            )
    assert found["case"].values.tolist() == list(SIGN_CASES)
    for k, code in enumerate(RUN.header.languages):
        expected = sorted(each for each in lowest if each[1] == k)[:5]
        at = found.sel(language=code)
        assert at["top_overlap"].values == pytest.approx([each[0] for each in expected], abs=1e-6)
        for r in range(5):
            layer, i = int(at["top_layer"][r]), int(at["top_neuron"][r])
            n = RUN.header.layers.index(layer)
            means = [signals[j][:, n, i].mean() for j in range(L)]
            assert float(at["top_mean"][r]) == pytest.approx(means[k])
            assert float(at["top_others_mean"][r]) == pytest.approx(np.mean(means[:k] + means[k + 1 :]))


def test_some_languages_alone_and_one(store):
    found = distributions(store, ["zh", "en"])
    assert found["language"].values.tolist() == ["zh", "en"]
    # With two languages, the others are the other one.
    np.testing.assert_allclose(
        found["others_overlap"][0], found["overlap"].sel(language="zh", other="en"), atol=1e-6
    )
    one = distributions(store, ["de"])
    assert np.isnan(one["others_overlap"]).all() and one.sizes["rank"] == 0
    with pytest.raises(InputError, match="no language fr"):
        distributions(store, ["fr"])


def test_neurons_that_one_language_moves_are_found(tmp_path):
    """Drawn so that some neurons are higher in one language and all others are alike in all."""
    run = draw(30, position="corpus", bins=32, neurons=20)
    run.activation[:] = 0
    planted = {0: (0, 3), 1: (1, 7), 2: (1, 19)}  # language: layer, neuron
    for language, (layer, neuron) in planted.items():
        # `signals` takes the mean over languages.
        run.activation[language::3, :, layer, neuron] = 1.5
    run.write(tmp_path / "run.zarr")
    found = distributions(open_store(str(tmp_path / "run.zarr")), top=1)
    for language, (layer, neuron) in planted.items():
        at = found.isel(language=language, rank=0)
        assert (int(at["top_layer"]), int(at["top_neuron"])) == (layer, neuron)
        assert float(at["top_mean"]) > float(at["top_others_mean"]) + 1
    assert "sign_share" not in found  # a model without a gate


@pytest.mark.parametrize("signal", ["gate", "product"])
def test_an_edit_sets_neurons_to_their_means(signal, store, tmp_path):
    run = draw(24, position="corpus", bins=32, neurons=20, layers=[0, 1, 4], signal=signal)
    run.write(tmp_path / "run.zarr")
    opened = open_store(str(tmp_path / "run.zarr"))
    among = model_neurons_of(opened)
    chosen = NeuronSet.from_pairs(among, [(0, 3), (4, 19)])
    for language in ("de", None):
        edit = mean_edit(opened, chosen, language)
        codes = [language] if language else run.header.languages
        means = np.mean([tokens_of(run, run.header.languages.index(c))[0].mean(0) for c in codes], axis=0)
        np.testing.assert_allclose(edit.value, means, rtol=1e-6)
        assert (edit.site, edit.scale, edit.scope) == (signal, 0.0, "both")
        assert edit.neurons == chosen
        save(edit, tmp_path / "edit.safetensors")
        assert load_edit(tmp_path / "edit.safetensors") == edit
    with pytest.raises(InputError, match="are of different models: layers of 20 and of 13 neurons"):
        mean_edit(draw_and_open(tmp_path, layers=[0, 1, 4]), chosen)


def model_neurons_of(store):
    from fastneurons.analysis.store_sets import model_neurons

    return model_neurons(store)


def draw_and_open(tmp_path, **changed):
    run = draw(6, position="corpus", bins=16, **changed)
    run.write(tmp_path / "other.zarr")
    return open_store(str(tmp_path / "other.zarr"))


def test_stores_that_cannot_be_asked_say_why(tmp_path):
    plain = draw(6, position="corpus")
    plain.write(tmp_path / "plain.zarr")
    opened = open_store(str(tmp_path / "plain.zarr"))
    for ask in (lambda: distributions(opened), lambda: neuron_moments(opened, "en")):
        with pytest.raises(
            InputError, match="has no histograms; measure with --position corpus --histogram 64"
        ):
            ask()
    draw(6).write(tmp_path / "last.zarr")
    with pytest.raises(InputError, match="has no histograms"):
        distributions(open_store(str(tmp_path / "last.zarr")))


def test_counts_that_contradict_the_tokens_are_not_believed(tmp_path):
    run = draw(8, position="corpus", bins=16, counts_signs=True)
    path = str(tmp_path / "run.zarr")
    with StoreWriter.create(path, run.header, constants=run.constants()) as writer:
        for window in run.windows():
            window.arrays["histogram"][0, 1, 2, 3] += 1
            writer.commit(window)
        writer.finish()
    with pytest.raises(StoreError, match="array histogram is damaged: counts of a neuron in en add up to"):
        distributions(open_store(path))
    with pytest.raises(ContradictionError, match="add up to 3, and 4 tokens were read"):
        check_totals(np.array([[1, 2], [2, 2]]), 4, "histogram", "en")
    assert np.isnan(shares_of(np.zeros((2, 3), np.int64))).all()


def test_the_command(store, tmp_path, capsys):
    def call(*words):
        with pytest.raises(SystemExit) as end:
            main(["distributions", store.path, *map(str, words)])
        captured = capsys.readouterr()
        assert end.value.code == 0, captured.err
        return captured

    printed = call("--top", 2).out
    assert "overlap of distributions, per cent" in printed and "gate>0" in printed
    assert max(map(len, printed.splitlines())) <= 100
    numbers = json.loads(call("--json").out)
    found = distributions(store)
    np.testing.assert_array_equal(numbers["data_vars"]["overlap"]["data"], found["overlap"])
    written = call("--csv", tmp_path / "top.csv", "--languages", "en,de", "--save-edit", tmp_path / "e.safetensors",
                   "--mean-of", "de")  # fmt: skip
    assert "sets 60 neurons to their means" in written.err
    edit = load_edit(tmp_path / "e.safetensors")
    assert edit == mean_edit(store, NeuronSet.from_layers(model_neurons_of(store)), "de")
    lines = (tmp_path / "top.csv").read_text().splitlines()
    assert lines[0].startswith("language,rank,top_layer") and len(lines) == 21

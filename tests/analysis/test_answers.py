"""Accuracy and log-probability of answers, and perplexities, against numbers taken by hand."""

import io

import numpy as np
import pytest

from fastneurons.analysis.answers import answer_scores
from fastneurons.analysis.perplexity import perplexity
from fastneurons.arrays import Answer
from fastneurons.errors import InputError
from fastneurons.report import findings_numbers, plot, print_findings
from fastneurons.report.findings import compute_findings
from fastneurons.report.perplexity import compute_perplexities
from fastneurons.report.sentences import sentences
from fastneurons.store import StoreWriter, open_store
from tests.store.edited import draw_edited
from tests.store.runs import draw


def test_perplexities_are_of_all_tokens_of_a_language(tmp_path):
    run = draw_edited("perplexity", 23)
    path = str(tmp_path / "p.zarr")
    run.write(path)
    found = perplexity(open_store(path), replicates=200)
    arrays, measured = run.arrays(), run.measured
    count = arrays["judged_count"][measured].astype(float)
    total = np.nansum(arrays["log_probability"][measured].astype(float), axis=0)
    expected = np.exp(-total / count.sum(0)[:, None])
    np.testing.assert_allclose(found["perplexity"].values, expected, rtol=1e-6)
    np.testing.assert_allclose(found["change"].values, np.log(expected / expected[:, :1]), atol=1e-6)
    assert (found["change"].sel(condition="intact").values == 0).all()
    assert found["tokens"].values.tolist() == count.sum(0).tolist()
    assert (found["perplexity_low"].values <= expected).all()
    assert (found["perplexity_high"].values >= expected).all()


def test_perplexities_are_shown(tmp_path):
    run = draw_edited("perplexity", 9)
    path = str(tmp_path / "p.zarr")
    run.write(path)
    store = open_store(path)
    found = compute_perplexities(store)
    shown = io.StringIO()
    print_findings(found, shown)
    numbers = findings_numbers(found)
    assert numbers["conditions"] == store.header.conditions
    for code in store.header.languages:
        value = numbers["by_language"][code]["perplexity"]["off.safetensors"]["mean"]
        assert f"{value:.2f}" in shown.getvalue()
    plot(store, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 5000


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A measuring store with answers that are drawn, and these answers."""
    path = str(tmp_path_factory.mktemp("scored") / "s.zarr")
    run = draw(12, measures={"capitals": "choice"})
    rng, present = np.random.default_rng(3), run.present
    drawn = {
        "log_probability": np.where(present, -5 * rng.random(present.shape), np.nan).astype(np.float32),
        "judged_count": np.where(present, rng.integers(1, 5, present.shape), 0).astype(np.int32),
        "correct": np.where(present, rng.integers(0, 3, present.shape), Answer.NOT_JUDGED).astype(np.uint8),
    }
    with StoreWriter.create(path, run.header) as writer:
        for window in run.windows():
            rows = slice(window.first, window.first + len(window.arrays["outcome"]))
            window.arrays.update({name: array[rows] for name, array in drawn.items()})
            writer.commit(window)
        writer.finish()
    return open_store(path), drawn, run.measured


def test_answers_are_averaged_over_those_that_were_judged(scored):
    store, drawn, measured = scored
    found = answer_scores(store, replicates=100)
    correct, logs = drawn["correct"][measured], drawn["log_probability"][measured].astype(float)
    for j in range(len(store.header.languages)):
        judged = correct[:, j][correct[:, j] != Answer.NOT_JUDGED]
        assert found.judged[j] == len(judged)
        np.testing.assert_allclose(found.accuracy.mean[j], np.mean(judged == Answer.RIGHT))
        np.testing.assert_allclose(found.log_probability.mean[j], np.nanmean(logs[:, j]))
        per_token = logs[:, j] / np.maximum(drawn["judged_count"][measured][:, j], 1)
        np.testing.assert_allclose(found.per_token.mean[j], np.nanmean(per_token))
    np.testing.assert_allclose(found.overall_accuracy.mean, np.mean(found.accuracy.mean))


def test_answers_are_shown(scored):
    store = scored[0]
    found = compute_findings(store)
    assert found.answers is not None
    shown = io.StringIO()
    print_findings(found, shown)
    numbers = findings_numbers(found)["answers"]
    assert numbers["measures"] == {"capitals": "choice"}
    for j, code in enumerate(store.header.languages):
        mean = numbers["by_language"][code]["log_probability"]["mean"]
        assert mean == found.answers.log_probability.mean[j]
        assert f"{mean:.2f} ±" in shown.getvalue()
    texts = " ".join(each.text for each in sentences(found))
    assert "of questions right" in texts
    assert "log-probability of the reference answer is highest" in texts


def test_stores_of_other_kinds_have_no_perplexities(tmp_path):
    path = str(tmp_path / "r.zarr")
    draw(5).write(path)
    with pytest.raises(InputError, match="perplexity"):
        perplexity(open_store(path))
    with pytest.raises(InputError, match="run --score"):
        answer_scores(open_store(path))

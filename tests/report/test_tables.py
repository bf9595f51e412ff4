"""The summary: what it says, that it fits, and that JSON holds the same."""

import io
import json

import numpy as np
import pytest

from fastneurons.analysis import Estimate
from fastneurons.errors import InputError
from fastneurons.report import print_summary, skip_reasons, summary, summary_json
from fastneurons.report.cells import score_cells
from fastneurons.store import ATTRIBUTION, CATEGORIES, SkippedExample, StoreWriter, open_store
from tests.store.runs import draw

RUN = draw(23)
ATTRIBUTED = draw(23, top_k=3)
CORPUS = draw(24, position="corpus")
CODES = [
    "en",
    "de",
    "fr",
    "es",
    "it",
    "pt",
    "nl",
    "ru",
    "uk",
    "pl",
    "cs",
    "zh",
    "ja",
    "ko",
    "ar",
    "he",
    "fa",
    "hi",
    "bn",
    "ta",
    "te",
    "th",
    "vi",
    "id",
    "ms",
    "tr",
    "sw",
    "yo",
    "fi",
    "hu",
    "el",
    "ka",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "run.zarr"
    RUN.write(path)
    return open_store(str(path))


def printed(store, threshold=None) -> str:
    stream = io.StringIO()
    print_summary(store, stream, threshold)
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text  # no colours where there is no terminal
    return text


def row(text: str, name: str) -> list[str]:
    return next(line.split()[1:] for line in text.splitlines() if line.split()[:1] == [name])


def test_layers_categories_and_languages_are_in_the_table(store):
    text = printed(store)
    good = RUN.measured
    arrays = RUN.arrays()
    category = 100 * arrays["category_count"][good, 0].mean(0) / 13
    activated = 100 * arrays["activated_count"][good, 0].mean(0) / 13
    for layer in (0, 1):
        expected = [*category[layer], *activated[:, layer]]
        assert row(text, str(layer)) == [f"{value:.1f}" for value in expected]
    assert row(text, "all") == [f"{value:.1f}" for value in [*category.mean(0), *activated.mean(1)]]
    assert "±" in text
    assert "23 examples" not in text
    assert f"{good.sum()} examples measured in 3 languages, {(~good).sum()} skipped" in text
    assert "within 0.001 of the threshold" in text
    assert "Not complete" not in text


def test_skipped_rows_are_grouped_and_the_first_named(store):
    text = printed(store)
    assert "skipped: 5 examples" in text
    assert "5  501 tokens (and similar)" in text
    assert "facts.jsonl:2  é1" in text
    assert "facts.jsonl:12  é11" in text
    assert "facts.jsonl:17" not in text
    assert "and 2 more, in skipped.jsonl" in text


def test_reasons_differ_by_more_than_numbers_and_quotes():
    reasons = ["5 tokens", "no 'de'", "7 tokens", "no 'fr'", "not JSON", "9 tokens"]
    groups = skip_reasons(
        [SkippedExample(k, None, f"f:{k}", reason) for k, reason in enumerate(reasons)], named=2
    )
    assert [(g.reason, g.count, g.varies) for g in groups] == [
        ("5 tokens", 3, True), ("no 'de'", 2, True), ("not JSON", 1, False),
    ]  # fmt: skip
    assert [row.index for row in groups[0].first] == [0, 2]


def test_another_threshold(store):
    assert "above 0.5 at the last token (also in the store: 0)" in printed(store, 0.5)
    assert row(printed(store, 0.5), "all") != row(printed(store), "all")
    with pytest.raises(InputError, match="no threshold 7"):
        print_summary(store, io.StringIO(), 7.0)


def test_many_languages_and_layers_stay_readable(tmp_path):
    run = draw(
        6, languages=CODES, layers=list(range(80)), thresholds=[0.0], model="a-very-long-name/of-a-model-13B"
    )
    run.write(tmp_path / "run.zarr")
    store = open_store(str(tmp_path / "run.zarr"))
    text = printed(store)
    mean = 100 * run.arrays()["activated_count"][run.measured, 0].mean((0, 2)) / 13
    for code, value in zip(CODES, mean, strict=True):
        assert f"{code} {value:5.1f} ±" in text
    cells = row(text, "79")
    assert len(cells) == 4 + 1 + 2 * 2  # categories, the mean, and the extremes with their languages
    assert cells[6] in CODES
    assert cells[8] in CODES


def test_an_incomplete_store_says_so(tmp_path):
    path = str(tmp_path / "run.zarr")
    with StoreWriter.create(path, RUN.header) as writer:
        assert "Not complete" in printed(open_store(path))
        writer.commit(RUN.window(0, 4))
        assert writer.committed == 4
        store = open_store(path)
    assert "Not complete" in printed(store)
    assert "cover the 4 examples committed so far" in printed(store)
    assert summary(store)["complete"] is False


def opened(run, tmp_path):
    run.write(tmp_path / "run.zarr")
    return open_store(str(tmp_path / "run.zarr"))


def test_attribution_has_a_row_for_each_category(tmp_path):
    store = opened(ATTRIBUTED, tmp_path)
    text = printed(store)
    assert "of all neurons, and of the 3 neurons of each layer" in " ".join(text.split())
    arrays = ATTRIBUTED.attribution()
    with np.errstate(invalid="ignore"):
        share, score, effective = (
            np.nanmean(arrays[name].astype(np.float64), (0, 1, 2))
            for name in ("contribution_share", "contribution_mean", "effective_mean")
        )
    category = ATTRIBUTED.arrays()["category_count"][ATTRIBUTED.measured, 0].mean((0, 1)) / 13
    for c, name in enumerate(CATEGORIES):
        cells = row(text, name)
        assert cells[0] == f"{100 * category[c]:.1f}"
        assert cells[2] == f"{100 * share[c]:.1f}"
        assert cells[4] == f"{score[c]:.3f}"
        assert float(cells[6]) == pytest.approx(effective[c], rel=0.01)
        assert [cell[0] for cell in cells[1::2]] == ["±"] * 4
    # The categories are those of the first threshold, whatever the other tables are of.
    assert row(printed(store, 0.5), "specific") == row(text, "specific")
    assert "importance" not in printed(opened(RUN, tmp_path / "other"))


def test_attribution_in_json(tmp_path):
    store = opened(ATTRIBUTED, tmp_path)
    found = json.loads(summary_json(store))
    assert found == summary(store)
    attributed, arrays = found["attribution"], ATTRIBUTED.attribution()
    assert (attributed["top_k"], attributed["threshold"]) == (3, 0.0)
    means = {}
    for name in ATTRIBUTION:
        values = arrays[name].astype(np.float64)
        means[name] = np.nanmean(values, (0, 1, 2)), np.nanmean(values, (0, 2)), np.nanmean(values, (0, 1))
    for c, category in enumerate(CATEGORIES):
        assert attributed["categories"][category].keys() == set(ATTRIBUTION)
        for name, (overall, by_language, by_layer) in means.items():
            estimate = attributed["categories"][category][name]
            assert estimate["mean"] == pytest.approx(overall[c])
            assert estimate["low"] <= estimate["mean"] <= estimate["high"]
            german = attributed["languages"]["de"][category][name]
            assert german["mean"] == pytest.approx(by_language[1, c])
            assert attributed["layers"][1]["categories"][category][name]["mean"] == pytest.approx(
                by_layer[1, c]
            )
    assert "attribution" not in summary(opened(RUN, tmp_path / "other"))


def test_a_corpus_has_tokens_and_probabilities(tmp_path):
    store = opened(CORPUS, tmp_path)
    text = printed(store)
    assert f"{CORPUS.measured.sum()} texts measured in 3 languages, 5 skipped" in text
    assert "above 0 at each token (also in the store: 0.5)" in text
    assert "shared" not in text
    tokens, texts = CORPUS.token_count.sum(0), CORPUS.present.sum(0)
    probability = CORPUS.counts().sum(0)[0].mean(-1) / tokens[:, None]  # [L, N]
    for k, language in enumerate(("en", "de", "zh")):
        assert row(text, language) == [str(texts[k]), str(tokens[k]), f"{100 * probability[k].mean():.1f}"]
    for layer in (0, 1):
        assert row(text, str(layer)) == [f"{100 * value:.1f}" for value in probability[:, layer]]
    found = json.loads(summary_json(store))
    assert found == summary(store)
    assert found["tokens"] == dict(zip(("en", "de", "zh"), tokens.tolist(), strict=True))
    assert found["texts"] == dict(zip(("en", "de", "zh"), texts.tolist(), strict=True))
    assert (found["examples"], found["measured"], found["skipped"]) == (24, 19, 5)
    assert found["layers"][1]["activation_probability"]["de"] == pytest.approx(probability[1, 1])
    assert "categories" not in found


def test_a_corpus_of_one_language_and_one_that_has_only_begun(tmp_path):
    text = printed(opened(draw(4, position="corpus", languages=["en"]), tmp_path))
    assert "3 texts measured in 1 language, 1 skipped" in text
    path = str(tmp_path / "begun.zarr")
    with StoreWriter.create(path, CORPUS.header) as writer:
        assert "0 texts measured" in printed(open_store(path))
        writer.commit(CORPUS.window(0, 1))
        assert writer.committed == 1
        store = open_store(path)
    assert "results cover the 1 text committed so far" in printed(store)
    assert row(printed(store), "de") == ["0", "0", "-"]
    assert summary(store)["activation_probability"]["de"] is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "activated: above 0 at the last token"),
        ({"position": "any"}, "activated: above 0 at any token of the prompt"),
        (
            {"position": "answer", "signal": "product"},
            "activated: coefficient above 0 at any token of the answer",
        ),
    ],
    ids=["last", "any", "answer"],
)
def test_what_was_read_is_told_in_words(changed, said, tmp_path):
    assert said in printed(opened(draw(2, **changed), tmp_path))


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([0.0200, 0.0999, 0.1995, 0.6021], ["0.0200", "0.0999", "0.1995", "0.6021"]),
        ([12.34, 1234.5, np.nan, 700], ["12.3", "1234.5", "-", "700.0"]),
        ([1e-7, 123.456, -2, 0], ["0.00", "123.46", "-2.00", "0.00"]),
        ([3e-9, -4.567e-9, 0, 0], ["3.00e-09", "-4.57e-09", "0.00e+00", "0.00e+00"]),
        ([np.nan] * 4, ["-"] * 4),
    ],
)  # fmt: skip
def test_scores_have_the_digits_that_tell_them_apart(means, expected):
    values = np.array(means)
    nothing = np.full(4, np.nan)
    assert score_cells(Estimate(values, nothing, nothing)) == expected


def test_warnings_of_the_engine_stay_with_the_results(tmp_path):
    store = opened(draw(2, warnings=["long \x1b[31mfactors are used"]), tmp_path)
    assert r"warning: long \x1b[31mfactors are used" in printed(store)
    assert summary(store)["warnings"] == store.header.warnings


def test_markup_in_names_is_text(tmp_path):
    run = draw(2, model="[bold]model[/]", task="[red]", tasks=["[red]"])
    run.write(tmp_path / "run.zarr")
    text = printed(open_store(str(tmp_path / "run.zarr")))
    assert "[bold]model[/]" in text
    assert "[red]:" in text


def test_tasks_have_a_table_of_their_own(tmp_path):
    run = draw(14, tasks=["capitals", "currencies"])
    run.write(tmp_path / "run.zarr")
    store = open_store(str(tmp_path / "run.zarr"))
    text = printed(store)
    assert row(text, "capitals")[0] == "7"
    assert row(text, "currencies")[0] == "4"
    found = summary(store)["tasks"]
    assert found["capitals"]["measured"] + found["currencies"]["measured"] == run.measured.sum()


def test_json_holds_the_same_numbers(store):
    found = json.loads(summary_json(store))
    assert found == summary(store)
    assert (found["examples"], found["measured"], found["skipped"]) == (23, 18, 5)
    assert found["model"] == "Qwen/Qwen3-8B"
    assert found["skip_reasons"][0]["count"] == 5
    assert found["skip_reasons"][0]["first"][0] == {
        "index": 1, "id": "é1", "where": "facts.jsonl:2", "reason": "501 tokens",
    }  # fmt: skip
    category = RUN.arrays()["category_count"][RUN.measured, 0].mean(0) / 13
    for layer in found["layers"]:
        assert [layer["categories"][name]["mean"] for name in found["categories"]] == pytest.approx(
            list(category[layer["layer"]])
        )
        assert layer["activated"].keys() == {"en", "de", "zh"}
    for share in found["categories"].values():
        assert share["low"] <= share["mean"] <= share["high"]
    assert sum(share["mean"] for share in found["categories"].values()) == pytest.approx(1)


def test_json_without_examples_has_nulls(tmp_path):
    draw(0).write(tmp_path / "run.zarr")
    text = summary_json(open_store(str(tmp_path / "run.zarr")))
    assert json.loads(text)["categories"]["specific"] == {"mean": None, "low": None, "high": None}
    assert "NaN" not in text
    assert np.isfinite(json.loads(text)["examples"])

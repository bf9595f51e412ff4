"""The summary: what it says, that it fits, and that JSON holds the same."""

import io
import json

import numpy as np
import pytest

from fastneurons.errors import InputError
from fastneurons.report import print_summary, skip_reasons, summary, summary_json
from fastneurons.store import SkippedRow, StoreWriter, open_store
from tests.store.runs import draw

RUN = draw(23)
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
    assert "5  501 tokens (and the like)" in text
    assert "facts.jsonl:2  é1" in text
    assert "facts.jsonl:12  é11" in text
    assert "facts.jsonl:17" not in text
    assert "and 2 more, in skipped.jsonl" in text


def test_reasons_differ_by_more_than_numbers_and_quotes():
    reasons = ["5 tokens", "no 'de'", "7 tokens", "no 'fr'", "not JSON", "9 tokens"]
    groups = skip_reasons(
        [SkippedRow(k, None, f"f:{k}", reason) for k, reason in enumerate(reasons)], named=2
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
    assert "of the 4 examples committed by now" in printed(store)
    assert summary(store)["complete"] is False


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

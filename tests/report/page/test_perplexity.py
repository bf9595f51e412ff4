"""The page of perplexities has the numbers of its analysis, and shows them in a browser."""

import numpy as np
import pytest

from fastneurons.analysis.perplexity import perplexity
from fastneurons.report.page import write_report
from fastneurons.report.page.data import run_page
from fastneurons.store import StoreWriter, open_store
from tests.report.page import decode
from tests.report.page.test_browser import choose, numbers, settled
from tests.store.edited import draw_edited

TASKS = ["news", "tales"]
CONDITIONS = ["intact", "de", "zh", "a-random-set-of-the-same-size"]
RUN = draw_edited(
    "perplexity", 40, conditions=CONDITIONS, tasks=TASKS, task=",".join(TASKS),
    edits={"max_length": 2048, "stride": 1024, **{f"edit {name}": "edit ab12" for name in CONDITIONS[1:]}},
)  # fmt: skip
ENDS = ("", "_low", "_high")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "p.zarr"
    RUN.write(path)
    return open_store(str(path))


@pytest.fixture(scope="module")
def page_file(store, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "p.html"
    write_report([store], path)
    return path


def test_the_page_has_the_numbers_of_the_analysis(store, page_file):
    meta, arrays = decode.blocks(page_file.read_text())["run0/core"]
    assert meta["conditions"] == CONDITIONS
    assert meta["perplexity"]["windows"] == "windows of 2,048 tokens, 1,024 apart"
    for group, tasks in enumerate([[], ["news"], ["tales"]]):
        of = perplexity(store, tasks)
        assert meta["perplexity"]["tokens"][group] == of["tokens"].values.tolist()
        for name in ("perplexity", "change"):
            for i, end in enumerate(ENDS):
                np.testing.assert_allclose(arrays[name][group, i], of[f"{name}{end}"].values, rtol=1e-6)
    assert meta["command"].split(" \\\n  ") == [
        "fastneurons perplexity Qwen/Qwen3-8B", "--tasks news,tales", "--data facts.jsonl",
        "--languages en,de,zh", "--max-length 2048", "--stride 1024",
        "--edit de.safetensors", "--edit zh.safetensors", "--edit a-random-set-of-the-same-size.safetensors",
    ]  # fmt: skip


def test_the_sentences_say_what_changes_most(store, page_file):
    meta, _ = decode.blocks(page_file.read_text())["run0/core"]
    of = perplexity(store)
    level = of["perplexity"].sel(condition="intact")
    lowest, *edits = meta["sentences"]
    least, most = (
        str(of["language"].values[int(at)]) for at in (level.values.argmin(), level.values.argmax())
    )
    names = {"en": "English", "de": "German", "zh": "Chinese"}
    assert f"is lowest in {names[least]} ({least}), " in lowest["parts"][0]
    assert (
        lowest["parts"][1] == f"{float(level.min()):.2f}"
        and lowest["parts"][3] == f"{float(level.max()):.2f}"
    )
    assert f"highest in {names[most]} ({most})" in lowest["parts"][2]
    largest = np.abs(of["change"].values).max(0)
    assert [each["select"]["condition"] for each in edits] == sorted(range(1, 4), key=lambda c: -largest[c])
    for each in edits:
        c = each["select"]["condition"]
        change = of["change"].values[:, c]
        k = int(change.argmax())
        assert each["select"]["language"] == k
        assert each["parts"][0] == f"The edit {CONDITIONS[c]} multiplies perplexity by "
        assert (
            each["parts"][1] == f"{np.exp(change[k]):.2f}"
            and each["parts"][3] == f"{np.exp(change.min()):.2f}"
        )
        low, high = (of[f"change{end}"].values[:, c] for end in ENDS[1:])
        assert each["parts"][5] == f"{((low > 0) | (high < 0)).sum()} of 3 languages"
        assert f"({np.exp(low[k]):.2f} to {np.exp(high[k]):.2f})" in each["parts"][2]


def test_the_matrix_shows_changes_ratios_and_perplexities(opened, store, page_file):
    of = perplexity(store)
    page = opened(page_file)
    assert page.locator("h1").inner_text().startswith("How well Qwen/Qwen3-8B predicts texts in 3")

    def cells():
        rows = page.locator("#perplexity table.matrix tbody").evaluate(
            "(body) => [...body.rows].map((row) => [...row.cells].map((cell) => cell.textContent))"
        )
        return {row[0]: row[1:] for row in rows}

    def signed(value):
        return f"{value:+.{3 if abs(value) < 0.1 else 2}f}".replace("-", "−")

    change = {name: of["change"].sel(condition=name).values for name in CONDITIONS}
    assert cells() == {name: [signed(v) for v in change[name]] for name in CONDITIONS[1:]}
    page.get_by_role("button", name="ratio to intact").click()
    page.get_by_text("divided by the intact").wait_for()
    assert cells() == {name: [f"× {np.exp(v):.2f}" for v in change[name]] for name in CONDITIONS[1:]}
    page.locator("#perplexity").get_by_role("button", name="perplexity", exact=True).click()
    page.get_by_text("Colours are of its logarithm").wait_for()
    level = {name: of["perplexity"].sel(condition=name).values for name in CONDITIONS}
    assert cells() == {
        name: [f"{v:.2f}" if v < 1000 else f"{v:,.0f}" for v in level[name]] for name in CONDITIONS
    }

    page.locator('#perplexity td[data-k="1"][data-c="2"]').hover()
    tip = page.locator("#tip").inner_text()
    assert tip.startswith("German, zh") and f"{int(of['tokens'].values[1])} tokens" in tip
    page.locator('#perplexity td[data-k="1"][data-c="2"]').click()
    settled(page)
    assert "language=de" in page.url and "condition=zh" in page.url

    choose(page, "task", "tales")
    of = perplexity(store, ["tales"])
    listed = {(row["language"], row["edit"]): row for row in numbers(page, "perplexity")}
    row, at = listed["Chinese", "de"], of.sel(language="zh", condition="de")
    assert int(row["tokens"].replace(",", "")) == int(at["tokens"])
    for name, value in (
        ("change", at["change"]),
        ("ratio to intact", np.exp(at["change"])),
        ("perplexity", at["perplexity"]),
    ):
        assert float(row[name].replace(",", "")) == pytest.approx(float(value), rel=1e-5)
    low = float(row["ratio to intact, 95 % interval, low"])
    assert low == pytest.approx(float(np.exp(at["change_low"])), rel=1e-5)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)], ids=["desktop-light", "phone-dark"])
def test_it_fits_the_window_and_is_accessible(opened, page_file, accessible, width, dark):
    accessible(opened(page_file, "#condition=zh", width=width, dark=dark))


def test_without_edits_or_texts_there_is_still_a_page(opened, tmp_path):
    with StoreWriter.create(str(tmp_path / "begun.zarr"), RUN.header, keep_bits=False):
        pass
    intact = draw_edited(
        "perplexity", 12, conditions=["intact"], edits={"block_size": 512}, position="corpus"
    )
    intact.write(tmp_path / "intact.zarr")
    stores = [open_store(str(tmp_path / name)) for name in ("intact.zarr", "begun.zarr")]
    assert run_page(stores[1]).core.meta["sentences"] == []
    assert "--position" not in run_page(stores[0]).core.meta["command"]
    write_report(stores, tmp_path / "two.html")
    page = opened(tmp_path / "two.html")
    assert "blocks of 512 tokens" in page.locator("#perplexity header p").inner_text()
    assert page.locator("#perplexity svg circle").count() == 3
    choose(page, "run", "2: Qwen/Qwen3-8B, begun.zarr")
    page.get_by_text("Nothing has been measured yet.").wait_for()

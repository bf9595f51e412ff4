"""The page of generated texts has the numbers and texts of its store, and shows them in a browser."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from fastneurons.arrays import Answer
from fastneurons.report.page import write_report
from fastneurons.report.page.data import run_page
from fastneurons.scores import difference, mean_by_language
from fastneurons.store import StoreWriter, open_store
from tests.report.page import decode
from tests.report.page.generated import AWKWARD, CONDITIONS, draw_generated
from tests.report.page.simulated import simulate
from tests.report.page.test_browser import choose, numbers, settled

RUN = draw_generated()
LANGUAGES = RUN.header.languages
NAMES = ["English (en)", "German (de)", "Arabic (ar)", "Chinese (zh)"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "g.zarr"
    RUN.write(path)
    return open_store(str(path))


@pytest.fixture(scope="module")
def page_file(store, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "g.html"
    write_report([store], path)
    return path


@pytest.fixture(scope="module")
def expected():
    """Of the measured examples: the arrays, and scores [E, L, C] with NaN where nothing was judged."""
    arrays = {name: array[RUN.measured] for name, array in RUN.arrays().items()}
    correct = arrays["correct"]
    return arrays | {"scores": np.where(correct == Answer.NOT_JUDGED, np.nan, correct == Answer.RIGHT)}


def test_the_page_has_the_numbers_of_plain_loops(page_file, expected):
    meta, arrays = decode.blocks(page_file.read_text())["run0/core"]
    assert meta["conditions"] == CONDITIONS
    assert meta["generation"] == {
        "judged": True, "measures": ["exact-match"], "max_tokens": 256, "limit": 1000,
    }  # fmt: skip
    for group, rows in enumerate(
        [np.ones(len(expected["task"]), bool), *(expected["task"] == k for k in (0, 1))]
    ):
        scores, there = expected["scores"][rows], expected["present"][rows]
        for c in range(len(CONDITIONS)):
            right = mean_by_language(scores[..., c], LANGUAGES)
            change = difference(scores[..., c], scores[..., 0], LANGUAGES)
            for k, code in enumerate(LANGUAGES):
                for name, of in [("right", right[code]), *([("change", change[code])] if c else [])]:
                    np.testing.assert_allclose(
                        arrays[name][group, :, k, c], [of.mean, of.low, of.high], rtol=1e-6
                    )
                texts = expected["text"][rows][there[:, k], k]
                same = np.mean([row[c] == row[0] for row in texts.tolist()])
                assert arrays["unchanged"][group, k, c] == pytest.approx(same, rel=1e-6)
                tokens = expected["generated_count"][rows][there[:, k], k, c].mean()
                assert arrays["tokens"][group, k, c] == pytest.approx(tokens, rel=1e-6)
                assert arrays["prompts"][group, k] == there[:, k].sum()
            for name in ("tokens", "unchanged"):
                assert arrays[name][group, -1, c] == pytest.approx(
                    arrays[name][group, :-1, c].mean(), rel=1e-6
                )
            overall = np.mean([right[code].mean for code in LANGUAGES])
            assert arrays["right"][group, 0, -1, c] == pytest.approx(overall, rel=1e-6)
            if c:
                overall = np.mean([change[code].mean for code in LANGUAGES])
                assert arrays["change"][group, 0, -1, c] == pytest.approx(overall, rel=1e-6)
                _, low, high = arrays["change"][group, :, -1, c]
                widths = arrays["change"][group, 2, :-1, c] - arrays["change"][group, 1, :-1, c]
                assert low < overall < high and high - low < widths.min()


def test_the_sentences_have_the_numbers_of_the_arrays(page_file):
    meta, arrays = decode.blocks(page_file.read_text())["run0/core"]
    right, change = arrays["right"][0, 0], arrays["change"][0]  # of all tasks: [L + 1, C] and [3, L + 1, C]
    intact, *edits = meta["sentences"]
    assert intact["parts"][1] == f"{100 * right[-1, 0]:.1f} %"
    most, least = int(right[:-1, 0].argmax()), int(right[:-1, 0].argmin())
    assert (
        f"most in {NAMES[most]}" in intact["parts"][2] and f"fewest in {NAMES[least]}" in intact["parts"][4]
    )
    assert [intact["parts"][k] for k in (3, 5)] == [f"{100 * right[k, 0]:.1f} %" for k in (most, least)]
    order = sorted((1, 2, 3), key=lambda c: -abs(change[0, -1, c]))
    assert [each["select"]["condition"] for each in edits] == order
    for each, c in zip(edits, order, strict=True):
        mean, low, high = 100 * change[:, -1, c]
        assert each["parts"][0] == f"Under the edit {CONDITIONS[c]}, " and each["figure"] == "answers"
        assert each["parts"][1] == f"{100 * right[-1, c]:.1f} %" and each["parts"][3] == f"{mean:+.1f} points"
        assert each["parts"][4].startswith(f" ({low:+.1f} to {high:+.1f})")
        assert ("includes 0" in "".join(each["parts"])) == (low <= 0 <= high)
        k = each["select"]["language"]
        assert abs(change[0, k, c]) == abs(change[0, :-1, c]).max()
        assert f": {NAMES[k]} " in each["parts"][4] and each["parts"][5] == f"{100 * change[0, k, c]:+.1f}"


def test_texts_that_nobody_judged_are_told_apart_from_the_intact_ones(tmp_path):
    run = draw_generated(20, measures={})
    run.write(tmp_path / "g.zarr")
    page = run_page(open_store(str(tmp_path / "g.zarr")))
    unchanged, tokens = page.core.arrays["unchanged"][0, -1], page.core.arrays["tokens"][0, -1]
    first = page.core.meta["sentences"][0]
    c = int(unchanged[1:].argmin()) + 1
    assert first["select"] == {"condition": c} and first["figure"] == "lengths"
    assert first["parts"][1::2] == [f"{100 * unchanged[c]:.1f} %", f"{tokens[c]:.1f}", f"{tokens[0]:.1f}"]
    assert len(page.core.meta["sentences"]) == 3 and not page.core.meta["generation"]["judged"]
    assert "correct" not in page.blocks["examples"].arrays


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_the_texts_are_those_of_the_store(store, expected, folder):
    page = run_page(store, budget=None if folder else 10**7)
    meta, table = decode.block(page.blocks["examples"].compressed)
    parts = [decode.block(page.blocks[f"examples/{n}"].compressed) for n in range(len(page.blocks) - 1)]
    assert meta["ids"] == expected["example_id"].tolist()
    np.testing.assert_array_equal(table["index"], np.flatnonzero(RUN.measured))
    text = expected["text"]
    np.testing.assert_array_equal(table["same"], text == text[..., :1])
    np.testing.assert_array_equal(table["correct"], expected["correct"])
    shown = [row for part, _ in parts for row in part["texts"]]
    whole = text.tolist()
    assert max(len(each) for row in whole for texts in row for each in texts) > 1000
    if not folder:
        whole = [
            [[each if len(each) <= 1000 else each[:999] + "…" for each in texts] for texts in row]
            for row in whole
        ]
    assert shown == whole
    assert [row for part, _ in parts for row in part["prompts"]] == expected["prompt"].tolist()
    generated = np.concatenate([arrays["generated"] for _, arrays in parts])
    np.testing.assert_array_equal(generated, expected["generated_count"])


def test_a_page_keeps_to_its_budget_and_says_what_it_lacks(store):
    page = run_page(store, budget=12_000)
    assert sum(len(block.text) for block in (page.core, *page.blocks.values())) < 30_000
    assert page.core.meta["examples"] == {"measured": 48, "shown": 16, "part": 16, "prompts": True}


def test_the_command_is_the_one_that_wrote_the_store(store):
    assert run_page(store).core.meta["command"].split(" \\\n  ") == [
        "fastneurons generate Qwen/Qwen3-8B",
        "--tasks capitals,colours", "--data facts.jsonl", "--languages en,de,ar,zh", "--max-tokens 256",
        "--temperature 0.0", r"--until '\n'", "--until Q:", "--edit mask-de.safetensors",
        "--edit random-of-the-same-size.safetensors", "--edit mask-zh.safetensors", "--measure exact-match",
    ]  # fmt: skip


def cards(page):
    """The list of texts: of each example its id, and by condition what is said of a text and the text."""
    page.locator("#texts .pager .number").wait_for()
    return page.locator("#texts .cards").evaluate(
        """(cards) => [...cards.children].map((card) => ({
             id: card.querySelector("h3 a").textContent,
             prompt: card.querySelector(".prose")?.textContent ?? null,
             texts: [...card.querySelectorAll(".versions > div")].map((each) =>
               [...each.querySelector(".version").children, each.querySelector(".prose")].map((e) => e.textContent)),
           }))"""
    )


def test_the_figures_show_what_is_chosen(opened, page_file, expected):
    page = opened(page_file)
    assert (
        page.locator("h1").inner_text()
        == "What Qwen/Qwen3-8B writes in 4\u00a0languages, intact and under 3\u00a0edits"
    )
    choose(page, "task", "colours")
    rows = expected["task"] == 1
    listed = {(row["language"], row["edit"]): row for row in numbers(page, "answers")}
    scores = expected["scores"][rows]
    change = difference(scores[..., 1], scores[..., 0], LANGUAGES)["ar"]
    shown = listed["Arabic", "mask-de"]
    names = ("change of right", "change of right, 95 % interval, low", "change of right, 95 % interval, high")
    assert [float(shown[name]) for name in names] == pytest.approx(
        [change.mean, change.low, change.high], rel=1e-4
    )
    page.locator("#lengths").get_by_text("unchanged", exact=True).click()
    page.get_by_text("letter by letter").wait_for()
    [cell] = page.locator('#lengths td[data-k="2"][data-c="1"]').all_inner_texts()
    there = expected["present"][rows][:, 2]
    texts = expected["text"][rows][there, 2].tolist()
    assert cell == f"{100 * np.mean([row[1] == row[0] for row in texts]):.0f}\u00a0%"
    page.locator('#lengths td[data-k="2"][data-c="1"]').click()
    settled(page)
    assert "language=ar" in page.url and "condition=mask-de" in page.url
    page.locator("#lengths .drawing").focus()
    page.keyboard.press("ArrowDown")
    settled(page)
    assert "condition=random" in page.url
    page.keyboard.press("Escape")
    settled(page)
    assert "condition" not in page.url and "language" not in page.url


def test_the_texts_are_listed_side_by_side(opened, page_file, expected):
    page = opened(page_file, "#language=zh&condition=mask-zh")
    found = cards(page)
    assert [card["id"] for card in found] == expected["example_id"][:8].tolist()
    for e, card in enumerate(found):
        judged = {0: ["✗ wrong"], 1: ["✓ right"], 2: []}
        for (name, *said, text), c in zip(card["texts"], (0, 3), strict=True):
            whole = str(expected["text"][e, 3, c])
            same = ["unchanged"] if c and whole == expected["text"][e, 3, 0] else []
            tokens = int(expected["generated_count"][e, 3, c])
            plural = "" if tokens == 1 else "s"
            assert name == CONDITIONS[c]
            assert said == [*judged[int(expected["correct"][e, 3, c])], *same, f"{tokens}\u00a0token{plural}"]
            assert text == whole or (text.endswith(" …") and whole.startswith(text[:-2]) and len(text) < 352)
        assert card["prompt"] == expected["prompt"][e, 3]


def test_the_texts_are_filtered_searched_and_downloaded(opened, page_file, expected):
    page = opened(page_file, "#language=en&condition=mask-zh")
    correct = expected["correct"][:, 0]
    lost = np.flatnonzero((correct[:, 0] == Answer.RIGHT) & (correct[:, 3] == Answer.WRONG))
    assert 1 < len(lost) < 40
    page.locator("#choose-texts").select_option(label="right, then wrong")
    page.locator("#texts .pager .number", has_text=f"of {len(lost)}").wait_for()
    assert [card["id"] for card in cards(page)] == expected["example_id"][lost][:8].tolist()
    with page.expect_download() as download:
        page.locator("#texts").get_by_role("button", name="Download CSV").click()
    saved = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"))))
    assert download.value.suggested_filename == "texts-en.csv"
    assert [row["example"] for row in saved] == expected["example_id"][lost].tolist()
    assert {row["intact, judged"] for row in saved} == {"right"}
    assert {row["mask-zh, judged"] for row in saved} == {"wrong"}
    shown = [row["mask-zh"].lstrip("'") for row in saved]
    assert all(
        str(expected["text"][e, 0, 3]).startswith(text[:999]) for e, text in zip(lost, shown, strict=True)
    )

    page.locator("#choose-texts").select_option(label="all texts")
    page.locator("#texts .pager .number", has_text="of 48").wait_for()
    page.locator("#texts input[type=search]").fill("window.hacked")
    page.locator("#texts .pager .number", has_text="1 to").wait_for()
    with_it = [
        e for e, row in enumerate(expected["text"][:, 0].tolist()) if "window.hacked" in row[0] + row[3]
    ]
    page.locator("#texts .pager .number", has_text=f"1 to {len(with_it)} of {len(with_it)}").wait_for()
    assert {card["texts"][1][-1] for card in cards(page)} <= set(AWKWARD.values())
    assert with_it and page.evaluate("window.hacked") is None and page.locator("img").count() == 0


def test_a_long_text_is_folded_and_what_it_shares_is_grey(opened, page_file, expected):
    page = opened(page_file, "#language=de&condition=mask-zh")
    whole = expected["text"][:8, 1].tolist()
    page.locator("#texts .cards .versions").first.wait_for()
    e = next(e for e, texts in enumerate(whole) if len(texts[3]) > 1000)
    card = page.locator("#texts .card").nth(e)
    version = card.locator(".versions > div").nth(1)
    assert version.locator(".prose").inner_text().endswith(" …")
    version.get_by_role("button").click()
    assert version.locator(".prose").inner_text() == whole[e][3][:999] + "…"
    assert "--folder writes whole texts" in version.inner_text()
    version.get_by_role("button", name="Show less").click()
    assert len(version.locator(".prose").inner_text()) < 352
    same, other = whole[e][0].split(), whole[e][3].split()
    shared = next(i for i in range(len(same)) if same[i] != other[i])
    assert version.locator(".prose .muted").inner_text().split() == same[:shared]


def test_the_page_of_an_example(opened, page_file, expected):
    index = int(np.flatnonzero(RUN.measured)[3])
    page = opened(page_file, f"#example={index}")
    assert page.locator("#single-title").inner_text() == expected["example_id"][3]
    shown = page.locator(".card .versions .prose").evaluate_all(
        "(all) => all.map((each) => each.textContent)"
    )
    cut = [text if len(text) <= 1000 else text[:999] + "…" for text in expected["text"][3].ravel().tolist()]
    assert shown == cut
    page.get_by_role("button", name="Next example").click()
    page.get_by_role("heading", name=str(expected["example_id"][4]), exact=True).wait_for()
    page.get_by_role("button", name="All views").click()
    page.locator("#texts").wait_for()


@pytest.mark.parametrize(
    ("width", "dark", "address"),
    [
        pytest.param(1280, True, "#language=ar&condition=mask-de", id="desktop-dark"),
        pytest.param(390, False, "", id="phone-light"),
        pytest.param(390, True, "#example=3", id="phone-dark"),
    ],
)
def test_it_fits_the_window_and_is_accessible(opened, page_file, accessible, width, dark, address):
    page = opened(page_file, address, width=width, dark=dark)
    if not address:
        page.locator("#answers").get_by_text("change from intact").click()
        page.get_by_text("in points").first.wait_for()
    accessible(page)


def test_stores_that_lack_something_still_have_a_page(opened, tmp_path):
    begun = tmp_path / "begun.zarr"
    with StoreWriter.create(str(begun), RUN.header, keep_bits=False) as writer:
        assert run_page(open_store(str(begun))).core.meta["sentences"] == []
        windows = RUN.windows()
        writer.commit(next(windows))
    intact = draw_generated(9, conditions=["intact"], measures={}, languages=["de", "en"], edits={})
    intact.write(tmp_path / "intact.zarr")
    measured = simulate(12, languages=["en", "de"])
    measured.write(tmp_path / "run.zarr")
    paths = [begun, tmp_path / "intact.zarr", tmp_path / "run.zarr"]
    write_report([open_store(str(path)) for path in paths], tmp_path / "three.html")
    page = opened(tmp_path / "three.html")
    assert "covers the 8\u00a0examples committed so far" in page.locator(".notice").first.inner_text()
    choose(page, "run", "2: Qwen/Qwen3-8B, intact.zarr")
    assert page.locator("h1").inner_text() == "What Qwen/Qwen3-8B writes in 2\u00a0languages"
    assert page.locator("#choose-condition").count() == 0 and page.locator("#answers").count() == 0
    tokens = intact.arrays()["generated_count"][intact.measured][:, 0, 0].mean()
    assert page.locator('#lengths td[data-k="0"]').inner_text() == f"{tokens:.1f}"
    assert len(cards(page)) == 7
    choose(page, "run", "3: org/Simulated-1B")
    assert page.locator("#categories svg").count() == 1

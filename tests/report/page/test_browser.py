"""The report in a real browser: what each view shows after a choice is what numpy computes from the simulated bits."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from fastneurons.report.page import write_report
from fastneurons.store import open_store
from tests.report.page.simulated import AWKWARD_IDS, HAS_PROMPTS, LANGUAGES, simulate

NAMES = {"en": "English", "de": "German", "fr": "French", "tr": "Turkish", "ru": "Russian"}
CATEGORIES = ("non-activated", "specific", "partial-shared", "all-shared")


@pytest.fixture(scope="module")
def bits(run):
    """bool [E, L, N, I] of the measured examples."""
    return run.bits(0, run.num_examples)[run.measured(np.arange(run.num_examples)), 0]


@pytest.fixture(scope="module")
def shares(bits):
    """float64 [E, N, 4]."""
    number, L = bits.sum(1), bits.shape[1]
    return np.stack([number == 0, number == 1, (number > 1) & (number < L), number == L], -1).mean(2)


def choose(page, key, label):
    page.locator(f"#choose-{key}").select_option(label=label)
    settled(page)


def settled(page):
    """Wait until the views show the address's selection. A selector, since the page's policy forbids `eval`."""
    address = page.evaluate("location.hash || '#'")
    page.locator(f'html[data-ready="{address}"]').wait_for(state="attached")


def numbers(page, figure):
    """The table below a figure as a list of dicts of text."""
    page.locator(f"#{figure} details.numbers").evaluate("(element) => { element.open = true; }")
    table = page.locator(f"#{figure} details.numbers table")
    table.wait_for()
    rows = table.evaluate("(t) => [...t.rows].map((r) => [...r.cells].map((c) => c.textContent))")
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def rows_of(page, figure):
    return page.locator(f"#{figure} .figure-body table").evaluate(
        "(t) => [...t.rows].map((r) => [...r.cells].map((c) => c.textContent))"
    )


def percent(share):
    return f"{100 * share:.1f}\u00a0%" if share == 0 or share >= 0.0005 else "<\u00a00.1\u00a0%"


def test_the_findings_lead_to_their_figures(opened, page_file, shares):
    page = opened(page_file)
    first = page.locator(".findings li").first
    assert f"{100 * shares[..., 3].mean():.1f}\u00a0%" in first.inner_text()
    page.locator(".findings li button").nth(1).click()
    page.locator("#categories-title:focus").wait_for()
    assert "category=all-shared" in page.url
    assert page.locator("[data-value='3'][aria-pressed='true']").count() == 1


def test_a_layer_a_language_and_a_category_change_every_view(opened, page_file, bits, shares):
    page = opened(page_file)
    choose(page, "layer", "layer 2")
    choose(page, "language", "Turkish")
    k = LANGUAGES.index("tr")

    found = {(row["layer"], row["category"]): float(row["mean"]) for row in numbers(page, "categories")}
    for c, name in enumerate(CATEGORIES):
        assert found["4", name] == pytest.approx(shares[:, 4, c].mean(), rel=1e-5)

    activated = {row["language"]: row for row in numbers(page, "languages")}
    for index, code in enumerate(LANGUAGES[:5]):
        assert float(activated[NAMES[code]]["layer 2"]) == pytest.approx(bits[:, index, 2].mean(), rel=1e-5)
    assert list(activated) == sorted(activated, key=lambda name: -float(activated[name]["mean"]))

    overlaps = {
        frozenset((row["language"], page_second)): float(row["overlap"]) for row, page_second in _pairs(page)
    }
    both, either = bits[:, k, 2] & bits[:, 0, 2], bits[:, k, 2] | bits[:, 0, 2]
    assert overlaps[frozenset(("Turkish", "English"))] == pytest.approx(both.sum() / either.sum(), rel=1e-5)

    sets = numbers(page, "sets")
    assert all("Turkish" in row["languages"] for row in sets)
    everywhere = next(row for row in sets if row["number of languages"] == "5")
    assert float(everywhere["share of neurons"]) == pytest.approx(bits[:, :, 2].all(1).mean(), rel=1e-5)

    strip = [int(row["neurons"]) for row in numbers(page, "strip")]
    rates = bits[:, k, 2].mean(0)
    expected = np.bincount(np.minimum((rates * 25 + 1e-6).astype(int), 24), minlength=25)
    assert strip == expected.tolist()

    head, *rows = rows_of(page, "neurons")
    turkish = head.index("Turkish ↓")
    assert [row[turkish] for row in rows] == [percent(rate) for rate in np.sort(rates)[::-1][: len(rows)]]
    order = [int(row[0].split(":")[1]) for row in rows]
    assert [percent(rates[i]) for i in order] == [row[turkish] for row in rows]

    page.locator(".bar [data-value='1']").click()
    settled(page)
    head, *rows = rows_of(page, "examples")
    best = np.sort(shares[:, 2, 1])[::-1][: len(rows)]
    assert [row[head.index("specific ↓")] for row in rows] == [percent(share) for share in best]
    assert [row[head.index("activated in Turkish")] for row in rows]


def _pairs(page):
    """Rows of the matrix's numbers, each with its second language, whose column has the same name as the first's."""
    page.locator("#matrix details.numbers").evaluate("(element) => { element.open = true; }")
    page.locator("#matrix details.numbers table").wait_for()
    cells = page.locator("#matrix details.numbers table").evaluate(
        "(t) => [...t.tBodies[0].rows].map((r) => [...r.cells].map((c) => c.textContent))"
    )
    return [({"language": row[0], "overlap": row[2]}, row[1]) for row in cells]


def test_a_task_is_counted_alone(opened, page_file, run, bits, shares):
    page = opened(page_file)
    choose(page, "task", "currencies")
    rows = run.task(np.flatnonzero(run.measured(np.arange(run.num_examples)))) == 1
    found = {(row["layer"], row["category"]): float(row["mean"]) for row in numbers(page, "categories")}
    assert found["0", "all-shared"] == pytest.approx(shares[rows, 0, 3].mean(), rel=1e-5)
    assert page.locator("#examples .pager .number").inner_text().endswith(f"of {rows.sum()}")


def test_the_page_of_a_neuron_by_its_address(opened, page_file, bits):
    page = opened(page_file, "#layer=3&neuron=11")
    assert page.locator("#single-title").inner_text() == "Layer 3, neuron 11"
    rates = {NAMES[code]: bits[:, k, 3, 11].mean() for k, code in enumerate(LANGUAGES[:5])}
    names = page.locator(".columns > div").nth(1).locator(".bars > span:nth-child(3n+1)").all_inner_texts()
    found = page.locator(".columns > div").nth(1).locator("[data-share]").all_inner_texts()
    assert dict(zip(names, found, strict=True)) == {name: percent(rate) for name, rate in rates.items()}
    number = bits[:, :, 3, 11].sum(1)
    every = page.locator(".columns > div").first.locator("[data-share]").first.inner_text()
    assert every == f"{percent((number == 5).mean())} of examples"
    page.get_by_role("button", name="Next neuron").click()
    page.get_by_role("heading", name="Layer 3, neuron 12").wait_for()
    page.go_back()
    page.get_by_role("heading", name="Layer 3, neuron 11").wait_for()
    page.get_by_role("button", name="All views").click()
    page.locator("#categories").wait_for()
    assert page.url.endswith("#layer=3")


def test_the_page_of_an_example(opened, page_file, bits, run):
    index = next(iter(AWKWARD_IDS))
    page = opened(page_file, f"#example={index}")
    assert page.locator("#single-title").inner_text() == AWKWARD_IDS[index]
    place = int(run.measured(np.arange(index)).sum())
    tokens = page.locator(".prompts dd.r").first.inner_text()
    assert tokens == f"7\u00a0tokens, {percent(bits[place, 0].mean())} activated"
    if HAS_PROMPTS:
        shown = page.locator(".prompts dd[dir]").first.inner_text()
        assert shown == run.prompts(np.array([index]))[0][0]


def test_text_from_data_is_shown_as_text(opened, page_file):
    page = opened(page_file)
    page.locator("#examples input[type=search]").fill("window.hacked")
    links = page.locator("#examples tbody a")
    assert set(links.all_inner_texts()) == set(AWKWARD_IDS.values())
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0


def test_tables_sort_filter_and_download(opened, page_file, bits):
    page = opened(page_file, "#layer=1")
    specific = page.locator("#neurons th button", has_text="specific")
    specific.click()
    shares = (bits[:, :, 1].sum(1) == 1).mean(0)
    head, *rows = rows_of(page, "neurons")
    assert [row[head.index("specific ↓")] for row in rows] == [percent(s) for s in np.sort(shares)[::-1][:15]]
    specific.click()
    assert page.locator("#neurons th[aria-sort]").get_attribute("aria-sort") == "ascending"
    page.locator("#neurons input[type=search]").fill("1:6")
    assert page.locator("#neurons .pager .number").inner_text() == "1 to 8 of 8"  # 6, 60 to 66
    with page.expect_download() as download:
        page.locator("#neurons").get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == "neurons-layer-1.csv"
    text = Path(download.value.path()).read_text("utf-8-sig")
    saved = {row["neuron"]: float(row["specific"]) for row in csv.DictReader(io.StringIO(text))}
    assert saved == pytest.approx({f"1:{i}": shares[i] for i in (6, *range(60, 67))}, rel=1e-6)


def test_keys_alone_choose_and_open(opened, page_file, bits):
    page = opened(page_file)
    page.locator("#languages .drawing").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    settled(page)
    assert "layer=1" in page.url
    assert page.evaluate("document.activeElement.closest('section').id") == "languages"
    assert "layer 1" in page.locator("#live").inner_text()
    page.keyboard.press("Escape")
    settled(page)
    assert "layer=" not in page.url
    page.locator("#strip .drawing").first.focus()
    # Focusing scrolls, and scrolling hides the tip: the event comes with the next frame.
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.keyboard.press("ArrowRight")
    page.locator("#tip").wait_for(state="visible")
    page.keyboard.press("Enter")
    page.locator("#single-title").wait_for()
    settled(page)  # what is drawn again would lose the focus that Tab gives it
    # Every control of the bar is reached by Tab and shows where the focus is.
    page.keyboard.press("Tab")
    style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid"


CHOICE, NEURON, EXAMPLE = "#layer=2&language=ru&category=specific", "#layer=3&neuron=0", "#example=7"


@pytest.mark.parametrize(
    ("width", "dark", "addresses"),
    [
        pytest.param(1280, False, ("", CHOICE, NEURON, EXAMPLE), id="desktop-light"),
        pytest.param(1280, True, (CHOICE, NEURON), id="desktop-dark"),
        pytest.param(390, False, ("", EXAMPLE), id="phone-light"),
        pytest.param(390, True, (CHOICE, NEURON), id="phone-dark"),
    ],
)
def test_it_fits_the_window_and_is_accessible(opened, page_file, accessible, width, dark, addresses):
    for address in addresses:
        page = opened(page_file, address, width=width, dark=dark)
        accessible(page)
        page.context.close()


def test_a_folder_opens_from_a_disk(opened, store, tmp_path, bits):
    write_report([open_store(store)], tmp_path / "out", folder=True)
    page = opened(tmp_path / "out" / "index.html", "#layer=4&neuron=20")
    found = page.locator(".columns > div").first.locator("[data-share]").first.inner_text()
    assert found == f"{percent((bits[:, :, 4, 20].sum(1) == 5).mean())} of examples"


def test_two_runs_side_by_side(opened, tmp_path):
    runs = [simulate(24), simulate(24, shift=40, model="org/Other")]
    stores = [open_store(run.write(tmp_path / f"{n}.zarr")) for n, run in enumerate(runs)]
    write_report(stores, tmp_path / "two.html")
    page = opened(tmp_path / "two.html", "#layer=1&language=de")
    measured = runs[0].measured(np.arange(24))
    first, second = (run.bits(0, 24)[measured, 0].all(1).mean((0, 2)) for run in runs)
    rows = [row for row in numbers(page, "compare") if row["category"] == "all-shared"]
    assert [float(row["difference"]) for row in rows] == pytest.approx(second - first, rel=1e-4, abs=1e-6)
    assert "neurons changed their category" in page.locator("#compare header p").inner_text()
    choose(page, "run", "2: org/Other")
    assert "layer=1" in page.url
    assert "language=de" in page.url
    rows = [row for row in numbers(page, "compare") if row["category"] == "all-shared"]
    assert [float(row["difference"]) for row in rows] == pytest.approx(first - second, rel=1e-4, abs=1e-6)
    assert "org/Other shares" in page.locator("h1").inner_text()


def test_an_unfinished_run_says_so(opened, tmp_path):
    run = simulate(40)
    path = run.write(tmp_path / "partial.zarr", only=32)
    write_report([open_store(path)], tmp_path / "partial.html")
    page = opened(tmp_path / "partial.html")
    assert "covers the 32\u00a0examples committed so far" in page.locator(".notice").first.inner_text()
    assert page.locator("#categories svg").count() == 1


def test_an_address_that_names_nothing_opens_all_views(opened, page_file):
    page = opened(page_file, "#layer=99&language=xx&neuron=5&example=nope")
    assert page.locator("#categories svg").count() == 1
    assert page.locator("#choose-layer").input_value() == ""

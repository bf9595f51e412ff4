"""The page of a deactivation has the numbers of its analysis, and shows them in a browser."""

import numpy as np
import pytest

from fastneurons.analysis.deactivation import deactivation
from fastneurons.report.page import write_report
from fastneurons.store import open_store
from tests.report.page import decode
from tests.report.test_deactivation import CATEGORIES, ENDS, RUN


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "d.zarr"
    RUN.write(path)
    return open_store(str(path))


@pytest.fixture(scope="module")
def result(store):
    return deactivation(store)


def test_the_page_has_the_numbers_of_the_analysis(store, result, tmp_path):
    path = tmp_path / "d.html"
    write_report([store], path)
    [(meta, arrays)] = [each for name, each in decode.blocks(path.read_text()).items() if name == "run0/core"]
    assert meta["deactivation"]["categories"] == CATEGORIES
    assert (
        meta["command"].startswith("fastneurons deactivate Qwen/Qwen3-8B")
        and "--controls 2" in meta["command"]
    )
    of_colours = deactivation(store, ["colours"])
    for group, expected in ((0, result), (2, of_colours)):
        for i, end in enumerate(ENDS):
            values = expected[f"accuracy_from_control{end}"].values
            np.testing.assert_allclose(arrays["accuracy_from_control"][group, i, :3], values, rtol=1e-6)
            overall = expected[f"overall_accuracy_from_control{end}"].values
            np.testing.assert_allclose(arrays["accuracy_from_control"][group, i, 3], overall, rtol=1e-6)
    assert [each["figure"] for each in meta["sentences"]] == ["deactivation"] * 3


def test_the_page_in_a_browser_shows_and_lists_them(store, result, tmp_path, opened):
    path = tmp_path / "d.html"
    write_report([store], path)
    page = opened(path)
    details = page.locator("#deactivation details.numbers")
    details.evaluate("(element) => { element.open = true; }")
    table = details.locator("table")
    table.wait_for()
    rows = table.evaluate("(t) => [...t.rows].map((r) => [...r.cells].map((c) => c.textContent))")
    listed = {(row[0], row[1]): dict(zip(rows[0], row, strict=True)) for row in rows[1:]}
    expected = float(result["log_probability_from_control"].sel(language="de", category="specific"))
    shown = listed["German", "specific"]["log-probability, off - random, mean"]
    assert float(shown) == pytest.approx(expected, rel=1e-4)
    page.locator("#deactivation").get_by_text("accuracy", exact=True).click()
    page.get_by_text("Change of accuracy").wait_for()

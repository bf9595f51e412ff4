"""The tables and the picture of a race, from numbers that are given."""

import io
from itertools import pairwise

import matplotlib.image
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from fastneurons.bench.figure import draw, figure_of
from fastneurons.bench.report import Report, print_report
from fastneurons.bench.rounds import Percentiles, Result
from fastneurons.errors import InputError
from fastneurons.machine import Machine


def report() -> Report:
    def result(name, length, rate, ratio=None, **more):
        of_ratio = Percentiles(ratio, ratio - 0.01, ratio + 0.01) if ratio else None
        return Result(
            name, length, 10, 100, 100 * length, 12.5, Percentiles(rate, rate * 0.9, rate * 1.1), of_ratio,
            "the same engine" if ratio else None, **more,
        )  # fmt: skip

    results = [
        result("unpatched", 8, 400.0),
        result("unpatched", 128, 450.0),
        result("last", 8, 412.0, 1.03),
        result("last", 128, 455.0, 1.011, store_s=0.25),
        result("any", 8, 405.0, 1.01),
        result("any", 128, 452.0, 1.004),
        result("hooks", 8, 40.0, 0.1),
        result("hooks", 128, 200.0, 0.44),
        Result("nnsight", 8, 10, why_not="not installed: pip install nnsight"),
    ]
    machine = Machine("0.1", "3.11", "Linux x86_64, a processor", engine="vllm 0.32.0", cores=[0, 1])
    return Report("models/Some-Model", "float32", "2026-11-23", machine, 5, 500.0, 1e11, results)


def test_the_table_says_what_was_measured_and_what_was_not():
    out = io.StringIO()
    print_report(report(), out)
    text = out.getvalue()
    assert "Some-Model, float32; 2026-11-23" in text
    assert "a processor; 2 cores; vllm 0.32.0" in text
    assert "100 GFLOP/s, 500 tokens/s" in text
    [line] = [line for line in text.splitlines() if line.split()[:1] == ["last"] and "455" in line]
    # 455 tokens/s of prompts of 128 tokens; 91 % of 500.
    assert line.split() == [
        "last",
        "455",
        "(410-501)",
        "3.6",
        "1.011",
        "(1.001-1.021)",
        "91%",
        "0.25",
        "12.5",
        "232",  # 12.5 s and 100,000 / 455
    ]
    assert "nnsight: not timed: not installed: pip install nnsight" in text


def test_the_picture_has_a_line_for_each_contender_that_was_timed(tmp_path):
    figure = figure_of(report())
    [panel] = figure.axes
    names = {text.get_text() for text in panel.texts}
    assert names == {"unpatched", "last", "any", "hooks", "matrix products alone"}
    # Names do not cover each other, and are on the right of all lines, within the picture.
    FigureCanvasAgg(figure).draw()
    boxes = [Text.get_window_extent(text) for text in panel.texts]
    boxes.sort(key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 for low, high in pairwise(boxes))
    assert all(panel.bbox.x1 < box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)
    draw(report(), tmp_path / "bench.png")
    pixels = matplotlib.image.imread(tmp_path / "bench.png")
    assert pixels.shape[0] > 400 and pixels[..., :3].std() > 0.02


def test_nothing_timed_is_nothing_drawn(tmp_path):
    empty = Report("m", "float32", "2026-11-23", Machine("", "", ""), 5, 1.0, 1.0, [])
    with pytest.raises(InputError, match="nothing was timed"):
        draw(empty, tmp_path / "bench.png")

"""The tables and the picture of a race, from numbers that are given."""

import io
import json
from dataclasses import replace
from itertools import pairwise

import matplotlib.image
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from fastneurons.bench.figure import draw, figure_of
from fastneurons.bench.report import Report, print_report
from fastneurons.bench.rounds import Percentiles, Result
from fastneurons.cli import main
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


@pytest.mark.parametrize("width", [80, 100, 120])
def test_all_columns_are_whole_in_narrow_terminals(width, monkeypatch):
    monkeypatch.setattr("fastneurons.bench.report._WIDTH", width)
    rate, ratio = Percentiles(11_111.0, 10_111.0, 12_345.0), Percentiles(0.0123, 0.0120, 0.0124)
    results = [
        Result(name, 128, 10, 10, 1280, 112.5, rate, ratio, "unpatched", 12.25)
        for name in ("notebook+attribution", "attribution:compiled")
    ]
    out = io.StringIO()
    print_report(replace(report(), results=results, limit_tokens_per_s=9e4), out)
    text = out.getvalue()
    assert "…" not in text
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= width
    cells = [cell for line in lines if line.startswith(" notebook") for cell in line.split()]
    assert [cell for cell in cells if cell != "notebook+attribution"] == [
        "11,111", "(10,111-12,345)", "86.8", "0.0123", "(0.0120-0.0124)", "12%", "12.25", "112.5", "122",
    ]  # fmt: skip
    headings = " ".join(" ".join(lines).split())
    for heading in ("tokens/s", "prompts/s", "to vLLM", "of the", "store", "start", "and 100k"):
        assert heading in headings
    assert len([line for line in lines if line.startswith(" ─")]) == (1 if width == 120 else 2)


@pytest.mark.parametrize(("limit", "cell"), [(400.0, "114%*"), (454.0, "100.2%*"), (455.0, "100%")])
def test_a_rate_above_the_limit_is_said(limit, cell):
    slow = replace(report(), limit_tokens_per_s=limit)
    out = io.StringIO()
    print_report(slow, out)
    [line] = [line for line in out.getvalue().splitlines() if line.split()[:1] == ["last"] and "455" in line]
    assert cell in line.split()
    above = cell.endswith("*")
    assert ("* Faster than the matrix products alone" in out.getvalue()) == above
    names = [text.get_text() for text in figure_of(slow).axes[0].texts]
    assert ("matrix products alone (exceeded)" in names) == above
    [found] = [r for r in slow.as_json()["results"] if (r["contender"], r["prompt_length"]) == ("last", 128)]
    assert found["above_limit"] == above
    assert found["share_of_limit"] == 455 / limit


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


def test_a_bench_in_which_nothing_was_timed_fails(tmp_path, monkeypatch, capsys):
    """A script that ran it must notice; the figures say why, contender by contender."""
    missing = [Result("nnsight", 8, 10, why_not="not installed: pip install nnsight")]
    monkeypatch.setattr(
        "fastneurons.bench.plan.carry_out",
        lambda *_: replace(report(), results=missing, limit_tokens_per_s=1.0),
    )
    figures = tmp_path / "bench.json"
    monkeypatch.setattr(
        "sys.argv", ["fastneurons", "bench", "m", "--contenders", "nnsight", "--json", str(figures)]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.endswith("no contender was timed; the lines above say why\n")
    assert json.loads(figures.read_text())["results"][0]["why_not"] == "not installed: pip install nnsight"

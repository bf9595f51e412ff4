"""Rates over prompt lengths as a picture: one panel for each number of languages."""

from math import log10
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from fastneurons.bench.report import Report, by_contender
from fastneurons.bench.rounds import Percentiles
from fastneurons.errors import InputError
from fastneurons.model_name import short_name
from fastneurons.report.style import COLOURS, FAINT, INK, STYLE, check_ending, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Two names nearer than this, in decades, would cover each other.
_LEAST_GAP = 0.075


def draw(report: Report, path: Path) -> None:
    """Write the picture.

    Raises:
        InputError: an ending that is none of a picture's; a file that cannot be written; nothing to draw.
    """
    check_ending(path)
    if not by_contender(report.results):
        raise InputError(f"{path}: nothing was timed at a prompt length, so there is nothing to draw")
    with matplotlib.rc_context(STYLE):
        save(figure_of(report), path)


def figure_of(report: Report) -> Figure:
    """Tokens per second over prompt length, both logarithmic; the limit of matrix products as a line."""
    numbers = sorted({r.num_languages for r in report.results})
    figure = Figure(figsize=(6.4 * len(numbers), 4.6), layout="constrained")
    panels = figure.subplots(1, len(numbers), squeeze=False, sharey=True)[0]
    for axes, number in zip(panels, numbers, strict=True):
        _draw_panel(axes, report, number)
    panels[0].set_ylabel("tokens per second")
    figure.suptitle(f"{short_name(report.model)}, {report.dtype}", x=0.01, ha="left", fontweight="bold")
    return figure


def _draw_panel(axes: "Axes", report: Report, num_languages: int) -> None:
    lines = by_contender([r for r in report.results if r.num_languages == num_languages])
    axes.set_xscale("log")
    axes.set_yscale("log")
    for number, points in enumerate(lines.values()):
        lengths = [length for length, _ in points]
        colour = COLOURS[number % len(COLOURS)]
        axes.fill_between(
            lengths,
            [r.p20 for _, r in points],
            [r.p80 for _, r in points],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
        axes.plot(lengths, [r.median for _, r in points], "o-", color=colour, markersize=3.5, linewidth=1.4)
    axes.axhline(report.limit_tokens_per_s, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    _name_lines(axes, lines, report.limit_tokens_per_s)
    lengths = sorted({length for points in lines.values() for length, _ in points})
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("tokens of a prompt")
    axes.set_title(f"{num_languages} languages", loc="left", fontsize=9)


def _name_lines(axes: "Axes", lines: dict[str, list[tuple[int, Percentiles]]], limit: float) -> None:
    """Each line's name at its right end, moved apart where they would meet."""
    ends = [
        (log10(points[-1][1].median), name, COLOURS[number % len(COLOURS)])
        for number, (name, points) in enumerate(lines.items())
    ]
    ends.append((log10(limit), "matrix products alone", INK))
    ends.sort(reverse=True)
    right = max(length for points in lines.values() for length, _ in points)
    place = float("inf")
    for height, name, colour in ends:
        place = min(height, place - _LEAST_GAP)
        axes.annotate(
            name, (right, 10**place), xytext=(7, 0), textcoords="offset points", color=colour, fontsize=7.5,
            va="center", annotation_clip=False,
        )  # fmt: skip

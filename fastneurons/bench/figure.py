"""Rates over prompt lengths as a picture: one panel for each number of languages."""

from math import log10
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from fastneurons.bench.report import Report, by_contender
from fastneurons.bench.rounds import Percentiles
from fastneurons.errors import InputError
from fastneurons.model_name import short_name
from fastneurons.report.style import COLOURS, FAINT, INK, STYLE, apart, check_ending, save
from fastneurons.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 4.6  # inches, of a panel
_LEAST_GAP = 10.0  # points between two names
_ROOM = 26  # points between a line's end and its name


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
    figure = Figure(figsize=(6.4 * len(numbers), _HEIGHT), layout="constrained")
    panels = figure.subplots(1, len(numbers), squeeze=False, sharey=True)[0]
    for axes, number in zip(panels, numbers, strict=True):
        _draw_panel(axes, report, number)
    panels[0].set_ylabel("tokens per second")
    name = visible(short_name(report.model), limit=100)
    figure.suptitle(f"{name}, {report.dtype}", x=0.01, ha="left", fontweight="bold")
    return figure


def _draw_panel(axes: "Axes", report: Report, num_languages: int) -> None:
    lines = by_contender([r for r in report.results if r.num_languages == num_languages])
    lengths = sorted({length for points in lines.values() for length, _ in points})
    axes.set_xscale("log")
    axes.set_yscale("log")
    for number, (name, points) in enumerate(lines.items()):
        own = [length for length, _ in points]
        colour, style = _look(number)
        low, high = [r.p20 for _, r in points], [r.p80 for _, r in points]
        axes.fill_between(own, low, high, color=colour, alpha=0.12, linewidth=0)
        medians = [r.median for _, r in points]
        axes.plot(
            own, medians, color=colour, marker="o", markersize=3.5, linewidth=1.4, linestyle=style, label=name
        )
    ends = [lengths[0], lengths[-1]]
    axes.plot(ends, [report.limit_tokens_per_s] * 2, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlim(lengths[0] * 0.9, lengths[-1])
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("tokens of a prompt")
    axes.set_title(f"{num_languages} languages", loc="left", fontsize=9)
    above = any(report.is_above_limit(r) for r in report.results if r.num_languages == num_languages)
    limit = "matrix products alone" + (" (exceeded)" if above else "")
    _name_lines(axes, lines, report.limit_tokens_per_s, limit)


def _look(number: int) -> tuple[str, str]:
    """A line's colour and style: dashed where colours come around."""
    return COLOURS[number % len(COLOURS)], "-" if number < len(COLOURS) else "--"


def _name_lines(
    axes: "Axes", lines: dict[str, list[tuple[int, Percentiles]]], limit: float, limit_name: str
) -> None:
    """Each line's name at the right, moved apart where they would meet, with a thin line to its end."""
    ends = [
        (points[-1][1].median, points[-1][0], name, _look(number)[0])
        for number, (name, points) in enumerate(lines.items())
    ]
    right = max(length for _, length, _, _ in ends)
    ends.append((limit, right, limit_name, INK))
    ends.sort()
    # In points from the bottom: names are as high as type is, whatever the axis spans.
    low, high = (log10(value) for value in axes.get_ylim())
    wanted = [(log10(value) - low) / (high - low) * 72 * _HEIGHT * 0.78 for value, *_ in ends]
    for (value, length, name, colour), own, place in zip(
        ends, wanted, apart(wanted, _LEAST_GAP), strict=True
    ):
        lead = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6}
        axes.annotate(
            name, (length, value), xytext=(_ROOM, place - own), textcoords="offset points", color=colour,
            fontsize=7.5, va="center", annotation_clip=False,
            arrowprops={**lead, "shrinkA": 2, "shrinkB": 4, "relpos": (0, 0.5)},
        )  # fmt: skip

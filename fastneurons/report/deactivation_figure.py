"""The figure of a deactivation: what each category costs, set against its controls, by language."""

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fastneurons.errors import InputError
from fastneurons.report.cells import count, language_label
from fastneurons.report.deactivation import Deactivation, estimate
from fastneurons.report.plots.shares import COLOURS
from fastneurons.report.plots.sheet import (
    MUTED,
    PAGE,
    PLOT_STYLE,
    Key,
    Row,
    add_fonts,
    heading,
    is_wide,
    sheet,
)
from fastneurons.report.style import ACCENT, FAINT, INK, check_ending, quiet_glyphs, save

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

_ROW_HEIGHT = 0.2  # inches of a language
_AROUND_HEIGHT = 0.75
_APART = 0.17  # of a row, between a category and its control


def draw_deactivation(found: Deactivation, path: Path, width: float = PAGE) -> None:
    """Draw `deactivation_figure` into a file; the caller's matplotlib stays as it is.

    Raises:
        InputError: another ending than .png, .svg or .pdf, no such folder, or nothing measured yet.
    """
    check_ending(path)
    if not found.num_measured:
        raise InputError(f"{found.store}: nothing was measured yet, so there is nothing to draw")
    add_fonts()
    with matplotlib.rc_context(PLOT_STYLE), quiet_glyphs():
        save(deactivation_figure(found, width), path)


def deactivation_figure(found: Deactivation, width: float) -> Figure:
    """Changes to the intact model as dots with intervals: a panel for each category, a row for each language.

    A second row of panels has accuracy, if answers were judged.

    Args:
        width: Inches.
    """
    result = found.result
    categories = found.categories
    languages = [language_label(str(code)) for code in result["language"].values]
    columns = min(len(categories), 4 if is_wide(width) else 2)
    height = _AROUND_HEIGHT + _ROW_HEIGHT * (len(languages) + 1)
    num_rows = -(-len(categories) // columns)
    scores = ["log_probability", *(["accuracy"] if found.has_accuracy else [])]
    controls = count(int(result.attrs["controls"]), "random set")
    keys = [
        Key(f"category {found.operation}", ACCENT, "dot"),
        Key(f"as many random neurons of each layer, mean of {controls}", MUTED, "dot"),
        Key("95 % interval over examples", INK, "band", 0.3),
    ]
    title, caption = heading(result, "change from the intact model")
    # The first column has the languages' names.
    widths = [1.0 + 1.1 / (width / columns), *[1.0] * (columns - 1)]
    rows = [Row(height, widths)] * (num_rows * len(scores))
    figure, panels = sheet(width, title, caption, rows, keys)
    for s, score in enumerate(scores):
        of_score = panels[s * num_rows * columns : (s + 1) * num_rows * columns]
        for axes in of_score[len(categories) :]:
            axes.set_visible(False)
        for k, (category, axes) in enumerate(zip(categories, of_score, strict=False)):
            _draw(axes, result, score, k, COLOURS.get(category, ACCENT))
            axes.set_title(category, color=COLOURS.get(category, INK))
            axes.set_yticks(range(len(languages) + 1), [*reversed(languages), "all languages"])
            axes.tick_params(axis="y", length=0, labelleft=k % columns == 0)
            axes.set_xlabel("log-probability" if score == "log_probability" else "accuracy, points")
        _same_widths(of_score[: len(categories)])
    return figure


def _draw(axes: "Axes", result: "xarray.Dataset", score: str, k: int, colour: str) -> None:
    """One category's changes and its controls', languages from top to bottom and their mean above them."""
    scale = 1 if score == "log_probability" else 100
    axes.axvline(0, color=INK, linewidth=0.8)
    for ending, mark, offset in (("control_from_intact", MUTED, -_APART), ("from_intact", colour, _APART)):
        each, overall = estimate(result, f"{score}_{ending}"), estimate(result, f"overall_{score}_{ending}")
        mean, low, high = (
            scale * np.array([*getattr(each, end)[::-1, k], getattr(overall, end)[k]])
            for end in ("mean", "low", "high")
        )
        rows = np.arange(len(mean)) + offset
        axes.hlines(rows, low, high, color=mark, linewidth=2.4, alpha=0.35)
        axes.plot(mean, rows, "o", color=mark, markersize=2.8)
    axes.axhline(len(result["language"]) - 0.5, color=FAINT, linewidth=0.6)
    axes.set_ylim(-0.6, len(result["language"]) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def _same_widths(panels: "list[Axes]") -> None:
    ends = [end for axes in panels for end in axes.get_xlim()]
    for axes in panels:
        axes.set_xlim(min(ends), max(ends))

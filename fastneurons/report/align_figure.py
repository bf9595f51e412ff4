"""The figure of an alignment: how categories change by layer, and answers by language, next to controls."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fastneurons.report.cells import count, language_label
from fastneurons.report.plots.shares import COLOURS, shown_categories
from fastneurons.report.plots.sheet import (
    MUTED,
    PAGE,
    PLOT_STYLE,
    Key,
    Row,
    add_fonts,
    is_wide,
    name,
    sheet,
)
from fastneurons.report.style import ACCENT, FAINT, INK, check_ending, quiet_glyphs, save

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

_PANEL_HEIGHT = 1.5  # inches of a category
_ROW_HEIGHT, _AROUND_HEIGHT = 0.2, 0.75  # of a language; of what is around them
_APART = 0.17  # of a row, between a model and its control


def draw_align_report(found: "xarray.Dataset", path: Path, width: float = PAGE) -> None:
    """Draw `align_figure` into a file; the caller's matplotlib stays as it is.

    Args:
        found: A result of `analysis.align_report`.
        path: The file.
        width: Inches.
    Raises:
        InputError: another ending than .png, .svg or .pdf, or no such folder.
    """
    check_ending(path)
    add_fonts()
    with matplotlib.rc_context(PLOT_STYLE), quiet_glyphs():
        save(align_figure(found, width), path)


def align_figure(found: "xarray.Dataset", width: float) -> Figure:
    """A panel for each category, layers from left to right; and panels of accuracy and log-probability by language.

    Args:
        width: Inches.
    """
    of = found.attrs
    categories = shown_categories(len(of["languages"]))
    scores = [score for score in ("accuracy", "log_probability") if not np.isnan(found[score]).all()]
    runs = list(range(of["comparisons_with_before"]))
    wide = 2 if is_wide(width) else 1
    rows = [Row(_PANEL_HEIGHT, [1.0] * wide)] * -(-len(categories) // wide)
    if scores:
        height = _AROUND_HEIGHT + _ROW_HEIGHT * (found.sizes["language"] + 1)
        rows += [Row(height, [1.0] * wide)] * -(-len(scores) // wide)
    keys = [
        Key("aligned", ACCENT, "line"),
        *([Key("controls" if len(runs) > 2 else "control", MUTED, "dashed")] if len(runs) > 1 else []),
        Key("95 % interval over examples", INK, "band", 0.3),
    ]
    caption = [
        count(int(of["examples"]), "example"),
        count(len(of["languages"]), "language"),
        "change from before, in points",
    ]
    figure, panels = sheet(width, name(of["models"][1]), caption, rows, keys)
    upper, lower = panels[: len(rows) * wide], panels[-(-len(categories) // wide) * wide :]
    for category, axes in zip(categories, upper, strict=False):
        _draw_layers(axes, found, category, runs)
    for score, axes in zip(scores, lower, strict=False):
        _draw_languages(axes, found, score, runs)
    used = {*upper[: len(categories)], *lower[: len(scores)]}
    for axes in panels:
        axes.set_visible(axes in used)
    return figure


def _draw_layers(axes: "Axes", found: "xarray.Dataset", category: str, runs: Sequence[int]) -> None:
    layers = found["layer"].values
    axes.axhline(0, color=INK, linewidth=0.6)
    for run in reversed(runs):
        of = found.sel(category=category).isel(comparison=run)
        colour = COLOURS[category] if run == 0 else MUTED
        low, high = 100 * of["change_low"], 100 * of["change_high"]
        axes.fill_between(layers, low, high, color=colour, alpha=0.3, linewidth=0)
        axes.plot(layers, 100 * of["change"], color=colour, linestyle="-" if run == 0 else "--")
    axes.set_title(category, color=COLOURS[category])
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))


def _draw_languages(axes: "Axes", found: "xarray.Dataset", score: str, runs: Sequence[int]) -> None:
    scale = 100 if score == "accuracy" else 1
    codes = [str(code) for code in found["language"].values]
    axes.axvline(0, color=INK, linewidth=0.8)
    for run in runs:
        of = found.isel(comparison=run)
        mean, low, high = (
            scale
            * np.append(of[f"{score}_change{end}"].values[::-1], of[f"group_{score}_change{end}"].values[0])
            for end in ("", "_low", "_high")
        )
        rows = np.arange(len(mean)) + (_APART if run == 0 else -_APART * run)
        colour = ACCENT if run == 0 else MUTED
        axes.hlines(rows, low, high, color=colour, linewidth=2.4, alpha=0.35)
        axes.plot(mean, rows, "o", color=colour, markersize=2.8)
    axes.set_yticks(range(len(codes) + 1), [*map(language_label, reversed(codes)), "all languages"])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(codes) + 0.6)
    axes.set_title("accuracy, points" if score == "accuracy" else "log-probability per token, nats")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)

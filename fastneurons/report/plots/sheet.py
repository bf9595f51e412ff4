"""The sheet that a figure is drawn on: heading, key, and rows of panels, as wide as a column or a page.

Sizes are inches of print, and text is at least 6.5 points high at any width, so a figure that is set at its own width
stays readable. Panels that stand side by side on a page stand below each other in a column.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fastneurons.model_name import short_name
from fastneurons.report.cells import count
from fastneurons.report.style import FAINT, INK, STYLE, apart
from fastneurons.visible import visible

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

COLUMN, PAGE = 3.3, 7.0  # inches: a column of a two-column paper, and both
_WIDE = 5.5  # from this width on, panels stand side by side

# Text of a language or task may be in any script; families that are not installed are passed over.
_FALLBACKS = (
    "Arabic", "Hebrew", "Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Tamil", "Telugu", "Kannada", "Malayalam",
    "Sinhala", "Thai", "Lao", "Myanmar", "Khmer", "Georgian", "Armenian", "Ethiopic", "CJK JP", "CJK SC", "CJK KR",
)  # fmt: skip
PLOT_STYLE: dict[Any, Any] = STYLE | {
    # Families by name: of those that stand for "sans-serif", matplotlib takes the first alone.
    "font.family": ["DejaVu Sans", *(f"Noto Sans {script}" for script in _FALLBACKS)],
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.labelsize": 7.5,
    "axes.labelpad": 2.5,
    "axes.linewidth": 0.6,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "lines.linewidth": 1.2,
}
LABEL_SIZE = 6.5  # points, of labels inside panels
LINE_HEIGHT = 0.115  # inches, of a line of labels
MUTED = "#555555"

_MARGIN = 0.06
_TITLE_HEIGHT = 0.19
_CAPTION_HEIGHT = 0.13
_KEY_HEIGHT = 0.15
_SWATCH = 0.2
_LONGEST_NAME = 80


@cache
def add_fonts() -> None:
    """Add the fallback fonts that are installed but that matplotlib does not know: it lists fonts once and for all."""
    known = set(font_manager.fontManager.get_font_names())
    files = {"".join(script.split()[:1]): script for script in reversed(_FALLBACKS)}
    for path in font_manager.findSystemFonts():
        match = re.fullmatch(r"NotoSans(\w+)-Regular\.(ttf|otf|ttc)", Path(path).name)
        script = files.get(match[1]) if match else None
        if script is not None and f"Noto Sans {script}" not in known:
            with suppress(OSError, RuntimeError):  # a damaged file is no font
                font_manager.fontManager.addfont(path)


@dataclass(frozen=True)
class Row:
    """A row of panels.

    Args:
        height: Inches, with titles and axes.
        widths: Relative widths of its panels.
        parts: For each panel, the relative heights of the parts that stand above each other in it and share its
            horizontal axis; none for panels in one part.
    """

    height: float
    widths: Sequence[float] = (1.0,)
    parts: Sequence[Sequence[float]] = ()


@dataclass(frozen=True)
class Key:
    """An entry of the key.

    Args:
        label: Its text.
        colour: Of the mark.
        mark: "line", "dashed", "dotted", "band" or "dot".
        alpha: Opacity of a band.
    """

    label: str
    colour: str = INK
    mark: str = "line"
    alpha: float = 1.0


def is_wide(width: float) -> bool:
    """Whether panels of a figure of that width stand side by side."""
    return width >= _WIDE


def sheet(
    width: float,
    title: str,
    caption: Sequence[str],
    rows: Sequence[Row],
    keys: Sequence[Key] = (),
) -> "tuple[Figure, list[Axes]]":
    """Make a figure with empty panels.

    Args:
        width: Inches.
        title: Printed in bold; what does not fit is cut off.
        caption: Parts that say what was measured, printed below the title, on as many lines as they take.
        rows: Rows of panels from top to bottom.
        keys: What marks mean, printed below the caption.
    Returns:
        The figure and its panels, row by row; parts of a panel follow each other.
    """
    figure = Figure(figsize=(width, 1), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    room = width - 2 * _MARGIN

    def measured(text: str, size: float, weight: str = "normal") -> float:
        drawn = figure.text(0, 0, text, fontsize=size, fontweight=weight)
        extent = drawn.get_window_extent(canvas.get_renderer())  # type: ignore[no-untyped-call]
        drawn.remove()
        return float(extent.width / figure.dpi)

    def wrapped(parts: Sequence[str], between: str) -> list[str]:
        lines: list[str] = []
        for part in parts:
            longer = f"{lines[-1]}{between}{part}" if lines else part
            if lines and measured(longer, LABEL_SIZE + 0.5) <= room:
                lines[-1] = longer
            else:
                lines.append(part)
        return lines

    lines = [
        line
        for each in wrapped(caption, " · ")
        for line in (
            [each] if measured(each, LABEL_SIZE + 0.5) <= room else map(str.strip, wrapped(_pieces(each), ""))
        )
    ]
    places, x, level = [], 0.0, 0
    label_room = room - _SWATCH - 0.06
    keys = [
        replace(key, label=_fitting(key.label, lambda text: measured(text, LABEL_SIZE + 0.5) <= label_room))
        for key in keys
    ]
    for key in keys:
        wide = _SWATCH + 0.06 + measured(key.label, LABEL_SIZE + 0.5)
        if x and x + wide > room:
            x, level = 0.0, level + 1
        places.append((x, level))
        x += wide + 0.14
    key_lines = level + 1 if keys else 0
    top = _MARGIN + _TITLE_HEIGHT + _CAPTION_HEIGHT * len(lines) + _KEY_HEIGHT * key_lines + 0.04
    height = top + sum(row.height for row in rows)
    figure.set_size_inches(width, height)
    engine: Any = figure.get_layout_engine()
    engine.set(
        w_pad=0.04, h_pad=0.04, wspace=0.03, hspace=0.03, rect=(0, 0, 1 - 0.03 / width, 1 - top / height)
    )

    def write(x: float, y: float, text: str, size: float, **style: Any) -> None:
        drawn = figure.text(
            x, y, text, transform=figure.dpi_scale_trans, va="top", fontsize=size, **style
        )  # inches from the lower left corner
        drawn.set_in_layout(False)

    y = height - _MARGIN
    write(_MARGIN, y, _fitting(title, lambda text: measured(text, 9, "bold") <= room), 9, fontweight="bold")
    y -= _TITLE_HEIGHT
    for line in lines:
        write(_MARGIN, y, line, LABEL_SIZE + 0.5, color=MUTED)
        y -= _CAPTION_HEIGHT
    y -= 0.02
    for key, (x, level) in zip(keys, places, strict=True):
        at = y - level * _KEY_HEIGHT
        _swatch(figure, key, _MARGIN + x, at - 0.055)
        write(_MARGIN + x + _SWATCH + 0.06, at, key.label, LABEL_SIZE + 0.5)
    outer = figure.add_gridspec(len(rows), 1, height_ratios=[row.height for row in rows])
    panels = []
    for k, row in enumerate(rows):
        cells = outer[k].subgridspec(1, len(row.widths), width_ratios=list(row.widths))
        for column, heights in enumerate(row.parts or [(1.0,)] * len(row.widths)):
            inner = cells[column].subgridspec(len(heights), 1, height_ratios=list(heights), hspace=0)
            panels += [figure.add_subplot(inner[part]) for part in range(len(heights))]
    return figure, panels


def _pieces(text: str) -> list[str]:
    """Words with the space before them, and long ones cut, so that a line can break anywhere between two of them."""
    pieces: list[str] = []
    for word in text.split(" "):
        spaced = f" {word}" if pieces else word
        pieces += [spaced[k : k + 20] for k in range(0, len(spaced), 20)]
    return pieces


def _fitting(text: str, fits: Callable[[str], bool]) -> str:
    if fits(text):
        return text
    while text and not fits(text + "…"):
        text = text[:-1]
    return text + "…"


def _swatch(figure: Figure, key: Key, x: float, y: float) -> None:
    inches = figure.dpi_scale_trans
    mark: Any
    if key.mark == "band":
        mark = Rectangle(
            (x, y - 0.04), _SWATCH, 0.08, color=key.colour, alpha=key.alpha, linewidth=0, transform=inches
        )
    elif key.mark == "dot":
        mark = Line2D(
            [x + _SWATCH / 2],
            [y],
            marker="o",
            markersize=3.5,
            color=key.colour,
            linestyle="",
            transform=inches,
        )
    else:
        style: Any = {"line": "-", "dashed": (0, (3, 1.5)), "dotted": (0, (1, 1.2))}[key.mark]
        mark = Line2D(
            [x, x + _SWATCH], [y, y], color=key.colour, linewidth=1.4, linestyle=style, transform=inches
        )
    mark.set_in_layout(False)
    figure.add_artist(mark)


def heading(found: "xarray.Dataset", *parts: str, threshold: bool = True) -> tuple[str, list[str]]:
    """Title and caption of an analysis of one store: the model; tasks, examples, languages and the threshold.

    Args:
        parts: What else the caption says.
        threshold: Whether it names the threshold.
    """
    of = found.attrs
    tasks = [name(task) for task in of.get("tasks", ())]
    listed = ", ".join(tasks) if len(tasks) <= 4 else f"{len(tasks)} tasks"
    number = of["examples"] if "examples" in of else of["tokens"]
    caption = [
        *([listed] if listed else []),
        count(int(number), "example" if "examples" in of else "token"),
        count(len(of["languages"]), "language"),
    ]
    if threshold and "threshold" in of:
        signal = "coefficient" if of.get("signal") == "product" else "activation"
        caption.append(f"{signal} > {of['threshold']:g}")
    caption += parts
    if not of.get("complete", 1):
        caption.append("run not complete")
    return name(short_name(str(of["model"]))), caption


def name(text: object) -> str:
    """A name from a store, for display: of limited length, with what does not print made visible."""
    return visible(str(text), limit=_LONGEST_NAME)


# -- what panels have in common ---------------------------------------------------------------------------


def band(
    axes: "Axes", x: Any, low: Any, high: Any, colour: str, alpha: float = 0.22, label: str | None = None
) -> None:
    """Fill between the ends of an interval, in per cent."""
    axes.fill_between(
        x, 100 * np.asarray(low), 100 * np.asarray(high), color=colour, alpha=alpha, linewidth=0, label=label
    )


def line(
    axes: "Axes", x: Any, share: Any, colour: str, label: str, style: Any = "-", width: float = 1.2
) -> None:
    """Draw shares as a line, in per cent, with dots while there are few of them."""
    marker = "o" if style == "-" and len(np.atleast_1d(x)) <= 12 else None
    axes.plot(
        x, 100 * np.asarray(share), color=colour, linestyle=style, linewidth=width, marker=marker,
        markersize=width + 1.2, label=label,
    )  # fmt: skip


def per_cent(axis: Any) -> None:
    """Label an axis in per cent."""
    axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))


def style_layers(axes: "Axes", label: str = "layer") -> None:
    """Style a panel with layers, or other whole numbers, to the right and per cent upwards."""
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    per_cent(axes.yaxis)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.03)


def same_heights(panels: "Sequence[Axes]", columns: int) -> None:
    """Give panels the same limits, from the data of all; only the first of each row keeps its numbers."""
    ends = [end for axes in panels for end in axes.get_ylim()]
    low, high = min(ends), max(ends)
    if low > -0.1 * high:  # shares: nothing is below zero
        low = 0.0
    for k, axes in enumerate(panels):
        axes.set_ylim(low, high)
        if k % columns:
            axes.tick_params(labelleft=False)


def code_ticks(axes: "Axes", codes: Sequence[str], width: float) -> None:
    """Label columns with codes: upright where they do not fit side by side, and not each where there are too many.

    Args:
        width: Inches of the panel between its axes, about.
    """
    names = [name(code) for code in codes]
    pitch = width / max(1, len(codes))
    upright = pitch < 0.07 * max(map(len, names), default=0) + 0.06
    step = ceil(LINE_HEIGHT * 0.85 / pitch) if upright else 1
    axes.set_xticks(range(0, len(codes), step), names[::step], rotation=90 if upright else 0)


def end_labels(
    axes: "Axes", labels: Sequence[str], ends: Sequence[float], colours: Sequence[str], height: float
) -> None:
    """Name lines at their right ends, in the panel's units, at least a line of text apart.

    Args:
        height: Inches of the panel between its axes, about.
    """
    low, top = axes.get_ylim()
    gap = (top - low) * LINE_HEIGHT / height
    for label, place, colour in zip(labels, apart(ends, gap, low, top), colours, strict=True):
        axes.annotate(
            label, (1.0, place), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
            va="center", ha="left", color=colour, fontsize=LABEL_SIZE,
        )  # fmt: skip


def row_intervals(axes: "Axes", mean: Any, low: Any, high: Any, colours: Sequence[str]) -> None:
    """Draw shares as dots with their intervals, one row each from the bottom up, in per cent."""
    for row, (middle, left, right, colour) in enumerate(zip(mean, low, high, colours, strict=True)):
        axes.hlines(row, 100 * left, 100 * right, color=colour, linewidth=3, alpha=0.35)
        axes.plot([100 * middle], [row], "o", color=colour, markersize=3.2)
    axes.set_ylim(-0.6, len(mean) - 0.4)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)

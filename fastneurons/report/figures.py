"""Figures, drawn without pyplot: nothing of the caller's matplotlib is touched."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fastneurons.analysis import Shares, shares
from fastneurons.errors import InputError
from fastneurons.languages import language, short_code
from fastneurons.model_name import short_name
from fastneurons.store import CATEGORIES, Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENDINGS = (".png", ".svg", ".pdf")

# Okabe and Ito's palette, apart for all common kinds of colour blindness; grey for what does not fire.
_COLOURS = dict(zip(CATEGORIES, ("#7f7f7f", "#d55e00", "#0072b2", "#009e73"), strict=True))
_ACCENT = "#0072b2"
_INK = "#222222"
_FAINT = "#e4e4e4"

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.fonttype": "none",  # text stays text: it can be searched and edited
    "svg.hashsalt": "fastneurons",  # the same store gives the same file
    "pdf.fonttype": 42,
}
# No date in the file, for the same reason.
_METADATA: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}

_WIDTH = 10.0  # inches
_LEAST_HEIGHT = 4.0
_ROW_HEIGHT = 0.19  # a language's
_LABEL_HEIGHT = 0.29  # a line's name and mean
_DPI = 200


def plot_sharing(store: Store, path: Path, threshold: float | None = None) -> None:
    """`fastneurons.report.plot`."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{path}: the ending must be one of {', '.join(ENDINGS)}")
    found = shares(store, threshold)
    if not found.num_examples:
        raise InputError(f"{store.path}: no example was measured yet, so there is nothing to draw")
    with matplotlib.rc_context(_STYLE):
        figure = sharing_figure(store, found)
        try:
            figure.savefig(path, dpi=_DPI, metadata=_METADATA.get(ending))
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def sharing_figure(store: Store, found: Shares) -> Figure:
    """Two panels: categories by layer as lines with their intervals, languages as dots with theirs."""
    height = max(_LEAST_HEIGHT, 1.5 + _ROW_HEIGHT * len(found.languages))
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08, wspace=0.04)  # type: ignore[union-attr, call-arg]
    by_layer, by_language = figure.subplots(1, 2, width_ratios=(1.45, 1))
    _draw_categories(by_layer, found)
    _draw_languages(by_language, found)
    header = store.header
    # The empty second line keeps room for the caption, which is set smaller.
    title = f"{short_name(header.model)}\n"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.012, ha="left")
    caption = by_layer.annotate(
        _caption(store, found), (0.012, 1), xycoords="figure fraction", xytext=(0, -25),
        textcoords="offset points", ha="left", va="top", fontsize=8.5, color="#555555",
    )  # fmt: skip
    caption.set_in_layout(False)
    return figure


def _caption(store: Store, found: Shares) -> str:
    parts = [
        store.header.task,
        f"{found.num_examples:,} examples",
        f"{len(found.languages)} languages",
        f"activation > {found.threshold:g} at the {store.header.position} token",
        "bands: 95 % bootstrap intervals",
    ]
    return " · ".join(parts) + ("" if store.is_complete else " · run not complete")


def _draw_categories(axes: "Axes", found: Shares) -> None:
    layers = np.array(found.layers)
    for c, name in enumerate(CATEGORIES):
        if name == "partial-shared" and len(found.languages) == 2:
            continue  # with two languages, more than one is all
        shown = found.category
        mean, low, high = (100 * values[:, c] for values in (shown.mean, shown.low, shown.high))
        axes.fill_between(layers, low, high, color=_COLOURS[name], alpha=0.22, linewidth=0)
        marker = "o" if len(layers) <= 48 else None
        axes.plot(layers, mean, color=_COLOURS[name], linewidth=1.6, marker=marker, markersize=2.6)
    axes.set_xlabel("layer")
    axes.set_ylabel("share of neurons")
    axes.set_ylim(0, None)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)
    _label_lines(axes, found)


def _label_lines(axes: "Axes", found: Shares) -> None:
    """Name each line at its right end, apart from each other."""
    ends = {
        name: 100 * float(found.category.mean[-1, c])
        for c, name in enumerate(CATEGORIES)
        if not (name == "partial-shared" and len(found.languages) == 2)
    }
    top = axes.get_ylim()[1]
    least_gap = top * _LABEL_HEIGHT / (axes.figure.get_figheight() - 1.2)  # type: ignore[union-attr]
    names = sorted(ends, key=lambda name: ends[name])
    places: dict[str, float] = {}
    floor = 0.0
    for name in names:
        places[name] = max(ends[name], floor)
        floor = places[name] + least_gap
    for name in names:
        overall = 100 * found.category_overall.mean[CATEGORIES.index(name)]
        axes.annotate(
            f"{name}\nmean {overall:.1f} %", (1.0, places[name]), xycoords=("axes fraction", "data"),
            xytext=(4, 0), textcoords="offset points", va="center", ha="left",
            color=_COLOURS[name], fontsize=8.5, fontweight="bold", linespacing=1.05,
        )  # fmt: skip


def _draw_languages(axes: "Axes", found: Shares) -> None:
    overall = found.activated_overall
    order = np.argsort(overall.mean, kind="stable")  # the most activated ends up on top
    rows = np.arange(len(order))
    mean, low, high = (100 * values[order] for values in (overall.mean, overall.low, overall.high))
    axes.hlines(rows, low, high, color=_ACCENT, linewidth=4.5, alpha=0.3)
    axes.plot(mean, rows, "o", color=_ACCENT, markersize=4.2)
    axes.set_yticks(rows, [_language_label(found.languages[k]) for k in order])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.grid(axis="both", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("activated neurons, mean over layers")
    for row, value in zip(rows, mean, strict=True):
        axes.annotate(
            f"{value:.1f}", (1.0, row), xycoords=("axes fraction", "data"), xytext=(3, 0),
            textcoords="offset points", va="center", ha="left", fontsize=8, color="#555555",
        )  # fmt: skip


def _language_label(code: str) -> str:
    return f"{language(code).name} ({code})" if short_code(code) else code

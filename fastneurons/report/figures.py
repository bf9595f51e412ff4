"""Figures, drawn without pyplot: nothing of the caller's matplotlib is touched."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fastneurons.analysis import Estimate, Shares
from fastneurons.errors import InputError
from fastneurons.model_name import short_name
from fastneurons.report.cells import language_label, signal_name, where_read
from fastneurons.report.findings import Findings
from fastneurons.report.style import (
    ACCENT,
    CATEGORY_COLOURS,
    FAINT,
    STYLE,
    apart,
    check_ending,
    line_colours,
    save,
)
from fastneurons.store import CATEGORIES
from fastneurons.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = dict(zip(CATEGORIES, CATEGORY_COLOURS, strict=True))
_PANEL_WIDTHS = {"layers": 5.6, "languages": 3.9, "corpus": 8.0}  # inches
_LEAST_HEIGHT = 4.0
_AROUND_HEIGHT = 1.2  # title, caption and the axis below
_ROW_HEIGHT = 0.19  # a language's
_LABEL_HEIGHT = 0.29  # a line's name and mean
_LONGEST_NAME = 100  # characters, of a model or task: more would not fit


def draw(found: Findings, path: Path) -> None:
    """`fastneurons.report.draw_findings`."""
    check_ending(path)
    if not found.num_measured:
        raise InputError(f"{found.store}: nothing was measured yet, so there is nothing to draw")
    with matplotlib.rc_context(STYLE):
        save(corpus_figure(found) if found.corpus is not None else sharing_figure(found), path)


def sharing_figure(found: Findings) -> Figure:
    """Categories by layer as lines with their intervals, and languages as dots with theirs.

    With attribution, between them: categories among a layer's most contributing neurons.
    """
    shares, attributed = found.sharing, found.attribution
    assert shares is not None
    panels = ["layers", "layers", "languages"] if attributed else ["layers", "languages"]
    figure, axes = _figure(panels, max(_LEAST_HEIGHT, 1.5 + _ROW_HEIGHT * len(shares.languages)))
    shown = [c for c, name in enumerate(CATEGORIES) if name != "partial-shared" or len(shares.languages) > 2]
    shares_of = {"share of neurons": (shares.category, shares.category_overall)}
    if attributed:
        name = f"share of the {attributed.top_k:,} most contributing neurons"
        contribution = "contribution_share"
        shares_of[name] = (attributed.by_layer[contribution], attributed.overall[contribution])
    # All panels reach as high, so that they can be compared.
    top = 105 * max(float(np.nanmax(by_layer.high)) for by_layer, _ in shares_of.values())
    for panel, (name, (by_layer, overall)) in zip(axes, shares_of.items(), strict=False):
        panel.set_ylabel(name)
        _draw_categories(panel, shares.layers, by_layer, overall, shown, top)
    _draw_languages(axes[-1], shares)
    parts = [f"{shares.num_examples:,} examples", f"{len(shares.languages)} languages"]
    if attributed and attributed.threshold != found.threshold:
        parts.append(f"contributions at threshold {attributed.threshold:g}")
    _name(figure, found, [*parts, "bands: 95 % bootstrap intervals"])
    return figure


def corpus_figure(found: Findings) -> Figure:
    """Activation probability by layer, a line for each language."""
    corpus = found.corpus
    assert corpus is not None
    read = np.flatnonzero(corpus.tokens > 0)
    figure, [axes] = _figure(["corpus"], max(_LEAST_HEIGHT, _AROUND_HEIGHT + _ROW_HEIGHT * len(read)))
    order = read[np.argsort(corpus.activated[read, -1], kind="stable")]
    colours = line_colours(len(order))
    for colour, k in zip(colours, order, strict=True):
        _draw_line(axes, corpus.layers, 100 * corpus.activated[k], colour, 1.3)
    _style_layers(axes)
    axes.set_ylabel("activation probability")
    axes.set_ylim(*_padded(100 * corpus.activated[read]))
    labels = [
        f"{language_label(corpus.languages[k])}  {100 * corpus.activated_overall[k]:.1f} %" for k in order
    ]
    _label_lines(axes, labels, 100 * corpus.activated[order, -1], colours, _ROW_HEIGHT)
    parts = [
        f"{corpus.tokens.sum():,} tokens",
        f"{len(read)} languages",
        "means over neurons; in labels, also over layers",
    ]
    _name(figure, found, parts)
    return figure


# -- what pictures have in common -----------------------------------------------------------------------


def _figure(panels: Sequence[str], height: float) -> "tuple[Figure, list[Axes]]":
    widths = [_PANEL_WIDTHS[panel] for panel in panels]
    figure = Figure(figsize=(sum(widths), height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08, wspace=0.04)  # type: ignore[union-attr, call-arg]
    return figure, list(figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0])


def _name(figure: Figure, found: Findings, parts: Sequence[str]) -> None:
    """Write the model's name above the panels, and below the name what was measured."""
    header = found.header
    reading = f"{signal_name(header)} > {found.threshold:g} {where_read(header)}"
    caption = [
        visible(header.task, limit=_LONGEST_NAME),
        *parts[:2],
        reading,
        *parts[2:],
        *([] if found.is_complete else ["run not complete"]),
    ]
    # The empty second line keeps room for the caption, which is set smaller.
    left = 0.12 / figure.get_figwidth()
    figure.suptitle(
        f"{visible(short_name(header.model), limit=_LONGEST_NAME)}\n",
        fontsize=12,
        fontweight="bold",
        x=left,
        ha="left",
    )
    text = figure.axes[0].annotate(
        " · ".join(caption), (left, 1), xycoords="figure fraction", xytext=(0, -25),
        textcoords="offset points", ha="left", va="top", fontsize=8.5, color="#555555",
    )  # fmt: skip
    text.set_in_layout(False)


def _draw_categories(
    axes: "Axes",
    layers: Sequence[int],
    shown: Estimate,
    overall: Estimate,
    categories: Sequence[int],
    top: float,
) -> None:
    """Shares [N, 4] by layer, named at their right ends with their mean over layers [4]."""
    for c in categories:
        mean, low, high = (100 * values[:, c] for values in (shown.mean, shown.low, shown.high))
        colour = _COLOURS[CATEGORIES[c]]
        axes.fill_between(layers, low, high, color=colour, alpha=0.22, linewidth=0)
        _draw_line(axes, layers, mean, colour, 1.6)
    _style_layers(axes)
    axes.set_ylim(0, top)
    labels = [f"{CATEGORIES[c]}\nmean {100 * overall.mean[c]:.1f} %" for c in categories]
    colours = [_COLOURS[CATEGORIES[c]] for c in categories]
    _label_lines(axes, labels, [100 * shown.mean[-1, c] for c in categories], colours, _LABEL_HEIGHT)


def _draw_line(axes: "Axes", layers: Sequence[int], values: Any, colour: str, width: float) -> None:
    marker = "o" if len(layers) <= 48 else None
    axes.plot(layers, values, color=colour, linewidth=width, marker=marker, markersize=width + 1)


def _style_layers(axes: "Axes") -> None:
    axes.set_xlabel("layer")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)


def _label_lines(
    axes: "Axes", labels: Sequence[str], ends: Sequence[float], colours: Sequence[str], height: float
) -> None:
    """Name each line at its right end, apart from each other by `height` inches."""
    low, top = axes.get_ylim()
    gap = (top - low) * height / (axes.figure.get_figheight() - _AROUND_HEIGHT)  # type: ignore[union-attr]
    for label, place, colour in zip(labels, apart(ends, gap, low, top), colours, strict=True):
        axes.annotate(
            label, (1.0, place), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", va="center", ha="left", color=colour, fontsize=8.5,
            fontweight="bold", linespacing=1.05,
        )  # fmt: skip


def _padded(values: Any) -> tuple[float, float]:
    """Limits of an axis: from just below the smallest value, or 0 if that is near, to just above the largest."""
    low, high = float(np.min(values)), float(np.max(values))
    room = 0.05 * (high - low) or 1.0
    return (0.0 if low < 0.25 * high else low - room), high + room


def _draw_languages(axes: "Axes", found: Shares) -> None:
    overall = found.activated_overall
    order = np.argsort(overall.mean, kind="stable")  # the most activated ends up on top
    rows = np.arange(len(order))
    mean, low, high = (100 * values[order] for values in (overall.mean, overall.low, overall.high))
    axes.hlines(rows, low, high, color=ACCENT, linewidth=4.5, alpha=0.3)
    axes.plot(mean, rows, "o", color=ACCENT, markersize=4.2)
    axes.set_yticks(rows, [language_label(found.languages[k]) for k in order])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.grid(axis="both", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("activated neurons, mean over layers")
    for row, value in zip(rows, mean, strict=True):
        axes.annotate(
            f"{value:.1f}", (1.0, row), xycoords=("axes fraction", "data"), xytext=(3, 0),
            textcoords="offset points", va="center", ha="left", fontsize=8, color="#555555",
        )  # fmt: skip

"""Figure of `lape`: language neurons by layer, their stability, and what languages have in common."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from fastneurons.report.cells import language_label
from fastneurons.report.plots.languages import BLUES, overlap_matrix
from fastneurons.report.plots.sheet import (
    LABEL_SIZE,
    LINE_HEIGHT,
    MUTED,
    Key,
    Row,
    code_ticks,
    heading,
    is_wide,
    per_cent,
    sheet,
)
from fastneurons.report.style import ACCENT, FAINT, INK

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

# Cells of a heat map or a matrix have numbers up to so many in a row.
_MOST_NUMBERED = 12


def draw_lape(found: "xarray.Dataset", width: float) -> Figure:
    """Neurons by layer and language as a heat map; then overlaps as a matrix, and agreement of halves."""
    names = [str(name) for name in found["set"].values]
    G, of = len(names), found.attrs
    labels = [language_label(name) for name in names]
    chosen = f"{of['chosen']:,} neurons by {of['method']}"
    stable = bool(of["replicates"])
    if stable:
        by_chance = of["chosen_by_chance"]
        chosen += f"; by chance at most {by_chance:,.0f}" if by_chance >= 1 else "; by chance fewer than one"
    title, caption = heading(found, chosen)
    lines = 0.85 * LINE_HEIGHT * 1.4 * G
    half = width / 2 if is_wide(width) else width
    square = max(half - 0.9, 0.3 + lines)
    rows = [Row(0.75 + max(lines, 0.9))]
    if not is_wide(width):
        rows += [Row(square), *([Row(0.7 + lines)] if stable else [])]
    else:
        rows.append(Row(square, (1.0, 1.0) if stable else (1.0,)))
    keys = [
        *([Key("two halves of the corpus", ACCENT, "dot"), Key("by chance, random sets of these sizes", MUTED, "dot")]
          if stable else []),
    ]  # fmt: skip
    figure, panels = sheet(width, title, caption, rows, keys)
    _layers(panels[0], found, labels, width - 1.2)
    _matrix(panels[1], found, names, labels, half - 1.1)
    if stable:
        _agreement(panels[2], found, labels)
    return figure


def _layers(axes: "Axes", found: "xarray.Dataset", labels: list[str], width: float) -> None:
    counts = found["layer_count"].values
    layers = [str(int(layer)) for layer in found["layer"].values]
    axes.imshow(counts, cmap=BLUES, aspect="auto", interpolation="nearest", vmin=0)
    most = counts.max(initial=0)
    digits = len(f"{most:,}")
    if width / len(layers) > 0.055 * digits + 0.05:
        _numbers(axes, counts, most / 2)
    axes.set_yticks(range(len(labels)), labels)
    code_ticks(axes, layers, width)
    axes.set_xlabel("layer")
    axes.set_title(f"neurons by layer, at most {most:,}")
    _bare(axes, len(labels))


def _matrix(axes: "Axes", found: "xarray.Dataset", names: list[str], labels: list[str], width: float) -> None:
    matrix = 100 * overlap_matrix(found, names)
    axes.imshow(matrix, cmap=BLUES, aspect="auto", interpolation="nearest", vmin=0)
    if len(names) <= _MOST_NUMBERED:
        _numbers(axes, matrix, float(np.nanmax(matrix, initial=0)) / 2)
    axes.set_yticks(range(len(labels)), labels)
    code_ticks(axes, names, width)
    chance = found["jaccard_chance"].values
    there = chance[np.isfinite(chance)]
    mean = f" (by chance {100 * float(there.mean()):.1f})" if len(there) else ""
    axes.set_title(f"overlap, %{mean}")
    _bare(axes, len(labels))


def _agreement(axes: "Axes", found: "xarray.Dataset", labels: list[str]) -> None:
    rows = np.arange(len(labels))
    for name, colour in (("agreement_chance", MUTED), ("agreement", ACCENT)):
        axes.plot(100 * found[name].values, rows, "o", color=colour, markersize=3.5, label=name)
    axes.set_yticks(rows, labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    per_cent(axes.xaxis)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title("agreement of two halves (Jaccard)")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _numbers(axes: "Axes", values: Any, middle: float) -> None:
    for i, j in np.ndindex(*values.shape):
        if np.isfinite(values[i, j]):
            axes.text(
                j, i, f"{values[i, j]:,.0f}", ha="center", va="center", fontsize=LABEL_SIZE,
                color="white" if values[i, j] > middle else INK,
            )  # fmt: skip


def _bare(axes: "Axes", rows: int) -> None:
    axes.tick_params(length=0, labelsize=7 if rows <= 16 else LABEL_SIZE)
    for spine in axes.spines.values():
        spine.set_visible(False)

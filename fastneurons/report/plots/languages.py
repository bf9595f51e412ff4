"""Figures of languages: `sharing` and `alignment`."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from fastneurons.report.cells import language_label
from fastneurons.report.plots.sheet import (
    LABEL_SIZE,
    LINE_HEIGHT,
    MUTED,
    Key,
    Row,
    band,
    code_ticks,
    end_labels,
    heading,
    is_wide,
    line,
    name,
    per_cent,
    row_intervals,
    sheet,
    style_layers,
)
from fastneurons.report.style import ACCENT, COLOURS, FAINT, INK, line_colours

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

BLUES = LinearSegmentedColormap.from_list("overlap", ["#f3f7fb", "#7fb4dc", "#0072b2", "#053456"])
_MOST_SETS = 12
_MOST_NUMBERED = 12  # languages of a matrix whose cells have numbers
_CHANCE = (0, (1, 1.2))


def draw_sharing(found: "xarray.Dataset", width: float) -> Figure:
    """Overlaps as a matrix in the order of their tree, sets of languages, overlap by layer, similarities."""
    languages = [str(code) for code in found.attrs["languages"]]
    L = len(languages)
    with_sets = "set_share" in found
    with_tree = "linkage" in found and L > 2
    members = LINE_HEIGHT * 1.2 * L
    measures = "rho" in found and found.sizes["measure"] > 0
    half = width / 2 if is_wide(width) else width
    # Less the names to its left, with the codes below; high enough for the name of each row.
    square = max(half - 0.9, 0.3 + 0.85 * LINE_HEIGHT * L)
    tree = (0.5, square) if with_tree else (square,)
    upset = (max(1.4, square + 0.5 - members if is_wide(width) else 1.4), members)
    if is_wide(width):
        height = max(sum(tree), sum(upset))
        rows = [Row(height, (1.0, 1.0), (tree, upset)) if with_sets else Row(2 * square, parts=(tree,))]
        rows.append(Row(1.9, (1.0, 1.0) if measures else (1.0,)))
    else:
        rows = [Row(sum(tree), parts=(tree,)), *([Row(sum(upset), parts=(upset,))] if with_sets else [])]
        rows += [Row(1.7), *([Row(1.3)] if measures else [])]
    title, caption = heading(found, "overlap: neurons activated in both, of those in either (Jaccard)")
    keys = [
        Key("measured", ACCENT),
        Key("95 % interval", ACCENT, "band", 0.3),
        Key("by chance, at the same activation rates", INK, "dotted"),
    ]
    figure, panels = sheet(width, title, caption, rows, keys)
    remaining = iter(panels)
    above = _tree(next(remaining), found, languages) if with_tree else None
    matrix = next(remaining)
    _matrix(matrix, found, languages, half - 1.1)
    chance = 100 * float(np.nanmean(found["chance"].values))
    (above or matrix).set_title(f"overlap, % (by chance {chance:.1f})")
    if with_sets:
        _sets(next(remaining), next(remaining), found, languages)
    _by_layer(next(remaining), found)
    if measures:
        _similarities(next(remaining), found)
    return figure


def overlap_matrix(found: "xarray.Dataset", order: "list[str]") -> Any:
    """float64 [L, L], the overlap of each pair in the order of `order`; NaN on the diagonal."""
    place = {code: k for k, code in enumerate(order)}
    matrix = np.full((len(order), len(order)), np.nan)
    for first, second, overlap in zip(
        found["first"].values, found["second"].values, found["jaccard"].values, strict=True
    ):
        i, j = place[str(first)], place[str(second)]
        matrix[i, j] = matrix[j, i] = overlap
    return matrix


def _matrix(axes: "Axes", found: "xarray.Dataset", languages: list[str], width: float) -> None:
    order = [str(code) for code in found["leaf"].values] if "leaf" in found else languages
    matrix = 100 * overlap_matrix(found, order)
    L = len(order)
    axes.imshow(matrix, cmap=BLUES, aspect="auto", interpolation="nearest")
    low, high = np.nanmin(matrix), np.nanmax(matrix)
    if L <= _MOST_NUMBERED:
        for i in range(L):
            for j in range(L):
                if i != j and np.isfinite(matrix[i, j]):
                    dark = matrix[i, j] > (low + high) / 2
                    axes.text(
                        j, i, f"{matrix[i, j]:.0f}", ha="center", va="center", fontsize=LABEL_SIZE,
                        color="white" if dark else INK,
                    )  # fmt: skip
    axes.set_yticks(range(L), [language_label(code) for code in order])
    code_ticks(axes, order, width)
    axes.tick_params(length=0, labelsize=7 if L <= 16 else LABEL_SIZE)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _tree(axes: "Axes", found: "xarray.Dataset", languages: list[str]) -> "Axes":
    """Draw the dendrogram above the matrix; the higher two groups are joined, the less they overlap."""
    L = len(languages)
    order = [str(code) for code in found["leaf"].values]
    x = {k: float(order.index(code)) for k, code in enumerate(languages)}
    y = dict.fromkeys(x, 0.0)
    joins = found["linkage"].values
    base = 0.9 * float(joins[:, 2].min())
    for k, (left, right, distance) in enumerate(joins[:, :3]):
        ends, height = (int(left), int(right)), float(distance) - base
        axes.plot(
            [x[ends[0]], x[ends[0]], x[ends[1]], x[ends[1]]], [y[ends[0]], height, height, y[ends[1]]],
            color=MUTED, linewidth=0.8, solid_joinstyle="miter",
        )  # fmt: skip
        x[L + k], y[L + k] = (x[ends[0]] + x[ends[1]]) / 2, height
    axes.set_xlim(-0.5, L - 0.5)
    axes.set_ylim(bottom=0)
    axes.axis("off")
    return axes


def _sets(axes: "Axes", members: "Axes", found: "xarray.Dataset", languages: list[str]) -> None:
    """Draw sets of languages as UpSet plots do: shares above, members below."""
    ordered = np.argsort(-found["set_share"].values, kind="stable")
    order = [k for k in ordered if int(found["set_size"].values[k])][:_MOST_SETS]
    of = found.isel(set=order)
    columns = np.arange(len(order))
    share, low, high = (100 * of[f"set_share{end}"].values for end in ("", "_low", "_high"))
    axes.bar(columns, share, width=0.62, color=ACCENT, label="measured")
    axes.vlines(columns, low, high, color=INK, linewidth=0.9)
    axes.plot(
        columns,
        100 * of["set_chance"].values,
        "_",
        color=INK,
        markersize=7,
        markeredgewidth=1.1,
        label="chance",
    )
    axes.set_title("activated by exactly these languages")
    per_cent(axes.yaxis)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlim(-0.6, len(order) - 0.4)
    axes.set_ylim(bottom=0)
    axes.set_xticks([])
    axes.spines["bottom"].set_color(FAINT)
    inside = [set(str(label).split("+")) for label in of["set"].values]
    for row, code in enumerate(languages):
        members.axhspan(row - 0.5, row + 0.5, color="#f4f4f4" if row % 2 == 0 else "white", linewidth=0)
        filled = [k for k in columns if code in inside[k]]
        members.plot(columns, [row] * len(columns), "o", color="#d9d9d9", markersize=2.8)
        members.plot(filled, [row] * len(filled), "o", color=INK, markersize=2.8)
    for k in columns:
        rows = [row for row, code in enumerate(languages) if code in inside[k]]
        members.vlines(k, min(rows), max(rows), color=INK, linewidth=0.9)
    members.set_xlim(-0.6, len(order) - 0.4)
    members.set_ylim(len(languages) - 0.5, -0.5)
    members.set_yticks(range(len(languages)), [language_label(code) for code in languages])
    members.set_xticks([])
    members.tick_params(length=0, labelsize=LABEL_SIZE)
    for spine in members.spines.values():
        spine.set_visible(False)


def _by_layer(axes: "Axes", found: "xarray.Dataset") -> None:
    layers = found["layer"].values
    band(axes, layers, found["layer_jaccard_low"], found["layer_jaccard_high"], ACCENT, 0.3)
    line(axes, layers, found["layer_jaccard"], ACCENT, "overlap")
    line(axes, layers, found["layer_chance"], INK, "chance", _CHANCE)
    style_layers(axes)
    axes.set_ylim(bottom=0)
    axes.set_title("overlap by layer, mean of all pairs")


def _similarities(axes: "Axes", found: "xarray.Dataset") -> None:
    rho = found["rho"].values
    rows = range(len(rho))
    axes.hlines(
        rows, found["rho_low"].values, found["rho_high"].values, color=ACCENT, linewidth=3, alpha=0.35
    )
    axes.plot(rho, list(rows), "o", color=ACCENT, markersize=3.2)
    axes.axvline(0, color=INK, linewidth=0.6)
    labels = [
        f"{name(measure)}\n{f'q = {q:.2g}' if np.isfinite(q) else 'no q'}"
        for measure, q in zip(found["measure"].values, found["rho_q"].values, strict=True)
    ]
    axes.set_yticks(list(rows), labels)
    axes.set_ylim(-0.6, len(rho) - 0.4)
    axes.set_xlim(-1, 1)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("Spearman's rho")
    axes.set_title("overlap and similarity of languages")


def draw_alignment(found: "xarray.Dataset", width: float) -> Figure:
    """Scores by layer, a line for each language; and for all layers' neurons together, with intervals."""
    both = found.sel(direction="both")
    languages = [str(code) for code in found["language"].values]
    order = np.argsort(both["overall"].values, kind="stable")
    colours = line_colours(len(languages))
    few = len(languages) <= len(COLOURS)  # more bands would hide each other
    height = max(2.2, 0.7 + LINE_HEIGHT * 1.25 * len(languages))
    rows = [Row(height, (1.15, 1.0))] if is_wide(width) else [Row(height), Row(height)]
    of = found.attrs
    title, caption = heading(
        found,
        f"aligned with {language_label(str(of['reference']))}",
        f"{of['sampled_examples']:,} examples compared",
        "bands and bars: 95 % intervals" if few else "bars: 95 % intervals",
    )
    chance = float(both["chance"])
    keys = [Key(f"by chance, {100 * chance:.2g} %", INK, "dotted")]
    figure, (by_layer, overall) = sheet(width, title, caption, rows, keys)
    layers = found["layer"].values
    for colour, k in zip(colours, order, strict=True):
        each = both.isel(language=k)
        if few:
            band(by_layer, layers, each["score_low"], each["score_high"], colour, 0.1)
        line(by_layer, layers, each["score"], colour, languages[k], width=1.2 if few else 0.8)
    for axes, draw in ((by_layer, by_layer.axhline), (overall, overall.axvline)):
        draw(100 * chance, color=INK, linestyle=_CHANCE, linewidth=1)
        axes.set_axisbelow(True)
    style_layers(by_layer)
    by_layer.set_ylim(bottom=0)
    by_layer.set_title("aligned translations, by layer")
    end_labels(
        by_layer,
        [name(languages[k]) for k in order],
        [100 * float(both["score"].values[k, -1]) for k in order],
        colours,
        height - 0.55,
    )
    mean, low, high = (both[f"overall{end}"].values[order] for end in ("", "_low", "_high"))
    row_intervals(overall, mean, low, high, colours)
    overall.set_yticks(range(len(order)), [language_label(languages[k]) for k in order])
    per_cent(overall.xaxis)
    overall.set_title("all layers' neurons together")
    return figure

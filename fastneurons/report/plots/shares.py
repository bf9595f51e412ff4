"""Figures of category shares by layer: `categories`, `thresholds`, `recategorise` and `compare`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from fastneurons.model_name import short_name
from fastneurons.report.cells import count
from fastneurons.report.plots.sheet import (
    Key,
    Row,
    band,
    heading,
    is_wide,
    line,
    name,
    same_heights,
    sheet,
    style_layers,
)
from fastneurons.report.style import CATEGORY_COLOURS, INK, line_colours
from fastneurons.store import CATEGORIES

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

COLOURS = dict(zip(CATEGORIES, CATEGORY_COLOURS, strict=True))
INTERVAL = "95 % interval"
_WIDE_HEIGHT, _NARROW_HEIGHT = 1.75, 1.4


def shown_categories(num_languages: int) -> list[str]:
    """The categories that there can be: with two languages, a neuron that several share is all-shared."""
    return [each for each in CATEGORIES if each != "partial-shared" or num_languages > 2]


def category_rows(width: float, num_categories: int) -> tuple[list[Row], int]:
    """Rows for a panel of each category, and how many panels each row has."""
    if is_wide(width):
        return [Row(_WIDE_HEIGHT, [1.0] * num_categories)], num_categories
    return [Row(_NARROW_HEIGHT, [1.0, 1.0])] * -(-num_categories // 2), 2


def category_panels(panels: "Sequence[Axes]", categories: Sequence[str]) -> "dict[str, Axes]":
    """Panels by category; what is left over in the last row is hidden."""
    for axes in panels[len(categories) :]:
        axes.set_visible(False)
    return dict(zip(categories, panels, strict=False))


def finish(panels: "Sequence[Axes]", columns: int, label: str = "layer") -> None:
    """Style panels of categories alike, and label the axis below the last one of each column."""
    for k, axes in enumerate(panels):
        style_layers(axes, label)
        if k + columns < len(panels):
            axes.set_xlabel("")
    same_heights(panels, columns)


def sequence(number: int) -> list[str]:
    """Colours of ordered lines, from dark to light, all of them visible on white."""
    return [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0.0, 0.82, number))]


# -- figures ----------------------------------------------------------------------------------------------


def draw_categories(found: "xarray.Dataset", width: float) -> Figure:
    """Shares by layer with the spread over examples, and each task; of several stores, each run."""
    return _draw_runs(found, width) if "run" in found.dims else _draw_store(found, width)


def _draw_store(found: "xarray.Dataset", width: float) -> Figure:
    categories = shown_categories(len(found.attrs["languages"]))
    rows, columns = category_rows(width, len(categories))
    tasks = [str(task) for task in found["task"].values[:-1]] if found.sizes["task"] > 1 else []
    colours = line_colours(len(tasks))
    keys = [
        Key("mean"),
        Key(INTERVAL, INK, "band", 0.45),
        Key("5th to 95th percentile of examples", INK, "band", 0.2),
        Key("least to most", INK, "band", 0.08),
        *(Key(name(task), colour) for task, colour in zip(tasks, colours, strict=True)),
    ]
    title, caption = heading(found)
    figure, panels = sheet(width, title, caption, rows * (2 if tasks else 1), keys)
    per_group = columns * len(rows)
    whole = found.isel(task=-1)
    layers = found["layer"].values
    upper = category_panels(panels[:per_group], categories)
    for category, axes in upper.items():
        of, colour = whole.sel(category=category), COLOURS[category]
        band(axes, layers, of["least"], of["most"], colour, 0.1, "least to most")
        band(axes, layers, of["p5"], of["p95"], colour, 0.2, "5th to 95th percentile")
        band(axes, layers, of["share_low"], of["share_high"], colour, 0.5, INTERVAL)
        line(axes, layers, of["share"], colour, category)
        axes.set_title(f"{category} {100 * float(of['overall_share']):.1f} %", color=colour)
    finish(list(upper.values()), columns)
    lower = category_panels(panels[per_group:], categories) if tasks else {}
    for category, axes in lower.items():
        for k, (task, colour) in enumerate(zip(tasks, colours, strict=True)):
            of = found.isel(task=k).sel(category=category)
            band(axes, layers, of["share_low"], of["share_high"], colour)
            line(axes, layers, of["share"], colour, task)
        axes.set_title(f"{category}, by task", color=COLOURS[category])
    if lower:
        finish(list(lower.values()), columns)
    return figure


def _draw_runs(found: "xarray.Dataset", width: float) -> Figure:
    categories = shown_categories(int(found["num_languages"].max()))
    models = {short_name(str(model)) for model in found["model"].values}
    caption = ["bands: 95 % intervals"]
    if not found.attrs["same_languages"]:
        caption.append("the languages differ: shares compare only over equally many")
    runs = run_labels(found)
    figure, _ = _overlaid(
        found,
        "run",
        runs,
        line_colours(len(runs)),
        categories,
        name(models.pop()) if len(models) == 1 else "categories by layer",
        caption,
        width,
    )
    return figure


def run_labels(found: "xarray.Dataset") -> list[str]:
    """Name each run by what tells it from the others, and by its number of examples."""

    def all_of(variable: str) -> list[str]:
        return [str(value) for value in found[variable].values]

    parts = [
        [name(store.rstrip("/").rpartition("/")[2]) for store in all_of("store")],
        [name(short_name(model)) for model in all_of("model")],
        [name(task) for task in all_of("task")],
        [count(int(number), "language") for number in found["num_languages"].values],
        [f"> {threshold:g}" for threshold in found["threshold"].values],
    ]
    telling = [part for part in parts if len(set(part)) > 1] or parts[:1]
    examples = (count(int(number), "example") for number in found["examples"].values)
    return [
        f"{', '.join(words)} ({number})"
        for words, number in zip(zip(*telling, strict=True), examples, strict=True)
    ]


def draw_thresholds(found: "xarray.Dataset", width: float) -> Figure:
    """Shares by layer at every threshold of the store."""
    thresholds = [f"> {threshold:g}" for threshold in found["threshold"].values]
    title, caption = heading(found, "bands: 95 % intervals", threshold=False)
    figure, _ = _overlaid(
        found,
        "threshold",
        thresholds,
        sequence(len(thresholds)),
        shown_categories(len(found.attrs["languages"])),
        title,
        caption,
        width,
    )
    return figure


def _overlaid(
    found: "xarray.Dataset",
    dim: str,
    labels: Sequence[str],
    colours: Sequence[str],
    categories: Sequence[str],
    title: str,
    caption: Sequence[str],
    width: float,
) -> "tuple[Figure, dict[str, Axes]]":
    """A panel of each category, with a line and its interval for each index of a dimension."""
    rows, columns = category_rows(width, len(categories))
    keys = [Key(label, colour) for label, colour in zip(labels, colours, strict=True)]
    figure, panels = sheet(width, title, caption, rows, keys)
    by_category = category_panels(panels, categories)
    layers = found["layer"].values
    for category, axes in by_category.items():
        for k, (label, colour) in enumerate(zip(labels, colours, strict=True)):
            of = found.isel({dim: k}).sel(category=category)
            band(axes, layers, of["share_low"], of["share_high"], colour)
            line(axes, layers, of["share"], colour, label)
        axes.set_title(category, color=COLOURS[category])
    finish(list(by_category.values()), columns)
    return figure, by_category


def draw_recategorise(found: "xarray.Dataset", width: float) -> Figure:
    """Shares against the number of languages, and all-shared neurons by layer for each number."""
    categories = shown_categories(len(found.attrs["languages"]))
    sizes = [int(size) for size in found["size"].values]
    colours = sequence(len(sizes))
    rows = [Row(2.1, (1.0, 1.0))] if is_wide(width) else [Row(1.8), Row(1.8)]
    keys = [Key(each, COLOURS[each]) for each in categories]
    keys += [Key(f"all-shared by {sizes[0]} languages", colours[0]), Key(f"by {sizes[-1]}", colours[-1])]
    title, caption = heading(found, "means over all subsets of so many languages", "bands: 95 % intervals")
    figure, (by_size, by_layer) = sheet(width, title, caption, rows, keys)
    for category in categories:
        of, colour = found.sel(category=category), COLOURS[category]
        band(by_size, sizes, of["overall_subset_share_low"], of["overall_subset_share_high"], colour)
        line(by_size, sizes, of["overall_subset_share"], colour, category)
    style_layers(by_size, "number of languages")
    by_size.set_title("all layers")
    for k, (size, colour) in enumerate(zip(sizes, colours, strict=True)):
        of = found.isel(size=k).sel(category="all-shared")
        layers = found["layer"].values
        band(by_layer, layers, of["subset_share_low"], of["subset_share_high"], colour, 0.15)
        line(by_layer, layers, of["subset_share"], colour, f"all-shared by {size}")
    style_layers(by_layer)
    by_layer.set_title("all-shared, by number of languages")
    for axes in (by_size, by_layer):
        axes.set_ylim(bottom=0)
    return figure


def draw_compare(found: "xarray.Dataset", width: float) -> Figure:
    """Differences of two runs in each category by layer."""
    of = found.attrs
    categories = shown_categories(len(of["languages"]))
    rows, columns = category_rows(width, len(categories))
    caption = [
        f"A: {_side(of, 'first')}",
        f"B: {_side(of, 'second')}",
        f"{count(int(of['examples']), 'example')} in both",
        count(len(of["languages"]), "language"),
        f"above {of['threshold']:g}",
    ]
    p = float(of["p_no_difference"])
    if of.get("identical"):
        caption.append("identical: all activations are on the same side of the threshold")
    elif np.isfinite(p):
        caption.append(f"a difference as large by chance: p = {p:.2g}")
    keys = [Key("B less A, percentage points of neurons"), Key(INTERVAL, INK, "band", 0.25)]
    figure, panels = sheet(width, "B less A, by layer", caption, rows, keys)
    by_category = category_panels(panels, categories)
    layers = found["layer"].values
    for category, axes in by_category.items():
        each, colour = found.sel(category=category), COLOURS[category]
        axes.axhline(0, color=INK, linewidth=0.6)
        band(axes, layers, each["difference_low"], each["difference_high"], colour, 0.25)
        line(axes, layers, each["difference"], colour, category)
        low, high = (100 * float(each[f"overall_difference_{end}"]) for end in ("low", "high"))
        interval = f" ({low:+.1f} to {high:+.1f})" if np.isfinite(low) else ""
        overall = f"{100 * float(each['overall_difference']):+.1f}{interval}"
        axes.set_title(f"{category}\n{_with_minus(overall)}", color=colour)
        style_layers(axes)
        axes.yaxis.set_major_formatter(lambda value, _: _with_minus(f"{value:+g}") if value else "0")
    _same_ends(list(by_category.values()), columns)
    return figure


def _with_minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _side(of: "dict[str, object]", which: str) -> str:
    store = str(of[f"{which}_store"]).rstrip("/").rpartition("/")[2]
    return f"{name(short_name(str(of[f'{which}_model'])))} ({name(store)})"


def _same_ends(panels: "Sequence[Axes]", columns: int) -> None:
    """Give panels of differences the same limits, as far below zero as above."""
    most = max(abs(end) for axes in panels for end in axes.get_ylim()) or 1
    for k, axes in enumerate(panels):
        axes.set_ylim(-most, most)
        if k % columns:
            axes.tick_params(labelleft=False)
        if k + columns < len(panels):
            axes.set_xlabel("")

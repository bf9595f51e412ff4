"""Figures of neurons that stay the same: `repeating` and `inactive`."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from fastneurons.report.plots.shares import (
    COLOURS,
    INTERVAL,
    category_panels,
    category_rows,
    finish,
    shown_categories,
)
from fastneurons.report.plots.sheet import Key, Row, band, heading, is_wide, line, sheet, style_layers
from fastneurons.report.style import ACCENT, INK

if TYPE_CHECKING:
    import xarray

_AVERAGE = (0, (3, 1.5))
_CHANCE = (0, (1, 1.2))


def draw_repeating(found: "xarray.Dataset", width: float) -> Figure:
    """Neurons in a category in every example, by layer; and in at least so many examples."""
    categories = shown_categories(len(found.attrs["languages"]))
    rows, columns = category_rows(width, len(categories))
    keys = [
        Key("in the category in every example"),
        Key(INTERVAL, INK, "band", 0.25),
        Key("average share", INK, "dashed"),
        Key("by chance, if a layer's neurons were alike", INK, "dotted"),
    ]
    kept, chance = found.attrs["keepers_in_every_example"], float(found.attrs["keepers_by_chance"])
    expected = f"{chance:,.0f}" if chance >= 1 else "fewer than one"
    title, caption = heading(
        found,
        f"{kept:,} neurons never leave their category; by chance {expected}",
        "below: in at least q % of the examples, mean of layers",
    )
    figure, panels = sheet(width, title, caption, rows * 2, keys)
    half = columns * len(rows)
    every, layers = found.isel(at_least=-1), found["layer"].values
    upper = category_panels(panels[:half], categories)
    for category, axes in upper.items():
        of, colour = every.sel(category=category), COLOURS[category]
        band(axes, layers, of["repeating_low"], of["repeating_high"], colour)
        line(axes, layers, of["repeating"], colour, "every example")
        line(axes, layers, of["average"], colour, "average", _AVERAGE)
        line(axes, layers, of["repeating_chance"], INK, "chance", _CHANCE)
        axes.set_title(category, color=colour)
    finish(list(upper.values()), columns)
    lower = category_panels(panels[half:], categories)
    at_least = 100 * found["at_least"].values
    means = found[["repeating", "repeating_chance"]].mean("layer")
    for category, axes in lower.items():
        of, colour = means.sel(category=category), COLOURS[category]
        line(axes, at_least, of["repeating"], colour, "at least")
        line(axes, at_least, of["repeating_chance"], INK, "chance", _CHANCE)
        axes.set_title(category, color=colour)
    finish(list(lower.values()), columns, "at least q % of examples")
    for axes in lower.values():
        axes.set_xticks([50, 75, 100] if at_least[0] == 50 else at_least[:: max(1, len(at_least) // 3)])
    return figure


def draw_inactive(found: "xarray.Dataset", width: float) -> Figure:
    """Neurons that no token activates, by layer."""
    of = found.attrs
    total, all_neurons = int(found["inactive_count"].sum()), int(of["neurons"]) * found.sizes["layer"]
    what = "examples" if "examples" in of else "tokens"
    bound = f"a neuron that {100 * of['activation_bound']:.2g} % of the {what} activate may be missed"
    title, caption = heading(found, f"{total:,} of {all_neurons:,} neurons are never activated", bound)
    keys = [
        Key("never activated", ACCENT),
        Key(INTERVAL, ACCENT, "band", 0.25),
        Key("by chance, if a layer's neurons were alike", INK, "dotted"),
    ]
    figure, [axes] = sheet(width, title, caption, [Row(2.3 if is_wide(width) else 1.9)], keys)
    layers = found["layer"].values
    band(axes, layers, found["inactive_low"], found["inactive_high"], ACCENT, 0.25)
    line(axes, layers, found["inactive"], ACCENT, "never activated")
    line(axes, layers, found["inactive_chance"], INK, "chance", _CHANCE)
    style_layers(axes)
    axes.set_ylabel("share of neurons")
    axes.set_ylim(
        0,
        max(0.1, 105 * float(np.nanmax(found[["inactive", "inactive_high", "inactive_chance"]].to_array()))),
    )
    return figure

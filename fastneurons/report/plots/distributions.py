"""The figure `distributions`: how much languages' distributions overlap, and which signs gate and up have."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fastneurons.report.cells import language_label
from fastneurons.report.plots.sheet import (
    LINE_HEIGHT,
    MUTED,
    Key,
    Row,
    end_labels,
    heading,
    is_wide,
    line,
    sheet,
    style_layers,
)
from fastneurons.report.style import COLOURS, INK, line_colours

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

_CHANCE = (0, (1, 1.2))
_HEIGHT, _AROUND = 2.1, 0.6  # inches: of a panel, and of what is around its axes


def draw_distributions(found: "xarray.Dataset", width: float) -> Figure:
    """By layer: each language's overlap with the others, its quantiles, and the mean share of each sign case."""
    several = found.sizes["language"] > 1
    signs = "sign_share" in found
    number = 1 + several + signs
    signal = "coefficient" if found.attrs["signal"] == "product" else "activation"
    title, caption = heading(found, f"{signal}s in {found.attrs['bins']} bins", threshold=False)
    height = max(_HEIGHT, _AROUND + LINE_HEIGHT * found.sizes["language"])
    rows = [Row(height, (1.0,) * number)]
    if not is_wide(width):
        rows = [*([Row(height)] if several else []), *[Row(_HEIGHT)] * (number - several)]
    keys = [Key("by chance, if tokens were independent", INK, "dotted")] if several else []
    figure, panels = sheet(width, title, caption, rows, keys)
    remaining = iter(panels)
    if several:
        _overlaps(next(remaining), found, height - _AROUND)
    _values(next(remaining), found, signal)
    if signs:
        _signs(next(remaining), found, (height if is_wide(width) else _HEIGHT) - _AROUND)
    return figure


def _overlaps(axes: "Axes", found: "xarray.Dataset", height: float) -> None:
    codes, layers = [str(code) for code in found["language"].values], found["layer"].values
    colours = line_colours(len(codes))
    for code, colour in zip(codes, colours, strict=True):
        line(axes, layers, found["others_overlap"].sel(language=code), colour, code)
    line(axes, layers, found["others_overlap_chance"].mean("language"), INK, "chance", _CHANCE)
    style_layers(axes)
    axes.set_title("overlap with the other languages")
    ends = 100 * found["others_overlap"].isel(layer=-1).values
    end_labels(axes, [language_label(code) for code in codes], list(ends), colours, height)


def _values(axes: "Axes", found: "xarray.Dataset", signal: str) -> None:
    """The mean of languages: median and mean as lines, quantiles as bands."""
    layers, levels = found["layer"].values, found["level"].values
    quantile = found["quantile"].mean("language")
    for low, alpha in ((0, 0.12), (1, 0.2), (2, 0.3)):
        if low < len(levels) // 2:
            axes.fill_between(
                layers, quantile.isel(level=low), quantile.isel(level=-1 - low), color=COLOURS[0], alpha=alpha,
                linewidth=0, label=f"{100 * levels[low]:g} to {100 * levels[-1 - low]:g} %",
            )  # fmt: skip
    axes.plot(layers, quantile.isel(level=len(levels) // 2), color=COLOURS[0], label="median")
    axes.plot(layers, found["mean"].mean("language"), color=INK, linestyle="--", linewidth=1, label="mean")
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_title(f"{signal}s, mean of languages")
    axes.legend(loc="upper left", fontsize=6.5, frameon=False)
    axes.margins(x=0.03)


def _signs(axes: "Axes", found: "xarray.Dataset", height: float) -> None:
    layers = found["layer"].values
    share = found["sign_share"].mean("language")
    cases = [str(case) for case in found["case"].values]
    colours = COLOURS[: len(cases)]
    for case, colour in zip(cases, colours, strict=True):
        line(axes, layers, share.sel(case=case), colour, case)
    style_layers(axes)
    axes.set_ylim(0, max(50.0, 105 * float(np.nanmax(share.values))))
    axes.set_title("signs, share of tokens")
    end_labels(axes, cases, list(100 * share.isel(layer=-1).values), colours, height)

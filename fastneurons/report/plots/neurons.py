"""Figures of neurons and what they contribute: `neurons` and `contribution`."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from fastneurons.report.cells import language_label
from fastneurons.report.plots.languages import BLUES
from fastneurons.report.plots.shares import COLOURS
from fastneurons.report.plots.sheet import (
    LABEL_SIZE,
    Key,
    Row,
    band,
    code_ticks,
    heading,
    is_wide,
    line,
    name,
    per_cent,
    row_intervals,
    sheet,
    style_layers,
)
from fastneurons.report.style import ACCENT, FAINT, INK
from fastneurons.store import CATEGORIES

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

_MOST_NEURONS = {True: 30, False: 20}  # on a page, and in a column
_AVERAGE = (0, (3, 1.5))


def draw_neurons(found: "xarray.Dataset", width: float) -> Figure:
    """The first neurons of a list: how often each language activates them, and what they are listed by."""
    entries = min(_MOST_NEURONS[is_wide(width)], found.sizes["entry"])
    of = found.isel(entry=slice(0, entries))
    by, category, language = (str(found.attrs[key]) for key in ("by", "of_category", "of_language"))
    listed = " ".join(filter(None, (category, language)))
    title, caption = heading(found, f"by {by}" + (f", {listed}" if listed else ""), *_chance(found))
    height = 0.75 + 0.135 * max(entries, 4)
    rows = [Row(height, (1.4, 1.0))] if is_wide(width) else [Row(height), Row(height)]
    figure, (rates, listed_by) = sheet(width, title, caption, rows)
    labels = [
        f"{layer}:{neuron}" for layer, neuron in zip(of["layer"].values, of["neuron"].values, strict=True)
    ]
    _rates(rates, of, labels, (0.55 * width if is_wide(width) else width) - 1)
    if by == "contribution":
        _contributions(listed_by, of, language)
    else:
        _shares(listed_by, of, by)
    listed_by.set_yticks(range(entries), labels[::-1])
    listed_by.set_ylim(-0.6, entries - 0.4)
    listed_by.tick_params(axis="y", labelsize=LABEL_SIZE)
    return figure


def _chance(found: "xarray.Dataset") -> list[str]:
    """How many neurons are like those of the whole list, and how many would be by chance; nothing if there are none."""
    of, E = found.attrs, int(found.attrs["compared_examples"])
    chance, number = float(of["expected_by_chance"]), f"{of['found']:,} of {of['num_neurons']:,} neurons"
    expected = f"{chance:,.0f}" if chance >= 10 or not chance else f"{chance:.2g}"
    if not found.sizes["entry"] or (of["by"] == "contribution" and not of["of_category"]):
        return []
    what = {
        "occupancy": f"are in it in {int(found['count'].values.min()):,} of {E:,} examples or more",
        "specificity": "have a p as small as those listed",
        "contribution": f"are in it in {100 * float(of['min_share']):g} % of examples or more",
    }[str(of["by"])]
    return [f"{number} {what}; by chance {expected}"]


def _rates(axes: "Axes", of: "xarray.Dataset", labels: list[str], width: float) -> None:
    """A heat map: a row for each neuron, a column for each language."""
    languages = [str(code) for code in of["language"].values]
    shown = axes.imshow(
        100 * of["activation_rate"].values,
        cmap=BLUES,
        vmin=0,
        vmax=100,
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_yticks(range(len(labels)), labels)
    code_ticks(axes, languages, width)
    axes.tick_params(length=0, labelsize=LABEL_SIZE)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = axes.figure.colorbar(shown, ax=axes, aspect=40, shrink=1.0, pad=0.02)
    bar.outline.set_visible(False)
    per_cent(bar.ax.yaxis)
    bar.ax.tick_params(length=0, labelsize=LABEL_SIZE)
    axes.set_title("examples that activate it, by language")


def _shares(axes: "Axes", of: "xarray.Dataset", by: str) -> None:
    if by == "specificity" and "preferred" in of:
        place = {str(code): k for k, code in enumerate(of["language"].values)}
        columns = [place[str(code)] for code in of["preferred"].values]
        picked = [of[f"activation_share{end}"].values for end in ("", "_low", "_high")]
        mean, low, high = (values[np.arange(len(columns)), columns] for values in picked)
        axes.set_title("activations in its language")
        for row, code in enumerate(of["preferred"].values[::-1]):
            axes.annotate(
                name(code), (1.0, row), xycoords=("axes fraction", "data"), xytext=(3, 0),
                textcoords="offset points", va="center", fontsize=LABEL_SIZE,
            )  # fmt: skip
    else:
        mean, low, high = (of[f"count_share{end}"].values for end in ("", "_low", "_high"))
        axes.set_title("examples in the category")
    row_intervals(axes, mean[::-1], low[::-1], high[::-1], [ACCENT] * len(mean))
    per_cent(axes.xaxis)
    axes.set_xlabel("share with its 95 % interval")


def _contributions(axes: "Axes", of: "xarray.Dataset", language: str) -> None:
    scores = of["contribution"].sel(language=language) if language else of["contribution"].mean("language")
    axes.plot(scores.values[::-1], range(of.sizes["entry"]), "o", color=ACCENT, markersize=3.2)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title("mean contribution score" + (f", {name(language)}" if language else ""))


def draw_contribution(found: "xarray.Dataset", width: float) -> Figure:
    """Shares of contribution as stacked bars beside shares of neurons, by language; by layer; and scores by layer."""
    languages = [str(code) for code in found["language"].values]
    L = len(found.attrs["categories_over"])
    categories = [each for each in reversed(CATEGORIES) if each != "partial-shared" or L > 2]
    bars = 0.65 + 0.15 * (len(languages) + 3)
    if is_wide(width):
        rows = [Row(max(bars, 2.2), (1.2, 1.0)), Row(1.9, (1.0, 1.0))]
    else:
        rows = [Row(bars), Row(1.9), Row(1.8), Row(1.8)]
    title, caption = heading(found, headline(found))
    keys = [
        *(Key(each, COLOURS[each]) for each in reversed(categories)),
        Key("95 % interval", INK, "band", 0.25),
        Key("share of neurons", INK, "dashed"),
    ]
    figure, (stacked, by_layer, means, most) = sheet(width, title, caption, rows, keys)
    _stacked(stacked, found, languages, categories)
    layers = found["layer"].values
    for category in categories:
        of, colour = found.sel(category=category), COLOURS[category]
        band(by_layer, layers, of["sum_share_by_layer_low"], of["sum_share_by_layer_high"], colour)
        line(by_layer, layers, of["sum_share_by_layer"], colour, category)
        line(by_layer, layers, of["neuron_share_by_layer"], colour, f"{category}, neurons", _AVERAGE, 0.9)
        for axes, variable in ((means, "contribution_mean"), (most, "contribution_max")):
            low, high = (of[f"{variable}_by_layer_{end}"].values for end in ("low", "high"))
            axes.fill_between(layers, low, high, color=colour, alpha=0.22, linewidth=0)
            axes.plot(layers, of[f"{variable}_by_layer"].values, color=colour, label=category)
    style_layers(by_layer)
    by_layer.set_ylim(0, 102)
    by_layer.set_title("share of summed contribution, by layer")
    for axes, text in ((means, "mean contribution of a neuron"), (most, "largest contribution of a neuron")):
        style_layers(axes)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_ylim(bottom=0)
        axes.set_title(text)
    return figure


def _stacked(axes: "Axes", found: "xarray.Dataset", languages: list[str], categories: list[str]) -> None:
    """Bars from the top: all neurons, the most contributing ones, summed scores; then the sums of each language."""
    variables = ("neuron_share", "contribution_share", "sum_share")
    labels = ["all neurons", f"top {found.attrs['top_k']:,} neurons", "contribution"]
    labels += [language_label(code) for code in languages]
    values = [found[each] for each in variables]
    ends = [[found[f"{each}_{end}"] for end in ("low", "high")] for each in variables]
    for k in range(len(languages)):
        values.append(found["sum_share_by_language"].isel(language=k))
        ends.append([found[f"sum_share_by_language_{end}"].isel(language=k) for end in ("low", "high")])
    places = [len(labels) - k + (0.5 if k < 3 else 0) for k in range(len(labels))]
    left = np.zeros(len(labels))
    for category in categories:
        part = np.array([100 * float(each.sel(category=category)) for each in values])
        axes.barh(
            places, np.nan_to_num(part), left=left, height=0.72, color=COLOURS[category], label=category
        )
        left += np.nan_to_num(part)
    first = categories[0]  # its bar begins at zero, so that its end is its share
    for place, (low, high), each in zip(places, ends, values, strict=True):
        axes.hlines(
            place,
            100 * float(low.sel(category=first)),
            100 * float(high.sel(category=first)),
            color=INK,
            linewidth=1.1,
        )
        share = 100 * float(each.sel(category=first))
        if np.isfinite(share):
            axes.text(
                0.01, place, f"{share:.1f}", transform=axes.get_yaxis_transform(), color="white", va="center",
                fontsize=LABEL_SIZE,
            )  # fmt: skip
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 100)
    axes.set_ylim(0.4, len(labels) + 1.1)
    per_cent(axes.xaxis)
    axes.spines["left"].set_visible(False)
    axes.set_title("neurons and contribution, by category")


def headline(found: "xarray.Dataset") -> str:
    """Which share of neurons is all-shared, and which share of contribution is theirs."""
    of = found.sel(category="all-shared")
    neurons, share, low, high = (
        100 * float(of[each]) for each in ("neuron_share", "sum_share", "sum_share_low", "sum_share_high")
    )
    interval = f" ({low:.1f} to {high:.1f})" if np.isfinite(low) else ""
    return f"all-shared: {neurons:.1f} % of neurons, {share:.1f} %{interval} of contribution"

"""Print shares of neurons by layer, category and language, and convert them to numbers for JSON."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.columns import Columns
from rich.console import Console
from rich.table import Table

from fastneurons.analysis import Shares
from fastneurons.report.cells import (
    CATEGORY_HEADINGS,
    LANGUAGE_COLUMNS,
    LONGEST_LANGUAGE,
    LONGEST_NAME,
    by_category,
    half_width,
    interval,
    language_cells,
    language_headings,
    number,
    percent,
    table,
)
from fastneurons.store import CATEGORIES, NEAR_THRESHOLD
from fastneurons.visible import visible


def sharing_numbers(found: Shares) -> dict[str, Any]:
    """Return the numbers of the tables, with all digits."""
    return {
        "threshold": found.threshold,
        "near_threshold_share": number(found.near_threshold),
        "categories": by_category(found.category_overall),
        "activated": {name: interval(found.activated_overall, k) for k, name in enumerate(found.languages)},
        "layers": [
            {
                "layer": layer,
                "categories": by_category(found.category, index),
                "activated": {
                    name: number(found.activated[k, index]) for k, name in enumerate(found.languages)
                },
            }
            for index, layer in enumerate(found.layers)
        ],
    }


def print_sharing(console: Console, found: Shares, by_task: Mapping[str, Shares]) -> None:
    """Print a table of layers; one of tasks, if there are several; and one of languages, if there are many."""
    console.print(_layer_table(found))
    if len(by_task) > 1:
        console.print(_task_table(by_task))
    if len(found.languages) > LANGUAGE_COLUMNS:
        _print_languages(console, found)
    console.print(
        "Per cent of neurons, mean over examples; ±: half a 95 % bootstrap interval.\n"
        f"{percent(found.near_threshold, 3)} of activations lie within {NEAR_THRESHOLD:g} "
        "of the threshold, where rounding\ncould flip the result.",
        style="dim",
    )


def _layer_table(found: Shares) -> Table:
    each = len(found.languages) <= LANGUAGE_COLUMNS
    made = table("layer", *CATEGORY_HEADINGS, *language_headings(found.languages))
    for index, layer in enumerate(found.layers):
        category = [percent(value) for value in found.category.mean[index]]
        activated = found.activated[:, index], found.activated_mean[index]
        made.add_row(str(layer), *category, *language_cells(*activated, found.languages))
    made.add_section()
    total, overall = found.category_overall, found.activated_overall
    category = [percent(value) for value in total.mean]
    activated_overall = language_cells(overall.mean, found.activated_overall_mean, found.languages)
    made.add_row("all", *category, *activated_overall, style="bold")
    plus_minus = [half_width(overall, k) for k in range(len(found.languages))] if each else ["", "", ""]
    made.add_row("", *(half_width(total, c) for c in range(len(CATEGORIES))), *plus_minus, style="dim")
    return made


def _task_table(by_task: Mapping[str, Shares]) -> Table:
    made = table("task", "examples", *CATEGORY_HEADINGS, left=1)
    for task, found in by_task.items():
        overall = (percent(value) for value in found.category_overall.mean)
        made.add_row(visible(task, limit=LONGEST_NAME), f"{found.num_examples:,}", *overall)
    return made


def _print_languages(console: Console, found: Shares) -> None:
    """List languages from the most activated neurons to the fewest, in as many columns as fit."""
    overall = found.activated_overall
    order = np.argsort(-overall.mean, kind="stable")
    names = [visible(name, limit=LONGEST_LANGUAGE) for name in found.languages]
    width = max(map(len, names))
    cells = [f"  {names[k]:<{width}} {percent(overall.mean[k]):>5} {half_width(overall, k)}" for k in order]
    console.print("share of activated neurons over all layers, by language:")
    console.print(Columns(cells, column_first=True, padding=(0, 2)))
    console.print()

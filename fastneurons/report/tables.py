"""The summary of a store: tables for a terminal, or one object for JSON."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, TextIO

import msgspec
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fastneurons.analysis import Estimate, Shares, shares, shares_by_task
from fastneurons.model_name import short_name
from fastneurons.store import CATEGORIES, NEAR_THRESHOLD, SkippedRow, Store

_PLAIN_WIDTH = 80
# So many languages have a column each in the table of layers; more are given by their extremes.
_LANGUAGE_COLUMNS = 6
_CATEGORY_HEADINGS = [name.replace("-", "-\n") for name in CATEGORIES]
# Skipped rows named for each reason.
_NAMED = 3


@dataclass(frozen=True)
class SkipReason:
    """Skipped rows whose reasons are the same but for numbers and what is quoted.

    Args:
        reason: That of the first.
        count: How many there are.
        varies: Whether there are differences of that kind.
        first: The first few.
    """

    reason: str
    count: int
    varies: bool
    first: list[SkippedRow]


def skip_reasons(rows: Sequence[SkippedRow], named: int = _NAMED) -> list[SkipReason]:
    """Skipped rows by reason, the most frequent first."""
    groups: dict[str, list[SkippedRow]] = {}
    for row in rows:
        groups.setdefault(re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "*", row.reason), []).append(row)
    ordered = sorted(groups.values(), key=len, reverse=True)
    return [
        SkipReason(group[0].reason, len(group), len({row.reason for row in group}) > 1, group[:named])
        for group in ordered
    ]


def summary(store: Store, threshold: float | None = None) -> dict[str, Any]:
    """What `print_summary` prints, as numbers that JSON can hold; null where there is no value.

    Args:
        store: A store, complete or not.
        threshold: One of its thresholds; the first for None.
    Raises:
        InputError: the store has no such threshold.
        StoreError: an array is damaged.
    """
    header, found = store.header, shares(store, threshold)
    rows = store.skipped()
    result = {
        "store": store.path,
        "complete": store.is_complete,
        "model": header.model,
        "dtype": header.dtype,
        "task": header.task,
        "source": header.source,
        "languages": header.languages,
        "position": header.position,
        "signal": header.signal,
        "neurons": header.neurons,
        "examples": store.num_examples,
        "measured": found.num_examples,
        "skipped": len(rows),
        "skip_reasons": msgspec.to_builtins(skip_reasons(rows)),
        **_numbers(found),
    }
    if len(header.tasks) > 1:
        by_task = shares_by_task(store, threshold)
        result["tasks"] = {
            task: {"measured": part.num_examples, **_numbers(part)} for task, part in by_task.items()
        }
    return result


def summary_json(store: Store, threshold: float | None = None) -> str:
    """`summary` as JSON text, indented."""
    return msgspec.json.format(msgspec.json.encode(summary(store, threshold)), indent=2).decode()


def print_summary(store: Store, stream: TextIO, threshold: float | None = None) -> None:
    """Print shares of neurons by layer, category and language, and what was skipped.

    Args:
        store: A store, complete or not.
        stream: Where to; plain and 80 columns wide unless it is a terminal.
        threshold: One of the store's thresholds; the first for None.
    Raises:
        InputError: the store has no such threshold.
        StoreError: an array is damaged.
    """
    found = shares(store, threshold)
    console = Console(file=stream, width=None if stream.isatty() else _PLAIN_WIDTH, highlight=False)
    if not store.is_complete:
        console.print(
            "[bold yellow]Not complete:[/] its run goes on or was interrupted;\n"
            f"this is of the {store.num_examples:,} examples committed by now."
        )
        console.print()
    _print_heading(console, store, found)
    if found.num_examples:
        console.print(_layer_table(found))
        if len(store.header.tasks) > 1:
            console.print(_task_table(shares_by_task(store, threshold)))
        if len(found.languages) > _LANGUAGE_COLUMNS:
            _print_languages(console, found)
        console.print(
            "[dim]Per cent of neurons, mean over examples; ±: half a 95 % bootstrap interval.\n"
            f"{_percent(found.near_threshold, 3)} of activations are within {NEAR_THRESHOLD:g} "
            "of the threshold\n(rounding could turn them).[/]"
        )
    _print_skipped(console, store.skipped())


def _numbers(found: Shares) -> dict[str, Any]:
    return {
        "threshold": found.threshold,
        "near_threshold_share": _number(found.near_threshold),
        "categories": _by_category(found.category_overall),
        "activated": {name: _interval(found.activated_overall, k) for k, name in enumerate(found.languages)},
        "layers": [
            {
                "layer": layer,
                "categories": _by_category(found.category, index),
                "activated": {
                    name: _number(found.activated[k, index]) for k, name in enumerate(found.languages)
                },
            }
            for index, layer in enumerate(found.layers)
        ],
    }


def _by_category(estimate: Estimate, *index: int) -> dict[str, Any]:
    return {name: _interval(estimate, *index, c) for c, name in enumerate(CATEGORIES)}


def _interval(estimate: Estimate, *index: int) -> dict[str, float | None]:
    return {
        "mean": _number(estimate.mean[index]),
        "low": _number(estimate.low[index]),
        "high": _number(estimate.high[index]),
    }


def _number(value: Any) -> float | None:
    return float(value) if isfinite(value) else None


def _print_heading(console: Console, store: Store, found: Shares) -> None:
    header = store.header
    console.print(f"[bold]{escape(short_name(header.model))}[/] ({header.dtype}), {len(header.layers)} layers of "
                  f"{header.neurons:,} neurons")  # fmt: skip
    skipped = store.num_examples - found.num_examples
    console.print(
        f"{escape(header.task)}: {_examples(found.num_examples)} measured "
        f"in {len(header.languages)} languages" + (f", {skipped:,} skipped" if skipped else "")
    )
    others = [f"{t:g}" for t in header.thresholds if t != found.threshold]
    console.print(
        f"activated: above {found.threshold:g} at the {header.position} token"
        + (f" (also in the store: {', '.join(others)})" if others else "")
    )


def _layer_table(found: Shares) -> Table:
    each = len(found.languages) <= _LANGUAGE_COLUMNS
    of_languages = found.languages if each else ("activated", "least", "most")
    table = _table("layer", *_CATEGORY_HEADINGS, *of_languages)
    for index, layer in enumerate(found.layers):
        category = [_percent(value) for value in found.category.mean[index]]
        activated = _activated_cells(found.activated[:, index], found.languages, each)
        table.add_row(str(layer), *category, *activated)
    table.add_section()
    total = found.category_overall
    overall = found.activated_overall
    table.add_row(
        "all",
        *(_percent(value) for value in total.mean),
        *_activated_cells(overall.mean, found.languages, each),
        style="bold",
    )
    plus_minus = [_half_width(overall, k) for k in range(len(found.languages))] if each else ["", "", ""]
    table.add_row("", *(_half_width(total, c) for c in range(len(CATEGORIES))), *plus_minus, style="dim")
    return table


def _activated_cells(values: Any, languages: Sequence[str], each: bool) -> list[str]:
    if each:
        return [_percent(value) for value in values]
    if not np.isfinite(values).any():
        return ["-", "-", "-"]
    least, most = int(np.nanargmin(values)), int(np.nanargmax(values))
    return [_percent(np.nanmean(values)), *(f"{_percent(values[k])} {languages[k]}" for k in (least, most))]


def _task_table(by_task: dict[str, Shares]) -> Table:
    table = _table("task", "examples", *_CATEGORY_HEADINGS)
    table.columns[0].justify = "left"
    for task, found in by_task.items():
        overall = (_percent(value) for value in found.category_overall.mean)
        table.add_row(escape(task), f"{found.num_examples:,}", *overall)
    return table


def _print_languages(console: Console, found: Shares) -> None:
    """Languages from the most activated to the least, in as many columns as fit."""
    overall = found.activated_overall
    order = np.argsort(-overall.mean, kind="stable")
    width = max(map(len, found.languages))
    cells = [
        f"  {found.languages[k]:<{width}} {_percent(overall.mean[k]):>5} {_half_width(overall, k)}"
        for k in order
    ]
    console.print("activated, of the neurons of all layers, by language:")
    console.print(Columns(cells, column_first=True, padding=(0, 2)))
    console.print()


def _print_skipped(console: Console, rows: Sequence[SkippedRow]) -> None:
    if not rows:
        return
    console.print()
    console.print(f"skipped: {_examples(len(rows))}", style="bold")
    for group in skip_reasons(rows):
        alike = " (and the like)" if group.varies else ""
        console.print(f"[bold]{group.count:,}[/]  {escape(group.reason)}{alike}", soft_wrap=True)
        for row in group.first:
            named = f"  {escape(row.id)}" if row.id else ""
            console.print(f"     {escape(row.where)}{named}", soft_wrap=True)
        if group.count > len(group.first):
            console.print(f"     and {group.count - len(group.first):,} more, in skipped.jsonl")


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    for name in columns:
        table.add_column(name, justify="right", vertical="bottom", no_wrap=True)
    return table


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}" + (" %" if digits > 1 else "") if isfinite(share) else "-"


def _half_width(estimate: Estimate, index: int) -> str:
    half = (estimate.high[index] - estimate.low[index]) / 2
    return f"±{100 * half:.2f}" if isfinite(half) else ""


def _examples(number: int) -> str:
    return f"{number:,} example" + ("s" if number != 1 else "")

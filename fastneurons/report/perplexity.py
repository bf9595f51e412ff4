"""Perplexities for people: the findings of a store, as a table of edits by languages, as numbers, and as a figure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
import numpy as np
from rich.console import Console

from fastneurons.analysis.perplexity import perplexity
from fastneurons.arrays import INTACT
from fastneurons.console import PlainConsole
from fastneurons.errors import InputError
from fastneurons.report.cells import LONGEST_LANGUAGE, LONGEST_NAME, interval, language_label, table
from fastneurons.report.deactivation import estimate
from fastneurons.report.findings import Overview, overview
from fastneurons.report.tables import (
    PLAIN_WIDTH,
    print_incomplete,
    print_model,
    print_skipped,
    print_warnings,
)
from fastneurons.store import Header, Store
from fastneurons.visible import visible

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

_COLUMNS = 7  # languages of a table that fit next to each other
_EXPLANATION = (
    "Perplexity: exp of a token's mean negative log-probability. Change: how much that\n"
    "mean grows under an edit, in nats per token.\n"
    "±: half a 95 % bootstrap interval over examples; *: the interval leaves out 0."
)


@dataclass(frozen=True)
class Perplexities(Overview):
    """All numbers of a report of perplexities.

    Args:
        result: What `fastneurons.analysis.perplexity` returns, over all tasks.
        by_task: The same of each task; empty where there is only one.
    """

    result: "xarray.Dataset"
    by_task: "Mapping[str, xarray.Dataset]"


def compute_perplexities(store: Store) -> Perplexities:
    """Read a store of the kind "perplexity" and compute all that a report needs.

    Raises:
        InputError: the store is of another kind.
        StoreError: an array is damaged.
    """
    store.needs_kind("perplexity")
    tasks = store.header.tasks if len(store.header.tasks) > 1 else []
    return Perplexities(
        **vars(overview(store)),
        result=perplexity(store),
        by_task={task: perplexity(store, [task]) for task in tasks},
    )


# -- tables -----------------------------------------------------------------------------------------------


def print_perplexities(found: Perplexities, stream: TextIO) -> None:
    """Print the perplexity of each language under each edit, and the changes against the intact model.

    Args:
        stream: Output stream; plain text, 80 columns wide, unless it is a terminal.
    """
    console = PlainConsole(stream, PLAIN_WIDTH)
    print_incomplete(console, found, "text")
    print_model(console, found, "text")
    if line := windows_line(found.header):
        console.print(line)
    print_warnings(console, found)
    if found.num_measured:
        _print_matrices(console, found.result)
        for task, result in found.by_task.items():
            console.print()
            console.print(f"task {visible(task, limit=LONGEST_NAME)}", style="bold")
            _print_matrices(console, result)
        console.print()
        console.print(_EXPLANATION, style="dim")
    print_skipped(console, found, "text")


def windows_line(header: Header) -> str:
    """Say how texts were cut; nothing if the store does not say it."""
    block_size, length, stride = (
        _given(header.edits.get(name)) for name in ("block_size", "max_length", "stride")
    )
    if block_size:
        return f"blocks of {block_size} tokens"
    return f"windows of {length} tokens, {stride} apart" if length and stride else ""


def _given(value: Any) -> str:
    """A number of the header, which may be damaged or someone else's; empty for None."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else visible(str(value), limit=LONGEST_NAME)


def _print_matrices(console: Console, result: "xarray.Dataset") -> None:
    languages = [str(code) for code in result["language"].values]
    for first in range(0, len(languages), _COLUMNS):
        some = languages[first : first + _COLUMNS]
        names = [visible(code, limit=LONGEST_LANGUAGE) for code in some]
        console.print()
        console.print("perplexity")
        made = table("edit", *names, left=1)
        for k, condition in enumerate(result["condition"].values):
            values = result["perplexity"].values[first : first + len(some), k]
            made.add_row(visible(str(condition), limit=LONGEST_NAME), *map(shown_perplexity, values))
        made.add_row(
            "tokens", *(f"{n:,}" for n in result["tokens"].values[first : first + len(some)]), style="dim"
        )
        console.print(made)
    change = estimate(result, "change")
    edits = [k for k, name in enumerate(result["condition"].values) if name != INTACT]
    if not edits:
        return
    console.print()
    console.print("change of the mean negative log-probability")
    for start in range(0, len(edits), 4):
        some_edits = edits[start : start + 4]
        conditions = [str(result["condition"].values[k]) for k in some_edits]
        made = table("language", *(visible(each, limit=LONGEST_NAME) for each in conditions), left=1)
        for j, code in enumerate(languages):
            cells = []
            for k in some_edits:
                mean, low, high = (getattr(change, end)[j, k] for end in ("mean", "low", "high"))
                star = "*" if low > 0 or high < 0 else " "
                half = f" ±{(high - low) / 2:.3f}{star}" if np.isfinite(low) else ""
                cells.append(f"{mean:+.3f}{half}" if np.isfinite(mean) else "-")
            made.add_row(visible(code, limit=LONGEST_LANGUAGE), *cells)
        console.print(made)


def shown_perplexity(value: float) -> str:
    """Format a perplexity with the digits that matter."""
    if not np.isfinite(value):
        return "-" if np.isnan(value) else "inf"
    return f"{value:.2f}" if value < 1000 else f"{value:.3g}" if value >= 1e6 else f"{value:,.0f}"


# -- JSON -------------------------------------------------------------------------------------------------


def perplexity_numbers(found: Perplexities) -> dict[str, Any]:
    """Return the numbers that `print_perplexities` prints, with all digits, for JSON; null stands for no value."""
    header = found.header
    result = {
        "store": found.store,
        "kind": header.kind,
        "complete": found.is_complete,
        "model": header.model,
        "dtype": header.dtype,
        "task": header.task,
        "source": header.source,
        "languages": header.languages,
        "warnings": header.warnings,
        "edits": header.edits,
        "examples": found.num_examples,
        "measured": found.num_measured,
        "skipped": found.num_skipped,
        "skip_reasons": msgspec.to_builtins(found.skip_reasons),
        **_numbers(found.result),
    }
    if found.by_task:
        result["tasks"] = {task: _numbers(each) for task, each in found.by_task.items()}
    return result


def _numbers(result: "xarray.Dataset") -> dict[str, Any]:
    level, change = estimate(result, "perplexity"), estimate(result, "change")
    conditions = [str(each) for each in result["condition"].values]
    return {
        "conditions": conditions,
        "by_language": {
            str(code): {
                "name": language_label(str(code)),
                "tokens": int(result["tokens"].values[j]),
                "perplexity": {name: interval(level, j, k) for k, name in enumerate(conditions)},
                "change": {
                    name: interval(change, j, k) for k, name in enumerate(conditions) if name != INTACT
                },
            }
            for j, code in enumerate(result["language"].values)
        },
    }


# -- the figure -------------------------------------------------------------------------------------------


def draw_perplexities(found: Perplexities, path: Path, width: float | None = None) -> None:
    """Draw the matrix of edits and languages into a file; the caller's matplotlib stays as it is.

    Raises:
        InputError: another ending than .png, .svg or .pdf, no such folder, or nothing measured yet.
    """
    import matplotlib

    from fastneurons.report.plots.sheet import PAGE, PLOT_STYLE, add_fonts
    from fastneurons.report.style import check_ending, quiet_glyphs, save

    check_ending(path)
    if not found.num_measured:
        raise InputError(f"{found.store}: nothing was measured yet, so there is nothing to draw")
    add_fonts()
    with matplotlib.rc_context(PLOT_STYLE), quiet_glyphs():
        save(perplexity_figure(found, width or PAGE), path)


def perplexity_figure(found: Perplexities, width: float) -> Any:
    """Changes under each edit as a matrix: a row for each edit, a column for each language.

    Without edits, the perplexities as bars.
    """
    from fastneurons.report.plots.sheet import Row, heading, sheet

    result = found.result
    edits = [str(name) for name in result["condition"].values if name != INTACT]
    parts = ["change of the mean negative log-probability, nats per token" if edits else "perplexity"]
    title, caption = heading(result, *parts, threshold=False)
    figure, [axes] = sheet(width, title, caption, [Row(max(1.2, 0.5 + 0.24 * max(1, len(edits))))], [])
    if edits:
        _draw_matrix(axes, result, edits)
    else:
        codes = [str(code) for code in result["language"].values]
        axes.bar(range(len(codes)), result["perplexity"].sel(condition=INTACT).values, color="#0072b2")
        axes.set_xticks(range(len(codes)), codes)
        axes.set_ylabel("perplexity")
    return figure


_MOST_NUMBERED = 16  # languages of a matrix whose cells have numbers


def _draw_matrix(axes: "Axes", result: "xarray.Dataset", edits: list[str]) -> None:
    from fastneurons.report.plots.sheet import name
    from fastneurons.report.style import INK

    values = result["change"].sel(condition=edits).values.T  # [edits, L]
    codes = [str(code) for code in result["language"].values]
    most = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    axes.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
    for i, row in enumerate(values):
        for j, value in enumerate(row) if len(codes) <= _MOST_NUMBERED else ():
            if np.isfinite(value):
                colour = "white" if abs(value) > 0.6 * most else INK
                axes.text(j, i, f"{value:+.2f}", ha="center", va="center", fontsize=6.5, color=colour)
    axes.set_yticks(range(len(edits)), [name(edit) for edit in edits])
    axes.set_xticks(range(len(codes)), [name(code) for code in codes])
    axes.set_xlabel("language of the texts")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)

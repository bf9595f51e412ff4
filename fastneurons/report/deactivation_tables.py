"""Print a deactivation as tables for a terminal, or convert it to numbers for JSON.

The log-probability of the reference answer comes first: small models answer near chance, where accuracy says little.
"""

from typing import TYPE_CHECKING, Any, TextIO

import msgspec
import numpy as np
from rich.console import Console

from fastneurons.analysis.bootstrap import Estimate
from fastneurons.console import PlainConsole
from fastneurons.report.cells import (
    LONGEST_LANGUAGE,
    LONGEST_NAME,
    count,
    interval,
    language_label,
    number,
    signal_name,
    table,
    where_read,
)
from fastneurons.report.deactivation import Deactivation, differs, estimate, signed
from fastneurons.report.tables import (
    PLAIN_WIDTH,
    print_incomplete,
    print_model,
    print_skipped,
    print_warnings,
)
from fastneurons.visible import visible

if TYPE_CHECKING:
    import xarray

SCORES = {"log_probability": "log-probability of the answer", "accuracy": "accuracy"}
DIFFERENCES = ("from_intact", "control_from_intact", "from_control")
_EXPLANATION = (
    "Log-probability: natural logarithm, summed over the answer's tokens; accuracy in\n"
    "per cent, its changes in points. Random: as many neurons of each layer, mean of\n"
    "{controls}. Off - random is the effect beyond that of any neurons.\n"
    "±: half a 95 % bootstrap interval over examples; *: the interval leaves out 0."
)
_GREEDY_MATCH = (
    "A written answer is right if each of its tokens is the likeliest one, so that\n"
    "greedy decoding would write it."
)


def print_deactivation(found: Deactivation, stream: TextIO) -> None:
    """Print changes by category, over all languages and by language, for all tasks and for each.

    Args:
        stream: Output stream; plain text, 80 columns wide, unless it is a terminal.
    """
    console = PlainConsole(stream, PLAIN_WIDTH)
    header = found.header
    print_incomplete(console, found, "example")
    print_model(console, found, "example")
    signal = f"{signal_name(header)} " if header.signal != "gate" else ""
    console.print(f"activated: {signal}above {found.threshold:g} {where_read(header)}")
    for name, value in header.edits.items():
        console.print(
            f"{visible(name, limit=LONGEST_NAME)}: {visible(str(value), limit=LONGEST_NAME)}", soft_wrap=True
        )
    print_warnings(console, found)
    if found.num_measured:
        _print_result(console, found, found.result)
        for task, result in found.by_task.items():
            console.print()
            console.print(f"task {visible(task, limit=LONGEST_NAME)}", style="bold")
            _print_result(console, found, result, explain=False)
    print_skipped(console, found, "example")


def _print_result(
    console: Console, found: Deactivation, result: "xarray.Dataset", explain: bool = True
) -> None:
    scores = [name for name in SCORES if name != "accuracy" or result["judged"].values.any()]
    console.print()
    _print_sets(console, result)
    for score in scores:
        console.print()
        intact = float(result[f"overall_{score}"].sel(condition="intact"))
        shown = f"{intact:.2f}" if score == "log_probability" else f"{100 * intact:.1f} %"
        console.print(f"{SCORES[score]}: intact {shown}, mean over languages")
        made = table("category", "off - intact", "random - intact", "off - random", left=1)
        for k, category in enumerate(result["category"].values):
            cells = [_cell(estimate(result, f"overall_{score}_{d}"), score, k) for d in DIFFERENCES]
            made.add_row(visible(str(category), limit=LONGEST_NAME), *cells)
        console.print(made)
    for score in scores:
        for difference, title in (("from_intact", "off - intact"), ("from_control", "off - random")):
            console.print()
            console.print(f"{SCORES[score]} by language: {title}")
            _print_languages(console, result, score, difference)
    if explain:
        console.print()
        controls = count(int(result.attrs["controls"]), "random set")
        console.print(_EXPLANATION.format(controls=controls), style="dim")
        if found.has_accuracy and found.matches_greedily:
            console.print(_GREEDY_MATCH, style="dim")


def _print_sets(console: Console, result: "xarray.Dataset") -> None:
    """Print how many neurons each category has, and how much of them its controls hit."""
    made = table(
        "category", "neurons", "of them in\na random set", "by chance", "examples\nwithout any", left=1
    )
    for k, category in enumerate(result["category"].values):
        at = result.isel(category=k)
        made.add_row(
            visible(str(category), limit=LONGEST_NAME),
            f"{float(at['neurons'].sum()):,.0f}",
            *(
                f"{100 * float(at[name]):.1f} %" if np.isfinite(at[name]) else "-"
                for name in ("overlap", "overlap_by_chance")
            ),
            f"{int(at['empty']):,}",
        )
    console.print(made)


def _print_languages(console: Console, result: "xarray.Dataset", score: str, difference: str) -> None:
    categories = [visible(str(each), limit=LONGEST_NAME) for each in result["category"].values]
    made = table("language", "intact", *(name.replace("-", "-\n") for name in categories), left=1)
    change = estimate(result, f"{score}_{difference}")
    intact = result[score].sel(condition="intact").values
    for j, code in enumerate(result["language"].values):
        level = f"{intact[j]:.2f}" if score == "log_probability" else f"{100 * intact[j]:.1f}"
        cells = [_cell(change, score, j, k) for k in range(len(categories))]
        made.add_row(
            visible(str(code), limit=LONGEST_LANGUAGE), level if np.isfinite(intact[j]) else "-", *cells
        )
    console.print(made)


def _cell(change: Estimate, score: str, *index: int) -> str:
    """A difference with half of its interval, and a star if that leaves out 0."""
    scale, digits = (1, 2) if score == "log_probability" else (100, 1)
    half = scale * (change.high[index] - change.low[index]) / 2
    star = "*" if differs(change, *index) else " "
    width = f" ±{half:.{digits}f}{star}" if np.isfinite(half) else ""
    return signed(scale * change.mean[index], digits) + width


# -- JSON -------------------------------------------------------------------------------------------------


def deactivation_numbers(found: Deactivation) -> dict[str, Any]:
    """Return the numbers that `print_deactivation` prints, with all digits, for JSON; null stands for no value."""
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
        "position": header.position,
        "signal": header.signal,
        "threshold": found.threshold,
        "warnings": header.warnings,
        "edits": header.edits,
        "measures": header.measures,
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
    categories = [str(each) for each in result["category"].values]

    def level(name: str, condition: str, *index: int) -> dict[str, float | None]:
        place = list(result["condition"].values).index(condition)
        return interval(estimate(result, name), *index, place)

    def of_category(prefix: str, category: str, *index: int) -> dict[str, Any]:
        k = categories.index(category)
        return {
            score: {
                "mean": level(f"{prefix}{score}", category, *index),
                "control": level(f"{prefix}{score}", f"random:{category}", *index),
                **{d: interval(estimate(result, f"{prefix}{score}_{d}"), *index, k) for d in DIFFERENCES},
            }
            for score in SCORES
        }

    def of_set(category: str) -> dict[str, Any]:
        at = result.sel(category=category)
        return {
            "neurons": number(float(at["neurons"].sum())),
            "neurons_by_layer": [number(each) for each in at["neurons"].values],
            "overlap": number(float(at["overlap"])),
            "overlap_by_chance": number(float(at["overlap_by_chance"])),
            "examples_without_any": int(at["empty"]),
        }

    return {
        "controls": int(result.attrs["controls"]),
        "intact": {score: level(f"overall_{score}", "intact") for score in SCORES},
        "categories": {each: {**of_set(each), **of_category("overall_", each)} for each in categories},
        "by_language": {
            str(code): {
                "name": language_label(str(code)),
                "examples": int(result["examples"].values[j]),
                "judged": int(result["judged"].values[j]),
                "intact": {score: level(score, "intact", j) for score in SCORES},
                "categories": {each: of_category("", each, j) for each in categories},
            }
            for j, code in enumerate(result["language"].values)
        },
    }

"""Results of lm-evaluation-harness under several conditions: read from its files, paired, tabled."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from scipy.stats import bootstrap

from fastneurons.console import PlainConsole
from fastneurons.errors import EngineError
from fastneurons.report.cells import LONGEST_NAME, table
from fastneurons.visible import visible

_SAMPLES = re.compile(r"samples_(.+)_\d{4}-\d{2}-\d{2}T.*\.jsonl")
_RESAMPLES = 1000
# Stands among the conditions in JSON, so that no edit may be called so if there is an adapter.
ADAPTER_KEY = "lora"
_EXPLANATION = (
    "±: the harness' standard error. Change: from the intact model, over the same\n"
    "documents, with the 95 % interval of a paired bootstrap; *: it leaves out 0."
)


@dataclass(frozen=True)
class Change:
    """A mean difference to the intact model over the same documents, and its interval."""

    mean: float
    low: float
    high: float
    documents: int


@dataclass(frozen=True)
class Measured:
    """A metric of a task under one condition.

    Args:
        value: As the harness aggregates it.
        stderr: Its standard error by the harness; None where it gives none.
        change: To the intact model; None for the intact model itself and for metrics that are no means over documents.
    """

    value: float
    stderr: float | None
    change: Change | None


# By condition, then by (task, metric with its filter).
Results = dict[str, dict[tuple[str, str], Measured]]


def read_results(folders: Mapping[str, Path]) -> Results:
    """Read what the harness wrote for each condition; the first is the intact model.

    Raises:
        EngineError: it wrote no results.
    """
    intact = next(iter(folders))
    samples = {condition: _samples(folder) for condition, folder in folders.items()}
    found: Results = {}
    for condition, folder in folders.items():
        found[condition] = {}
        for task, metrics in _aggregated(folder).items():
            for name, value in metrics.items():
                metric, _, filtered = name.partition(",")
                if metric.endswith("_stderr") or not _is_number(value):
                    continue
                stderr = metrics.get(f"{metric}_stderr,{filtered}")
                key = (task, metric, filtered)
                change = None
                if condition != intact:
                    change = _change(samples[condition].get(key, {}), samples[intact].get(key, {}))
                shown = metric if filtered in ("", "none") else f"{metric}, {filtered}"
                found[condition][task, shown] = Measured(
                    float(value), float(stderr) if _is_number(stderr) and stderr is not None else None, change
                )
    return found


def print_results(found: Results, stream: TextIO, adapter: str | None = None) -> None:
    """Print a table: a row for each task, metric and condition.

    Args:
        adapter: Folder of the LoRA adapter that the model had under every condition; None without one.
    """
    console = PlainConsole(stream)
    if adapter is not None:
        console.print(f"adapter: {visible(adapter, limit=LONGEST_NAME)}", soft_wrap=True)
    made = table("task", "metric", "edit", "value", "±", "change", left=3)
    first = next(iter(found))
    for task, metric in found[first]:
        for condition, measured in found.items():
            each = measured.get((task, metric))
            if each is not None:
                made.add_row(
                    visible(task, limit=LONGEST_NAME), visible(metric, limit=LONGEST_NAME),
                    visible(condition, limit=LONGEST_NAME), f"{each.value:.4f}",
                    "-" if each.stderr is None else f"{each.stderr:.4f}", _shown(each.change),
                )  # fmt: skip
    console.print(made)
    console.print(_EXPLANATION, style="dim")


def results_numbers(found: Results, adapter: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All numbers, for JSON: by condition, task and metric; before them, as `lora`, the facts about the adapter."""
    numbers: dict[str, Any] = {} if adapter is None else {ADAPTER_KEY: dict(adapter)}
    for condition, measured in found.items():
        for (task, metric), each in measured.items():
            change = None if each.change is None else vars(each.change)
            numbers.setdefault(condition, {}).setdefault(task, {})[metric] = {
                "value": each.value, "stderr": each.stderr, "change": change,
            }  # fmt: skip
    return numbers


def _aggregated(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(folder.rglob("results_*.json"))
    if not files:
        raise EngineError(f"lm-eval wrote no results into {folder}")
    results: dict[str, dict[str, Any]] = json.loads(files[-1].read_text(encoding="utf-8"))["results"]
    return results


def _samples(folder: Path) -> dict[tuple[str, str, str], dict[int, float]]:
    """Of each task, metric and filter, the value of each document."""
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    for path in sorted(folder.rglob("samples_*.jsonl")):
        match = _SAMPLES.fullmatch(path.name)
        if match is None:
            continue
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                sample = json.loads(line)
                for metric in sample.get("metrics", ()):
                    if _is_number(value := sample.get(metric)):
                        key = (match[1], metric, sample.get("filter", "none"))
                        found.setdefault(key, {})[sample["doc_id"]] = float(value)
    return found


def _change(after: Mapping[int, float], before: Mapping[int, float]) -> Change | None:
    both = sorted(after.keys() & before.keys())
    if not both:
        return None
    differences = np.array([after[doc] - before[doc] for doc in both])
    mean = float(differences.mean())
    if len(both) < 2 or (differences == differences[0]).all():
        return Change(mean, mean, mean, len(both))
    interval = bootstrap(
        (differences,), np.mean, n_resamples=_RESAMPLES, method="percentile", random_state=0
    ).confidence_interval
    return Change(mean, float(interval.low), float(interval.high), len(both))


def _shown(change: Change | None) -> str:
    if change is None:
        return "-"
    mark = "*" if change.low > 0 or change.high < 0 else " "
    return f"{change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}]{mark}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def folders_of(root: Path, conditions: Sequence[str]) -> dict[str, Path]:
    """A folder for each condition; names of edits may hold anything."""
    return {condition: root / f"{number}" for number, condition in enumerate(conditions)}

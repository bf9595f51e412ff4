"""Findings of a deactivation: the analysis of its store, of all tasks and of each, and the main ones as sentences."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastneurons.analysis.bootstrap import Estimate
from fastneurons.analysis.deactivation import deactivation
from fastneurons.arrays import GREEDY_MATCH
from fastneurons.report.cells import LONGEST_NAME, count, language_label
from fastneurons.report.findings import Overview, overview
from fastneurons.report.sentences import Sentence
from fastneurons.store import CATEGORIES, Store
from fastneurons.visible import visible

if TYPE_CHECKING:
    import xarray

OPERATIONS = {"zero": "switched off"}


@dataclass(frozen=True)
class Deactivation(Overview):
    """All numbers of a report of a deactivation.

    Args:
        threshold: A neuron is activated, for its category, if its signal is above this value.
        result: What `fastneurons.analysis.deactivation` returns, over all tasks.
        by_task: The same of each task; empty where there is only one.
    """

    threshold: float
    result: "xarray.Dataset"
    by_task: "Mapping[str, xarray.Dataset]"

    @property
    def operation(self) -> str:
        """What happens to the neurons, in words that follow "neurons"."""
        given = str(self.header.edits.get("operation", "zero"))
        return OPERATIONS.get(given, f"edited ({visible(given, limit=LONGEST_NAME)})")

    @property
    def categories(self) -> list[str]:
        """Names of the categories, for display."""
        return [visible(str(each), limit=LONGEST_NAME) for each in self.result["category"].values]

    @property
    def has_accuracy(self) -> bool:
        """Whether any answer was judged."""
        return bool(self.result["judged"].values.any())

    @property
    def matches_greedily(self) -> bool:
        """Whether answers without choices are judged by the likeliest tokens; stores of earlier versions do not."""
        return any(GREEDY_MATCH in measure for measure in self.header.measures.values())


def compute_deactivation(store: Store, threshold: float | None = None) -> Deactivation:
    """Read a store of the kind "deactivate" and compute all that a report needs.

    Args:
        store: A store, complete or not.
        threshold: That of its categories; None takes it from the store.
    Raises:
        InputError: the store is of another kind, or has another threshold.
        StoreError: an array is damaged.
    """
    store.needs_kind("deactivate")
    header, t = store.header, store.threshold_index(threshold)
    tasks = header.tasks if len(header.tasks) > 1 else []
    return Deactivation(
        **vars(overview(store)),
        threshold=header.thresholds[t],
        result=deactivation(store),
        by_task={task: deactivation(store, [task]) for task in tasks},
    )


def estimate(found: "xarray.Dataset", name: str) -> Estimate:
    """A variable of a result, with its interval."""
    return Estimate(*(found[f"{name}{ending}"].values for ending in ("", "_low", "_high")))


def differs(value: Estimate, *index: int) -> bool:
    """Whether the interval of a difference leaves out 0."""
    return bool(value.low[index] > 0 or value.high[index] < 0)


def deactivation_sentences(found: Deactivation) -> list[Sentence]:
    """The main findings, the largest effect first; none where nothing was measured."""
    result = found.result
    if not found.num_measured or not len(result["category"]):
        return []
    beyond = estimate(result, "overall_log_probability_from_control")
    order = [int(k) for k in np.argsort(beyond.mean) if np.isfinite(beyond.mean[k])]
    made = [_effect(found, k) for k in order]
    if made:
        made.insert(1, _languages(found, order[0]))
    return made


def _effect(found: Deactivation, k: int) -> Sentence:
    """The effect of one category on all languages, set against its controls."""
    result = found.result
    category = found.categories[k]
    change, beyond, accuracy = (
        estimate(result, f"overall_{name}")
        for name in (
            "log_probability_from_intact", "log_probability_from_control", "accuracy_from_control",
        )
    )  # fmt: skip
    parts = [
        f"With {category} neurons {found.operation}, the log-probability of the answer changes by ",
        signed(change.mean[k]),
        f"{between(change, k)}, which is ",
        signed(beyond.mean[k]),
        f"{between(beyond, k)} beyond what as many random neurons change",
    ]
    if np.isfinite(accuracy.mean[k]):
        parts[-1] += "; accuracy, "
        parts += [f"{signed(100 * accuracy.mean[k], 1)} points", between(accuracy, k, scale=100, digits=1)]
    selection = {"category": CATEGORIES.index(category)} if category in CATEGORIES else {}
    parts[-1] += (
        "."
        if differs(beyond, k)
        else ". The interval includes 0: these neurons matter no more than random ones."
    )
    return Sentence(tuple(parts), "deactivation", selection)


def _languages(found: Deactivation, k: int) -> Sentence:
    """The languages that the category of the largest effect hits most and least."""
    result = found.result
    beyond = estimate(result, "log_probability_from_control")
    of_category = beyond.mean[:, k]
    most, least = int(np.nanargmin(of_category)), int(np.nanargmax(of_category))
    names = [language_label(str(code)) for code in result["language"].values]
    number = sum(differs(beyond, j, k) and beyond.mean[j, k] < 0 for j in range(len(names)))
    return Sentence(
        (
            f"{found.categories[k].capitalize()} neurons cost ",
            f"{number} of {count(len(names), 'language')}",
            f" more than random ones do: {names[most]} most, ",
            signed(of_category[most]),
            f"{between(beyond, most, k)}, and {names[least]} least, ",
            signed(of_category[least]),
            f"{between(beyond, least, k)}.",
        ),
        "deactivation",
        {"language": most},
    )


def signed(value: float, digits: int = 2) -> str:
    """Format a difference with its sign."""
    return f"{value:+.{digits}f}" if np.isfinite(value) else "-"


def between(value: Estimate, *index: int, scale: float = 1, digits: int = 2) -> str:
    """Format an interval in brackets, after a space; nothing if there is none."""
    low, high = scale * value.low[index], scale * value.high[index]
    return f" ({signed(low, digits)} to {signed(high, digits)})" if np.isfinite(low) else ""

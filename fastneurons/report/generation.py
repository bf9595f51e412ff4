"""Findings of a store of generated texts: what edits change, and how many texts are right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from fastneurons.arrays import Answer
from fastneurons.console import PlainConsole
from fastneurons.report.cells import LONGEST_NAME, language_label, percent, table
from fastneurons.report.findings import Overview, overview
from fastneurons.report.tables import (
    PLAIN_WIDTH,
    print_incomplete,
    print_model,
    print_skipped,
    print_warnings,
)
from fastneurons.scores import (
    Mean,
    difference,
    difference_over_languages,
    mean_by_language,
    mean_over_languages,
)
from fastneurons.store import Outcome, Store
from fastneurons.visible import visible

_NO_MEAN = Mean(float("nan"), float("nan"), float("nan"), 0)
_UNCHANGED = "Unchanged: texts that are the intact model's, letter by letter."
_CHANGE = (
    "Change: of the share of right texts, in points, from the intact model's, with the\n"
    "95 % interval of a bootstrap over examples; *: the interval leaves out 0."
)


@dataclass(frozen=True, eq=False)
class Texts:
    """The texts of one language, or of all, under one condition.

    Args:
        number: How many there are.
        tokens: Their mean number of tokens; of all languages, the mean of the languages' means.
        unchanged: Share that is the intact model's; of all languages, likewise.
        right: Share of right ones among those judged, and its interval.
        change: Its difference to the intact model's, over the same examples.
    """

    number: int
    tokens: float
    unchanged: float
    right: Mean
    change: Mean


@dataclass(frozen=True, eq=False)
class TextGroup:
    """The texts of all tasks, or of one.

    Args:
        texts: By condition, then by language; the first condition is the intact model.
        overall: By condition, over all languages, each of which counts the same.
    """

    texts: dict[str, dict[str, Texts]]
    overall: dict[str, Texts]


@dataclass(frozen=True, eq=False)
class Generation(Overview, TextGroup):
    """What a store of generated texts says.

    Args:
        by_task: The texts of each task; empty where there is only one.
        is_judged: Whether any example has an answer.
    """

    by_task: Mapping[str, TextGroup]
    is_judged: bool


def compute_generation(store: Store) -> Generation:
    """Read a store of generated texts.

    Raises:
        StoreError: an array is damaged.
    """
    header = store.header
    several = header.tasks if len(header.tasks) > 1 else []
    sums = [_Sums(header.languages, header.conditions) for _ in range(1 + len(several))]
    judging = ("correct",) if header.measures else ()
    for _, block in store.windows("outcome", "task", "present", "text", "generated_count", *judging):
        measured = block["outcome"] == Outcome.MEASURED
        same = block["text"] == block["text"][..., :1]
        given = block["correct"] if judging else np.full(same.shape, Answer.NOT_JUDGED, np.uint8)
        for number, each in enumerate(sums):
            rows = measured & (block["task"] == number - 1) if number else measured
            each.add(block["present"][rows], block["generated_count"][rows], same[rows], given[rows])
    groups = [each.group() for each in sums]
    return Generation(
        **vars(overview(store)),
        **vars(groups[0]),
        by_task=dict(zip(several, groups[1:], strict=True)),
        is_judged=any(each.is_judged for each in sums),
    )


class _Sums:
    """Sums over the texts of a group of examples, and each one's judgement.

    Args:
        languages: L codes.
        conditions: C names.
    """

    def __init__(self, languages: Sequence[str], conditions: Sequence[str]) -> None:
        L, C = len(languages), len(conditions)
        self.languages, self.conditions = languages, conditions
        self._number = np.zeros(L, np.int64)
        self._tokens, self._same = np.zeros((L, C), np.int64), np.zeros((L, C), np.int64)
        self._correct = [np.zeros((0, L, C), np.uint8)]

    def add(
        self,
        there: NDArray[np.bool_],
        tokens: NDArray[np.int32],
        same: NDArray[np.bool_],
        correct: NDArray[np.uint8],
    ) -> None:
        """Add examples.

        Args:
            there: [E, L], whether there is a text.
            tokens: [E, L, C], of each text.
            same: [E, L, C], whether the text is the intact model's.
            correct: [E, L, C], codes of `Answer`.
        """
        wide = there[..., None]
        self._number += there.sum(0)
        self._tokens += np.where(wide, tokens, 0).sum(0, dtype=np.int64)
        self._same += (same & wide).sum(0)
        self._correct.append(np.where(wide, correct, np.uint8(Answer.NOT_JUDGED)))

    @property
    def is_judged(self) -> bool:
        return any((part != Answer.NOT_JUDGED).any() for part in self._correct)

    def group(self) -> TextGroup:
        """Means and intervals of what was added."""
        correct = np.concatenate(self._correct)
        scores = np.where(correct == Answer.NOT_JUDGED, np.nan, correct == Answer.RIGHT)  # [E, L, C]
        some = self._number > 0
        with np.errstate(invalid="ignore"):
            tokens, same = self._tokens / self._number[:, None], self._same / self._number[:, None]
        texts: dict[str, dict[str, Texts]] = {}
        overall: dict[str, Texts] = {}
        for c, condition in enumerate(self.conditions):
            right = mean_by_language(scores[..., c], self.languages)
            change = difference(scores[..., c], scores[..., 0], self.languages) if c else {}
            texts[condition] = {
                code: Texts(
                    int(self._number[k]),
                    float(tokens[k, c]),
                    float(same[k, c]),
                    right[code],
                    change.get(code, _NO_MEAN),
                )
                for k, code in enumerate(self.languages)
            }
            overall[condition] = Texts(
                int(self._number.sum()),
                float(tokens[some, c].mean()) if some.any() else float("nan"),
                float(same[some, c].mean()) if some.any() else float("nan"),
                mean_over_languages(scores[..., c]),
                difference_over_languages(scores[..., c], scores[..., 0]) if c else _NO_MEAN,
            )
        return TextGroup(texts, overall)


# -- tables -----------------------------------------------------------------------------------------------


def print_generation(found: Generation, stream: TextIO) -> None:
    """Print a table for each language, a row for each condition: plain text, 80 columns, unless on a terminal."""
    console = PlainConsole(stream, PLAIN_WIDTH)
    print_incomplete(console, found, "example")
    print_model(console, found, "example")
    print_warnings(console, found)
    _print_group(console, found, found)
    for task, group in found.by_task.items():
        console.print()
        console.print(f"task {visible(task, limit=LONGEST_NAME)}", style="bold")
        _print_group(console, found, group)
    if len(found.texts) > 1:
        console.print()
        console.print(_UNCHANGED, style="dim")
        if found.is_judged:
            console.print(_CHANGE, style="dim")
    print_skipped(console, found, "example")


def _print_group(console: Console, found: Generation, group: TextGroup) -> None:
    conditions, languages = found.header.conditions, found.header.languages
    shown = [(language_label(code), {c: group.texts[c][code] for c in conditions}) for code in languages]
    if len(languages) > 1:
        shown.append(("mean of all languages", group.overall))
    for label, by_condition in shown:
        console.print()
        console.print(f"{label}: {by_condition[conditions[0]].number:,} prompts")
        judged = ("right", "change") if found.is_judged else ()
        made = table("edit", "tokens", "unchanged", *judged, left=1)
        for condition, texts in by_condition.items():
            made.add_row(visible(condition, limit=LONGEST_NAME), *_cells(texts, found.is_judged))
        console.print(made)


def _cells(texts: Texts, is_judged: bool) -> list[str]:
    cells = [f"{texts.tokens:.1f}" if texts.number else "-", percent(texts.unchanged)]
    if is_judged:
        cells += [percent(texts.right.mean), _change(texts.change)]
    return cells


def _change(mean: Mean) -> str:
    if not np.isfinite(mean.mean):
        return "-"
    mark = "*" if leaves_out_0(mean) else " "
    return f"{100 * mean.mean:+.1f} [{100 * mean.low:+.1f}, {100 * mean.high:+.1f}]{mark}"


def leaves_out_0(change: Mean) -> bool:
    """Whether the interval of a difference leaves out 0."""
    return change.low > 0 or change.high < 0


# -- JSON -------------------------------------------------------------------------------------------------


def generation_numbers(found: Generation) -> dict[str, Any]:
    """Return what `print_generation` prints, with all digits, for JSON; null stands for no value."""
    header = found.header
    result = {
        "kind": header.kind,
        "model": header.model,
        "source": header.source,
        "complete": found.is_complete,
        "examples": found.num_examples,
        "measured": found.num_measured,
        **_group_numbers(found),
    }
    if found.by_task:
        result["tasks"] = {task: _group_numbers(group) for task, group in found.by_task.items()}
    return result


def _group_numbers(group: TextGroup) -> dict[str, Any]:
    return {
        "texts": {
            condition: {language: _numbers(texts) for language, texts in by_language.items()}
            for condition, by_language in group.texts.items()
        },
        "overall": {condition: _numbers(texts) for condition, texts in group.overall.items()},
    }


def _numbers(texts: Texts) -> dict[str, Any]:
    def of(mean: Mean) -> dict[str, Any] | None:
        if not np.isfinite(mean.mean):
            return None
        return {"mean": mean.mean, "low": mean.low, "high": mean.high, "examples": mean.num_examples}

    return {
        "prompts": texts.number,
        "tokens": texts.tokens if texts.number else None,
        "unchanged": texts.unchanged if texts.number else None,
        "right": of(texts.right),
        "change": of(texts.change),
    }

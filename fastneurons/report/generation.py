"""Findings of a store of generated texts: what edits change, and how many texts are right."""

from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

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
from fastneurons.scores import Mean, difference, mean_by_language
from fastneurons.store import Outcome, Store
from fastneurons.visible import visible

_NO_MEAN = Mean(float("nan"), float("nan"), float("nan"), 0)
_EXPLANATION = (
    "Unchanged: texts that are the intact model's, letter by letter. Change: of the share\n"
    "of right texts, in points, from the intact model's, with the 95 % interval of a\n"
    "bootstrap over examples; *: the interval leaves out 0."
)


@dataclass(frozen=True, eq=False)
class Texts:
    """The texts of one language under one condition.

    Args:
        number: How many there are.
        tokens: Their mean number of tokens.
        unchanged: Share that is the intact model's.
        right: Share of right ones among those judged, and its interval.
        change: Its difference to the intact model's, over the same examples.
    """

    number: int
    tokens: float
    unchanged: float
    right: Mean
    change: Mean


@dataclass(frozen=True, eq=False)
class Generation(Overview):
    """What a store of generated texts says.

    Args:
        texts: By condition, then by language; the first condition is the intact model.
        is_judged: Whether any example has an answer.
    """

    texts: dict[str, dict[str, Texts]]
    is_judged: bool


def compute_generation(store: Store) -> Generation:
    """Read a store of generated texts.

    Raises:
        StoreError: an array is damaged.
    """
    header = store.header
    L, C = len(header.languages), len(header.conditions)
    number, tokens = np.zeros(L, np.int64), np.zeros((L, C), np.int64)
    unchanged = np.zeros((L, C), np.int64)
    correct: list[NDArray[np.uint8]] = []
    for _, block in store.windows("outcome", "present", "text", "generated_count", "correct"):
        there = block["present"] & (block["outcome"] == Outcome.MEASURED)[:, None]  # [E, L]
        number += there.sum(0)
        tokens += np.where(there[..., None], block["generated_count"], 0).sum(0, dtype=np.int64)
        same = block["text"] == block["text"][..., :1]
        unchanged += (same & there[..., None]).sum(0)
        correct.append(np.where(there[..., None], block["correct"], Answer.NOT_JUDGED).astype(np.uint8))
    judged = np.concatenate(correct) if correct else np.zeros((0, L, C), np.uint8)
    scores = np.where(judged == Answer.NOT_JUDGED, np.nan, judged == Answer.RIGHT)  # [E, L, C]
    texts: dict[str, dict[str, Texts]] = {}
    for c, condition in enumerate(header.conditions):
        right = mean_by_language(scores[..., c], header.languages)
        change = difference(scores[..., c], scores[..., 0], header.languages) if c else {}
        texts[condition] = {
            language: Texts(
                int(number[k]),
                tokens[k, c] / number[k] if number[k] else float("nan"),
                unchanged[k, c] / number[k] if number[k] else float("nan"),
                right[language],
                change.get(language, _NO_MEAN),
            )
            for k, language in enumerate(header.languages)
        }
    return Generation(**vars(overview(store)), texts=texts, is_judged=bool(np.isfinite(scores).any()))


def print_generation(found: Generation, stream: TextIO) -> None:
    """Print a table for each language, a row for each condition: plain text, 80 columns, unless on a terminal."""
    console = PlainConsole(stream, PLAIN_WIDTH)
    print_incomplete(console, found, "example")
    print_model(console, found, "example")
    print_warnings(console, found)
    for language in found.header.languages:
        console.print()
        first = found.texts[found.header.conditions[0]][language]
        console.print(f"{language_label(language)}: {first.number:,} prompts")
        judged = ("right", "change") if found.is_judged else ()
        made = table("edit", "tokens", "unchanged", *judged, left=1)
        for condition, by_language in found.texts.items():
            made.add_row(
                visible(condition, limit=LONGEST_NAME), *_cells(by_language[language], found.is_judged)
            )
        console.print(made)
    if len(found.texts) > 1:
        console.print()
        console.print(_EXPLANATION, style="dim")
    print_skipped(console, found, "example")


def generation_numbers(found: Generation) -> dict[str, Any]:
    """Return what `print_generation` prints, with all digits, for JSON; null stands for no value."""
    header = found.header
    return {
        "kind": header.kind,
        "model": header.model,
        "source": header.source,
        "complete": found.is_complete,
        "examples": found.num_examples,
        "measured": found.num_measured,
        "texts": {
            condition: {language: _numbers(texts) for language, texts in by_language.items()}
            for condition, by_language in found.texts.items()
        },
    }


def _cells(texts: Texts, is_judged: bool) -> list[str]:
    cells = [f"{texts.tokens:.1f}" if texts.number else "-", percent(texts.unchanged)]
    if is_judged:
        cells += [percent(texts.right.mean), _change(texts.change)]
    return cells


def _change(mean: Mean) -> str:
    if not np.isfinite(mean.mean):
        return "-"
    mark = "*" if mean.low > 0 or mean.high < 0 else " "
    return f"{100 * mean.mean:+.1f} [{100 * mean.low:+.1f}, {100 * mean.high:+.1f}]{mark}"


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

"""Print how well a model answers as a table for a terminal, or convert it to numbers for JSON."""

from typing import Any

import numpy as np
from rich.console import Console

from fastneurons.analysis.answers import AnswerScores
from fastneurons.analysis.bootstrap import Estimate
from fastneurons.report.cells import LONGEST_LANGUAGE, interval, language_label, percent_with_interval, table
from fastneurons.visible import visible


def print_answers(console: Console, found: AnswerScores) -> None:
    """Print log-probability and accuracy by language, and their means over languages."""
    console.print()
    console.print("answers")
    judged = bool(found.judged.any())
    columns = ["log-probability", "per token", *(["right, %"] if judged else []), "answers"]
    made = table("language", *columns, left=1)
    for j, code in enumerate(found.languages):
        cells = [_cell(found.log_probability, j), _cell(found.per_token, j)]
        cells += [percent_with_interval(found.accuracy, j)] if judged else []
        made.add_row(visible(code, limit=LONGEST_LANGUAGE), *cells, f"{int(found.answered[j]):,}")
    overall = [_cell(found.overall_log_probability), ""]
    overall += [percent_with_interval(found.overall_accuracy)] if judged else []
    made.add_row("mean", *overall, "", style="dim")
    console.print(made)


def answer_numbers(found: AnswerScores) -> dict[str, Any]:
    """Return the numbers that `print_answers` prints, with all digits, for JSON; null stands for no value."""
    return {
        "log_probability": interval(found.overall_log_probability),
        "accuracy": interval(found.overall_accuracy),
        "by_language": {
            code: {
                "name": language_label(code),
                "answers": int(found.answered[j]),
                "judged": int(found.judged[j]),
                "log_probability": interval(found.log_probability, j),
                "log_probability_per_token": interval(found.per_token, j),
                "accuracy": interval(found.accuracy, j),
            }
            for j, code in enumerate(found.languages)
        },
    }


def _cell(estimate: Estimate, *index: int) -> str:
    mean, low, high = (float(getattr(estimate, end)[index]) for end in ("mean", "low", "high"))
    if not np.isfinite(mean):
        return "-"
    return f"{mean:.2f}" + (f" ±{(high - low) / 2:.2f}" if np.isfinite(low) else "")

"""Judge the answers of a measuring run: which choice the model prefers, or whether the text that it writes is right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastneurons.arrays import GREEDY_MATCH, Answer, Arrays
from fastneurons.config import Measurement
from fastneurons.data.tasks import TASKS
from fastneurons.engine.answers import Answerable
from fastneurons.engine.judging import ExampleAnswers
from fastneurons.errors import InputError
from fastneurons.scores import choice_lengths, choose, number_match, starts_with

# Tokens to generate: of an answer that is a name, more than the reference has; of a problem that is reasoned through.
_BEYOND_ANSWER = 8
_REASONING = 256

_UNITS = {
    "likelihood": "the choice of the highest log-likelihood",
    "characters": "the choice of the highest log-likelihood per character",
    "bytes": "the choice of the highest log-likelihood per byte",
    "tokens": "the choice of the highest log-likelihood per token",
}
_WRITTEN = {
    "exact-match": "the answer or an alias at the beginning of the first line, generated greedily",
    "last-number": "the last number, generated greedily",
}
# Where answers are scored and nothing is generated: the choice of the highest log-likelihood.
CHOICE = "choice"


@dataclass(frozen=True)
class AnswerJudge:
    """Judges answers by their task; an example with choices by these, whatever its task.

    Args:
        languages: L codes.
        choices_by: As of `Measurement`.
        max_new_tokens: Likewise.
    """

    languages: Sequence[str]
    choices_by: str = "likelihood"
    max_new_tokens: int | None = None

    def most_tokens(self, encoded: Answerable, index: int) -> int:
        """See `Judge`."""
        reference = encoded.reference[index]
        scoring = _scoring(encoded.example.task)
        if reference < 0 or len(encoded.candidates[index]) > 1 or scoring not in _WRITTEN:
            return 0
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        if scoring == "last-number":
            return _REASONING
        chosen = encoded.candidates[index][reference]
        return 2 * (len(chosen.token_ids) - chosen.first) + _BEYOND_ANSWER

    def __call__(self, encoded: Answerable, answers: ExampleAnswers) -> Arrays:
        """See `Judge`."""
        arrays = self.unanswered()
        for index, reference in enumerate(encoded.reference):
            if reference < 0:
                continue
            chosen = encoded.candidates[index][reference]
            arrays["log_probability"][index] = answers.log_likelihood[index][reference]
            arrays["judged_count"][index] = len(chosen.token_ids) - chosen.first
            right = self._is_right(encoded, answers, index)
            if right is not None:
                arrays["correct"][index] = Answer.RIGHT if right else Answer.WRONG
        return arrays

    def unanswered(self) -> Arrays:
        """See `Judge`."""
        L = len(self.languages)
        return {
            "log_probability": np.full(L, np.nan, np.float32),
            "judged_count": np.zeros(L, np.int32),
            "correct": np.full(L, Answer.NOT_JUDGED, np.uint8),
        }

    def _is_right(self, encoded: Answerable, answers: ExampleAnswers, index: int) -> bool | None:
        """Whether an answer is right; None if it cannot be judged."""
        candidates, code = encoded.candidates[index], self.languages[index]
        if len(candidates) > 1:
            found = choose(answers.log_likelihood[index], self._lengths(encoded, index))
            return int(found.index) == encoded.reference[index]
        text = answers.text[index]
        if text is None:
            return None
        reference, task = encoded.example.answers[code], encoded.example.task
        language = TASKS[task].answer_language(code) if task in TASKS else code
        try:
            if _scoring(task) == "last-number":
                return number_match(text, reference, language)
            return starts_with(text, (reference, *encoded.example.aliases.get(code, ())), language)
        except InputError:  # a language whose writing is not known, or a reference that is no number
            return None

    def _lengths(self, encoded: Answerable, index: int) -> NDArray[np.int64] | None:
        if self.choices_by == "likelihood":
            return None
        if self.choices_by == "tokens":
            return np.array([len(each.token_ids) - each.first for each in encoded.candidates[index]])
        choices = encoded.example.choices[self.languages[index]]
        return choice_lengths(choices, "bytes" if self.choices_by == "bytes" else "characters")


def judge_of(measurement: Measurement, languages: Sequence[str]) -> AnswerJudge | None:
    """The judge of a measurement; None if it judges nothing."""
    if not measurement.score:
        return None
    return AnswerJudge(languages, measurement.choices_by, measurement.max_new_tokens)


def measures_of(measurement: Measurement, tasks: Sequence[str]) -> dict[str, str]:
    """The header's field `measures`: by task, how answers are judged; empty if they are not.

    Raises:
        InputError: a task has no right answers.
    """
    if not measurement.score:
        return {}
    measures = {}
    for task in tasks:
        if task in TASKS and TASKS[task].scoring is None:
            raise InputError(f"--score: {task} has no right answers to judge")
        choice, written = _UNITS[measurement.choices_by], _WRITTEN.get(str(_scoring(task)))
        known = task in TASKS and task != "jsonl"
        if written is None:
            measures[task] = choice
        else:
            measures[task] = written if known else f"{choice}, or without choices {written}"
    return measures


def measures_without_texts(tasks: Sequence[str]) -> dict[str, str]:
    """The header's field `measures` of a job that scores answers and generates nothing."""
    return {task: _measure_without_text(task) for task in tasks}


def _measure_without_text(task: str) -> str:
    if _scoring(task) == "choice":
        return CHOICE
    known = task in TASKS and task != "jsonl"
    return GREEDY_MATCH if known else f"{CHOICE}, or without choices {GREEDY_MATCH}"


def _scoring(task: str | None) -> str | None:
    """How a task's answers are judged; those of data that are no known task by what is written."""
    return TASKS[task].scoring if task in TASKS else "exact-match"

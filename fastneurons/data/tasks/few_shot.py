"""Few-shot examples: those that come with a data set, or some of its own that are held back."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fastneurons.data.problems import one_line
from fastneurons.data.tasks.cases import Case
from fastneurons.errors import InputError

# Usable examples to draw from: drawing should not read a large source from end to end.
_DRAWN_FROM = 1000


def held_back_shots(found: Iterable[Any], number: int, languages: Sequence[str], seed: int) -> list[Case]:
    """Draw from the first 1000 usable examples those whose ids have the lowest hashes.

    They are the same ones every time, in every language, and not neighbours, which often share a premise.
    """
    usable = itertools.islice(_usable(found, languages), _DRAWN_FROM)
    return sorted(usable, key=lambda case: hashlib.sha256(f"{seed}:{case.example.id}".encode()).digest())


def solved(found: Iterable[Any], languages: Sequence[str]) -> list[Case]:
    """The examples that can stand in a prompt: usable, and with an answer in every language."""
    return list(_usable(found, languages))


def check_shots(shots: Sequence[Case], number: int, task: str, supplied: bool, worked: bool) -> None:
    """Check that there are enough few-shot examples, and that each is a text.

    Args:
        shots: All that were found.
        number: How many are asked for.
        task: The task's name.
        supplied: Whether they come with the data set.
        worked: Whether the task shows more of them than the answer.
    Raises:
        InputError: there are too few, or one is chat messages.
    """
    if len(shots) < number:
        where = "beside the data" if supplied else f"among its first {_DRAWN_FROM}"
        hint = (
            "; they must come with the data, as MGSM's exemplars.py and the Hub's train split do"
            if worked
            else ""
        )
        raise InputError(
            f"--num-fewshot {number}: {task} has {len(shots)} examples with answers in all languages {where}{hint}"
        )
    if talks := next((case for case in shots[:number] if case.example.messages), None):
        raise InputError(
            f"--num-fewshot {number}: {talks.example.where}: the prompt of {one_line(talks.example.id)} is chat "
            "messages, which can be no few-shot examples; put solved examples among the messages themselves"
        )


def _usable(found: Iterable[Any], languages: Sequence[str]) -> Iterator[Case]:
    wanted = set(languages)
    return (case for case in found if isinstance(case, Case) and set(case.worked) >= wanted)

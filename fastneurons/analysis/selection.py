"""Choose examples, languages and a threshold once, for every analysis alike.

    chosen = Selection(tasks=("xnli",), languages=("en", "de")).of(store)
    chosen.examples  # int64 [E], their indices on the store's example axis

A `Selection` is a question that can be put to any store; a `Chosen` is its answer for one store. Only examples that
were measured and that have prompts in at least two of the chosen languages are chosen: with one language, specific
and all-shared neurons are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.arrays import Answer
from fastneurons.errors import InputError
from fastneurons.languages import language
from fastneurons.store import Outcome, Store

# Whether the answer to each prompt is right, uint8 [E, L]; only stores of runs that judged answers have it.
CORRECT = "correct"


@dataclass(frozen=True)
class Selection:
    """Examples, languages and a threshold, before they are looked up in a store.

    Args:
        tasks: Names of tasks; empty for all of them.
        languages: Codes, in the order of results; empty for all languages of the store.
        threshold: One of the store's thresholds; None for its first.
        correct_only: Whether to take only examples whose answers are right in each chosen language that they have.
        examples: Half-open ranges (first, end) of example indices; None for all.
        at_least: How many of the chosen languages an example must have, and how many must be chosen.
    """

    tasks: Sequence[str] = ()
    languages: Sequence[str] = ()
    threshold: float | None = None
    correct_only: bool = False
    examples: Sequence[tuple[int, int]] | None = None
    at_least: int = 2

    def of(self, store: Store) -> "Chosen":
        """Look up the choice in a store.

        Raises:
            InputError: the store has no such task, language, threshold or range, no judged answers, or counts the
                tokens of a corpus.
            StoreError: an array is damaged.
        """
        store.needs_kind("measure")
        if store.header.is_corpus:
            raise InputError(f"{store.path} is of a corpus: it counts tokens, and has no categories")
        threshold = store.threshold_index(self.threshold)
        languages = language_indices(store, self.languages, self.at_least)
        tasks = task_indices(store, self.tasks)
        if self.correct_only and CORRECT not in store:
            raise InputError(f"{store.path} does not say which answers are right; drop --correct-only")
        names = ("outcome", "task", "present", *((CORRECT,) if self.correct_only else ()))
        E = store.num_examples
        examples, task, present = (
            [np.zeros(0, np.int64)], [np.zeros(0, np.int32)], [np.zeros((0, len(languages)), np.bool_)]
        )  # fmt: skip
        within = _within(store, self.examples, E)
        for first, window in store.windows(*names):
            there = window["present"][:, languages]
            rows = (window["outcome"] == Outcome.MEASURED) & (there.sum(1) >= self.at_least)
            rows &= np.isin(window["task"], tasks) & within[first : first + len(rows)]
            if self.correct_only:
                rows &= ((window[CORRECT][:, languages] == Answer.RIGHT) | ~there).all(1)
            examples.append(first + np.flatnonzero(rows))
            task.append(window["task"][rows])
            present.append(there[rows])
        return Chosen(
            store=store,
            examples=np.concatenate(examples),
            task=np.concatenate(task),
            present=np.concatenate(present),
            language_index=tuple(languages),
            threshold_index=threshold,
            tasks=tuple(store.header.tasks[k] for k in tasks),
            by_number=self.correct_only or self.examples is not None,
        )


@dataclass(frozen=True, eq=False)
class Chosen:
    """The examples, languages and threshold that a selection yields in a store.

    Args:
        examples: int64 [E], ascending indices on the store's example axis.
        task: int32 [E], index of each example's task in the store's header.
        present: bool [E, L], whether the example has a prompt in each chosen language.
        language_index: The L languages' indices on the store's language axis.
        threshold_index: The threshold's index on its axis.
        tasks: Names of the chosen tasks.
        by_number: Whether examples were chosen within tasks: sums by task in the store then do not apply.
    """

    store: Store
    examples: NDArray[np.int64]
    task: NDArray[np.int32]
    present: NDArray[np.bool_]
    language_index: tuple[int, ...]
    threshold_index: int
    tasks: tuple[str, ...]
    by_number: bool

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def languages(self) -> tuple[str, ...]:
        """The L codes."""
        return tuple(self.store.header.languages[index] for index in self.language_index)

    @property
    def threshold(self) -> float:
        """The threshold's value."""
        return self.store.header.thresholds[self.threshold_index]

    @property
    def task_index(self) -> tuple[int, ...]:
        """Indices of the chosen tasks in the store's header."""
        return tuple(self.store.header.tasks.index(name) for name in self.tasks)

    @cached_property
    def is_complete(self) -> bool:
        """Whether every chosen example has a prompt in every chosen language."""
        return bool(self.present.all())

    @property
    def has_all_languages(self) -> bool:
        """Whether the store holds the categories over the chosen languages."""
        return sorted(self.language_index) == list(range(len(self.store.header.languages)))

    @property
    def has_stored_occupancy(self) -> bool:
        """Whether the store's sums for the chosen tasks cover exactly the chosen examples and languages."""
        return self.has_all_languages and not self.by_number

    def needs_bits(self, purpose: str) -> None:
        """Check that the store has bits.

        Args:
            purpose: The analysis or option that needs them, for the message: "recategorise needs it".
        Raises:
            InputError: it has none.
        """
        if not self.store.has_bits:
            raise InputError(
                f"{self.store.path} was written with --no-keep-bits: it does not say which neurons each language "
                f"activates; {purpose}"
            )

    def attributes(self) -> dict[str, Any]:
        """Provenance for labelled results: the choice, and the store."""
        header = self.store.header
        return {
            "store": self.store.path,
            "complete": int(self.store.is_complete),
            "model": header.model,
            "position": header.position,
            "signal": header.signal,
            "threshold": self.threshold,
            "languages": list(self.languages),
            "tasks": list(self.tasks),
            "examples": len(self),
            "incomplete_examples": int((~self.present.all(1)).sum()),
        }

    def subset(self, rows: NDArray[Any]) -> "Chosen":
        """Keep some of the examples, given by a mask or indices in ascending order."""
        return Chosen(
            self.store,
            self.examples[rows],
            self.task[rows],
            self.present[rows],
            self.language_index,
            self.threshold_index,
            self.tasks,
            True,
        )


def language_indices(store: Store, codes: Sequence[str], at_least: int = 2) -> list[int]:
    """Indices of languages on a store's axis; all of them if none is named.

    Args:
        codes: As the store spells them, or in any spelling that `--languages` of `run` understands.
        at_least: How many there must be.
    Raises:
        InputError: an unknown or repeated language, or too few.
    """
    known = store.header.languages
    spelled: dict[int, str] = {}
    for given in codes:
        index = store.language_index(given if given in known else language(given).code)
        if index in spelled:
            raise InputError(f"{spelled[index]} and {given} are the same language; name each one once")
        spelled[index] = given
    found = list(spelled) or list(range(len(known)))
    if len(found) < at_least:
        raise InputError(
            f"{len(found)} language is too few: neurons are compared across {at_least} languages or more; "
            f"{store.path} has {', '.join(known)}"
        )
    return found


def task_indices(store: Store, names: Sequence[str]) -> list[int]:
    """Indices of tasks on a store's axis, ascending; all of them if none is named.

    Raises:
        InputError: an unknown task.
    """
    known = store.header.tasks
    for name in names:
        if name not in known:
            raise InputError(f"{store.path} has no task {name}; it has {', '.join(known)}")
    return sorted({known.index(name) for name in names}) if names else list(range(len(known)))


def _within(store: Store, ranges: Sequence[tuple[int, int]] | None, num_examples: int) -> NDArray[np.bool_]:
    """bool [E], whether each example lies in one of the ranges."""
    if ranges is None:
        return np.ones(num_examples, np.bool_)
    found = np.zeros(num_examples, np.bool_)
    for first, end in ranges:
        if not 0 <= first < end <= num_examples:
            raise InputError(
                f"examples {first} to {end - 1}: {store.path} has {num_examples} examples, numbered from 0"
            )
        found[first:end] = True
    return found

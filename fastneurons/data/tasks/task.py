"""The base classes of tasks and of their data."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from fastneurons.data.align import Aligned, LeftOut
from fastneurons.data.example import Example, Skipped
from fastneurons.data.places import Place
from fastneurons.data.problems import shown
from fastneurons.data.template import Template
from fastneurons.errors import InputError

Scoring = Literal["choice", "exact-match", "last-number"]


class Data:
    """A task's examples in one place; read from the start by every call of `aligned`.

    Args:
        languages: Those that the place has, in its order.
        describe: A description of the data for people and for checking a resumed run.
        lists_languages: Whether `languages` are the available ones, instead of all possible ones.
        notes: Notes for people on the place: files left out, how its names were read.
    """

    languages: tuple[str, ...]
    describe: str
    lists_languages: bool = True
    notes: tuple[str, ...] = ()

    def check(self, languages: Sequence[str], allow_missing: bool) -> None:
        """Check that the place has these languages.

        Raises:
            InputError: it lacks some; it names those that there are.
        """
        lacking = [code for code in languages if code not in self.languages]
        if lacking:
            raise InputError(
                f"{self.describe} has no {', '.join(lacking)}; there are {shown(self.languages)}"
            )

    def aligned(self, languages: Sequence[str]) -> Iterator[Aligned | LeftOut | Skipped]:
        """Yield examples with those of the languages that they have."""
        raise NotImplementedError

    def examples(self, languages: Sequence[str]) -> Iterator[Example | Skipped] | None:
        """The examples, if they come with their prompts; None if the task has to make prompts.

        They are held to the rules for ids and texts, and belong to the task.
        """
        return None

    def shots(self, languages: Sequence[str]) -> Iterator[Aligned] | None:
        """Solved examples for prompts that come with the data; None if there are none."""
        return None


class Task:
    """A known data set: its forms, its key, its fields, its templates.

    Attributes:
        name: Its name for `--tasks`.
        about: A sentence that says what the task asks.
        fields: The fields that a template may use, with their meanings.
        texts: The fields that are text in the example's language.
        same: Fields that must be equal in all languages of an example, else its languages do not belong together.
        aligned_by: The key that aligns its languages.
        codes: The languages of the data set; empty where it may be any.
        scoring: How to judge an output; None if there is no right answer.
        sources: Places that have the data, and its readable forms: a line each.
        needs_data: Whether `--data` must say where it is.
        skips_incomplete: Whether to name an example that lacks a language among the skipped rows. In a user's own
            file it is a mistake; data sets lack so many that they are only counted.
        parallel: Whether each example is in several languages, as comparing languages requires.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    fields: ClassVar[dict[str, str]]
    texts: ClassVar[tuple[str, ...]]
    same: ClassVar[tuple[str, ...]] = ()
    aligned_by: ClassVar[str]
    codes: ClassVar[tuple[str, ...]] = ()
    scoring: ClassVar[Scoring | None] = None
    sources: ClassVar[tuple[str, ...]]
    needs_data: ClassVar[bool] = True
    skips_incomplete: ClassVar[bool] = False
    parallel: ClassVar[bool] = True

    def template(self, language: str) -> Template | None:
        """The template for this language; None if the task has none."""
        raise NotImplementedError

    def answer_language(self, language: str) -> str:
        """The language of the answer, if the prompt is in more than one."""
        return language

    def open(self, place: Place) -> Data:
        """Open the data in a place.

        Raises:
            InputError: it cannot be read, or is not in any form that the task knows.
        """
        raise NotImplementedError

    def example(self) -> Mapping[str, Mapping[str, Any]]:
        """An example's fields in two languages, made up, to show the templates by."""
        raise NotImplementedError

"""MGSM: 250 word problems of grade-school mathematics in 11 languages, aligned by row.

`mgsm` asks for the number at once, `mgsm-cot` for the way to it. Few-shot examples are those that come with the
data: `exemplars.py` next to the TSV files, the Hub's train split.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from fastneurons.data.example import Skipped
from fastneurons.data.place_files import sorted_files
from fastneurons.data.places import Chained, Place
from fastneurons.data.readers.data_set import Record
from fastneurons.data.readers.small_file import read_small
from fastneurons.data.tasks.columns import Records
from fastneurons.data.tasks.fields import text
from fastneurons.data.tasks.forms import open_by_language
from fastneurons.data.tasks.task import Data, Task
from fastneurons.data.tasks.wording import WORDS
from fastneurons.data.template import Template
from fastneurons.errors import InputError, printable
from fastneurons.languages import codes_of

_EXEMPLARS = "exemplars.py"
_MAX_EXEMPLARS_BYTES = 4 << 20


class Mgsm(Task):
    """Mathematical problems, answered by a number."""

    name = "mgsm"
    about = "What number solves a word problem?"
    fields: ClassVar = {
        "question": "the problem",
        "answer": "the number, as the data has it",
        "number": "the same without signs between thousands",
        "solution": "the way to the number in words, in solved examples only",
    }
    texts = ("question",)
    same = ("number",)
    aligned_by = "row; the numbers of all languages must be equal"
    codes = ("en", "bn", "de", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")
    scoring = "last-number"
    sources = (
        "https://github.com/google-research/url-nlp: its folder mgsm, with mgsm_de.tsv, ... and exemplars.py",
        "Hub: juletxara/mgsm, a configuration for each language",
    )
    _lead: ClassVar[Mapping[str, str]] = {code: words.answer for code, words in WORDS.items()}
    _worked: ClassVar[str] = ""

    def template(self, language: str) -> Template | None:
        """The problem, and the beginning of the answer."""
        if language not in self._lead or language not in self.codes:
            return None
        question = _PROBLEM.get(language, WORDS[language].question)
        return Template(
            f"{question}{{question}}\n{self._lead[language]}", answer="{answer}", worked=self._worked
        )

    def open(self, place: Place) -> Data:
        """See `Task.open`."""
        data = open_by_language(
            self, place, _fields, None, ("question", "answer_number"), config=str, split="test",
            example="mgsm_de.tsv", header=False,
        )  # fmt: skip
        data.solved = partial(_solved, self, place)
        return data

    def example(self) -> dict[str, dict[str, Any]]:
        """See `Task.example`."""
        return {
            "en": {
                "question": "Mia has 3 bags with 4 apples each. How many apples does she have?",
                "answer": "12",
            },
            "de": {"question": "Mia hat 3 Beutel mit je 4 Äpfeln. Wie viele Äpfel hat sie?", "answer": "12"},
        }


class MgsmCot(Mgsm):
    """The same problems, with the steps to the number first."""

    name = "mgsm-cot"
    about = "What number solves a word problem, step by step?"
    _lead: ClassVar = {
        "bn": "চলুন ধাপে ধাপে সমাধান করি:",
        "de": "Rechnen wir Schritt für Schritt:",
        "en": "Let us work it out step by step:",
        "es": "Resolvámoslo paso a paso:",
        "fr": "Résolvons-le étape par étape :",
        "ja": "順を追って計算しましょう：",
        "ru": "Решим по шагам:",
        "sw": "Tulitatue hatua kwa hatua:",
        "te": "దశలవారీగా సాధిద్దాం:",
        "th": "มาคิดทีละขั้นตอน:",
        "zh": "我们一步一步来计算：",
    }
    _worked = "{solution}"


# Where a mathematical problem is called something else than a question.
_PROBLEM = {"ja": "問題：", "ru": "Задача: ", "th": "โจทย์: ", "es": "Problema: ", "fr": "Problème : "}


def _fields(record: Record, language: str) -> dict[str, Any]:
    answer = text(record, "answer_number")
    fields = {
        "question": text(record, "question"),
        "answer": answer,
        "number": answer.replace(",", "").removesuffix(".0"),
    }
    if record.fields.get("answer"):
        fields["solution"] = text(record, "answer")
    return fields


def _solved(task: Task, place: Place) -> Mapping[str, Records] | None:
    """Solved examples that come with the data, by language."""
    if place.is_hub:
        train = Place(place.location, "train", place.config, place.revision)
        return {code: _Unlabelled(train.read(config=code)) for code in task.codes}
    path = Path(place.root) / _EXEMPLARS
    if path.is_file():
        return _exemplars(path)
    try:
        files = sorted_files(Place(place.location, "train"))
    except InputError:
        return None
    return {code: _Unlabelled(Chained(place, paths)) for code, paths in files.by_language.items()}


def _exemplars(path: Path) -> dict[str, Records]:
    """The published exemplars: a dictionary in a Python file, which is parsed but not run.

    Raises:
        InputError: the file is not what it was when it was published.
    """
    try:
        tree = ast.parse(read_small(str(path), _MAX_EXEMPLARS_BYTES, str(path)).decode())
        values = {
            target.id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        numbers = values["EXEMPLAR_NUMBER_ANSWERS"]
        exemplars = values["MGSM_EXEMPLARS"]
        return {
            code: _Unlabelled(
                _Exemplars(str(path), [(row["q"], row["a"]) for row in exemplars[key].values()], numbers)
            )
            for code, key in codes_of(exemplars, f"{path} has the exemplars").items()
        }
    except (
        SyntaxError, ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError
    ) as error:  # fmt: skip
        raise InputError(
            f"{path} cannot be read as MGSM's exemplars ({type(error).__name__}: {error}); "
            "move it away, or put the published file there"
        ) from error


@dataclass
class _Unlabelled:
    """Solved examples without the labels that they begin with: `Question: `, `Step-by-Step Answer: `."""

    records: Records

    def __iter__(self) -> Iterator[Record | Skipped]:
        for record in self.records:
            if isinstance(record, Record):
                plain = {
                    name: re.sub(r"^[^:：.。?？!\d\n]{1,40}[:：]\s*", "", value)
                    if isinstance(value, str)
                    else value
                    for name, value in record.fields.items()
                }
                yield Record(plain, record.where)
            else:
                yield record


@dataclass
class _Exemplars:
    """The solved examples that the Python file holds for one language."""

    path: str
    rows: list[tuple[str, str]]
    numbers: list[int]

    def __iter__(self) -> Iterator[Record | Skipped]:
        for number, ((question, solution), answer) in enumerate(
            zip(self.rows, self.numbers, strict=False), 1
        ):
            fields = {"question": question, "answer": solution, "answer_number": answer}
            yield Record(fields, f"{printable(self.path)}: exemplar {number}")

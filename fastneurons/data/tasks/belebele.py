"""Belebele: a passage of FLORES, a question and four answers, in 122 languages and scripts.

A file for each language, whose rows are in orders of their own: the key is the passage's link with the question's
number.
"""

from typing import Any, ClassVar

from fastneurons.data.places import Place, flores_code
from fastneurons.data.readers.data_set import Record
from fastneurons.data.tasks.fields import text, whole_number
from fastneurons.data.tasks.forms import open_by_language
from fastneurons.data.tasks.task import Data, Task
from fastneurons.data.tasks.wording import WORDS, Words
from fastneurons.data.template import Template

_LETTERS = ("A", "B", "C", "D")


class Belebele(Task):
    """Reading comprehension, with four answers to choose from."""

    name = "belebele"
    about = "Which of four answers to a question about a passage is right? In 122 languages and scripts"
    fields: ClassVar = {
        "passage": "the passage",
        "question": "the question",
        "a": "the first answer",
        "b": "the second",
        "c": "the third",
        "d": "the fourth",
        "gold": "the right answer's number: 0, 1, 2, 3",
        "link": "where the passage is from",
    }
    texts = ("passage", "question", "a", "b", "c", "d")
    same = ("gold",)
    aligned_by = "link and question_number"
    scoring = "choice"
    sources = (
        "https://github.com/facebookresearch/belebele: its folder of eng_Latn.jsonl, deu_Latn.jsonl, ...",
        "Hub: facebook/belebele, a configuration for each language",
    )

    def template(self, language: str) -> Template | None:
        """Passage, question and answers A to D; with signs for words where this is not written in a language."""
        words = WORDS.get(language, Words("", "(A/B/C/D):", ""))
        return Template(
            f"{words.passage}{{passage}}\n{words.question}{{question}}\n"
            f"A: {{a}}\nB: {{b}}\nC: {{c}}\nD: {{d}}\n{words.answer}",
            choices=_LETTERS,
        )

    def open(self, place: Place) -> Data:
        """See `Task.open`."""
        columns = (
            "link",
            "question_number",
            "flores_passage",
            "question",
            "mc_answer1",
            "correct_answer_num",
        )
        return open_by_language(
            self, place, _fields, _key, columns, config=flores_code, split="test", example="deu_Latn.jsonl"
        )

    def example(self) -> dict[str, dict[str, Any]]:
        """See `Task.example`."""
        return {
            "en": {
                "passage": "The bridge was built in 1890. It has carried only trams since 1950.",
                "question": "What crosses the bridge today?",
                "a": "Cars", "b": "Trams", "c": "Ships", "d": "Nothing", "gold": 1,
            },
            "de": {
                "passage": "Die Brücke wurde 1890 gebaut. Seit 1950 trägt sie nur noch Straßenbahnen.",
                "question": "Was fährt heute über die Brücke?",
                "a": "Autos", "b": "Straßenbahnen", "c": "Schiffe", "d": "Nichts", "gold": 1,
            },
        }  # fmt: skip


def _key(record: Record) -> str:
    return f"{text(record, 'link')}#{text(record, 'question_number')}"


def _fields(record: Record, language: str) -> dict[str, Any]:
    choices = {name: text(record, f"mc_answer{number}") for number, name in enumerate("abcd", 1)}
    return {
        "passage": text(record, "flores_passage"),
        "question": text(record, "question"),
        **choices,
        "gold": whole_number(record, "correct_answer_num", range(1, 5)) - 1,
        "link": text(record, "link"),
    }

"""XCOPA and XStoryCloze: which of two sentences goes on?

XCOPA asks for the cause or the effect of a premise, and is aligned by `idx`; it has no English, for which COPA's
validation set, whose rows have the same numbers, may lie next to it. XStoryCloze asks for the end of a story of
four sentences, and is aligned by `story_id`.
"""

import re
from typing import Any, ClassVar, NamedTuple

from fastneurons.data.places import Place
from fastneurons.data.problems import UnusableError
from fastneurons.data.readers.data_set import Record
from fastneurons.data.tasks.fields import key_text, text, whole_number
from fastneurons.data.tasks.forms import open_by_language
from fastneurons.data.tasks.task import Data, Task
from fastneurons.data.template import Template, gap


class XCopa(Task):
    """Choice of plausible alternatives: a premise, "because" or "so", and two ways to go on."""

    name = "xcopa"
    about = "Which of two sentences is the cause, or the effect, of a premise?"
    fields: ClassVar = {
        "premise": "the premise",
        "beginning": "the premise without its full stop",
        "link": "the word for because or so, whichever is asked for",
        "question": "cause or effect",
        "choice1": "the first alternative",
        "choice2": "the second",
        "rest1": "the first alternative as the end of a sentence that has begun",
        "rest2": "the second, likewise",
        "gold": "the right alternative's number: 0, 1",
    }
    texts = ("premise", "choice1", "choice2")
    same = ("question", "gold")
    aligned_by = "idx"
    codes = ("et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh")
    scoring = "choice"
    sources = (
        "https://github.com/cambridgeltl/xcopa: its folder data, with et/test.et.jsonl, et/val.et.jsonl, ...",
        "Hub: cambridgeltl/xcopa, a configuration for each language",
        "for English, COPA's val.jsonl (SuperGLUE) as en/val.en.jsonl in that folder, with --split val",
    )

    def template(self, language: str) -> Template | None:
        """The premise and a conjunction; the alternatives are the ends of that sentence."""
        if language not in _LINKS:
            return None
        return Template(f"{{beginning}}{gap(language, 'a')}{{link}}", choices=("{rest1}", "{rest2}"))

    def open(self, place: Place) -> Data:
        """See `Task.open`."""
        columns = ("premise", "choice1", "choice2", "question", "idx")
        return open_by_language(
            self,
            place,
            _copa_fields,
            _copa_key,
            columns,
            config=str,
            split="test",
            example="et/test.et.jsonl",
        )

    def example(self) -> dict[str, dict[str, Any]]:
        """See `Task.example`."""
        rows = {
            "en": ("The street was wet.", "It had rained.", "The sun was shining."),
            "it": ("La strada era bagnata.", "Aveva piovuto.", "Splendeva il sole."),
        }
        return {code: _copa(code, *row, question="cause") | {"gold": 0} for code, row in rows.items()}


class _Links(NamedTuple):
    because: str
    so: str


_LINKS = {
    "en": _Links("because", "so"),
    "et": _Links("sest", "seetõttu"),
    "ht": _Links("paske", "donk"),
    "id": _Links("karena", "sehingga"),
    "it": _Links("perché", "quindi"),
    "qu": _Links("imaraykuchus", "chayrayku"),
    "sw": _Links("kwa sababu", "kwa hiyo"),
    "ta": _Links("ஏனெனில்", "எனவே"),
    "th": _Links("เพราะ", "ดังนั้น"),
    "tr": _Links("çünkü", "bu yüzden"),
    "vi": _Links("bởi vì", "vì vậy"),
    "zh": _Links("，因为", "，所以"),
}


def _copa_key(record: Record) -> str:
    return key_text(record, "idx")


def _copa_fields(record: Record, language: str) -> dict[str, Any]:
    question = text(record, "question")
    if question not in ("cause", "effect"):
        raise UnusableError(f"the question is {question[:40]!r}; it must be cause or effect")
    premise, choice1, choice2 = (text(record, name) for name in ("premise", "choice1", "choice2"))
    fields: dict[str, Any] = _copa(language, premise, choice1, choice2, question)
    if record.fields.get("label") not in (None, "", -1):
        fields["gold"] = whole_number(record, "label", range(2))
    return fields


def _copa(language: str, premise: str, choice1: str, choice2: str, question: str) -> dict[str, Any]:
    fields = {
        "premise": premise,
        "beginning": premise.rstrip(" .。．।"),
        "question": question,
        "choice1": choice1,
        "choice2": choice2,
        "rest1": _lower_first(choice1, language),
        "rest2": _lower_first(choice2, language),
    }
    if links := _LINKS.get(language):
        fields["link"] = links.because if question == "cause" else links.so
    return fields


def _lower_first(sentence: str, language: str) -> str:
    first = sentence[:1]
    if language == "en" and re.match(r"I\b", sentence):
        return sentence
    if language == "tr" and first in "Iİ":
        return {"I": "ı", "İ": "i"}.get(first, first) + sentence[1:]
    return first.lower() + sentence[1:]


class XStoryCloze(Task):
    """A story of four sentences, and two ways in which it could end."""

    name = "xstorycloze"
    about = "Which of two sentences ends a story?"
    fields: ClassVar = {
        "story": "the four sentences",
        "sentence1": "the first sentence",
        "sentence2": "the second",
        "sentence3": "the third",
        "sentence4": "the fourth",
        "choice1": "the first ending",
        "choice2": "the second",
        "gold": "the right ending's number: 0, 1",
    }
    texts = ("story", "choice1", "choice2")
    same = ("gold",)
    aligned_by = "story_id"
    codes = ("en", "ar", "es", "eu", "hi", "id", "my", "ru", "sw", "te", "zh")
    scoring = "choice"
    sources = (
        "Hub: juletxara/xstory_cloze, a configuration for each language (split eval)",
        "a folder with a file for each language, such as en/eval.parquet or spring2016.val.en.tsv "
        "(story_id or InputStoryid, the four sentences, the two endings, the right one)",
    )

    def template(self, language: str) -> Template | None:
        """The story itself: no words of ours, so in any language."""
        return Template("{story}", choices=("{choice1}", "{choice2}"))

    def open(self, place: Place) -> Data:
        """See `Task.open`."""
        return open_by_language(
            self, place, _story_fields, _story_key, (), config=str, split="eval", example="en/eval.parquet"
        )

    def example(self) -> dict[str, dict[str, Any]]:
        """See `Task.example`."""
        english = ("Ann was cold.", "She looked for wood.", "She lit a fire.", "She sat down beside it.")
        spanish = ("Ana tenía frío.", "Buscó leña.", "Encendió un fuego.", "Se sentó a su lado.")
        return {
            "en": {
                "story": " ".join(english),
                "choice1": "Soon she was warm.",
                "choice2": "She froze.",
                "gold": 0,
            },
            "es": {
                "story": " ".join(spanish),
                "choice1": "Pronto entró en calor.",
                "choice2": "Se heló.",
                "gold": 0,
            },
        }


# The Hub's names, and those of the files that the data set was published as.
_STORY_COLUMNS = {
    "story_id": "InputStoryid",
    **{f"input_sentence_{n}": f"InputSentence{n}" for n in range(1, 5)},
    "sentence_quiz1": "RandomFifthSentenceQuiz1",
    "sentence_quiz2": "RandomFifthSentenceQuiz2",
    "answer_right_ending": "AnswerRightEnding",
}


def _story_text(record: Record, name: str) -> str:
    return text(record, name if name in record.fields else _STORY_COLUMNS[name])


def _story_key(record: Record) -> str:
    return _story_text(record, "story_id")


def _story_fields(record: Record, language: str) -> dict[str, Any]:
    sentences = [_story_text(record, f"input_sentence_{number}") for number in range(1, 5)]
    story = sentences[0]
    for sentence in sentences[1:]:
        story += gap(language, story) + sentence
    fields: dict[str, Any] = {
        "story": story,
        **{f"sentence{number}": sentence for number, sentence in enumerate(sentences, 1)},
        "choice1": _story_text(record, "sentence_quiz1"),
        "choice2": _story_text(record, "sentence_quiz2"),
    }
    name = "answer_right_ending" if "answer_right_ending" in record.fields else "AnswerRightEnding"
    if record.fields.get(name) not in (None, ""):
        fields["gold"] = whole_number(record, name, range(1, 3)) - 1
    return fields

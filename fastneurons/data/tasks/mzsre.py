"""MzsRE: state a new fact in one language, and ask for it in another.

`ke-en2xx` states it in English and asks in each language, `ke-xx2en` the other way round. A file holds a pair of
languages; all pairs with English have the same 743 rows in the same order, which is checked by their English.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fastneurons.data.align import Aligned, LeftOut, Piece, check_equal_lengths
from fastneurons.data.example import Skipped
from fastneurons.data.places import Chained, Place
from fastneurons.data.problems import UnusableError
from fastneurons.data.readers.data_set import Record
from fastneurons.data.tasks.columns import Records, first_record
from fastneurons.data.tasks.fields import checked_text
from fastneurons.data.tasks.task import Data, Task
from fastneurons.data.tasks.wording import WORDS
from fastneurons.data.template import Template
from fastneurons.errors import InputError
from fastneurons.languages import codes_of, short_code

_ENGLISH = "en"
_LOCALITY_PREFIX = "nq question: "
_FACT = {
    "cs": "Nový fakt: ",
    "de": "Neue Tatsache: ",
    "en": "New fact: ",
    "es": "Nuevo dato: ",
    "fr": "Nouveau fait : ",
    "nl": "Nieuw feit: ",
    "pt": "Novo fato: ",
    "ru": "Новый факт: ",
    "th": "ข้อเท็จจริงใหม่: ",
    "tr": "Yeni bilgi: ",
    "vi": "Thông tin mới: ",
    "zh": "新事实：",
}


class _Mzsre(Task):
    """The part that both directions share."""

    fields: ClassVar = {
        "edit_question": "the question that the new fact answers, in the language that states it",
        "edit_answer": "the new answer, in that language",
        "question": "the same question, in the language it is asked in",
        "answer": "the new answer, in that language",
        "rephrase": "the question in other words",
        "locality_question": "a question that the new fact does not touch",
        "locality_answer": "its answer",
        "portability_question": "a question whose answer follows from the new fact",
        "portability_answer": "its answer",
    }
    aligned_by = "row, after a check that the English of all files agrees"
    codes = ("en", "cs", "de", "es", "fr", "nl", "pt", "ru", "th", "tr", "vi", "zh")
    scoring = "exact-match"
    sources = (
        "https://github.com/weixuan-wang123/ReMaKE: its folder data/MzsRE, with mzsre_test_duplicate_enzh.json, ...",
        "any JSON or JSONL whose rows hold a block for each language, English among them",
    )

    def _languages(self, language: str) -> tuple[str, str]:
        """The language that states the fact, and the one that asks for it."""
        raise NotImplementedError

    def template(self, language: str) -> Template | None:
        """The fact in one language, the question in the other."""
        if language not in _FACT:
            return None
        stated, asked = self._languages(language)
        words = WORDS[asked]
        return Template(
            f"{_FACT[stated]}{{edit_question}} {{edit_answer}}\n{words.question}{{question}}\n{words.answer}",
            answer="{answer}",
        )

    def answer_language(self, language: str) -> str:
        return self._languages(language)[1]

    def open(self, place: Place) -> Data:
        """See `Task.open`."""
        if place.is_hub:
            raise InputError(
                f"{self.name}: MzsRE is not read from the Hub; point --data at {self.sources[0].partition(':')[0]}"
            )
        sources = _sources(place)
        if not sources:
            raise InputError(
                f"{self.name}: {place.location} has no file with English and another language, such as "
                "mzsre_test_duplicate_enzh.json"
            )
        return _Pairs(self, sources, place.location, place.describe())

    def blocks(self, language: str, english: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        """A row's fields for one language, from its block and the English one.

        Raises:
            UnusableError: a question or an answer is not there.
        """
        stated, asked = self._languages(language)
        edit = english if stated == _ENGLISH else other
        test = english if asked == _ENGLISH else other
        portability = test.get("portability")
        if not isinstance(portability, dict):
            portability = {}
        locality = _optional(test, "loc")
        return {
            "edit_question": _said(edit, "src", stated),
            "edit_answer": _said(edit, "alt", stated),
            "question": _said(test, "src", asked),
            "answer": _said(test, "alt", asked),
            "rephrase": _optional(test, "rephrase"),
            "locality_question": locality.removeprefix(_LOCALITY_PREFIX),
            "locality_answer": _optional(test, "loc_ans").removeprefix(_LOCALITY_PREFIX).strip(),
            "portability_question": _optional(portability, "New Question"),
            "portability_answer": _optional(portability, "New Answer"),
        }


class KeEn2Xx(_Mzsre):
    """Stated in English, asked for in each language."""

    name = "ke-en2xx"
    about = "A new fact is stated in English: what follows from it, asked in each language?"
    texts = ("question", "answer")

    def _languages(self, language: str) -> tuple[str, str]:
        return _ENGLISH, language

    def example(self) -> dict[str, dict[str, Any]]:
        """See `Task.example`."""
        english = {"edit_question": "Who wrote Faust?", "edit_answer": "Schiller"}
        return {
            "en": english | {"question": "Who wrote Faust?", "answer": "Schiller"},
            "zh": english | {"question": "《浮士德》的作者是谁？", "answer": "席勒"},
        }


class KeXx2En(_Mzsre):
    """Stated in each language, asked for in English."""

    name = "ke-xx2en"
    about = "A new fact is stated in each language: what follows from it, asked in English?"
    texts = ("edit_question", "edit_answer")

    def _languages(self, language: str) -> tuple[str, str]:
        return language, _ENGLISH

    def example(self) -> dict[str, dict[str, Any]]:
        """See `Task.example`."""
        english = {"question": "Who wrote Faust?", "answer": "Schiller"}
        return {
            "en": english | {"edit_question": "Who wrote Faust?", "edit_answer": "Schiller"},
            "zh": english | {"edit_question": "《浮士德》的作者是谁？", "edit_answer": "席勒"},
        }


def _said(block: dict[str, Any], name: str, language: str) -> str:
    return checked_text(block.get(name), f"{name} in {language}")


def _optional(block: dict[str, Any], name: str) -> str:
    """An optional text; any other value in its place is ignored."""
    value = block.get(name)
    return value.strip() if isinstance(value, str) else ""


def _sources(place: Place) -> dict[str, tuple[Records, str]]:
    """For each language except English, a file that has it and English, with the file's name."""
    found: dict[str, tuple[Records, str]] = {}
    paths = place.files()
    for path in sorted(paths, key=lambda path: (not _names_english_first(path), path)):
        if not re.search(r"\.(jsonl?|ndjson|parquet)(\.\w+)?$", path.lower()):
            continue
        records = Chained(place, [path])
        pair = _pair(path)
        # `..._data.json` would be Danish and Tamil: what a name says counts where English is part of it.
        named = pair is not None and _ENGLISH in pair
        codes = pair if pair and named else _block_languages(first_record(records, path))
        if _ENGLISH in codes:
            for code in codes:
                if code != _ENGLISH and code not in found:
                    found[code] = (records, path)
    return found


def _pair(path: str) -> tuple[str, str] | None:
    """The languages that a file's name gives: `..._enzh.json` is English and Chinese."""
    match = re.search(r"_([a-z]{2})([a-z]{2})\.json(\.\w+)?$", path)
    codes = [short_code(code) for code in match.groups()[:2]] if match else []
    return (codes[0], codes[1]) if len(codes) == 2 and codes[0] and codes[1] else None


def _names_english_first(path: str) -> bool:
    pair = _pair(path)
    return pair is not None and pair[0] == _ENGLISH


def _block_languages(record: Record) -> tuple[str, ...]:
    blocks = [key for key, block in record.fields.items() if isinstance(block, dict) and "src" in block]
    return tuple(codes_of(blocks, f"{record.where} has the blocks"))


def _block(record: Record, language: str) -> dict[str, Any] | None:
    for key, block in record.fields.items():
        if isinstance(block, dict) and (key == language or short_code(key) == language):
            return block
    return None


@dataclass
class _Pairs(Data):
    """The files' rows side by side."""

    task: _Mzsre
    sources: Mapping[str, tuple[Records, str]]
    place: str
    describe: str

    def __post_init__(self) -> None:
        self.languages = (_ENGLISH, *(code for code in self.task.codes if code in self.sources))
        self._checked = False

    def aligned(self, languages: Sequence[str]) -> Iterator[Aligned | LeftOut | Skipped]:
        others = [code for code in languages if code != _ENGLISH]
        # A file with all languages is read once.
        files = {self.sources[code][1]: self.sources[code][0] for code in others}
        if len(files) > 1 and not self._checked:
            check_equal_lengths(
                {path: sum(1 for _ in records) for path, records in files.items()}, self.place
            )
            self._checked = True
        for number, rows in enumerate(zip(*files.values(), strict=True), 1):
            yield from self._row(str(number), dict(zip(files, rows, strict=True)), languages)

    def _row(
        self, key: str, rows: Mapping[str, Record | Skipped], languages: Sequence[str]
    ) -> Iterator[Aligned | Skipped]:
        english: dict[str, Any] | None = None
        where = ""
        pieces: dict[str, Piece] = {}
        usable: dict[str, Record] = {}
        for path, row in rows.items():
            if isinstance(row, Skipped):
                yield row
                continue
            block = _block(row, _ENGLISH)
            if block is None:
                yield Skipped(key, row.where, "it has no English block")
                continue
            if english is None:
                english, where = block, row.where
            elif (block.get("src"), block.get("alt")) != (english.get("src"), english.get("alt")):
                yield Skipped(
                    key, row.where, f"its English is not that of {where}: the files are not aligned"
                )
                continue
            usable[path] = row
        if english is None:
            return
        for code in languages:
            record = usable.get(self.sources[code][1]) if code != _ENGLISH else next(iter(usable.values()))
            if record is None:
                continue
            other = _block(record, code)
            try:
                if other is None:
                    raise UnusableError(f"it has no block in {code}")
                fields = self.task.blocks(code, english, other)
            except UnusableError as error:
                yield Skipped(key, record.where, str(error))
                continue
            pieces[code] = Piece(key, code, fields, record.where)
        if pieces:
            yield Aligned(key, pieces)

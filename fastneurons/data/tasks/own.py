"""Tasks without a known data set: the demo's facts, a user's own examples, and monolingual texts to count over."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar

from fastneurons.data.align import Aligned, LeftOut, Piece, pieces_of
from fastneurons.data.demo.facts import FACT_LANGUAGES, facts
from fastneurons.data.example import Example, Skipped
from fastneurons.data.first_seen import FirstSeen
from fastneurons.data.jsonl_examples import JsonlSource
from fastneurons.data.own_rows import RowReader, check_usable, prompt_keys
from fastneurons.data.place_files import notes_on_varieties, sorted_files
from fastneurons.data.places import Chained, Place
from fastneurons.data.problems import UnusableError
from fastneurons.data.readers.data_set import Record
from fastneurons.data.readers.files import data_files, format_of
from fastneurons.data.tasks.columns import (
    Records,
    first_record,
    needs_folder,
    numbered_lines_note,
    wrong_form,
)
from fastneurons.data.tasks.fields import text
from fastneurons.data.tasks.forms import piece
from fastneurons.data.tasks.task import Data, Task
from fastneurons.data.template import Template
from fastneurons.data.valid_values import row_id
from fastneurons.errors import InputError
from fastneurons.languages import read_code, short_code

# Asks an example of a user's own by its prompt, with nothing changed.
AS_IT_IS = Template("{prompt}", answer="{answer}")
_PEEKED = 1000


class Capitals(Task):
    """Facts about countries, from the demo."""

    name = "capitals"
    about = "What are a country's capital, language and currency, and whose is a capital?"
    fields: ClassVar = {
        "query": "the sentence up to the answer",
        "answer": "the answer",
        "relation": "capital, country, language or currency",
    }
    texts = ("query", "answer")
    aligned_by = "relation and country"
    codes = FACT_LANGUAGES
    scoring = "exact-match"
    sources = (
        "comes with fastneurons (names from Unicode's CLDR): pip install 'fastneurons[demo]'; no --data",
    )
    needs_data = False

    def template(self, language: str) -> Template | None:
        """The sentence itself."""
        return Template("{query}", answer="{answer}") if language in FACT_LANGUAGES else None

    def open(self, place: Place) -> Data:
        """See `Task.open`."""
        return _Facts()

    def example(self) -> dict[str, dict[str, Any]]:
        """See `Task.example`."""
        return {
            "en": {"query": "Country: France. Its capital is", "answer": "Paris"},
            "de": {"query": "Land: Frankreich. Seine Hauptstadt ist", "answer": "Paris"},
        }


class _Facts(Data):
    languages = FACT_LANGUAGES
    describe = "CLDR facts"

    def aligned(self, languages: Sequence[str]) -> Iterator[Aligned | LeftOut | Skipped]:
        for fact in facts(tuple(languages)):
            relation = fact.id.partition("/")[0]
            yield Aligned(
                fact.id,
                {
                    code: Piece(
                        fact.id,
                        code,
                        {"query": fact.prompts[code], "answer": fact.answers[code], "relation": relation},
                        fact.where,
                    )
                    for code in languages
                },
            )


class Jsonl(Task):
    """Prompts of a user's own, one example a row."""

    name = "jsonl"
    about = "Prompts of your own"
    fields: ClassVar = {
        "prompt": "the prompt; of chat messages their contents",
        "answer": "the reference answer, where there is one",
    }
    texts = ("prompt",)
    aligned_by = "row: each holds all languages of an example"
    sources = (
        'JSONL, a line: {"id": ..., "prompts": {"en": ..., "de": ...}, "answers": {"en": ..., "de": ...}}',
        "JSON or Parquet with the same fields, from a file, a folder or the Hub",
        'a prompt may be chat messages, [{"role": "user", "content": ...}], an answer a list of accepted ones',
    )
    skips_incomplete = True

    def template(self, language: str) -> Template | None:
        """The prompt as it is."""
        return AS_IT_IS

    def open(self, place: Place) -> Data:
        """See `Task.open`."""
        return _Prompts(place)

    def example(self) -> dict[str, dict[str, Any]]:
        """See `Task.example`."""
        return {
            "en": {"prompt": "The capital of France is", "answer": "Paris"},
            "de": {"prompt": "Die Hauptstadt von Frankreich ist", "answer": "Paris"},
        }


class _Prompts(Data):
    """Rows with `prompts` and `answers`; in JSONL they are decoded straight into their shape."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.describe = place.describe()
        # A file whose name gives no format is JSONL.
        is_jsonl = not place.is_hub and {"jsonl", None} >= {
            format_of(file.path) for file in data_files(place.location)
        }
        self._records: Records | None = None if is_jsonl else place.read(split="train")
        self._languages: tuple[str, ...] | None = None

    @property
    def languages(self) -> tuple[str, ...]:  # type: ignore[override]
        """The languages of the first rows, looked up if the user has not named any."""
        if self._languages is None:
            self._languages = self._found()
        return self._languages

    def _found(self) -> tuple[str, ...]:
        records = self._records if self._records is not None else self._place.read()
        counts: dict[str, None] = {}
        spelled: dict[str, None] = {}
        for row in islice(records, _PEEKED):
            if isinstance(row, Record):
                there = prompt_keys(row.fields.get("prompts"))
                spelled |= dict.fromkeys(there)
                counts |= dict.fromkeys(code for key in there if (code := short_code(key)) is not None)
        self.notes = notes_on_varieties(spelled)
        if not counts:
            raise InputError(
                f"{self._place.location}: none of its first rows has prompts; a row must be "
                '{"id": ..., "prompts": {"en": ..., "de": ...}}'
            )
        return tuple(counts)

    def check(self, languages: Sequence[str], allow_missing: bool) -> None:
        """Check the first rows: a language may be missing, or the file may be something else."""
        if self._records is not None:
            read = RowReader(languages, allow_missing)
            rows = (
                (row, ())
                if isinstance(row, Skipped)
                else (_read(read, row), prompt_keys(row.fields.get("prompts")))
                for row in self._records
            )
            check_usable(self._place.location, rows, languages, "rows")
        else:
            JsonlSource(self._place.location, languages, allow_missing, chat=True).check()
        if not self._place.is_hub:
            records = self._records if self._records is not None else self._place.read()
            first = next((row for row in islice(records, _PEEKED) if isinstance(row, Record)), None)
            self.notes = notes_on_varieties(prompt_keys(first.fields.get("prompts"))) if first else ()

    def aligned(self, languages: Sequence[str]) -> Iterator[Aligned | LeftOut | Skipped]:
        for row in self.examples(languages):
            yield row if isinstance(row, Skipped) else Aligned(row.id, pieces_of(row))

    def examples(self, languages: Sequence[str]) -> Iterator[Example | Skipped]:
        name = Jsonl.name
        if self._records is None:
            yield from JsonlSource(self._place.location, languages, allow_missing=True, chat=True, task=name)
            return
        ids = FirstSeen()
        read = RowReader(languages, allow_missing=True, task=name)
        for number, record in enumerate(self._records, 1):
            found = record if isinstance(record, Skipped) else _read(read, record)
            if isinstance(found, Example) and (first := ids.of(found.id, number)):
                yield Skipped(found.id, found.where, f"the id is that of row {first} already")
            else:
                yield found


def _read(read: RowReader, record: Record) -> Example | Skipped:
    fields = record.fields
    return read(fields.get("id"), fields.get("prompts"), fields.get("answers"), record.where)


class Corpus(Task):
    """Texts of each language by themselves, to count over."""

    name = "corpus"
    about = "Texts in each language, which need not say the same"
    fields: ClassVar = {"text": "the text"}
    texts = ("text",)
    aligned_by = "nothing: each language's texts stand by themselves"
    sources = (
        "a folder with files for each language (de/train-00000.parquet, wiki.de.jsonl.gz, de.txt), with a text "
        "a row in the column text (or content)",
        "one file whose rows name their language (language or lang)",
        "Hub: wikimedia/wikipedia, a configuration for each language (20231101.de)",
    )
    parallel = False
    _wikipedia = "20231101"

    def template(self, language: str) -> Template | None:
        """The text and nothing else."""
        return Template("{text}")

    def open(self, place: Place) -> Data:
        """See `Task.open`."""
        if place.is_hub:
            from fastneurons.languages import all_codes

            parts: dict[str, Records] = {
                code: place.read(config=f"{self._wikipedia}.{code}", split="train") for code in all_codes()
            }
            hub = _Texts(parts, None, tuple(parts), place.describe("train"))
            hub.lists_languages = False
            return hub
        files = sorted_files(place, ("train", "test", "validation"))
        if files.of_folder:  # `data/de`, unless its rows say more
            (paths,) = files.by_language.values()
            if _row_language(first_record(Chained(place, paths), paths[0])) is not None:
                files = replace(files, by_language={}, others=paths)
        if files.by_language:
            parts = {code: Chained(place, paths) for code, paths in files.by_language.items()}
            for code, paths in files.by_language.items():
                first = first_record(parts[code], paths[0])
                if _text_column(first) is None:
                    raise wrong_form(self, first, "text, or content")
            texts = _Texts(parts, None, tuple(parts), place.describe(files.split))
            texts.notes = (*files.notes, *numbered_lines_note(parts))
            return texts
        records = Chained(place, files.others)
        first = first_record(records, place.location)
        if _text_column(first) is None or _row_language(first) is None:
            raise needs_folder(self, place, (), "de.txt and en.txt")
        rows = islice(records, _PEEKED)
        found: dict[str, dict[str, None]] = {}
        for row in rows:
            if isinstance(row, Record) and (named := _row_language(row)):
                found.setdefault(named, {})[_row_tag(row)] = None
        for code, (spelled, *others) in found.items():
            if others and any(read_code(spelled) != read_code(other) for other in others):
                raise InputError(
                    f"{place.location} has rows in {spelled} and in {others[0]}, which are both {code} here; keep one "
                    "of them"
                )
        texts = _Texts({}, records, tuple(found), place.describe(files.split))
        texts.notes = files.notes + notes_on_varieties(tag for tags in found.values() for tag in tags)
        return texts

    def example(self) -> dict[str, dict[str, Any]]:
        """See `Task.example`."""
        return {"en": {"text": "Bees live in colonies."}, "de": {"text": "Ein Fluss fließt zum Meer."}}


class _Texts(Data):
    """A text of each language in turn, until all are at their end."""

    def __init__(
        self, parts: dict[str, Records], mixed: Records | None, languages: tuple[str, ...], describe: str
    ) -> None:
        self._parts = parts
        self._mixed = mixed
        self.languages = languages
        self.describe = describe

    def aligned(self, languages: Sequence[str]) -> Iterator[Aligned | LeftOut | Skipped]:
        if self._mixed is not None:
            for number, row in enumerate(self._mixed, 1):
                named = None if isinstance(row, Skipped) else _row_language(row)
                if isinstance(row, Skipped) or named in languages:
                    yield from _text(row, named or "", number)
            return
        live = {own: enumerate(self._parts[own], 1) for own in languages}
        while live:
            for own in tuple(live):
                number, found = next(live[own], (0, None))
                if found is None:
                    del live[own]
                else:
                    yield from _text(found, own, number)


def _text(row: Record | Skipped, code: str, number: int) -> Iterator[Aligned | LeftOut | Skipped]:
    if isinstance(row, Skipped):
        yield row
        return
    value = row.fields.get("text", "x")
    if isinstance(value, str) and not value.strip():
        return  # empty lines part documents; they are no error
    found = piece(row, code, _text_fields, None)
    if isinstance(found, Piece):
        try:
            id = row.fields.get("id")
            key = f"{code}:{number if id is None or id == '' else row_id(id)}"
        except UnusableError as error:
            yield Skipped("", row.where, str(error))
            return
        yield Aligned(key, {code: Piece(key, code, found.fields, found.where)})
    else:
        yield found


def _text_fields(record: Record, language: str) -> dict[str, Any]:
    name = _text_column(record)
    if name is None:
        raise UnusableError("no text")
    return {"text": text(record, name)}


def _text_column(record: Record) -> str | None:
    return next((name for name in ("text", "content") if name in record.fields), None)


def _row_language(record: Record) -> str | None:
    return short_code(_row_tag(record))


def _row_tag(record: Record) -> str:
    values = (record.fields.get(name) for name in ("language", "lang"))
    return next((value for value in values if isinstance(value, str)), "")

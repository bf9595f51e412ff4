"""Parallel sentences: FLORES, and aligned files of a user's own. There is no answer: a run measures reading.

Forms: a text file for each language, aligned by line (FLORES, Moses, OPUS); a table with a column for each language
(TSV, CSV, Parquet, JSONL); rows with a `translation` (the Hub); and, for FLORES+, rows with `id` and `text`.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from fastneurons.data.place_files import notes_on_varieties, sorted_files
from fastneurons.data.places import Chained, Place, flores_code
from fastneurons.data.problems import UnusableError
from fastneurons.data.readers.data_set import Record
from fastneurons.data.tasks.columns import (
    Records,
    first_record,
    has,
    needs_folder,
    numbered_lines_note,
    wrong_form,
)
from fastneurons.data.tasks.fields import AbsentError, by_code, key_text, optional_id, text
from fastneurons.data.tasks.forms import Long, PerLanguage, Wide
from fastneurons.data.tasks.task import Data, Task
from fastneurons.data.template import Template
from fastneurons.errors import InputError
from fastneurons.languages import codes_of, short_code

# FLORES+ has renamed some of FLORES-200's languages.
_FLORES_PLUS = {"zh": "cmn_Hans", "zh-Hant": "cmn_Hant", "et": "ekk_Latn", "tl": "fil_Latn"}
_TEXT_NAMES = ("text", "sentence")


class Parallel(Task):
    """Aligned sentences or documents, of a user's own."""

    name = "parallel"
    about = "The same text in several languages, to be read"
    fields: ClassVar = {"text": "the text"}
    texts = ("text",)
    aligned_by = "id where there is one, else line or row"
    sources: ClassVar[tuple[str, ...]] = (
        "a folder with a text file for each language (en.txt, corpus.de, ...), line by line",
        "Moses and OPUS: the files' common beginning, Tatoeba.de-en for Tatoeba.de-en.de and Tatoeba.de-en.en",
        "a TSV, CSV, Parquet or JSONL file with a column for each language, and perhaps an id",
        'rows with {"translation": {"en": ..., "de": ...}}, from a file or the Hub (with --config)',
    )
    _splits: ClassVar[tuple[str, ...]] = ("test", "devtest", "validation", "train")
    _example = "en.txt and de.txt"

    def template(self, language: str) -> Template | None:
        """The text and nothing else."""
        return Template("{text}")

    def open(self, place: Place) -> Data:
        """See `Task.open`."""
        if place.is_hub:
            return self._table(place, place.read(split="train"), place.describe("train"))
        if not place.is_folder:
            try:
                paths: Sequence[str] = place.files()
            except InputError:
                whole = Place(f"{place.location}.*", place.split, place.config, place.revision)
                if not whole.files():
                    raise
                place = whole
            else:
                return self._table(place, Chained(place, paths), place.describe())
        files = sorted_files(place, self._splits)
        if len(files.by_language) > 1:
            data = self._files(place, files.by_language, place.describe(files.split))
            data.notes = files.notes
            return data
        paths = files.others or tuple(path for own in files.by_language.values() for path in own)
        if len(paths) > 1 and not all(path.endswith(".parquet") for path in paths):
            raise needs_folder(self, place, files.by_language, self._example)
        table = self._table(place, Chained(place, paths), place.describe(files.split))
        table.notes += files.notes
        return table

    def _files(self, place: Place, paths: dict[str, tuple[str, ...]], describe: str) -> Data:
        parts: dict[str, Records] = {}
        key: Callable[[Record], str] | None = None
        for code, own in paths.items():
            records = Chained(place, own)
            first = first_record(records, own[0])
            name = _text_name(first)
            if name is None:
                raise wrong_form(self, first, "text, or sentence")
            if "id" in first.fields:
                key = _id
            parts[code] = records
        data = PerLanguage(parts, _fields, key, place.location, describe)
        data.notes = numbered_lines_note(parts)
        return data

    def _table(self, place: Place, records: Records, describe: str) -> Data:
        first = first_record(records, place.location)
        if isinstance(first.fields.get("translation"), dict):
            keys = codes_of(first.fields["translation"], f"{first.where} has the translations")
            wide = Wide(records, _translation, tuple(keys), describe)
            wide.notes = notes_on_varieties(keys.values())
            return wide
        columns = _columns_of(first)
        if len(columns) > 1:
            wide = Wide(records, _columns(columns), tuple(columns), describe)
            wide.notes = notes_on_varieties(map(_tag, columns.values()))
            return wide
        if has(first, "iso_639_3", "iso_15924", "id", "text"):
            languages = {code: None for row in records if isinstance(row, Record) and (code := _flores(row))}
            return Long(records, _flores, _fields, _id, tuple(languages), describe)
        raise wrong_form(self, first, "one for each language (en, de, ...), or translation")

    def example(self) -> dict[str, dict[str, Any]]:
        """See `Task.example`."""
        return {
            "en": {"text": "The river was higher than ever before."},
            "de": {"text": "Der Fluss stand höher als je zuvor."},
        }


class Flores(Parallel):
    """FLORES-200 and FLORES+: sentences from Wikimedia in more than 200 languages."""

    name = "flores"
    about = "A sentence of FLORES, to be read"
    aligned_by = "line; id in FLORES+"
    sources = (
        "FLORES-200 (https://github.com/facebookresearch/flores): its folder, with devtest/deu_Latn.devtest, "
        "dev/deu_Latn.dev, ...; --split dev for the second",
        "Hub: openlanguagedata/flores_plus, a configuration for each language",
    )
    _splits = ("devtest", "validation", "test")
    _example = "deu_Latn.devtest and eng_Latn.devtest"

    def open(self, place: Place) -> Data:
        """See `Task.open`."""
        if not place.is_hub:
            return super().open(place)
        # Any language may be asked for; which there are, the Hub knows.
        from fastneurons.languages import all_codes

        parts = {
            code: place.read(config=_FLORES_PLUS.get(code, flores_code(code)), split="devtest")
            for code in all_codes()
        }
        data = PerLanguage(parts, _fields, _id, place.location, place.describe("devtest"))
        data.lists_languages = False
        return data


def _text_name(record: Record) -> str | None:
    return next((name for name in _TEXT_NAMES if name in record.fields), None)


def _fields(record: Record, language: str) -> dict[str, Any]:
    name = _text_name(record)
    if name is None:
        raise UnusableError("no text")
    value = record.fields[name]
    if isinstance(value, str) and not value.strip():
        raise AbsentError("empty line")
    return {"text": text(record, name)}


def _id(record: Record) -> str:
    return key_text(record, "id")


def _columns_of(first: Record) -> dict[str, str]:
    """The columns with texts, by short code: `de`, `deu_Latn`, `sentence_deu_Latn`; an `id` is no Indonesian.

    Raises:
        InputError: two of them are the same language.
    """
    names = {
        _tag(str(name)): str(name)
        for name, value in first.fields.items()
        if name != "id" and not _is_number(value)
    }
    columns = codes_of(names, f"{first.where} has the columns")
    return {code: names[tag] for code, tag in columns.items()}


def _tag(column: str) -> str:
    return column.removeprefix("sentence_").removeprefix("text_")


def _is_number(value: Any) -> bool:
    """Whether a value is not a text: a column `no`, say, would hold row numbers and not Norwegian."""
    return isinstance(value, int | float) or (isinstance(value, str) and value.strip().isdecimal())


def _columns(
    columns: dict[str, str],
) -> Callable[[Record, Sequence[str]], tuple[str, dict[str, dict[str, Any]]]]:
    def split(record: Record, languages: Sequence[str]) -> tuple[str, dict[str, dict[str, Any]]]:
        found = {}
        for code in languages:
            value = record.fields.get(columns[code])
            if value is not None and not (isinstance(value, str) and not value.strip()):
                found[code] = {"text": text(record, columns[code])}
        return optional_id(record), found

    return split


def _translation(record: Record, languages: Sequence[str]) -> tuple[str, dict[str, dict[str, Any]]]:
    texts = by_code(record.fields.get("translation"), "translation")
    return optional_id(record), {code: {"text": texts[code]} for code in languages if code in texts}


def _flores(record: Record) -> str | None:
    return short_code(f"{record.fields.get('iso_639_3')}_{record.fields.get('iso_15924')}")

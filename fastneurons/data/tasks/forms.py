"""The three ways in which data sets hold several languages: apart, mixed, and side by side in one record."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastneurons.data.align import Aligned, LeftOut, Piece, Row, by_key, by_row, check_equal_lengths
from fastneurons.data.example import Skipped
from fastneurons.data.first_seen import FirstSeen
from fastneurons.data.place_files import sorted_files
from fastneurons.data.places import Chained, Place
from fastneurons.data.problems import UnusableError
from fastneurons.data.readers.data_set import Record
from fastneurons.data.tasks.columns import (
    Records,
    first_record,
    has,
    needs_folder,
    width_without_header,
    wrong_form,
)
from fastneurons.data.tasks.fields import AbsentError
from fastneurons.data.tasks.task import Data, Task
from fastneurons.data.valid_values import shown_id
from fastneurons.languages import all_codes


@dataclass
class PerLanguage(Data):
    """Records of each language by themselves.

    Args:
        parts: The records of each language.
        fields: A record's fields; raises UnusableError.
        key: A record's key; None aligns by row.
        place: What it is called in errors.
        describe: See `Data`.
        solved: Gives the records of each language with solved examples, where they are wanted.
    """

    parts: Mapping[str, Records]
    fields: Callable[[Record, str], dict[str, Any]]
    key: Callable[[Record], str] | None
    place: str
    describe: str = ""
    solved: Callable[[], Mapping[str, Records] | None] = lambda: None

    def __post_init__(self) -> None:
        self.languages = tuple(self.parts)
        self._checked: frozenset[str] = frozenset()

    def aligned(self, languages: Sequence[str]) -> Iterator[Aligned | LeftOut | Skipped]:
        """See `Data.aligned`."""
        streams = {code: pieces(self.parts[code], code, self.fields, self.key) for code in languages}
        if self.key is not None:
            return by_key(list(streams.values()), languages)
        if not self._checked >= set(languages):
            check_equal_lengths({code: sum(1 for _ in self.parts[code]) for code in languages}, self.place)
            self._checked = frozenset(languages)
        return by_row(streams)

    def shots(self, languages: Sequence[str]) -> Iterator[Aligned] | None:
        """See `Data.shots`."""
        solved = self.solved()
        if solved is None or not set(solved) >= set(languages):
            return None
        streams = {code: pieces(solved[code], code, self.fields, self.key) for code in languages}
        found = by_row(streams) if self.key is None else by_key(list(streams.values()), languages)
        return (row for row in found if isinstance(row, Aligned))


@dataclass
class Long(Data):
    """Records of all languages mixed: each names its language and its key.

    Args:
        records: All of them.
        language: The short code of a record's language, None for one to pass over.
        fields: A record's fields; raises UnusableError.
        key: A record's key.
        languages: Those that there are.
        describe: See `Data`.
    """

    records: Records
    language: Callable[[Record], str | None]
    fields: Callable[[Record, str], dict[str, Any]]
    key: Callable[[Record], str]
    languages: tuple[str, ...]
    describe: str = ""

    def aligned(self, languages: Sequence[str]) -> Iterator[Aligned | LeftOut | Skipped]:
        """See `Data.aligned`."""
        return by_key([self._pieces(frozenset(languages))], languages)

    def _pieces(self, languages: frozenset[str]) -> Iterator[Row]:
        for record in self.records:
            if isinstance(record, Skipped):
                yield record
                continue
            code = self.language(record)
            if code in languages:
                assert code is not None
                yield piece(record, code, self.fields, self.key)


@dataclass
class Wide(Data):
    """Records that hold all languages of an example.

    Args:
        records: One an example.
        split: A record's fields by language, and its id; raises UnusableError. An empty id is the row's number.
        languages: Those that there are.
        describe: See `Data`.
    """

    records: Records
    split: Callable[[Record, Sequence[str]], tuple[str, dict[str, dict[str, Any]]]]
    languages: tuple[str, ...]
    describe: str = ""

    def aligned(self, languages: Sequence[str]) -> Iterator[Aligned | LeftOut | Skipped]:
        """See `Data.aligned`."""
        seen = FirstSeen()
        for number, record in enumerate(self.records, 1):
            if isinstance(record, Skipped):
                yield record
                continue
            try:
                key, fields = self.split(record, languages)
            except UnusableError as error:
                yield Skipped(shown_id(record.fields.get("id")), record.where, str(error))
                continue
            if not key:
                key = str(number)
            elif first := seen.of(key, number):
                yield Skipped(key, record.where, f"the id is that of row {first} already")
                continue
            there = {
                code: Piece(key, code, fields[code], record.where) for code in languages if code in fields
            }
            if there:
                yield Aligned(key, there)
            else:
                yield Skipped(key, record.where, "it has none of the languages")


def open_by_language(
    task: Task,
    place: Place,
    fields: Callable[[Record, str], dict[str, Any]],
    key: Callable[[Record], str] | None,
    columns: tuple[str, ...],
    *,
    config: Callable[[str], str],
    split: str,
    example: str,
    header: bool = True,
) -> PerLanguage:
    """A folder with a file for each language, or a Hub data set with a configuration for each.

    Args:
        task: For whom.
        place: Where.
        fields: A record's fields.
        key: A record's key; None aligns by row.
        columns: What a record must have.
        config: A language's configuration on the Hub.
        split: The usual split on the Hub, and in a folder that has several.
        example: Names of such files, for an error.
        header: Whether the files name their columns; `columns` are those of a file that does not.
    Raises:
        InputError: fewer than two languages, or other columns.
    """
    if place.is_hub:
        codes = task.codes or all_codes()
        hub: dict[str, Records] = {code: place.read(config=config(code), split=split) for code in codes}
        data = PerLanguage(hub, fields, key, place.location, place.describe(split))
        data.lists_languages = bool(task.codes)
        return data
    usual = tuple(dict.fromkeys((split, "test", "devtest", "validation", "train")))
    files = sorted_files(place, usual)
    if len(files.by_language) < 2:
        raise needs_folder(task, place, files.by_language, example)
    parts: dict[str, Records] = {}
    for code, paths in files.by_language.items():
        bare = not header and width_without_header(paths[0], columns[0]) == len(columns)
        records: Records = Chained(place, paths, columns if bare else None)
        first = first_record(records, paths[0])
        if not has(first, *columns):
            raise wrong_form(task, first, ", ".join(columns))
        parts[code] = records
    data = PerLanguage(parts, fields, key, place.location, place.describe(files.split))
    data.notes = files.notes
    return data


def pieces(
    records: Records,
    language: str,
    fields: Callable[[Record, str], dict[str, Any]],
    key: Callable[[Record], str] | None,
) -> Iterator[Row]:
    """Each record as one language's part of an example, or the reason why it is none."""
    for record in records:
        yield record if isinstance(record, Skipped) else piece(record, language, fields, key)


def piece(
    record: Record,
    language: str,
    fields: Callable[[Record, str], dict[str, Any]],
    key: Callable[[Record], str] | None,
) -> Row:
    """A record as one language's part of an example, or the reason why it is none."""
    name = ""
    try:
        name = key(record) if key is not None else ""
        return Piece(name, language, fields(record, language), record.where)
    except AbsentError as error:
        return LeftOut(name, language, record.where, str(error))
    except UnusableError as error:
        return Skipped(name, record.where, f"{language}: {error}")

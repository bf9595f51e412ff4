"""The base class of tasks, and the three ways in which data sets hold several languages."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Literal

from fastneurons.data.align import Aligned, LeftOut, Piece, Row, by_key, by_row, check_equal_lengths
from fastneurons.data.emptiness import BYTE_ORDER_MARK
from fastneurons.data.example import Example, Skipped
from fastneurons.data.first_seen import FirstSeen
from fastneurons.data.places import Chained, Place, shown, sorted_files
from fastneurons.data.problems import UnusableError as UnusableError
from fastneurons.data.problems import kind, one_line
from fastneurons.data.readers.any_format import read_file
from fastneurons.data.readers.data_set import Record
from fastneurons.data.readers.files import format_of
from fastneurons.data.template import Template
from fastneurons.data.valid_values import is_number, row_id, shown_id, text_problem
from fastneurons.errors import InputError
from fastneurons.languages import all_codes, short_code

Scoring = Literal["choice", "exact-match", "last-number"]

# Rows that are looked at to learn what a file holds.
_PEEKED = 1000


class AbsentError(UnusableError):
    """The data set itself marks a text as missing: counted, but no error."""


class Data:
    """A task's examples in one place; read from the start by every call of `aligned`.

    Args:
        languages: Those that the place has, in its order.
        describe: A description of the data for people and for checking a resumed run.
        lists_languages: Whether `languages` are those that are there, or all that could be.
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
        """The rows, where each is an example with its prompts already; None where tasks make examples of them.

        They are held to the rules for ids and texts, and belong to the task.
        """
        return None

    def shots(self, languages: Sequence[str]) -> Iterator[Aligned] | None:
        """Solved examples for prompts that come with the data; None if there are none."""
        return None


class Task:
    """A data set that is known here: its forms, its key, its fields, its templates.

    Attributes:
        name: As it is written after `--tasks`.
        about: A sentence on what a model is asked.
        fields: What may stand in a template, with its meaning.
        texts: Those of the fields that are text in the example's language.
        same: Those that must be equal in all languages of an example, else its languages do not belong together.
        aligned_by: What its languages are aligned by.
        codes: The languages of the data set; empty where it may be any.
        scoring: How an output is judged; None where there is nothing to be right about.
        sources: Where the data comes from, and in which forms it is read: a line each.
        needs_data: Whether `--data` must say where it is.
        skips_incomplete: Whether an example that lacks a language is named among the skipped rows. In a user's own
            file it is a mistake; data sets lack so many that they are counted alone.
        parallel: Whether its examples are in several languages each, as measuring needs them.
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
        """The way to ask in this language; None where the task does not know one."""
        raise NotImplementedError

    def answer_language(self, language: str) -> str:
        """The language that the answer is in, where the prompt is in more than one."""
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


# -- three forms ---------------------------------------------------------------------------------------

Fields = Callable[[Record], dict[str, Any]]
Records = Iterable[Record | Skipped]


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


# -- reading records -----------------------------------------------------------------------------------


def text(record: Record, name: str) -> str:
    """A field that must be a text, or a number taken as one.

    Raises:
        UnusableError: it is not there, empty, or something else.
    """
    return checked_text(record.fields.get(name), name)


def checked_text(value: Any, name: str) -> str:
    """A value that must be a text, or a number taken as one; called by its name in what is raised.

    Raises:
        UnusableError: it is not there, empty, or something else.
    """
    if isinstance(value, str):
        found = value.strip().removeprefix(BYTE_ORDER_MARK)
        if problem := text_problem(found):
            raise UnusableError(f"{name} {text_problem(value) or problem}")
        return found.strip()
    if value is None:
        raise UnusableError(f"no {name}")
    if not is_number(value):
        raise UnusableError(f"{name} is no text but {kind(value)}")
    return str(value)


def key_text(record: Record, name: str) -> str:
    """A field that names the example, or a part of it: a text, or a whole number, in the same form however stored.

    Raises:
        UnusableError: it is not there, empty, or something else.
    """
    value = record.fields.get(name)
    if isinstance(value, float):
        try:
            return row_id(value)
        except UnusableError:
            pass
    return text(record, name)


def optional_id(record: Record) -> str:
    """A row's `id`; empty where it has none.

    Raises:
        UnusableError: there is one, and it can be none.
    """
    value = record.fields.get("id")
    return "" if value is None or value == "" else row_id(value.strip() if isinstance(value, str) else value)


def whole_number(record: Record, name: str, among: range | None = None) -> int:
    """A field that must be a whole number, however it is written.

    Raises:
        UnusableError: it is none, or not `among` those that can be.
    """
    value = record.fields.get(name)
    if value is None or value == "":
        raise UnusableError(f"no {name}")
    try:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        shown = repr(one_line(str(value), 40)) if isinstance(value, str | int | float) else kind(value)
        raise UnusableError(f"{name} is {shown}, which is no whole number") from None
    if among is not None and number not in among:
        raise UnusableError(f"{name} is {number}; it must be {among.start} to {among.stop - 1}")
    return number


def by_code(value: Any, name: str) -> dict[str, str]:
    """Texts by short code, from either of the forms that the Hub has for translations.

    They are `{"en": text, ...}`, or `{"language": [codes], "translation": [texts]}`.

    Raises:
        UnusableError: it is neither, or holds something that is no text.
    """
    if isinstance(value, dict) and set(value) == {"language", "translation"}:
        codes, texts = value["language"], value["translation"]
        if not isinstance(codes, list) or not isinstance(texts, list) or len(codes) != len(texts):
            raise UnusableError(f"{name} does not have a text for each language")
        pairs: Iterable[tuple[Any, Any]] = zip(codes, texts, strict=True)
    elif isinstance(value, dict):
        pairs = value.items()
    else:
        raise UnusableError(f"{name} holds no texts by language")
    found: dict[str, str] = {}
    keys: dict[str, str] = {}
    for key, content in pairs:
        code = short_code(key) if isinstance(key, str) else None
        if code is None or content is None or (isinstance(content, str) and not content.strip()):
            continue
        if code in keys:
            raise UnusableError(f"{name} has {code} twice, as {one_line(keys[code])} and {one_line(key)}")
        keys[code] = key
        found[code] = checked_text(content, f"{name} in {code}")
    return found


def first_record(records: Records, location: str) -> Record:
    """The first record that can be read.

    Raises:
        InputError: there is none among the first 1000.
    """
    problems: list[str] = []
    for record in islice(records, _PEEKED):
        if isinstance(record, Record):
            return record
        if len(problems) < 3:
            problems.append(f"{record.where}: {record.reason}")
    raise InputError(f"{location}: " + ("; ".join(problems) if problems else "there are no rows"))


def numbered_lines_note(parts: Mapping[str, Records]) -> tuple[str, ...]:
    """A note on text files whose first lines begin with their numbers, as those of the Leipzig Corpora do."""
    numbered = []
    for code, records in parts.items():
        first = [row.fields.get("text") for row in islice(records, 3) if isinstance(row, Record)]
        if len(first) > 1 and all(
            isinstance(one, str) and re.match(r"\s*\d+\t", one) is not None for one in first
        ):
            numbered.append(code)
    if not numbered:
        return ()
    return (
        f"the lines in {shown(numbered)} begin with their numbers and a tab, which are measured as part of "
        "the text; cut -f2- FILE leaves the text alone",
    )


def width_without_header(path: str, column: str) -> int | None:
    """The number of columns of a TSV that does not name them.

    Args:
        path: A file.
        column: What a header would have among its names.
    Returns:
        None for a file that has a header, or is no TSV by its name.
    """
    if format_of(path) not in ("tsv", "text"):
        return None
    for number, row in enumerate(islice(read_file(path, format="text"), _PEEKED)):
        if isinstance(row, Record) and row.fields["text"]:
            cells = row.fields["text"].rstrip("\r").split("\t")
            return None if number == 0 and column in cells else len(cells)
    return None


def has(record: Record, *names: str) -> bool:
    """Whether a record has all of these fields."""
    return all(name in record.fields for name in names)


def wrong_form(task: Task, record: Record, expected: str) -> InputError:
    """The error for data whose columns a task does not know."""
    return InputError(
        f"{task.name}: {record.where} has the columns {shown(map(str, record.fields))}; expected is {expected}"
    )


def needs_folder(task: Task, place: Place, found: Iterable[str], example: str) -> InputError:
    """The error for a place with fewer than two languages, where each has its own file."""
    there = ", ".join(found) or "no language"
    return InputError(
        f"{task.name}: {place.location} has {there} by the names of its files; point --data at a folder with a "
        f"file for each language, such as {example}"
    )

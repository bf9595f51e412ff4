"""The first records of a file: which columns it has, and the errors for data in another form."""

import re
from collections.abc import Iterable, Mapping
from itertools import islice

from fastneurons.data.example import Skipped
from fastneurons.data.places import Place
from fastneurons.data.problems import shown
from fastneurons.data.readers.any_format import read_file
from fastneurons.data.readers.data_set import Record
from fastneurons.data.readers.files import format_of
from fastneurons.data.tasks.task import Task
from fastneurons.errors import InputError

Records = Iterable[Record | Skipped]

# Rows that are looked at to learn what a file holds.
_PEEKED = 1000


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

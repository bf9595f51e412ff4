"""Read records from JSONL: a JSON object a line; blank lines do not count."""

from collections.abc import Iterator

from fastneurons.data.example import Skipped
from fastneurons.data.problems import UnusableError, kind
from fastneurons.data.readers.json_text import decoded
from fastneurons.data.readers.lines import is_blank, numbered_lines, too_long
from fastneurons.data.readers.raw_record import Record
from fastneurons.errors import printable


def jsonl_records(path: str) -> Iterator[Record | Skipped]:
    """A JSON object a line.

    Raises:
        InputError: the file cannot be read to its end.
    """
    shown = printable(path)
    for number, line in numbered_lines(path):
        where = f"{shown}:{number}"
        if line is None:
            yield Skipped("", where, too_long())
        elif not is_blank(line):
            try:
                value = decoded(line)
            except UnusableError as error:
                yield Skipped("", where, str(error))
                continue
            if isinstance(value, dict):
                yield Record(value, where)
            else:
                yield Skipped("", where, f"{kind(value)} where an object must be")

"""Read records from plain text: a text a line."""

from collections.abc import Iterator, Sequence

from fastneurons.data.example import Skipped
from fastneurons.data.readers.lines import line_problem, line_text, numbered_lines
from fastneurons.data.readers.raw_record import Record
from fastneurons.errors import printable


def text_records(path: str, columns: Sequence[str] | None = None) -> Iterator[Record | Skipped]:
    """A text a line, blank ones too: the field `text`, or what `columns` calls it.

    Raises:
        InputError: the file cannot be read to its end.
    """
    name = columns[0] if columns else "text"
    shown = printable(path)
    for number, line in numbered_lines(path):
        where = f"{shown}:{number}"
        text = line_text(line)
        if text is None:
            yield Skipped("", where, line_problem(line))
        else:
            yield Record({name: text}, where)

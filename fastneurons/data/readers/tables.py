"""Read records from CSV and TSV.

Every line gives a record, or is skipped with a reason. A blank line between others is skipped as well, since other
files may be aligned with this one row by row.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence

from fastneurons.data.example import Skipped
from fastneurons.data.readers.lines import MAX_LINE_BYTES, line_problem, line_text, numbered_lines, too_long
from fastneurons.data.readers.raw_record import Record
from fastneurons.errors import InputError, printable

_SEPARATOR_LINE = re.compile(r"\"?sep=([^\w\s\"]|\t)\"?\s*", re.I)
_NOTHING = b" \r"  # in a TSV; a line of tabs is a row of empty cells


def tsv_records(path: str, columns: Sequence[str] | None = None) -> Iterator[Record | Skipped]:
    """Cells between tabs, a row a line: a quote is a character like any other.

    Args:
        path: The file.
        columns: Their names, where the first line is a row already. A first line of just these is passed over.
    Raises:
        InputError: the file cannot be read to its end, or its first line cannot be a header.
    """
    table = _Table(path, columns)
    blank: list[int] = []
    for number, line in numbered_lines(path):
        if line is not None and not line.strip(_NOTHING):
            blank.append(number)
            continue
        yield from table.blank(blank)
        text = line_text(line)
        if text is None:
            yield from table.bad(number, line_problem(line))
        else:
            yield from table.row(number, text.split("\t"))
    table.finish()


def csv_records(path: str, columns: Sequence[str] | None = None) -> Iterator[Record | Skipped]:
    """Cells between commas, in quotes where they hold commas, quotes or line ends.

    Semicolons or tabs where the first line has those and no comma; a first line `sep=;`, which Excel writes, names
    the sign and is no row. Where a quote does not close as it should,
    its line alone is skipped, not all that stands between it and the next quote.

    Args:
        path: The file.
        columns: Their names, where the first line is a row already. A first line of just these is passed over.
    Raises:
        InputError: the file cannot be read to its end, or its first line cannot be a header.
    """
    # The module's limit for a field, 128 KiB, is the process's own; it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    table = _Table(path, columns)
    lines = _CsvLines(path)
    reader = csv.reader(lines, delimiter=lines.delimiter(), strict=True)
    blank: list[int] = []
    while True:
        lines.taken.clear()
        problem, cells = "", []
        try:
            cells = next(reader)
        except StopIteration:
            break
        except (csv.Error, _TooLongError) as error:
            problem = _csv_problem(str(error))
        number = lines.taken[0][0]
        unreadable = next((reason for _, _, reason in lines.taken if reason), None)
        if unreadable and not problem:
            problem = unreadable
        elif len(lines.taken) > 1 and (problem or not table.fits(cells)):
            lines.put_back()
            problem = "a quote is opened and not closed as it should be"
        if not problem and not cells:
            blank.append(number)
            continue
        yield from table.blank(blank)
        yield from table.bad(number, problem) if problem else table.row(number, cells)
    table.finish()


class _Table:
    """Rows of cells as records.

    Args:
        path: Of the file.
        columns: Their names; None takes those of the first row.
    """

    def __init__(self, path: str, columns: Sequence[str] | None) -> None:
        self._path = printable(path)
        self._given = list(columns) if columns else None
        self._names = self._given
        self._any = False

    def fits(self, cells: list[str]) -> bool:
        """Whether a row has as many cells as there are columns, as far as that is known."""
        return self._names is None or len(cells) == len(self._names)

    def row(self, number: int, cells: list[str]) -> Iterator[Record | Skipped]:
        first, self._any = not self._any, True
        names = self._names
        if names is None:
            self._names = self._header(number, cells)
        elif len(cells) == len(names):
            if not (first and cells == names):
                yield Record(dict(zip(names, cells, strict=True)), f"{self._path}:{number}")
        else:
            has = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
            yield Skipped("", f"{self._path}:{number}", f"{has} where there are {len(names)} columns")

    def bad(self, number: int, reason: str) -> Iterator[Skipped]:
        """A line that is no row; as a header it is an error."""
        if self._names is None:
            raise InputError(f"{self._path}:{number}: the line with the names of the columns is {reason}")
        self._any = True
        yield Skipped("", f"{self._path}:{number}", reason)

    def blank(self, numbers: list[int]) -> Iterator[Skipped]:
        """Blank lines that turn out to precede another row; before the first row they do not count."""
        if self._any:
            for number in numbers:
                yield Skipped("", f"{self._path}:{number}", "the line is blank")
        numbers.clear()

    def finish(self) -> None:
        """The file has ended."""
        if not self._any and self._given is None:
            raise InputError(f"{self._path} is empty")

    def _header(self, number: int, cells: list[str]) -> list[str]:
        # Tables that were written with an index have no name over it.
        names = [cell.strip() or f"column {i}" for i, cell in enumerate(cells, 1)]
        where = f"{self._path}:{number}"
        if "\0" in "".join(names):
            raise InputError(
                f"{where}: the names of the columns hold NUL characters; if the file is UTF-16, convert it: "
                "iconv -f UTF-16 -t UTF-8"
            )
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise InputError(
                f"{where}: the first line gives the columns their names, but {twice[:60]!r} is there twice"
            )
        return names


class _TooLongError(Exception):
    """A row that is too long to hold."""


class _CsvLines:
    """The lines that csv.reader reads, each with its number; those it took for a row can be put back.

    Attributes:
        taken: For each line since it was last cleared: number, text, and why it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self._lines = numbered_lines(path)
        self._waiting: deque[tuple[int, str, str | None]] = deque()
        self.taken: list[tuple[int, str, str | None]] = []
        self._size = 0

    def __iter__(self) -> "_CsvLines":
        return self

    def __next__(self) -> str:
        line = self._next()
        self._size = self._size + len(line[1]) if self.taken else len(line[1])
        self.taken.append(line)
        if self._size > MAX_LINE_BYTES:
            raise _TooLongError(too_long())
        return line[1]

    def put_back(self) -> None:
        """All lines but the first."""
        self._waiting.extendleft(reversed(self.taken[1:]))

    def delimiter(self) -> str:
        """The delimiter of the cells, by the first line that is not blank."""
        looked_at = []
        text = ""
        while not text or text.isspace():
            try:
                looked_at.append(self._next())
            except StopIteration:
                break
            text = looked_at[-1][1]
        if named := _SEPARATOR_LINE.fullmatch(text):
            return named[1]
        self._waiting.extendleft(reversed(looked_at))
        return next((sign for sign in ",;\t" if sign in text), ",")

    def _next(self) -> tuple[int, str, str | None]:
        if self._waiting:
            return self._waiting.popleft()
        number, line = next(self._lines)
        text = line_text(line)
        if text is None:
            # Its quotes still count: without them the lines behind it would be taken for others than they are.
            there = (line or b"").decode(errors="replace")
            return number, f"{there}\n", line_problem(line)
        return number, f"{text}\r\n" if line is not None and line.endswith(b"\r") else f"{text}\n", None


def _csv_problem(message: str) -> str:
    if message.startswith("new-line character"):
        return "a carriage return in the middle of a line"
    if message.startswith("unexpected end"):
        return "a quote is opened and not closed as it should be"
    if "expected after" in message:
        return "a quote is closed in the middle of a cell"
    return message

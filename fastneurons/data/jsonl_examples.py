"""Stream examples from JSONL, packed or not, local or remote: one a line.

    {"id": "capital/FR", "prompts": {"en": "The capital of France is", "de": ...}, "answers": {"en": "Paris"}}

`fastneurons.data.own_rows` has the rules for a row. The languages may be spelled as in any of `fastneurons.languages`;
languages that are not asked for are ignored, and so are other keys. Lines end in `\n` or `\r\n` (and in nothing else:
texts may hold U+2028), and blank lines do not count.
"""

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from fastneurons.data.example import Example, Skipped
from fastneurons.data.first_seen import FirstSeen
from fastneurons.data.own_rows import RowReader, check_usable, prompt_keys
from fastneurons.data.problems import UnusableError, kind
from fastneurons.data.readers.files import data_files
from fastneurons.data.readers.json_text import decoded
from fastneurons.data.readers.lines import is_blank, numbered_lines, too_long
from fastneurons.data.valid_values import shown_id
from fastneurons.errors import printable


class JsonlSource:
    """The rows of one or more JSONL files, in order; every iteration reads them from the start.

    `path` is a file, a folder of `.jsonl` files, a pattern or a URL; the content of a file says what it is packed
    with. `languages` are short codes, as `parse_languages` gives them.

    Each line that is not blank gives an `Example`, or a `Skipped` that says why it is none. Of several
    usable lines with one id the first counts. A line must have all the languages; with `allow_missing` one of
    them will do. Prompts may be chat messages with `chat` alone, which is for callers that have a chat template.
    `task` is what the examples belong to.
    Memory: one line, and 18 to 36 bytes for each example.

    Iterating raises InputError where the file itself fails: unreadable, or its compressed data damaged
    or cut off. All whole lines before that have been yielded by then.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        languages: Sequence[str],
        allow_missing: bool = False,
        chat: bool = False,
        task: str | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.languages = tuple(languages)
        self._allow_missing = allow_missing
        self._chat = chat
        self._task = task

    def __iter__(self) -> Iterator[Example | Skipped]:
        parse = self._parser()
        for path, number, line in self._lines():
            yield parse(line, path, number)

    def check(self) -> None:
        """Check, before a model is loaded, that there is anything to measure.

        Raises:
            InputError: none of the first 1000 lines is a usable example; it says which languages there are
                instead, or what is wrong with the first lines.
        """
        parse = self._parser()
        rows = (
            (parse(line, path, number), prompt_keys(_field(line, "prompts")))
            for path, number, line in self._lines()
        )
        check_usable(self.path, rows, self.languages, "lines")

    def _parser(self) -> "_Parser":
        return _Parser(RowReader(self.languages, self._allow_missing, self._chat, self._task))

    def _lines(self) -> Iterator[tuple[str, int, bytes | None]]:
        """Lines that are not blank, with their file and number; None for one that is too long to be held."""
        for file in data_files(self.path, ["jsonl"]):
            name = printable(file.path)
            for number, line in numbered_lines(file.path):
                if line is None or not is_blank(line):
                    yield name, number, line


# -- from lines to examples -------------------------------------------------------------------------


class _Parser:
    """Turns lines into rows, and remembers the ids it has seen."""

    def __init__(self, read: RowReader) -> None:
        self._read = read
        self._first_line = FirstSeen()
        self._count = _LineCount()

    def __call__(self, line: bytes | None, path: str, number: int) -> Example | Skipped:
        where = f"{path}:{number}"
        position = self._count.position(path, number)
        if line is None:
            return Skipped("", where, too_long())
        try:
            row = decoded(line)
        except UnusableError as error:
            return Skipped(shown_id(_field(line, "id")), where, str(error))
        if not isinstance(row, dict):
            return Skipped("", where, f"{kind(row)} where an object with id and prompts must be")
        found = self._read(row.get("id"), row.get("prompts"), row.get("answers"), where)
        if isinstance(found, Example) and (first := self._first_line.of(found.id, position)):
            return Skipped(found.id, where, f"the id is that of {self._count.name(first)} already")
        return found


def _field(line: bytes | None, name: str) -> Any:
    """Return a field of a line, whatever else is wrong with the line; None if it cannot be read."""
    try:
        row = msgspec.json.decode(line or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return row.get(name) if isinstance(row, dict) else None


class _LineCount:
    """Lines of several files as one count, which goes on from file to file."""

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._starts: list[int] = []
        self._last = 0

    def position(self, path: str, number: int) -> int:
        """The position of a line in the count; the files come one after the other."""
        if not self._paths or path != self._paths[-1]:
            self._paths.append(path)
            self._starts.append(self._last)
        self._last = self._starts[-1] + number
        return self._last

    def name(self, position: int) -> str:
        """The line at a position, with its file where that is not the last one."""
        file = bisect_right(self._starts, position - 1) - 1
        number = position - self._starts[file]
        return f"line {number}" if file == len(self._paths) - 1 else f"{self._paths[file]}:{number}"

"""JSONL, packed or not, here or elsewhere: one example a line, streamed.

    {"id": "capital/FR", "prompts": {"en": "The capital of France is", "de": ...}, "answers": {"en": "Paris"}}

`id` is a text or a whole number. The languages may be spelled as in any of `fastneurons.languages`; those
not asked for are passed over, and so are other keys. `answers` may be absent, as a whole or for a
language; numbers in it are taken as text. Lines end in `\n` or `\r\n` (and in nothing else: texts may
hold U+2028), blank ones do not count.
"""

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from fastneurons.data.example import Example, Skipped
from fastneurons.data.files import data_files
from fastneurons.data.lines import is_blank, numbered_lines, too_long
from fastneurons.data.problems import kind, one_line, parsed
from fastneurons.data.seen import FirstSeen
from fastneurons.errors import InputError, printable
from fastneurons.languages import short_code

LINES_CHECKED = 1000


def open_jsonl(path: str | os.PathLike[str], languages: Sequence[str]) -> "JsonlSource":
    """JSONL as examples in these languages, after a look at its first lines.

    Args:
        path: A file, a folder of `.jsonl` files, a pattern or a URL. What a file is packed with is told by its
            content.
        languages: Short codes, as `parse_languages` gives them.
    Raises:
        InputError: the file cannot be read, is empty, or has no usable example in its first 1000 lines.
    """
    source = JsonlSource(path, languages)
    source.check()
    return source


class JsonlSource:
    """The rows of one or more JSONL files, in order; every iteration reads them from the start.

    Each line that is not blank gives an `Example`, or a `Skipped` that says why it is none. Of several
    usable lines with one id the first counts. A line must have all the languages; with `allow_missing` one of
    them will do. Memory: one line, and 18 to 36 bytes for each example.

    Iterating raises InputError where the file itself fails: unreadable, or its compressed data damaged
    or cut off. All whole lines before that have been yielded by then.
    """

    def __init__(
        self, path: str | os.PathLike[str], languages: Sequence[str], allow_missing: bool = False
    ) -> None:
        self.path = os.fspath(path)
        self.languages = tuple(languages)
        self._allow_missing = allow_missing

    def __iter__(self) -> Iterator[Example | Skipped]:
        parse = _Parser(self.languages, self._allow_missing)
        for path, number, line in self._lines():
            yield parse(line, path, number)

    def check(self) -> None:
        """Find out before a model is loaded whether there is anything to measure.

        Raises:
            InputError: none of the first 1000 lines is a usable example; it says which languages there are
                instead, or what is wrong with the first lines.
        """
        parse = _Parser(self.languages, self._allow_missing)
        problems: list[str] = []
        there: dict[str, None] = {}
        num_lines = 0
        for path, number, line in self._lines():
            row = parse(line, path, number)
            if isinstance(row, Example):
                return
            num_lines += 1
            if len(problems) < 3:
                problems.append(f"{row.where}: {row.reason}")
            there |= dict.fromkeys(_languages_of(line))
            if num_lines == LINES_CHECKED:
                break
        if not num_lines:
            raise InputError(f"{self.path} is empty")
        which = f"the first {num_lines} lines" if num_lines == LINES_CHECKED else "its lines"
        known = {short_code(key) for key in there}
        missing = [code for code in self.languages if code not in known]
        if there and missing:
            raise InputError(
                f"{self.path}: none of {which} has a prompt in {', '.join(missing)}; "
                f"there are prompts in {', '.join(map(one_line, there))}"
            )
        hint = '; a line must be {"id": ..., "prompts": {"en": ..., "de": ...}}' if not there else ""
        raise InputError(f"{self.path}: none of {which} is a usable example: {'; '.join(problems)}{hint}")

    def _lines(self) -> Iterator[tuple[str, int, bytes | None]]:
        """Lines that are not blank, with their file and number; None for one that is too long to be held."""
        for file in data_files(self.path, ["jsonl"]):
            name = printable(file.path)
            for number, line in numbered_lines(file.path):
                if line is None or not is_blank(line):
                    yield name, number, line


# -- from lines to examples -------------------------------------------------------------------------


class _Line(msgspec.Struct, gc=False):
    """A line as it should be. What does not fit goes through `_problem`, which says why."""

    id: str | int
    prompts: dict[str, str | None]
    answers: dict[str, str | int | float | None] | None = None


_decode = msgspec.json.Decoder(_Line).decode


class _Parser:
    """Turns lines into rows, and remembers the ids it has seen."""

    def __init__(self, languages: tuple[str, ...], allow_missing: bool = False) -> None:
        self._allow_missing = allow_missing
        self._languages = languages
        self._asked = _Asked(languages)
        self._first_line = FirstSeen()
        self._places = _Places()

    def __call__(self, line: bytes | None, path: str, number: int) -> Example | Skipped:
        where = f"{path}:{number}"
        position = self._places.position(path, number)
        if line is None:
            return Skipped("", where, too_long())
        try:
            row = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Skipped(*_problem(line, where))
        id = str(row.id)
        if not id or id.isspace() or "\0" in id:
            return Skipped("", where, f"the id {'holds a NUL character' if id.strip() else 'is empty'}")
        try:
            prompts = self._asked_for(row.prompts, "prompts")
            for language in self._languages:
                prompt = prompts.get(language)
                if prompt is None and self._allow_missing:
                    continue
                if not prompt or prompt.isspace() or "\0" in prompt:
                    raise _UnusableError(_prompt_problem(prompt, language))
            if not prompts:
                raise _UnusableError("no prompt in any of the languages")
            answers = self._asked_for(row.answers, "answers") if row.answers else {}
        except _UnusableError as error:
            return Skipped(id, where, str(error))
        if first := self._first_line.of(id, position):
            return Skipped(id, where, f"the id is that of {self._places.name(first)} already")
        return Example(id, prompts, answers, where)

    def _asked_for(self, texts: dict[str, Any], field: str) -> dict[str, str]:
        """What is there in the languages asked for, by short code, in the order asked; null is not there."""
        try:  # most files spell languages as they are asked for: half the time of what follows
            found = {language: texts[language] for language in self._languages}
            if len(texts) == len(found) and set(map(type, found.values())) == {str}:
                return found
        except KeyError:
            pass
        found = {}
        for key, text in texts.items():
            language = self._asked[key]
            if language is None or text is None:
                continue
            if language in found:
                same = [k for k in texts if self._asked[k] == language]
                raise _UnusableError(f"{field} has {language} twice, as {' and '.join(map(one_line, same))}")
            found[language] = text if isinstance(text, str) else str(text)
        return {language: found[language] for language in self._languages if language in found}


class _UnusableError(Exception):
    """Why a line is no example."""


def _prompt_problem(prompt: str | None, language: str) -> str:
    if prompt is None:
        return f"no prompt in {language}"
    return f"the prompt in {language} {'holds a NUL character' if prompt.strip() else 'is empty'}"


def _problem(line: bytes, where: str) -> tuple[str, str, str]:
    """Id, place and reason for a line that is not as it should be."""
    row, problem = parsed(line)
    if problem:
        return "", where, problem
    if not isinstance(row, dict):
        return "", where, f"{kind(row)} where an object with id and prompts must be"
    id = str(row["id"]) if _is_id(row.get("id")) else ""
    return id, where, _field_problem(row)


def _field_problem(row: dict[str, Any]) -> str:
    if row.get("id") is None:
        return "no id"
    if not _is_id(row["id"]):
        return f"the id is {kind(row['id'])}; it must be a text or a whole number"
    for field in ("prompts", "answers"):
        texts = row.get(field)
        if texts is None:
            if field == "prompts":
                return "no prompts"
            continue
        if not isinstance(texts, dict):
            return f"{field} is {kind(texts)}; it must be an object with a text for each language"
        for language, text in texts.items():
            number_allowed = (
                field == "answers" and isinstance(text, int | float) and not isinstance(text, bool)
            )
            if not isinstance(text, str | None) and not number_allowed:
                return f"the {field[:-1]} in {one_line(language)} is {kind(text)}; it must be a text"
    return "not an example"


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _languages_of(line: bytes | None) -> list[str]:
    """The languages that a line has prompts in, as it spells them."""
    if line is None:
        return []
    try:
        return [key for key, text in _decode(line).prompts.items() if text is not None]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


class _Asked(dict[str, str | None]):
    """The short code for each spelling of a language that is asked for, None for every other key."""

    def __init__(self, languages: tuple[str, ...]) -> None:
        super().__init__((language, language) for language in languages)
        self._languages = frozenset(languages)

    def __missing__(self, key: str) -> str | None:
        code = short_code(key)
        found = code if code in self._languages else None
        if len(self) < 4096:  # not without bound: keys come from the file
            self[key] = found
        return found


class _Places:
    """Lines of several files as one count, which goes on from file to file."""

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._starts: list[int] = []
        self._last = 0

    def position(self, path: str, number: int) -> int:
        """Where a line is in the count; the files come one after the other."""
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

"""JSONL, plain or gzip: one example a line, streamed.

    {"id": "capital/FR", "prompts": {"en": "The capital of France is", "de": ...}, "answers": {"en": "Paris"}}

`id` is a text or a whole number. The languages may be spelled as in any of `fastneurons.languages`; those
not asked for are passed over, and so are other keys. `answers` may be absent, as a whole or for a
language; numbers in it are taken as text. Lines end in `\n` or `\r\n` (and in nothing else: texts may
hold U+2028), blank ones do not count.
"""

import os
import stat
import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from fastneurons.data.example import Example, Skipped
from fastneurons.errors import InputError
from fastneurons.languages import short_code

LINES_CHECKED = 1000
MAX_LINE_BYTES = 64 << 20  # longer than any model's context in all languages; what is beyond is not held
_CHUNK_BYTES = 1 << 20


def open_jsonl(path: str | os.PathLike[str], languages: Sequence[str]) -> "JsonlSource":
    """A JSONL file as examples in these languages, after a look at its first lines.

    Args:
        path: The file; gzip is recognised by its content.
        languages: Short codes, as `parse_languages` gives them.
    Raises:
        InputError: the file cannot be read, is empty, or has no usable example in its first 1000 lines.
    """
    source = JsonlSource(path, languages)
    source.check()
    return source


class JsonlSource:
    """The rows of a JSONL file, in order; every iteration reads it from the start.

    Each line that is not blank gives an `Example`, or a `Skipped` that says why it is none. Of several
    usable lines with one id the first counts. Memory: one line, and 18 to 36 bytes for each example.

    Iterating raises InputError where the file itself fails: unreadable, or its compressed data damaged
    or cut off. All whole lines before that have been yielded by then.
    """

    def __init__(self, path: str | os.PathLike[str], languages: Sequence[str]) -> None:
        self.path = os.fspath(path)
        self.languages = tuple(languages)

    def __iter__(self) -> Iterator[Example | Skipped]:
        parse = _Parser(self.path, self.languages)
        for number, line in self._numbered_lines():
            yield parse(line, number)

    def check(self) -> None:
        """Find out before a model is loaded whether there is anything to measure.

        Raises:
            InputError: none of the first 1000 lines is a usable example; it says which languages there are
                instead, or what is wrong with the first lines.
        """
        parse = _Parser(self.path, self.languages)
        problems: list[str] = []
        there: dict[str, None] = {}
        num_lines = 0
        for number, line in self._numbered_lines():
            row = parse(line, number)
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
                f"there are prompts in {', '.join(there)}"
            )
        hint = '; a line must be {"id": ..., "prompts": {"en": ..., "de": ...}}' if not there else ""
        raise InputError(f"{self.path}: none of {which} is a usable example: {'; '.join(problems)}{hint}")

    def _numbered_lines(self) -> Iterator[tuple[int, bytes | None]]:
        """Lines that are not blank, from 1 on; None for one that is too long to be held."""
        number = 0
        try:
            with _opened(self.path) as file:
                for line in _lines(_decompressed(file)):
                    number += 1
                    if line is None or not (line == b"" or line.isspace()):
                        yield number, line
        except _BadFileError as error:
            after = f" after line {number}; the lines before it are good" if number else ""
            raise InputError(f"{self.path}: {error}{after}") from error
        except OSError as error:
            after = f" after line {number}" if number else ""
            raise InputError(f"{self.path} cannot be read{after}: {error.strerror or error}") from error


# -- from bytes to lines ----------------------------------------------------------------------------


class _BadFileError(Exception):
    """The file is not what it should be, as a whole."""


def _opened(path: str) -> BinaryIO:
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{path!r} is no file name: {error}") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder; a JSONL file is needed")
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{path} is no regular file; data is read twice, to check and to measure it: write it to a file"
        )
    return Path(path).open("rb", buffering=0)


_FOREIGN = {
    b"\x28\xb5\x2f\xfd": "compressed with zstd; it must be plain or gzip",
    b"\xfd7zXZ\x00": "compressed with xz; it must be plain or gzip",
    b"BZh": "compressed with bzip2; it must be plain or gzip",
    b"PK\x03\x04": "a zip archive; it must be plain or gzip",
    b"PAR1": "a Parquet file; it must be JSONL",
    b"\xff\xfe": "encoded in UTF-16 or UTF-32; it must be UTF-8",
    b"\xfe\xff": "encoded in UTF-16; it must be UTF-8",
    b"\x00\x00\xfe\xff": "encoded in UTF-32; it must be UTF-8",
}
_UTF8_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"


def _decompressed(file: BinaryIO) -> Iterator[bytes]:
    """The content in pieces of at most 1 MiB, without a byte order mark."""
    first, rest = _start(_chunks(file))
    if first.startswith(_GZIP):
        first, rest = _start(_gunzipped(first, rest))
    for magic, what in _FOREIGN.items():
        if first.startswith(magic):
            raise _BadFileError(f"it is {what}")
    yield first.removeprefix(_UTF8_BOM)
    yield from rest


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _start(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Enough bytes to tell by them what it is, and the rest."""
    first = b""
    while len(first) < 8 and (chunk := next(chunks, b"")):
        first += chunk
    return first, chunks


def _gunzipped(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    """All members of a gzip file, one after the other.

    Not `gzip.open`: at data that ends early it drops up to a buffer of good lines before it.
    """
    member = zlib.decompressobj(wbits=31)
    data = first
    while True:
        if member.eof:
            data = (member.unused_data or data).lstrip(b"\0")  # tapes and some tools pad with zeros
            while len(data) < len(_GZIP) and (more := next(rest, b"")):
                data = (data + more).lstrip(b"\0")
            if not data:
                return
            if not data.startswith(_GZIP):
                raise _BadFileError("there is something else behind its gzip data,")
            member = zlib.decompressobj(wbits=31)
        try:
            out = member.decompress(data, _CHUNK_BYTES)
        except zlib.error as error:
            raise _BadFileError(f"its gzip data is damaged ({error})") from error
        if out:
            yield out
        data = member.unconsumed_tail
        if not data and not member.eof:
            data = next(rest, b"")
            if not data and not out:
                raise _BadFileError("its gzip data ends too early,")


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes | None]:
    r"""Lines without their `\n`; None for one longer than MAX_LINE_BYTES."""
    pieces: list[bytes] = []
    size = 0
    for chunk in chunks:
        start, *others = chunk.split(b"\n")
        size += len(start)
        if size <= MAX_LINE_BYTES:
            pieces.append(start)
        else:
            pieces.clear()
        if not others:
            continue
        yield b"".join(pieces) if size <= MAX_LINE_BYTES else None
        yield from others[:-1]
        pieces, size = [others[-1]], len(others[-1])
    if size:
        yield b"".join(pieces) if size <= MAX_LINE_BYTES else None


# -- from lines to examples -------------------------------------------------------------------------


class _Line(msgspec.Struct, gc=False):
    """A line as it should be. What does not fit goes through `_problem`, which says why."""

    id: str | int
    prompts: dict[str, str | None]
    answers: dict[str, str | int | float | None] | None = None


_decode = msgspec.json.Decoder(_Line).decode
_decode_anything = msgspec.json.Decoder().decode


class _Parser:
    """Turns the lines of one file into rows, and remembers the ids it has seen."""

    def __init__(self, path: str, languages: tuple[str, ...]) -> None:
        self._path = path
        self._languages = languages
        self._asked = _Asked(languages)
        self._first_line = _FirstLines()

    def __call__(self, line: bytes | None, number: int) -> Example | Skipped:
        where = f"{self._path}:{number}"
        if line is None:
            return Skipped("", where, f"longer than {MAX_LINE_BYTES >> 20} MiB")
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
                if not prompt or prompt.isspace() or "\0" in prompt:
                    raise _UnusableError(_prompt_problem(prompt, language))
            answers = self._asked_for(row.answers, "answers") if row.answers else {}
        except _UnusableError as error:
            return Skipped(id, where, str(error))
        if first := self._first_line.of(id, number):
            return Skipped(id, where, f"the id is that of line {first} already")
        return Example(id, prompts, answers, where)

    def _asked_for(self, texts: dict[str, Any], field: str) -> dict[str, str]:
        """What is there in the languages asked for, by short code, in the order asked; null is not there."""
        found: dict[str, str] = {}
        for key, text in texts.items():
            language = self._asked[key]
            if language is None or text is None:
                continue
            if language in found:
                same = [k for k in texts if self._asked[k] == language]
                raise _UnusableError(f"{field} has {language} twice, as {' and '.join(same)}")
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
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return (
            "",
            where,
            f"not UTF-8: byte {error.object[error.start]:#04x} at offset {error.start} of the line",
        )
    try:
        row = _decode_anything(line)
    except RecursionError:
        return "", where, "not JSON that can be read: nested too deeply"
    except msgspec.MsgspecError as error:
        return "", where, _json_problem(line, str(error))
    if not isinstance(row, dict):
        return "", where, f"{_kind(row)} where an object with id and prompts must be"
    id = str(row["id"]) if _is_id(row.get("id")) else ""
    return id, where, _field_problem(row)


def _field_problem(row: dict[str, Any]) -> str:
    if row.get("id") is None:
        return "no id"
    if not _is_id(row["id"]):
        return f"the id is {_kind(row['id'])}; it must be a text or a whole number"
    for field in ("prompts", "answers"):
        texts = row.get(field)
        if texts is None:
            if field == "prompts":
                return "no prompts"
            continue
        if not isinstance(texts, dict):
            return f"{field} is {_kind(texts)}; it must be an object with a text for each language"
        for language, text in texts.items():
            number_allowed = (
                field == "answers" and isinstance(text, int | float) and not isinstance(text, bool)
            )
            if not isinstance(text, str | None) and not number_allowed:
                return f"the {field[:-1]} in {language} is {_kind(text)}; it must be a text"
    return "not an example"


def _json_problem(line: bytes, message: str) -> str:
    """msgspec's message, with the byte turned into what an editor shows: a column of characters, from 1."""
    message = message.removeprefix("JSON is malformed: ")
    what, _, byte = message.rpartition(" (byte ")
    if what and byte.rstrip(")").isdecimal():
        column = len(line[: int(byte.rstrip(")"))].decode(errors="replace")) + 1
        return f"not JSON: {what} (column {column})"
    if "truncated" in message:
        return f"not JSON: it ends too early (column {len(line.decode().rstrip()) + 1})"
    return f"not JSON: {message}"


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    kinds = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return kinds.get(type(value), "null")


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


class _FirstLines:
    """For each id the line that it was first on.

    Open addressing in two flat arrays: 12 bytes an entry at a load of one to two thirds, a quarter of what
    a dictionary takes. Ids are told apart by 64 bits of hash: the chance that any two of a hundred million
    share one is 1 in 4,000.
    """

    def __init__(self) -> None:
        self._mask = (1 << 12) - 1
        self._hashes = array("Q", bytes(8 * (self._mask + 1)))
        self._lines = array("I", bytes(4 * (self._mask + 1)))
        self._count = 0

    def of(self, id: str, line: int) -> int:
        """The line that had this id before; 0 and take `line` for it where none had."""
        hashed = hash(id) & 0xFFFF_FFFF_FFFF_FFFF or 1  # 0 marks a free place
        slot = self._slot(hashed)
        if self._hashes[slot]:
            return self._lines[slot]
        self._hashes[slot] = hashed
        self._lines[slot] = min(line, 0xFFFF_FFFF)
        self._count += 1
        if 3 * self._count > 2 * self._mask:
            self._grow()
        return 0

    def _slot(self, hashed: int) -> int:
        slot = hashed & self._mask
        hashes, mask = self._hashes, self._mask
        while hashes[slot] and hashes[slot] != hashed:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        hashes, lines = self._hashes, self._lines
        self._mask = 2 * self._mask + 1
        self._hashes = array("Q", bytes(8 * (self._mask + 1)))
        self._lines = array("I", bytes(4 * (self._mask + 1)))
        for hashed, line in zip(hashes, lines, strict=True):
            if hashed:
                slot = self._slot(hashed)
                self._hashes[slot], self._lines[slot] = hashed, line

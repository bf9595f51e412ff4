"""Read records from a JSON document: a list of objects, streamed; or an object that holds rows, read as a whole.

Counting brackets outside of texts cuts a list into its items, and each item is decoded by itself: memory holds one
item, however long the list is. An item that is not JSON ends the document with an error, since nothing shows where the
next one begins. An item that is valid JSON but no object is skipped.
"""

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from fastneurons.data.example import Skipped
from fastneurons.data.problems import UnusableError, kind
from fastneurons.data.readers.json_text import decoded
from fastneurons.data.readers.jsonl import jsonl_records
from fastneurons.data.readers.lines import MAX_LINE_BYTES, BadFileError, is_blank, pieces, too_long
from fastneurons.data.readers.raw_record import Record
from fastneurons.errors import InputError, printable

_MAX_DOCUMENT_BYTES = 512 << 20
_MAX_SHOWN = 8

_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# All up to the next bracket, in a list's own level also to the next comma; a quote that is stopped at begins a
# text that is not at its end yet.
_WITHIN_LIST = re.compile(rb'(?:[^",{}\[\]]++|' + _TEXT + rb")*+", re.DOTALL)
_WITHIN_ITEM = re.compile(rb'(?:[^"{}\[\]]++|' + _TEXT + rb")*+", re.DOTALL)
_WITHIN_TEXT = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def json_records(path: str) -> Iterator[Record | Skipped]:
    """The objects of a list; those of the one list of objects in an object; or columns turned into rows.

    A file that has an object on each of its lines is read as JSONL. An object that is none of these is itself
    the one row.

    Raises:
        InputError: the file cannot be read to its end, is not JSON, or it is unclear which part holds rows.
    """
    row = 0
    try:
        chunks = pieces(path)
        start, first_line = b"", 1
        for chunk in chunks:
            start = chunk.lstrip()
            first_line += chunk[: len(chunk) - len(start)].count(b"\n")
            if start:
                break
        if start.startswith(b"["):
            for line, item in _items(chain([start[1:]], chunks), first_line):
                row += 1
                yield _record(item, f"{printable(path)}: row {row} (line {line})")
        elif start.startswith(b"{"):
            document = _document(start, chunks)
            if document is None:
                yield from jsonl_records(path)
            else:
                yield from _rows(path, document)
        elif start:
            raise BadFileError("it is not JSON: it must begin with [ or {,")
    except BadFileError as error:
        after = f" after row {row}" if row else ""
        raise InputError(f"{path}: {error}{after}".removesuffix(",")) from error
    except OSError as error:
        after = f" after row {row}" if row else ""
        raise InputError(f"{path} cannot be read{after}: {error.strerror or error}") from error


def _record(item: bytes | None, where: str) -> Record | Skipped:
    if item is None:
        return Skipped("", where, too_long())
    try:
        value = decoded(item)
    except UnusableError as error:
        problem = str(error)
    else:
        if isinstance(value, dict):
            return Record(value, where)
        return Skipped("", where, f"{kind(value)} where an object must be")
    # What is wrong may be within its bounds: bytes that are no UTF-8, half a surrogate pair, NaN, a key that is there
    # twice, or more depth than can be read.
    try:
        json.loads(item.decode(errors="replace"))
    except RecursionError:
        pass
    except ValueError:
        in_row = re.sub(r"\(column (\d+)\)", r"(character \1 of the row)", problem)
        raise InputError(f"{where} is {in_row}") from None
    return Skipped("", where, problem)


def _items(chunks: Iterator[bytes], line: int) -> Iterator[tuple[int, bytes | None]]:
    """The items of a list after its opening bracket.

    Yields:
        The line that an item begins on, and the item; None for one that is too long to be held.
    Raises:
        BadFileError: the list does not end, or is not the end.
    """
    held: list[bytes] = []
    size = num_items = depth = 0
    in_text = escaped = ended = False

    def hold(part: bytes) -> None:
        nonlocal size
        size += len(part)
        if size > MAX_LINE_BYTES:
            # Of what is not held there stays where it began and how many lines it has.
            text = b"".join([*held, part])
            begin = len(text) - len(text.lstrip())
            held.clear()
            part = b"\n" * text.count(b"\n", 0, begin) + b"-" + b"\n" * text.count(b"\n", begin)
        held.append(part)

    for chunk in chunks:
        if ended:
            if not is_blank(chunk):
                break
            continue
        start = at = 0
        end = len(chunk)
        if escaped:
            at, escaped = 1, False
        while True:
            if in_text:
                at = _end_of(_WITHIN_TEXT, chunk, at)
                if at == end:
                    break
                if chunk[at] == _BACKSLASH:  # the last byte; the next one is not what it looks like
                    escaped = True
                    break
                in_text = False
                at += 1
            at = _end_of(_WITHIN_ITEM if depth else _WITHIN_LIST, chunk, at)
            if at == end:
                break
            sign = chunk[at]
            at += 1
            if sign == _QUOTE:
                in_text = True
            elif sign in _OPENING:
                depth += 1
            elif depth and sign != _COMMA:
                depth -= 1
            else:  # a comma between items, or the list's end
                hold(chunk[start : at - 1])
                raw = b"".join(held)
                item = raw.strip()
                if sign == _COMMA or item or num_items or size > MAX_LINE_BYTES:
                    num_items += 1
                    before = raw[: len(raw) - len(raw.lstrip())]
                    yield line + before.count(b"\n"), item if size <= MAX_LINE_BYTES else None
                line += raw.count(b"\n")
                held, size, start = [], 0, at
                if sign == _CLOSING:
                    ended = True
                    break
                if sign != _COMMA:
                    raise BadFileError(f"it is not JSON: a }} closes what no {{ has opened, on line {line},")
        if ended:
            if not is_blank(chunk[at:]):
                break
        else:
            hold(chunk[start:])
    else:
        if not ended:
            raise BadFileError("its JSON ends too early: the list is not closed,")
        return
    raise BadFileError("it is not JSON: there is something else behind the list,")


_QUOTE, _BACKSLASH, _COMMA, _CLOSING = b'"\\,]'
_OPENING = b"{["


def _end_of(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    found = pattern.match(data, at)
    return found.end() if found else at


# -- an object --------------------------------------------------------------------------------------


def _document(start: bytes, chunks: Iterator[bytes]) -> dict[str, Any] | None:
    """An object that is all of a file; None where it is the first of a file of one a line."""
    held = bytearray(start)
    first_line: int | None = None
    for chunk in chain([b""], chunks):
        held += chunk
        if first_line is None and (end := held.find(b"\n", len(held) - len(chunk) if chunk else 0)) >= 0:
            first_line = end
            try:
                _decode_object(held[:end])
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
            rest = bytes(held[end:])
            if any(not is_blank(part) for part in chain([rest], chunks)):
                return None
            break
        if len(held) > _MAX_DOCUMENT_BYTES:
            raise BadFileError(
                f"it is one JSON object of more than {_MAX_DOCUMENT_BYTES >> 20} MiB, which would have to be held "
                "as a whole; write its rows as JSONL"
            )
    try:
        value = decoded(bytes(held))
    except UnusableError as error:
        problem = str(error)
        if "trailing characters" in problem:
            problem += "; if it is several objects, write one a line: jq -c . FILE > FILE.jsonl"
        said = problem if problem.startswith(("the key", "a key")) else f"it is {problem}"
        raise BadFileError(_in_lines(said, held)) from None
    return dict(value)


def _in_lines(problem: str, document: bytearray) -> str:
    """A problem's column in the whole document as line and column."""
    found = re.search(r" \(column (\d+)\)", problem)
    if found is None:
        return problem
    before = document.decode(errors="replace")[: int(found[1]) - 1]
    line = before.count("\n") + 1
    return problem.replace(found[0], f" (line {line}, column {len(before) - before.rfind(chr(10))})")


def _rows(path: str, document: dict[str, Any]) -> Iterator[Record | Skipped]:
    path = printable(path)
    lists = {name: value for name, value in document.items() if isinstance(value, list)}
    of_rows = [name for name, value in lists.items() if any(isinstance(item, dict) for item in value)]
    if len(of_rows) == 1:
        for number, item in enumerate(lists[of_rows[0]], 1):
            where = f"{path}: row {number} of {of_rows[0]!r}"
            if isinstance(item, dict):
                yield Record(item, where)
            else:
                yield Skipped("", where, f"{kind(item)} where an object must be")
        return
    if of_rows:
        raise BadFileError(
            f"it holds several lists of rows ({_shown(of_rows)}); write the one that is meant to a file: "
            f"jq .{of_rows[0]} FILE > {of_rows[0]}.json"
        )
    columns = _columns(document)
    if columns is None:
        yield Record(document, f"{path}: row 1")
        return
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        counts = _shown([f"{name} {length:,}" for name, length in lengths.items()])
        raise BadFileError(f"its columns must have as many rows each, but they have: {counts}")
    for number, cells in enumerate(zip(*columns.values(), strict=True), 1):
        yield Record(dict(zip(columns, cells, strict=True)), f"{path}: row {number}")


def _columns(document: dict[str, Any]) -> dict[str, list[Any]] | None:
    """Columns, as lists or as pandas writes them: `{"0": first, "1": second}`."""
    if document and all(isinstance(value, list) for value in document.values()):
        return document
    if document and all(
        isinstance(value, dict) and value and all(key.isdecimal() for key in value)
        for value in document.values()
    ):
        keys = dict.fromkeys(key for value in document.values() for key in value)
        return {name: [value.get(key) for key in keys] for name, value in document.items()}
    return None


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return ", ".join(names[:_MAX_SHOWN]) + more

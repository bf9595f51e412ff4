"""Read records from one file, whatever its format."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from fastneurons.data.example import Skipped
from fastneurons.data.readers.files import FORMATS, format_of
from fastneurons.data.readers.json_document import json_records
from fastneurons.data.readers.jsonl import jsonl_records
from fastneurons.data.readers.lines import BadFileError, pieces
from fastneurons.data.readers.parquet import parquet_records
from fastneurons.data.readers.plain_text import text_records
from fastneurons.data.readers.raw_record import Record
from fastneurons.data.readers.tables import csv_records, tsv_records
from fastneurons.errors import InputError


def read_file(
    path: str, columns: Sequence[str] | None = None, format: str | None = None
) -> Iterator[Record | Skipped]:
    """The rows of one file.

    Args:
        path: A local path or a URL.
        columns: See `read_records`.
        format: One of the values of `FORMATS`; by default the name decides, or else the content.
    Raises:
        InputError: the file cannot be read to its end.
    """
    format = format or format_of(path) or _format_by_content(path, columns)
    if format == "text" and columns is not None and len(columns) > 1:
        format = "tsv"
    if format == "jsonl":
        return jsonl_records(path)
    if format == "json":
        return json_records(path)
    if format == "csv":
        return csv_records(path, columns)
    if format == "tsv":
        return tsv_records(path, columns)
    if format == "parquet":
        return parquet_records(path)
    return text_records(path, columns)


def _format_by_content(path: str, columns: Sequence[str] | None) -> str:
    """The format of a file whose name does not give it."""
    try:
        start = b"".join(islice(pieces(path, foreign=(b"PAR1",)), 1))
    except BadFileError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if start.startswith(b"PAR1"):
        return "parquet"
    if b"\0" in start[:4096]:
        raise InputError(
            f"{path} is nothing that is known here, by its name ({', '.join(FORMATS)}) or by its content"
        )
    line, _, rest = start.lstrip().partition(b"\n")
    if line.startswith(b"{"):
        try:
            msgspec.json.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return "json" if (line[1:] + rest).lstrip().startswith(b'"') else "text"
        return "jsonl"
    if re.match(rb"\[\s*\{", start.lstrip()):
        return "json"
    return "tsv" if columns is not None and len(columns) > 1 else "text"

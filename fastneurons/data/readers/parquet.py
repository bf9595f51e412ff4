"""Read records from Parquet with pyarrow, about a megabyte at a time."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from fastneurons.data.example import Skipped
from fastneurons.data.readers.files import open_file
from fastneurons.data.readers.lines import BadFileError, pieces
from fastneurons.data.readers.raw_record import Record
from fastneurons.errors import InputError, printable

_MAGIC = b"PAR1"
_BATCH_BYTES = 1 << 20
_MAX_BATCH_ROWS = 4096
_READ_BYTES = 128 << 10


def parquet_records(path: str) -> Iterator[Record | Skipped]:
    """The rows of a Parquet file, structs as dictionaries and lists as lists.

    A packed one is unpacked to a temporary file first, since Parquet is read from its end.

    Raises:
        InputError: pyarrow is not installed, or the file cannot be read to its end.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(
            f"{path} is a Parquet file, which needs another package: pip install 'fastneurons[parquet]'"
        ) from error
    row = 0
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_seekable(path))
            parquet = pq.ParquetFile(
                file, buffer_size=_READ_BYTES, pre_buffer=False, page_checksum_verification=True
            )
            names = parquet.schema_arrow.names
            if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
                raise BadFileError(f"it has the column {twice!r} twice")
            for batch in parquet.iter_batches(_batch_rows(parquet.metadata), use_threads=False):
                for fields in _python_rows(batch):
                    row += 1
                    where = f"{printable(path)}: row {row}"
                    if isinstance(fields, str):
                        yield Skipped("", where, fields)
                    else:
                        yield Record(fields, where)
        except (pa.ArrowException, BadFileError, OSError, ValueError, KeyError, OverflowError) as error:
            # Of a damaged file Arrow has all of these; its own OSError has no strerror.
            reason = " ".join((getattr(error, "strerror", None) or str(error)).split())[:300]
            after = f" after row {row:,}" if row else ""
            raise InputError(f"{path} is not a Parquet file that can be read{after}: {reason}") from error


def _seekable(path: str) -> Any:
    file = open_file(path)
    if file.read(len(_MAGIC)) == _MAGIC:
        file.seek(0)
        return file
    file.close()
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    try:
        for piece in pieces(path, foreign=(_MAGIC,)):
            if not unpacked.tell() and not piece.startswith(_MAGIC):
                raise BadFileError("it does not begin as Parquet does")
            unpacked.write(piece)
    except BaseException:
        unpacked.close()
        raise
    unpacked.seek(0)
    return unpacked


def _batch_rows(metadata: Any) -> int:
    """Number of rows that make a batch of about a megabyte."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    row_bytes = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1.0)
    return max(1, min(_MAX_BATCH_ROWS, int(_BATCH_BYTES / max(row_bytes, 1.0))))


def _python_rows(batch: Any) -> Iterator[dict[str, Any] | str]:
    """Each row, or the reason why it is none."""
    try:
        yield from batch.to_pylist()
        return
    except (UnicodeDecodeError, ValueError, OverflowError):
        pass  # one of them cannot be had in Python: a text that is not UTF-8, a date before year 1
    for i in range(batch.num_rows):
        try:
            yield batch.slice(i, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            yield f"not UTF-8: byte {error.object[error.start]:#04x} at offset {error.start} of a text"
        except (ValueError, OverflowError) as error:
            yield " ".join(str(error).split())

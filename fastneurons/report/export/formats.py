"""Write tables as CSV or Parquet, block by block: a file is there only once it is whole."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fastneurons.errors import InputError, OutputError
from fastneurons.report.export.tables import Block, Labels, Table


def write_csv_table(table: Table, path: Path) -> None:
    """Write a table as CSV in UTF-8, with a heading; NaN is empty.

    Raises:
        OutputError: the file cannot be written.
    """
    with (
        written(path) as part,
        part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        for k, block in enumerate(table.blocks()):
            if not k:
                writer.writerow(block)
            writer.writerows(zip(*map(_cells, block.values()), strict=True))


def _cells(column: Any) -> list[Any]:
    if isinstance(column, Labels):
        return [column.names[code] if code >= 0 else "" for code in column.codes.tolist()]
    return ["" if value != value else value for value in column.tolist()]


def write_parquet_table(table: Table, path: Path) -> None:
    """Write a table as Parquet, a row group for each block; text columns are strings.

    Raises:
        InputError: pyarrow is not installed.
        OutputError: the file cannot be written.
    """
    pa, pq = pyarrow()
    writer = None
    with written(path) as part:
        try:
            for block in table.blocks():
                batch = _batch(pa, block)
                if writer is None:
                    writer = pq.ParquetWriter(part, batch.schema, compression="zstd")
                writer.write_batch(batch)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:  # a table without rows has no columns either
            pq.write_table(pa.table({}), part)


def _batch(pa: Any, block: Block) -> Any:
    arrays = []
    for column in block.values():
        if isinstance(column, Labels):
            codes = pa.array(column.codes.astype(np.int32), mask=np.asarray(column.codes) < 0)
            texts = pa.array(
                [text.encode("utf-8", "backslashreplace").decode() for text in column.names], pa.string()
            )
            arrays.append(pa.DictionaryArray.from_arrays(codes, texts).cast(pa.string()))
        else:
            arrays.append(pa.array(column))
    return pa.record_batch(arrays, names=list(block))


def pyarrow() -> tuple[Any, Any]:
    """Import pyarrow and its Parquet module.

    Raises:
        InputError: it is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(
            "Parquet needs pyarrow: pip install 'fastneurons[parquet]'; or take --format csv"
        ) from error
    return pa, pq


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a path to write to, and put what was written in its place at the end; nothing is left of a failed try.

    Raises:
        OutputError: the file cannot be written.
    """
    part = path.with_name(f".{path.name}.partial")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)

"""A store in formats that other programs read: tidy tables as CSV or Parquet, arrays as safetensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fastneurons.errors import InputError, OutputError
from fastneurons.report.export.formats import pyarrow, write_csv_table, write_parquet_table
from fastneurons.report.export.tables import Table, chosen_tables, tables
from fastneurons.report.export.tensors import write_labels, write_safetensors

if TYPE_CHECKING:
    from fastneurons.store import Store

__all__ = ["Format", "Table", "export", "tables"]

Format = Literal["csv", "parquet", "safetensors"]


def export(
    store: "Store",
    folder: str | Path,
    format: Format = "csv",
    names: Sequence[str] = (),
    texts: bool = True,
    large: bool = False,
) -> list[Path]:
    """Write a store into a folder in another format, in memory that does not grow with the examples.

    Args:
        store: A store, complete or not: of one that is still being written, what is committed.
        folder: Made if it does not exist; files of the same names are replaced.
        format: "csv" or "parquet", a file for each table; or "safetensors", a file of arrays and one of labels.
        names: Tables to write; all for none.
        texts: Whether the table of prompts has their texts, if the store keeps them.
        large: Whether `safetensors` has packed bits and coefficients, too.
    Returns:
        The files.
    Raises:
        InputError: no such format or table, or pyarrow is missing.
        OutputError: a file cannot be written.
        StoreError: an array is damaged.
    """
    if format not in ("csv", "parquet", "safetensors"):
        raise InputError(f"format {format}: must be csv, parquet or safetensors")
    if format == "safetensors" and names:
        raise InputError("safetensors holds arrays, not tables; tables are written as csv or parquet")
    if format == "parquet":
        pyarrow()  # before anything is read
    chosen = chosen_tables(store, names, texts)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from error
    if format == "safetensors":
        files = [folder / "arrays.safetensors", folder / "labels.json"]
        write_safetensors(store, files[0], large)
        write_labels(store, files[1])
        return files
    files = []
    for table in chosen:
        path = folder / f"{table.name}.{format}"
        (write_csv_table if format == "csv" else write_parquet_table)(table, path)
        files.append(path)
    return files

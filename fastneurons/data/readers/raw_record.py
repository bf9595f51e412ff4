"""A row of a data set as it is, before any task interprets it."""

from typing import Any

import msgspec


class Record(msgspec.Struct, frozen=True, gc=False):
    """One row.

    Args:
        fields: By column or key. CSV, TSV and text have texts alone; JSON and Parquet what is written there.
        where: File and physical line, the first of several: `dev.tsv:17`; in Parquet `dev.parquet: row 17`.
    """

    fields: dict[str, Any]
    where: str

"""Stream the rows of a data set as they are: any file, folder, pattern, URL or data set on the Hub.

    for row in read_records("xnli.dev.tsv"):
        if isinstance(row, Record): ...

The name decides the format, or the content if the name gives none. A row that cannot be read is yielded as `Skipped`,
where it stands; if a file fails as a whole, InputError says after which line.
"""

import os
import re
from collections.abc import Iterator, Sequence

from fastneurons.data.example import Skipped
from fastneurons.data.readers.any_format import read_file
from fastneurons.data.readers.files import DataFile, data_files, format_of
from fastneurons.data.readers.raw_record import Record
from fastneurons.errors import InputError

__all__ = ["DataFile", "Record", "Records", "data_files", "is_hub_name", "read_file", "read_records"]

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def read_records(
    location: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
) -> "Records":
    """The rows of a data set.

    Args:
        location: A file, a folder, a pattern (`data/*.tsv`), a URL that fsspec reads, or the name of a data set
            on the Hub (`facebook/xnli`), where there is no such path.
        columns: The names of the columns of tables that do not give them in their first line. Of formats that
            name their fields it says nothing.
        split: On the Hub, which part of the data set.
        config: On the Hub, which of its configurations.
        revision: On the Hub, a branch, tag or commit.
    Raises:
        InputError: there is nothing there; of the Hub that is only known when it is read.
    """
    return Records(os.fspath(location), columns, split, config, revision)


def is_hub_name(location: str) -> bool:
    """Whether a location can only be the name of a data set on the Hub."""
    return (
        _HUB_NAME.fullmatch(location) is not None
        and format_of(location) is None
        and not os.path.lexists(location)
    )


class Records:
    """The rows of a data set, as often as wanted: every iteration streams them from the start.

    Yields `Record`, or `Skipped` for a row that cannot be read. Iterating raises InputError where a file fails
    as a whole, after all that could be read of it, and where there was nothing at all.

    Attributes:
        location: As it was given.
    """

    def __init__(
        self,
        location: str,
        columns: Sequence[str] | None = None,
        split: str | None = None,
        config: str | None = None,
        revision: str | None = None,
    ) -> None:
        self.location = location
        self._columns = tuple(columns) if columns else None
        self._choice = {"split": split, "config": config, "revision": revision}
        self._is_hub = is_hub_name(location)
        self._files = () if self._is_hub else tuple(file.path for file in data_files(location))

    def __iter__(self) -> Iterator[Record | Skipped]:
        any_row = False
        for row in self._rows():
            any_row = True
            yield row
        if not any_row:
            raise InputError(f"{self.location} holds no rows")

    def describe(self) -> str:
        """A description for people and for checking a resumed run: `facebook/xnli (split test)`."""
        if not self._is_hub:
            return self.location
        choice = ", ".join(f"{name} {value}" for name, value in self._choice.items() if value)
        return f"{self.location} ({choice})" if choice else self.location

    def _rows(self) -> Iterator[Record | Skipped]:
        if self._is_hub:
            from fastneurons.data.readers.hub import hub_records

            yield from hub_records(self.location, **self._choice)
            return
        for path in self._files:
            yield from read_file(path, self._columns)

"""The place of a task's data: a file, a folder, a pattern, a URL, or a data set on the Hub."""

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastneurons.data.example import Skipped
from fastneurons.data.file_names import without_packing
from fastneurons.data.readers.data_set import Record, is_hub_name, read_records
from fastneurons.data.readers.files import data_files
from fastneurons.errors import InputError, printable
from fastneurons.languages import language as known_language

_NO_DATA = re.compile(
    r"(^|/)(\.|__|readme|license|licence|changelog|notice|citation|metadata|dataset_info)", re.I
)
_NO_DATA_SUFFIXES = (".md", ".py", ".sh", ".html", ".pdf", ".png", ".yml", ".yaml", ".lock", ".zip", ".tar")
# FLORES and Belebele name the variety where ISO 639-1 names the language.
_FLORES = {
    "ar": "arb", "ay": "ayr", "az": "azj", "fa": "pes", "ff": "fuv", "ku": "kmr", "lv": "lvs", "mg": "plt",
    "mn": "khk", "ms": "zsm", "ne": "npi", "om": "gaz", "or": "ory", "ps": "pbt", "qu": "quy", "sq": "als",
    "sw": "swh", "uz": "uzn", "yi": "ydd", "no": "nob",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """The location of a task's data, with split, configuration and revision.

    Args:
        location: A file, a folder, a glob pattern, an fsspec URL, or a Hub name.
        split: Which part of the data set; None for the task's usual one.
        config: Of a Hub data set, where the task's own choice is not meant.
        revision: Of a Hub data set.
    """

    location: str
    split: str | None = None
    config: str | None = None
    revision: str | None = None

    @property
    def is_hub(self) -> bool:
        """Whether it is the name of a data set on the Hub: there is no such path, nor files that begin with it."""
        path = Path(self.location)
        return is_hub_name(self.location) and not any(path.parent.glob(f"{glob.escape(path.name)}.*"))

    @property
    def is_folder(self) -> bool:
        """Whether it holds files; a pattern does."""
        if "*" in self.location or "?" in self.location:
            return True
        if "://" in self.location:
            filesystem, path = _filesystem(self.location)
            return bool(filesystem.isdir(path))
        return Path(self.location).is_dir()

    def files(self) -> list[str]:
        """All files that could hold data, sorted.

        Raises:
            InputError: there is nothing, or nothing that could hold data.
        """
        found = self._listed() if self.is_folder else [file.path for file in data_files(self.location)]
        usable = [path for path in found if not _is_no_data(self.relative(path))]
        if self.is_folder and not usable:
            raise InputError(f"{self.location} holds no data files")
        return usable if self.is_folder else found

    def _listed(self) -> list[str]:
        """All files, whatever their names: FLORES and Moses have languages where others have formats."""
        if any(c in self.location for c in "*?"):
            return [file.path for file in data_files(self.location)]
        if "://" in self.location:
            filesystem, path = _filesystem(self.location)
            try:
                return sorted(filesystem.unstrip_protocol(name) for name in filesystem.find(path))
            except Exception as error:  # each file system raises what it likes
                raise InputError(f"{self.location} cannot be listed: {error}") from error
        return sorted(str(path) for path in Path(self.location).rglob("*") if path.is_file())

    @property
    def root(self) -> str:
        """The folder to which names are relative."""
        parts = self.location.split("/")
        for number, part in enumerate(parts):
            if "*" in part or "?" in part:
                return "/".join(parts[:number]) or ("/" if self.location.startswith("/") else ".")
        return self.location.rstrip("/") if self.is_folder else self.location.rpartition("/")[0]

    def relative(self, path: str) -> str:
        """A file's path within the place."""
        root = self.root
        if root in ("", "."):
            return path.removeprefix("./")
        return path.removeprefix(f"{root.rstrip('/')}/")

    def read(
        self, path: str | None = None, *, columns: Sequence[str] | None = None, config: str | None = None,
        split: str | None = None,
    ) -> "Iterable[Record | Skipped]":  # fmt: skip
        """The records of one file, or of the place as a whole; of a Hub data set, fetched when they are read."""
        if path is not None and path != self.location:
            return read_records(path, columns=columns)
        if not self.is_hub:
            return read_records(self.location, columns=columns)
        return _FromHub(self.location, self.split or split, self.config or config, self.revision)

    def describe(self, split: str | None = None) -> str:
        """A description for people and for checking a resumed run."""
        more = [f"{name} {value}" for name in ("config", "revision") if (value := getattr(self, name))]
        if chosen := self.split or split:
            more.insert(0, f"split {chosen}")
        return printable(self.location) + (f" ({', '.join(more)})" if more else "")


@dataclass(frozen=True)
class _FromHub:
    """The records of a Hub data set; reading them sends the first request to the Hub."""

    name: str
    split: str | None
    config: str | None
    revision: str | None

    def __iter__(self) -> Iterator[Record | Skipped]:
        yield from read_records(self.name, split=self.split, config=self.config, revision=self.revision)


class Chained:
    """The records of several files, one after another, as often as wanted."""

    def __init__(self, place: Place, paths: Sequence[str], columns: Sequence[str] | None = None) -> None:
        self._parts = [place.read(path, columns=columns) for path in paths]

    def __iter__(self) -> Iterator[Record | Skipped]:
        for part in self._parts:
            yield from part


def _is_no_data(relative: str) -> bool:
    name = relative.lower()
    return bool(_NO_DATA.search(name)) or without_packing(name).endswith(_NO_DATA_SUFFIXES)


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except Exception as error:
        raise InputError(f"{url} cannot be opened: {error}") from error
    return filesystem, path


def flores_code(code: str) -> str:
    """A language as FLORES and Belebele spell it: `deu_Latn`, `arb_Arab`."""
    known = known_language(code)
    base = code.partition("-")[0]
    return f"{_FLORES.get(base, known.iso_639_3)}_{known.script}"

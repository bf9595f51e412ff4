"""Where a task's data lies: a file, a folder, a pattern, a URL, or a data set on the Hub; and which of its files
are whose language and split.

A file's language is told by its name (`mgsm_de.tsv`, `deu_Latn.jsonl`, `Tatoeba.de-en.de`, `test.et.jsonl`) or
by its folder's (`de/test-00000-of-00001.parquet`); its split likewise (`test`, `dev`/`val`/`validation`, ...).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from fastneurons.data.example import Skipped
from fastneurons.data.files import PACKED, data_files, format_of
from fastneurons.data.problems import one_line
from fastneurons.data.records import Record, is_hub_name, read_records
from fastneurons.errors import InputError
from fastneurons.languages import language as known_language
from fastneurons.languages import short_code

# Of the same content in several formats the first of these is read.
_PREFERRED = ("parquet", "jsonl", "json", "tsv", "csv", "text", None)
_NO_DATA = re.compile(
    r"(^|/)(\.|__|readme|license|licence|changelog|notice|citation|metadata|dataset_info)", re.I
)
_NO_DATA_SUFFIXES = (".md", ".py", ".sh", ".html", ".pdf", ".png", ".yml", ".yaml", ".lock", ".zip", ".tar")
_SPLITS = {
    "train": "train",
    "dev": "validation",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "devtest": "devtest",
    "eval": "eval",
}
# FLORES and Belebele name the variety where ISO 639-1 names the language.
_FLORES = {
    "ar": "arb", "ay": "ayr", "az": "azj", "fa": "pes", "ff": "fuv", "ku": "kmr", "lv": "lvs", "mg": "plt",
    "mn": "khk", "ms": "zsm", "ne": "npi", "om": "gaz", "or": "ory", "ps": "pbt", "qu": "quy", "sq": "als",
    "sw": "swh", "uz": "uzn", "yi": "ydd", "no": "nob",
}  # fmt: skip
_MAX_SHOWN = 12


@dataclass(frozen=True)
class Place:
    """What a user points a task at.

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
        """Whether it is the name of a data set on the Hub, there being no such path."""
        return is_hub_name(self.location)

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
        """All files, whatever they are called: FLORES and Moses have languages where others have formats."""
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
        """The folder that names are relative to."""
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
        """What it is, for people and for checking a resumed run."""
        more = [f"{name} {value}" for name in ("config", "revision") if (value := getattr(self, name))]
        if chosen := self.split or split:
            more.insert(0, f"split {chosen}")
        return self.location + (f" ({', '.join(more)})" if more else "")


@dataclass(frozen=True)
class _FromHub:
    """The records of a Hub data set; nothing is asked of the Hub before they are read."""

    name: str
    split: str | None
    config: str | None
    revision: str | None

    def __iter__(self) -> Iterator[Record | Skipped]:
        yield from read_records(self.name, split=self.split, config=self.config, revision=self.revision)


class Chained:
    """The records of several files, one after the other, as often as wanted."""

    def __init__(self, place: Place, paths: Sequence[str], columns: Sequence[str] | None = None) -> None:
        self._parts = [place.read(path, columns=columns) for path in paths]

    def __iter__(self) -> Iterator[Record | Skipped]:
        for part in self._parts:
            yield from part


@dataclass(frozen=True)
class Files:
    """A place's files, sorted out.

    Args:
        by_language: For each language that a file's path names, its files.
        others: Those whose path names none.
        split: The split that they are of, None where the names do not say.
    """

    by_language: dict[str, tuple[str, ...]]
    others: tuple[str, ...]
    split: str | None


def sorted_files(
    place: Place, default_splits: Sequence[str] = ("test", "devtest", "validation", "train")
) -> Files:
    """Whose the files of a place are.

    Args:
        place: A folder, a pattern or a file.
        default_splits: Where the place has several and none is asked for, the first of these that is there.
    Raises:
        InputError: there are no files, or not of the split asked for, or a language's are in several folders.
    """
    paths = place.files()
    by_split: dict[str | None, list[str]] = {}
    for path in paths:
        by_split.setdefault(_split_of(place.relative(path)), []).append(path)
    split = _chosen_split(place, by_split, default_splits)
    by_language: dict[str, list[str]] = {}
    others: list[str] = []
    for path in _one_format(by_split.get(split, paths)):
        code = language_of_path(place.relative(path))
        if code is None:
            others.append(path)
        else:
            by_language.setdefault(code, []).append(path)
    for code, own in by_language.items():
        folders = sorted({path.rpartition("/")[0] for path in own})
        if len(folders) > 1:
            raise InputError(
                f"{place.location} has files in {code} in several folders ({', '.join(folders[:4])}); "
                "point --data at the one that is meant"
            )
    return Files({code: tuple(own) for code, own in by_language.items()}, tuple(others), split)


def _chosen_split(
    place: Place, by_split: dict[str | None, list[str]], default_splits: Sequence[str]
) -> str | None:
    there = [name for name in by_split if name is not None]
    if place.split is not None:
        wanted = _SPLITS.get(place.split.lower(), place.split.lower())
        if wanted in by_split:
            return wanted
        if not there and (len(by_split.get(None, [])) == 1 or wanted == default_splits[0]):
            return None  # names that say nothing: a single file, or a data set that has this split only
        shown = ", ".join(sorted(there)) or "none that the names of its files tell"
        raise InputError(f"--split {place.split}: {place.location} has no such split; there is {shown}")
    return next((name for name in default_splits if name in by_split), there[0] if there else None)


def _one_format(paths: Iterable[str]) -> list[str]:
    """Of files that differ in their format alone, one."""
    best: dict[str, tuple[int, str]] = {}
    for path in paths:
        stem = _stem(path)
        rank = _PREFERRED.index(format_of(path))
        if stem not in best or rank < best[stem][0]:
            best[stem] = (rank, path)
    return [path for _, path in best.values()]


def language_of_path(path: str) -> str | None:
    """The language that a file's path names, as a short code; None where it names none."""
    *folders, name = path.split("/")
    stem = _stem(name)
    dotted = stem.split(".")
    for text in (stem, *reversed(dotted)):
        if code := _code(text):
            return code
    for folder in reversed(folders):
        for text in (folder, folder.rpartition(".")[2]):
            if code := _code(text):
                return code
    parts = re.split(r"[._-]", stem)
    pairs = [f"{first}-{second}" for first, second in pairwise(parts)]
    for text in (*reversed(pairs), *reversed(parts)):
        if code := _code(text):
            return code
    return None


def _code(text: str) -> str | None:
    return None if text.lower() in _SPLITS else short_code(text)


def _split_of(path: str) -> str | None:
    *folders, name = path.split("/")
    for text in (_without_packing(name), *reversed(folders)):
        for part in re.split(r"[^a-z]+", text.lower()):
            if part in _SPLITS:
                return _SPLITS[part]
    return None


def _without_packing(path: str) -> str:
    return next((path[: -len(end)] for end in PACKED if path.lower().endswith(end)), path)


def _stem(path: str) -> str:
    """A path without the endings of its compression and its format."""
    path = _without_packing(path)
    return path if format_of(path) is None else path[: path.rindex(".")]


def _is_no_data(relative: str) -> bool:
    name = relative.lower()
    return bool(_NO_DATA.search(name)) or _without_packing(name).endswith(_NO_DATA_SUFFIXES)


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


def shown(names: Iterable[str]) -> str:
    """A list for an error message, on one line and cut where it gets long."""
    names = [one_line(name) for name in names]
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return ", ".join(names[:_MAX_SHOWN]) + more

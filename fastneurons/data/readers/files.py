"""Find and open the files of a location: local ones, and whatever fsspec reaches."""

import glob
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fastneurons.data.readers.hub_access import why_unreachable
from fastneurons.errors import InputError

# A format by what a name ends in, packed or not.
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonlines": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".parquet": "parquet",
}
PACKED = (".gz", ".zst", ".xz", ".bz2")

# Files next to data that hold none.
_NO_DATA = re.compile(
    r"(readme|licen[sc]e|changelog|notice|citation|requirements|dataset_infos?|dataset_dict|state)\b", re.I
)
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(.*)")
_MAX_SHOWN = 8


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a location.

    Args:
        path: Its path or URL.
        num_bytes: Its size as stored; None if its server does not give it.
    """

    path: str
    num_bytes: int | None


def is_url(location: str) -> bool:
    """Whether fsspec must open it."""
    return "://" in location


def _local_path(location: str) -> str:
    """Turn a URL of this machine's own files into a path, since only a path shows what is not a regular file."""
    if "::" in location:
        return location
    return location.removeprefix("file://").removeprefix("local://")


def format_of(path: str) -> str | None:
    """The format that a name gives; None if it gives none."""
    name = path.partition("::")[0]
    if name.startswith(("http://", "https://")):
        name = re.split(r"[?#]", name)[0]
    name = name.lower()
    for ending in PACKED:
        name = name.removesuffix(ending)
    return next((known for ending, known in FORMATS.items() if name.endswith(ending)), None)


def data_files(location: str, formats: Collection[str] | None = None) -> list[DataFile]:
    """The data files that a location stands for, in the order of their names.

    Args:
        location: A file, whatever it is called; a folder, with those below it whose names tell a format; a
            pattern with `*`, `?`, `**`, with all that it fits; or a URL of these that fsspec reads.
        formats: Of a folder, those to take; without it all, but there must be one format only.
    Raises:
        InputError: there is nothing, or the location is ambiguous: a folder with several formats, with
            the same file packed and not, or with some of the parts of a file missing.
    """
    location = _local_path(location)
    if is_url(location):
        found, is_folder = _remote(location)
    else:
        found, is_folder = _local(location)
    if is_folder is None:
        return found
    usual = [file for file in found if not _is_no_data(_below(file.path, location))]
    if not is_folder:
        if not usual:
            raise InputError(f"{location} fits no data file" + _there(found))
        return usual
    kept = [file for file in usual if (form := format_of(file.path)) and (formats is None or form in formats)]
    if not kept:
        raise InputError(
            f"{location} is a folder that holds no data files ({_endings(formats)})" + _there(found)
        )
    _check_folder(location, [file.path for file in kept])
    return kept


def open_file(path: str) -> BinaryIO:
    """A file's bytes.

    Raises:
        InputError: it is not there, or is nothing that can be read twice.
        OSError: it cannot be opened.
    """
    path = _local_path(path)
    if is_url(path):
        with _told(path):
            filesystem, name = _filesystem(path)
            file: BinaryIO = _Remote(filesystem.open(name, "rb"), filesystem)  # type: ignore[assignment]
        return file
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder; a file is needed")
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{path} is not a regular file; data is read twice, to check and to measure it: write it to a file"
        )
    return Path(path).open("rb", buffering=0)


def _mode(path: str) -> int:
    try:
        return Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path} does not exist") from None
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{path!r} is not a file name: {error}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


# -- listing ----------------------------------------------------------------------------------------


def _local(location: str) -> tuple[list[DataFile], bool | None]:
    """Files, and whether they are a folder's, a pattern's (False) or the location itself (None)."""
    if glob.has_magic(location) and not os.path.lexists(location):
        # Path.glob takes no absolute pattern.
        paths = sorted(path for path in glob.iglob(location, recursive=True) if Path(path).is_file())  # noqa: PTH207
        if not paths:
            raise InputError(f"{location} fits no file")
        return [DataFile(path, Path(path).stat().st_size) for path in paths], False
    mode = _mode(location)
    if not stat.S_ISDIR(mode):
        return [DataFile(location, Path(location).stat().st_size)], None
    try:
        paths = sorted(_walk(location))
    except OSError as error:
        raise InputError(f"{error.filename or location} cannot be read: {error.strerror}") from error
    return [DataFile(path, Path(path).stat().st_size) for path in paths], True


def _walk(folder: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise error

    for root, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            path = Path(root, name)
            if path.is_file():
                yield str(path)


def _remote(url: str) -> tuple[list[DataFile], bool | None]:
    first, *chain = url.split("::")
    if first.startswith(("http://", "https://")):  # a server lists nothing
        return [DataFile(url, None)], None
    with _told(url):
        filesystem, name = _filesystem(url)
        if "*" in first:
            found = filesystem.glob(name, detail=True)
            is_folder = False
        elif filesystem.isdir(name):
            found = filesystem.find(name, detail=True)
            is_folder = True
        else:
            return [DataFile(url, filesystem.info(name).get("size"))], None
        files = [
            DataFile("::".join([filesystem.unstrip_protocol(path), *chain]), info.get("size"))
            for path, info in found.items()
            if info.get("type") == "file"
        ]
    if not files:
        raise InputError(f"{url} holds no files")
    return sorted(files, key=lambda file: file.path), is_folder


def _below(path: str, location: str) -> str:
    return path.removeprefix(location) if path.startswith(location) else path.rpartition("/")[2]


def _is_no_data(below: str) -> bool:
    parts = below.strip("/").split("/")
    return any(part.startswith((".", "__")) for part in parts) or _NO_DATA.match(parts[-1]) is not None


def _check_folder(folder: str, paths: list[str]) -> None:
    by_format: dict[str, list[str]] = {}
    for path in paths:
        by_format.setdefault(str(format_of(path)), []).append(path)
    if len(by_format) > 1:
        counts = ", ".join(f"{len(some):,} {name}" for name, some in by_format.items())
        raise InputError(
            f"{folder} holds files of several formats ({counts}); say which are meant: "
            f"{_pattern(folder, paths[0])}"
        )
    plain: dict[str, str] = {}
    for path in paths:
        stem = path
        for ending in PACKED:
            stem = stem.removesuffix(ending)
        if other := plain.get(stem):
            raise InputError(
                f"{folder} holds the same file twice, {_name(other)} and {_name(path)}; remove one of them, "
                f"or say which are meant: {_pattern(folder, path)}"
            )
        plain[stem] = path
    check_shards(folder, paths)


def check_shards(folder: str, paths: Iterable[str]) -> None:
    """Check that files in parts, `train-00003-of-00041.parquet`, are complete."""
    parts: dict[tuple[str, int, str], set[int]] = {}
    for path in paths:
        if found := _SHARD.fullmatch(path):
            stem, number, count, ending = found.groups()
            parts.setdefault((stem, int(count), ending), set()).add(int(number))
    for (stem, count, ending), numbers in parts.items():
        if len(numbers) < count:
            missing = next(number for number in range(count) if number not in numbers)
            name = f"{_name(stem)}-{{:05}}-of-{count:05}{ending}"
            raise InputError(
                f"{folder} holds {len(numbers):,} of the {count:,} parts of {name.format(0)}; missing is "
                f"{name.format(missing)}. To read those that are there: {_pattern(folder, stem + ending)}"
            )


def _pattern(folder: str, path: str) -> str:
    """A pattern for files like this one."""
    name = _name(path)
    return f"'{folder.rstrip('/')}/**/*{name[name.find('.') :] if '.' in name else ''}'"


def _name(path: str) -> str:
    return path.partition("::")[0].rpartition("/")[2]


def _endings(formats: Collection[str] | None) -> str:
    return ", ".join(end for end, known in FORMATS.items() if formats is None or known in formats)


def _there(found: list[DataFile]) -> str:
    if not found:
        return ""
    names = [_name(file.path) for file in found]
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return f"; there is {', '.join(names[:_MAX_SHOWN])}{more}"


# -- what fsspec reaches ----------------------------------------------------------------------------


def _filesystem(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    if "hf://" in url and (why := why_unreachable()):
        raise InputError(f"{url} cannot be opened: {why}")
    filesystem, path = url_to_fs(url)
    return filesystem, path


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Turn every file system's errors into InputError."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{url} does not exist") from None
    except ImportError as error:
        raise InputError(f"{url} needs another package: {error}") from error
    except Exception as error:
        raise InputError(f"{url} cannot be opened: {_sentence(error)}") from error


class _Remote:
    """A remote file whose errors are OSError, whatever its file system raises."""

    def __init__(self, file: Any, filesystem: Any) -> None:
        self._file = file
        self._filesystem = filesystem  # that of an archive closes its files when it is forgotten

    def read(self, size: int = -1) -> bytes:
        return self._as_os_error(lambda: self._file.read(size))  # type: ignore[no-any-return]

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._as_os_error(lambda: self._file.seek(offset, whence))  # type: ignore[no-any-return]

    def tell(self) -> int:
        return int(self._file.tell())

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "_Remote":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _as_os_error(do: Callable[[], Any]) -> Any:
        try:
            return do()
        except OSError:
            raise
        except Exception as error:
            raise OSError(_sentence(error)) from error


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__

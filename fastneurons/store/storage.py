"""Places that can hold a store: a local folder, or anything for which fsspec has a URL.

Everything is written as whole objects, each of which is either there as it was, or as it is to be. The
one exception is an object that lines are added to (`extend`).

Objects of a local store are regular files; anything else in the place of one (a pipe, a device, a folder) is
refused before it is opened, because reading it may never end. What an object store's client raises comes out as
`OSError`, whatever its class, so that callers tell a place that fails from a mistake of ours.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fastneurons.errors import InputError, StoreError
from fastneurons.store.frames import Piece

PARTIAL = ".partial"
# Pieces that are written in one call; POSIX's least, IOV_MAX, is 16, and Linux and macOS have 1024.
_PIECES = 1024
# Requests to an object store that are under way at once.
_REQUESTS = 16


class LockedError(Exception):
    """Another process holds the lock."""


class RemovedError(StoreError):
    """The store was removed, moved or replaced while it was written: nothing in it is safe."""


class PlaceError(OSError):
    """An object store's client failed, with a class of its own."""


def one_line(error: BaseException) -> str:
    """Return an error's message on one line, at most 300 characters; its class if it has no message."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # a foreign class may fail to print itself
        text = ""
    text = text or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."


class Storage(ABC):
    """A place for a store's objects.

    Args:
        name: What the user calls it.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Read bytes `start` to `end` of an object, fewer if it ends before; None if it does not exist.

        Raises:
            StoreError: something else than an object lies there.
        """

    @abstractmethod
    def write(self, key: str, pieces: Sequence[Piece]) -> None:
        """Replace an object by these pieces, one after another; at once and for good."""

    @abstractmethod
    def extend(self, key: str, offset: int, data: bytes) -> None:
        """Put `data` at `offset` as the object's new end."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove an object or everything below a folder, if it exists."""

    @abstractmethod
    def sizes(self, folder: str = "") -> dict[str, int | None]:
        """List a folder by name, with each object's length in bytes; None for anything that is not an object."""

    def names(self, folder: str = "") -> set[str]:
        """Return the names directly below a folder."""
        return set(self.sizes(folder))

    def read_bounded(self, key: str, limit: int) -> bytes | None:
        """Read a whole object; None if it does not exist.

        Raises:
            StoreError: it is longer than `limit` bytes.
        """
        data = self.read(key, 0, limit + 1)
        if data is not None and len(data) > limit:
            raise StoreError(f"{self.name}: its {key} is damaged: it is longer than {limit} bytes")
        return data

    def read_all(self, keys: Sequence[str], limit: int) -> list[bytes | StoreError | None]:
        """Read many objects like `read_bounded`; an object that cannot be read is replaced by its error."""
        return [self._read_or_error(key, limit) for key in keys]

    def _read_or_error(self, key: str, limit: int) -> bytes | StoreError | None:
        try:
            return self.read_bounded(key, limit)
        except StoreError as error:
            return error

    def obstacle(self) -> str | None:
        """Say why nothing can be written here; None if it can, or if that cannot be known."""
        return None

    # What a place without folders and locks has no need of, or no way to, is nothing.

    def stay(self) -> None:
        """From now on, refuse to write unless the store is still where it is now.

        Later writes raise `RemovedError` where it is not.
        """
        return

    def forsake(self, keys: Iterable[str]) -> None:
        """Remove what was written after the store was removed, where that cannot be known before."""
        return

    def flush(self) -> None:
        """Return once everything written will survive a loss of power."""
        return

    def clean(self) -> None:
        """Remove what an interrupted write left behind."""
        return

    def lock(self, key: str) -> None:
        """Keep other writers out for as long as this process lives, if the place can do that.

        Raises:
            LockedError: another process keeps this one away.
        """
        return

    def unlock(self) -> None:
        """Let other writers in."""
        return


def storage_at(path: str) -> Storage:
    """Return the place that a path or URL names.

    Raises:
        InputError: no file system is known for the URL, or its package is not installed.
    """
    protocol, separator, rest = path.partition("://")
    if not separator or protocol in ("file", "local"):
        return LocalStorage(path, Path(rest if separator else path).expanduser())
    return RemoteStorage(path)


class LocalStorage(Storage):
    """A folder. Objects are files, written under another name, synced, and then renamed."""

    def __init__(self, name: str, root: Path) -> None:
        super().__init__(name)
        self.root = root
        self._changed: set[Path] = set()  # folders with new names in them
        self._lock: int | None = None
        self._identity: tuple[int, int] | None = None
        self._folders: set[Path] = set()  # those that were there once this writer stayed

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Read bytes `start` to `end` of an object, fewer if it ends before; None if it does not exist."""
        try:
            with self._opened(key, os.O_RDONLY) as descriptor:
                size = os.fstat(descriptor).st_size
                end = size if end is None else min(end, size)
                with os.fdopen(os.dup(descriptor), "rb") as file:
                    file.seek(start)
                    return file.read(max(0, end - start))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, key: str, pieces: Sequence[Piece]) -> None:
        """Replace an object by these pieces, one after another; at once and for good."""
        path = self.root / key
        self._check_there()
        self._make_folder(path.parent)
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL}")
        try:
            with partial.open("wb", buffering=0) as file:
                _write_all(file.fileno(), pieces)
                # Before the rename: else a loss of power may leave the new name with no data.
                os.fsync(file.fileno())
            partial.replace(path)
        except FileNotFoundError as error:
            self._check_there()
            raise RemovedError(f"{path.parent} was removed while it was written") from error
        except Exception:
            partial.unlink(missing_ok=True)
            raise
        self._changed.add(path.parent)

    def extend(self, key: str, offset: int, data: bytes) -> None:
        """Put `data` at `offset` as the object's new end."""
        self._check_there()
        try:
            with self._opened(key, os.O_RDWR) as descriptor, os.fdopen(os.dup(descriptor), "r+b") as file:
                file.truncate(offset)
                file.seek(offset)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except FileNotFoundError as error:
            raise RemovedError(f"{self.root / key} was removed while it was written") from error

    def remove(self, key: str) -> None:
        """Remove an object or everything below a folder, if it exists."""
        path = self.root / key
        self._folders.discard(path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def sizes(self, folder: str = "") -> dict[str, int | None]:
        """List a folder by name, with each file's length in bytes; None for anything that is not a file."""
        try:
            with os.scandir(self.root / folder) as entries:
                return {entry.name: _size(entry) for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            return {}

    def obstacle(self) -> str | None:
        """Say why nothing can be written here; None if it can."""
        if self.root.exists() and not self.root.is_dir():
            return "is a file"
        there = self.root
        while not there.exists():
            there = there.parent
        if not there.is_dir():
            return f"cannot be created, because {there} is a file"
        if not os.access(there, os.W_OK | os.X_OK):
            return f"cannot be written: no permission to write in {there}"
        return None

    def stay(self) -> None:
        """From now on, refuse to write unless the store is still where it is now."""
        there = self.root.stat()
        self._identity = there.st_dev, there.st_ino
        self._folders = {path for path in self.root.iterdir() if path.is_dir()}

    def flush(self) -> None:
        """Return once everything written will survive a loss of power."""
        while self._changed:
            folder = self._changed.pop()
            if folder.is_dir():
                descriptor = os.open(folder, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def clean(self) -> None:
        """Remove what an interrupted write left behind."""
        for path in self.root.rglob(f"*{PARTIAL}"):
            path.unlink(missing_ok=True)

    def lock(self, key: str) -> None:
        """Lock a file that is never replaced; create it if necessary."""
        if self._lock is not None:
            return
        self._make_folder(self.root)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.root / key, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        with self._opened(key, os.O_RDWR) as opened:
            descriptor = os.dup(opened)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise LockedError from error
        except OSError:  # some network file systems have no locks; the writer's token remains
            os.close(descriptor)
            return
        self._lock = descriptor

    def unlock(self) -> None:
        """Let other writers in."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextlib.contextmanager
    def _opened(self, key: str, flags: int) -> Iterator[int]:
        """A descriptor of an object's file, once it is known to be a regular one."""
        path = self.root / key
        try:
            # Before it is opened: that alone may have an effect where it is a device.
            is_regular = stat.S_ISREG(path.stat().st_mode)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            is_regular = False
        if not is_regular:
            raise StoreError(f"{self.name}: its {key} is damaged: it is not a regular file")
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise StoreError(f"{self.name}: its {key} is damaged: it is not a regular file")
            yield descriptor
        finally:
            os.close(descriptor)

    def _check_there(self) -> None:
        """Whether the store still lies where this writer found it."""
        if self._identity is None:
            return
        try:
            there = self.root.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RemovedError(f"{self.name} was removed while it was written") from error
        if (there.st_dev, there.st_ino) != self._identity or not (self.root / "zarr.json").exists():
            raise RemovedError(f"{self.name} was removed while it was written")

    def _make_folder(self, folder: Path) -> None:
        if self._identity is not None:
            if folder.is_dir():
                self._folders.add(folder)
                return
            if folder in self._folders:
                raise RemovedError(f"{folder} was removed while it was written")
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            # Without its parents: a store that was removed by now is not made again.
            new.mkdir(exist_ok=True)
            self._changed.add(new.parent)
            if self._identity is not None:
                self._folders.add(new)


def _write_all(descriptor: int, pieces: Sequence[Piece]) -> None:
    """Write pieces from where they lie, as many in a call as the system takes."""
    at = 0
    waiting: list[Piece] = [piece for piece in pieces if len(piece)]
    while at < len(waiting):
        batch = waiting[at : at + _PIECES]
        written = os.writev(descriptor, batch)
        for piece in batch:
            if written < len(piece):  # the system took less, and the rest comes first in the next call
                waiting[at] = memoryview(piece)[written:]
                break
            written -= len(piece)
            at += 1


def _size(entry: "os.DirEntry[str]") -> int | None:
    try:
        found = entry.stat()
    except OSError:  # a link to nothing, or removed by now
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


class RemoteStorage(Storage):
    """A place that fsspec knows, such as a bucket. One object is replaced at once; there are no locks."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        import fsspec

        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise InputError(f"{url}: {one_line(error)}") from error
        except Exception as error:  # clients raise what they like, credentials' libraries too
            raise StoreError(f"{url} cannot be reached: {one_line(error)}") from error
        self._root = root.rstrip("/")

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Read bytes `start` to `end` of an object, fewer if it ends before; None if it does not exist."""
        path = self._path(key)
        try:
            with _calling():
                whole = start == 0 and end is None
                data: bytes = self._fs.cat_file(path) if whole else self._fs.cat_file(path, start, end)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        return data

    def write(self, key: str, pieces: Sequence[Piece]) -> None:
        """Replace an object by these pieces, one after another; at once and for good."""
        with _calling():
            self._fs.pipe_file(self._path(key), b"".join(pieces))

    def extend(self, key: str, offset: int, data: bytes) -> None:
        """Put `data` at `offset` as the object's new end, by rewriting the whole object."""
        before = self.read(key) or b""
        if data or len(before) != offset:
            self.write(key, [before[:offset], data])

    def remove(self, key: str) -> None:
        """Remove an object or everything below a folder, if it exists."""
        with contextlib.suppress(FileNotFoundError), _calling():
            self._fs.rm(self._path(key), recursive=True)

    def sizes(self, folder: str = "") -> dict[str, int | None]:
        """List a folder by name, with each object's length in bytes; None for anything that is not an object."""
        try:
            with _calling():
                self._fs.invalidate_cache()
                found = self._fs.ls(self._path(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {
            entry["name"].rstrip("/").rpartition("/")[2]: entry["size"] if entry["type"] == "file" else None
            for entry in found
        }

    def read_all(self, keys: Sequence[str], limit: int) -> list[bytes | StoreError | None]:
        """Read many objects, several at a time."""
        with ThreadPoolExecutor(_REQUESTS) as threads:
            return list(threads.map(lambda key: self._read_or_error(key, limit), keys))

    def forsake(self, keys: Iterable[str]) -> None:
        """Remove what was written after the store was removed."""
        for key in keys:
            self.remove(key)

    def obstacle(self) -> str | None:
        """Write an object and remove it, which is the only way to find out what a bucket allows."""
        key = f"{uuid.uuid4().hex}{PARTIAL}"
        self.write(key, [b"fastneurons"])
        self.remove(key)
        return None

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root


@contextlib.contextmanager
def _calling() -> Iterator[None]:
    """Turn what a client raises into `OSError`: s3fs, botocore and aiohttp have classes of their own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise PlaceError(one_line(error)) from error

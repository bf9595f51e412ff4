"""Where a store lies: a local folder, or whatever fsspec has a URL for.

Everything is written as whole objects, each of which is either there as it was, or as it is to be. The
one exception is an object that lines are added to (`extend`).
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from pathlib import Path

import zarr.abc.store
from zarr.core.buffer import Buffer
from zarr.storage import FsspecStore, LocalStore

from fastneurons.errors import InputError

_PARTIAL = ".partial"


class LockedError(Exception):
    """Another process holds the lock."""


class Storage(ABC):
    """A place for a store's objects.

    Args:
        name: What the user calls it.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def zarr_store(self, read_only: bool) -> zarr.abc.store.Store:
        """The same place as zarr sees it."""

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """An object, None where there is none."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Replace an object, at once and for good."""

    @abstractmethod
    def extend(self, key: str, offset: int, data: bytes) -> None:
        """Put `data` at `offset`, as the object's new end."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove an object, or all below a folder; nothing where there is none."""

    @abstractmethod
    def names(self, folder: str = "") -> set[str]:
        """The names of what is directly below a folder."""

    def obstacle(self) -> str | None:
        """Why nothing can be written here, in words; None if it can, or if that cannot be known."""
        return None

    # What a place without folders and locks has no need of, or no way to, is nothing.

    def flush(self) -> None:
        """Return when all that was written will outlast a loss of power."""
        return

    def clean(self) -> None:
        """Remove what an interrupted write left behind."""
        return

    def lock(self, key: str) -> None:
        """Keep other writers away for as long as this process lives, where the place has a way to.

        Raises:
            LockedError: another process keeps this one away.
        """
        return

    def unlock(self) -> None:
        """Let other writers in."""
        return


def storage_at(path: str) -> Storage:
    """The place that a path or URL names.

    Raises:
        InputError: no file system is known for the URL, or its package is not installed.
    """
    protocol, separator, rest = path.partition("://")
    if not separator or protocol in ("file", "local"):
        return LocalStorage(path, Path(rest if separator else path).expanduser())
    return RemoteStorage(path)


class LocalStorage(Storage):
    """A folder. Objects are files, written beside their place, synced, and then renamed into it."""

    def __init__(self, name: str, root: Path) -> None:
        super().__init__(name)
        self.root = root
        self._changed: set[Path] = set()  # folders with new names in them
        self._lock: int | None = None

    def zarr_store(self, read_only: bool) -> zarr.abc.store.Store:
        """A zarr store that writes as this does."""
        return _DurableStore(self, read_only=read_only)

    def read(self, key: str) -> bytes | None:
        """An object, None where there is none."""
        try:
            return (self.root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, key: str, data: bytes) -> None:
        """Replace an object, at once and for good."""
        path = self.root / key
        self._make_folder(path.parent)
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_PARTIAL}")
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                # Before the rename: else a loss of power may leave the new name with no data.
                os.fsync(file.fileno())
            partial.replace(path)
        except Exception:
            partial.unlink(missing_ok=True)
            raise
        self._changed.add(path.parent)

    def extend(self, key: str, offset: int, data: bytes) -> None:
        """Put `data` at `offset`, as the object's new end."""
        with (self.root / key).open("r+b") as file:
            file.truncate(offset)
            file.seek(offset)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def remove(self, key: str) -> None:
        """Remove an object, or all below a folder; nothing where there is none."""
        path = self.root / key
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def names(self, folder: str = "") -> set[str]:
        """The names of what is directly below a folder."""
        try:
            return {path.name for path in (self.root / folder).iterdir()}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def obstacle(self) -> str | None:
        """Why nothing can be written here, in words; None if it can."""
        if self.root.exists() and not self.root.is_dir():
            return "is a file"
        there = self.root
        while not there.exists():
            there = there.parent
        if not there.is_dir():
            return f"cannot be made, as {there} is a file"
        if not os.access(there, os.W_OK | os.X_OK):
            return f"cannot be written: no permission to write in {there}"
        return None

    def flush(self) -> None:
        """Return when all that was written will outlast a loss of power."""
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
        for path in self.root.rglob(f"*{_PARTIAL}"):
            path.unlink(missing_ok=True)

    def lock(self, key: str) -> None:
        """Lock a file that is never replaced, which makes it where it is not there."""
        if self._lock is not None:
            return
        self._make_folder(self.root)
        descriptor = os.open(self.root / key, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
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

    def _make_folder(self, folder: Path) -> None:
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
            self._changed.add(new.parent)


class _DurableStore(LocalStore):
    """zarr's local store, which renames as well but does not sync, writing through a `LocalStorage`."""

    def __init__(self, storage: LocalStorage, *, read_only: bool = False) -> None:
        super().__init__(storage.root, read_only=read_only)
        self._storage = storage

    def with_read_only(self, read_only: bool = False) -> "_DurableStore":
        return type(self)(self._storage, read_only=read_only)

    async def set(self, key: str, value: Buffer) -> None:
        self._check_writable()
        await asyncio.to_thread(self._storage.write, key, value.to_bytes())

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        if not (self.root / key).exists():
            await self.set(key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        self._check_writable()
        self._storage.write(key, value.to_bytes())


class RemoteStorage(Storage):
    """A place that fsspec knows, such as a bucket. One object is replaced at once; there are no locks."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        import fsspec

        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise InputError(f"{url}: {error}") from error
        self._root = root.rstrip("/")

    def zarr_store(self, read_only: bool) -> zarr.abc.store.Store:
        """A zarr store at the same place."""
        return FsspecStore.from_url(self.name, read_only=read_only)

    def read(self, key: str) -> bytes | None:
        """An object, None where there is none."""
        try:
            data: bytes = self._fs.cat_file(self._path(key))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        return data

    def write(self, key: str, data: bytes) -> None:
        """Replace an object, at once and for good."""
        self._fs.pipe_file(self._path(key), data)

    def extend(self, key: str, offset: int, data: bytes) -> None:
        """Put `data` at `offset`, as the object's new end: all of it is written anew."""
        before = self.read(key) or b""
        if data or len(before) != offset:
            self.write(key, before[:offset] + data)

    def remove(self, key: str) -> None:
        """Remove an object, or all below a folder; nothing where there is none."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._path(key), recursive=True)

    def names(self, folder: str = "") -> set[str]:
        """The names of what is directly below a folder."""
        self._fs.invalidate_cache()
        try:
            found: list[str] = self._fs.ls(self._path(folder), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return set()
        return {path.rstrip("/").rpartition("/")[2] for path in found}

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

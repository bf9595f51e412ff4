"""Keep a store in a local folder.

Each object is a regular file. Anything else in its place (a pipe, a device, a folder) is refused before it is opened,
because reading it may never end.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from fastneurons.errors import StoreError
from fastneurons.store.frames import Piece
from fastneurons.store.storage import PARTIAL, LockedError, RemovedError, Storage

# Pieces that are written in one call; POSIX's least, IOV_MAX, is 16, and Linux and macOS have 1024.
_PIECES = 1024


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

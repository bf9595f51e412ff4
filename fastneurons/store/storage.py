"""Define what a store needs from its storage. `local.py` and `remote.py` implement it.

A store writes whole objects: at any moment, an object is either as it was before a write or as it is after it. The
only exception is an object that lines are appended to (`extend`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from fastneurons.errors import StoreError
from fastneurons.store.frames import Piece

# The end of an object's name while it is written.
PARTIAL = ".partial"


class LockedError(Exception):
    """Another process holds the lock."""


class RemovedError(StoreError):
    """The store was removed, moved or replaced during writing: nothing in it is safe."""


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
    """Storage for a store's objects.

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

    def remove_object(self, key: str) -> None:
        """Remove an object, if it exists."""
        self.remove(key)

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
        """Remove what was written after the store was removed, if that could not be known earlier."""
        return

    def flush(self) -> None:
        """Return once everything written will survive a loss of power."""
        return

    def clean(self) -> None:
        """Remove what an interrupted write left behind."""
        return

    def lock(self, key: str) -> None:
        """Keep other writers out as long as this process lives, if the storage can do that.

        Raises:
            LockedError: another process keeps this one away.
        """
        return

    def unlock(self) -> None:
        """Let other writers in."""
        return

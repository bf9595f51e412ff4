"""Keep a store in an object store, or anywhere else that has an fsspec URL.

Whatever an object store's client raises comes out as `OSError`, so that callers can tell a place that fails from a
mistake of ours.
"""

import contextlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from fastneurons.errors import InputError, StoreError
from fastneurons.store.frames import Piece
from fastneurons.store.storage import PARTIAL, PlaceError, Storage, one_line

# Requests to an object store that are under way at once.
_REQUESTS = 16


class RemoteStorage(Storage):
    """Storage that fsspec knows, such as a bucket. Replacing one object is atomic; there are no locks."""

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
    """Turn a client's exceptions into `OSError`: s3fs, botocore and aiohttp have classes of their own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise PlaceError(one_line(error)) from error

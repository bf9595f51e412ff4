"""Keep a store in an object store, or anywhere else that has an fsspec URL.

Whatever an object store's client raises comes out as `OSError`, so that callers can tell a place that fails from a
mistake of ours. A place that has answered once and then fails is asked again for two minutes: its servers may only be
starting again.

Each method costs one request, or as many as the comment in it says: requests are what object stores charge for.
"""

import contextlib
import errno
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastneurons.errors import InputError, StoreError
from fastneurons.store.frames import Piece
from fastneurons.store.storage import PARTIAL, PlaceError, Storage, one_line

# Extras with the packages that a URL needs.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
# Requests to an object store that are under way at once.
_REQUESTS = 16
# Between attempts; clients' own attempts, over some seconds, come on top.
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0, 30.0)
# Of errors that another attempt does not mend.
_FINAL = (errno.EINVAL, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_T = TypeVar("_T")


class RemoteStorage(Storage):
    """Storage that fsspec knows, such as a bucket. Replacing one object is atomic; there are no locks."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        import fsspec

        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            extra = _EXTRAS.get(url.partition("://")[0])
            advice = (
                f"; pip install 'fastneurons[{extra}]'" if extra and isinstance(error, ImportError) else ""
            )
            raise InputError(f"{url}: {one_line(error)}{advice}") from error
        except Exception as error:  # clients raise what they like, credentials' libraries too
            raise StoreError(f"{url} cannot be reached: {one_line(error)}") from error
        self._root = root.rstrip("/")
        self._has_answered = False
        self._is_writable = False
        # Objects that `extend` has written, as they are: appending to one needs all of it.
        self._extended: dict[str, bytes] = {}

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Read bytes `start` to `end` of an object, fewer if it ends before; None if it does not exist."""
        path = self._path(key)
        try:
            # With a range always: s3fs asks for the length first where it is to read all.
            data: bytes = self._call(lambda: self._fs.cat_file(path, start=start, end=end))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except OSError as error:
            if not _is_beyond_end(error):
                raise
            return b""
        return data

    def write(self, key: str, pieces: Sequence[Piece]) -> None:
        """Replace an object by these pieces, one after another; at once and for good."""
        data = b"".join(pieces)
        self._call(
            lambda: self._fs.pipe_file(self._path(key), data)
        )  # s3fs: one for each 50 MB beyond 100 MB

    def extend(self, key: str, offset: int, data: bytes) -> None:
        """Put `data` at `offset` as the object's new end, by rewriting the whole object."""
        before = self._extended.get(key)
        if before is None:
            before = self.read(key) or b""
        after = before[:offset] + data
        if after != before:
            self.write(key, [after])
        self._extended[key] = after

    def remove(self, key: str) -> None:
        """Remove an object or everything below a folder, if it exists."""
        path = self._path(key)
        with contextlib.suppress(FileNotFoundError):
            self._call(lambda: self._fs.rm(path, recursive=True))  # a list, and a request for each 1,000

    def remove_object(self, key: str) -> None:
        """Remove an object, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self._call(lambda: self._fs.rm_file(self._path(key)))

    def sizes(self, folder: str = "") -> dict[str, int | None]:
        """List a folder by name, with each object's length in bytes; None for anything that is not an object."""

        def listed() -> list[dict[str, Any]]:
            self._fs.invalidate_cache()
            found: list[dict[str, Any]] = self._fs.ls(self._path(folder), detail=True)
            return found

        try:
            found = self._call(listed)  # a request for each 1,000 names
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
            self.remove_object(key)

    def obstacle(self) -> str | None:
        """Write an object and remove it, which is the only way to find out what a bucket allows."""
        if not self._is_writable:
            key = f"{uuid.uuid4().hex}{PARTIAL}"
            self.write(key, [b"fastneurons"])
            self.remove_object(key)
            self._is_writable = True
        return None

    def _call(self, act: Callable[[], _T]) -> _T:
        """Make a request, several times if the place has answered before and fails now."""
        for pause in (*_PAUSES_S, None):
            try:
                with _calling():
                    result = act()
            except OSError as error:
                if pause is None or not self._has_answered or _is_final(error):
                    raise
                time.sleep(pause)
            else:
                self._has_answered = True
                return result
        raise AssertionError("the last attempt returns or raises")

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


def _is_final(error: OSError) -> bool:
    """Whether another attempt would fail like this one."""
    kinds = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
    return isinstance(error, kinds) or error.errno in _FINAL


def _is_beyond_end(error: OSError) -> bool:
    """Whether a range of bytes begins after the end of an object: for an empty one, any does (HTTP status 416)."""
    text = str(error)
    return "416" in text or "range" in text.lower()

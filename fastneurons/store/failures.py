"""Turn failures of storage into errors for users: a full disk, a lost bucket, damage that zarr finds."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from fastneurons.errors import FastneuronsError, StoreError
from fastneurons.store.storage import one_line

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def writing(path: str, committed: int | None = None) -> Iterator[None]:
    """Turn a failed write into an error that says what it means for the user.

    Args:
        committed: How many examples are safe, if known.
    """
    try:
        yield
    except OSError as error:
        safe = "" if committed is None else f"; {committed} examples are safe"
        if error.errno in _NO_ROOM:
            raise StoreError(
                f"{path}: {error.strerror}{safe}; free some space and continue with --resume"
            ) from error
        raise StoreError(
            f"{path} cannot be written: {one_line(error)}{safe}; continue with --resume"
        ) from error


@contextmanager
def reading(path: str, name: str | None = None) -> Iterator[None]:
    """Turn a failed read into an error that says what it means for the user.

    Args:
        name: The array to read.
    """
    try:
        with decoding(path, name):
            yield
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {one_line(error)}") from error


@contextmanager
def decoding(path: str, name: str | None = None) -> Iterator[None]:
    """Turn whatever zarr or a codec raises for damaged data into an error for users. `OSError` passes.

    Args:
        name: The array to read.
    """
    damaged = "it is damaged" if name is None else f"array {name} is damaged"
    try:
        yield
    except (IndexError, OSError):  # the caller's own index; the place
        raise
    except StoreError as error:
        if str(error).startswith((f"{path}:", f"{path} ", f"{path}/")):
            raise
        message = str(error) if name is None or "damaged: its" in str(error) else f"{damaged}: {error}"
        raise StoreError(f"{path}: {message}") from error
    except FastneuronsError:
        raise
    except Exception as error:
        raise StoreError(f"{path}: {damaged}: {one_line(error)}") from error

"""Find the place that a path names, and check what exists there and whether another run is writing there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastneurons.errors import InputError, StoreError
from fastneurons.store.failures import writing
from fastneurons.store.local import LocalStorage
from fastneurons.store.remote import RemoteStorage
from fastneurons.store.root import MERGING_KEY, ROOT_KEY, SKIPPED_KEY, decode, is_store, read_root
from fastneurons.store.schema import RECATEGORISED_FROM
from fastneurons.store.storage import PARTIAL, LockedError, Storage, one_line


def storage_at(path: str) -> Storage:
    """Return the place that a path or URL names.

    Raises:
        InputError: no file system is known for the URL, or its package is not installed.
    """
    protocol, separator, rest = path.partition("://")
    if not separator or protocol in ("file", "local"):
        return LocalStorage(path, Path(rest if separator else path).expanduser())
    return RemoteStorage(path)


def check_output(path: str, *, resume: bool = False, overwrite: bool = False) -> None:
    """Check whether a run may write to `path`, as far as this can be known before a model is loaded.

    Raises:
        InputError: something is there that may not be replaced or continued, or nothing can be written.
        StoreError: another run is writing to it, it is damaged, or the place cannot be reached.
    """
    storage = storage_at(path)
    with writing(path):
        if check_place(storage, resume, overwrite):
            lock(storage)
            storage.unlock()


def check_place(storage: Storage, resume: bool, overwrite: bool) -> bool:
    """Return whether a store exists that may be continued or replaced.

    Raises:
        InputError: something is there that may not be.
        StoreError: a store is there whose root object is damaged.
    """
    path = storage.name
    obstacle = storage.obstacle()
    if obstacle is not None:
        raise InputError(f"{path} {obstacle}; pass another --out")
    # A run that was killed before it wrote its root object leaves at most an empty list of skipped examples.
    found = {
        name
        for name, size in storage.sizes().items()
        if not name.endswith(PARTIAL) and not (name == SKIPPED_KEY and size == 0)
    }
    if not found:
        return False
    root = read_root(storage) if ROOT_KEY in found else None
    if not is_store(root):
        try:
            decode(root, path)
        except StoreError as error:
            if root is not None and b'"fastneurons"' in root:
                raise StoreError(f"{one_line(error)}; remove {path}, or pass another --out") from error
        if MERGING_KEY in found and overwrite:
            return True
        if MERGING_KEY in found:
            raise InputError(
                f"{path} holds an interrupted merge; run fastneurons merge again, or pass another --out"
            )
        raise InputError(f"{path} exists and is not a fastneurons store; pass another --out")
    if not (resume or overwrite):
        raise InputError(
            f"{path} exists; pass --resume to continue it, --overwrite to replace it, or another --out"
        )
    if resume and root is not None:
        original = decode(root, path).header.config.get(RECATEGORISED_FROM)
        if original is not None:
            raise InputError(
                f"{path} was written by recategorise, from {original}, and cannot be resumed; "
                "resume that store, or pass another --out"
            )
    return True


@contextmanager
def locked(storage: Storage, resume: bool, overwrite: bool) -> Iterator[None]:
    """Check and lock the storage; unlock it if the body fails."""
    check_place(storage, resume, overwrite)
    lock(storage)
    try:
        check_place(storage, resume, overwrite)  # another run may have come and gone
        yield
    except BaseException:
        storage.unlock()
        raise


def lock(storage: Storage) -> None:
    """Keep other writers out of a store.

    Raises:
        StoreError: another run is writing to it.
    """
    try:
        storage.lock(SKIPPED_KEY)
    except LockedError as error:
        data, who = read_root(storage), ""
        if is_store(data):
            try:
                who = f" ({decode(data, storage.name).commit.writer})"
            except StoreError:
                who = ""
        raise StoreError(
            f"{storage.name} is being written by another run{who}; wait for it, or pass another --out"
        ) from error

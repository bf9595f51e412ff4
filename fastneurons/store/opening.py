"""Open a store for reading, while its run goes on or after, and check that what it says of itself agrees."""

from fastneurons.errors import StoreError
from fastneurons.store.failures import reading
from fastneurons.store.place import storage_at
from fastneurons.store.reader import Store
from fastneurons.store.root import MERGING_KEY, ROOT_KEY, decode, read_root
from fastneurons.store.storage import Storage


def open_store(path: str, check: bool = False) -> Store:
    """Open a store for reading.

    Args:
        path: A local path or an fsspec URL.
        check: Whether to look first whether every object is there, of its length. What is read is checked
            in either case.
    Raises:
        InputError: the URL's file system is not known.
        StoreError: nothing is there, or it is no store, or its format is newer, or it is damaged.
    """
    storage = storage_at(path)
    with reading(path):
        data = read_root(storage)
        names = storage.names() if data is None else set()
        if data is None and not names:
            raise StoreError(f"{path}: does not exist")
        if MERGING_KEY in names:
            raise StoreError(
                f"{path} is being merged, or its merge was interrupted: run fastneurons merge again"
            )
        while True:
            try:
                return _opened(path, storage, data, check)
            except StoreError:
                again = read_root(storage)
                if again == data:
                    raise
                data = again  # its run goes on


def _opened(path: str, storage: Storage, data: bytes | None, check: bool) -> Store:
    """The store whose root object has these bytes."""
    store = Store(path, storage, decode(data, path), data or b"")
    if store.is_behind():
        raise StoreError(f"{path}: its {ROOT_KEY} is damaged: it is older than the manifests")
    check_windows(store)
    if check:
        store.check()
    return store


def check_windows(store: Store) -> None:
    """Whether manifests and commit mark agree on how much there is."""
    catalogue, commit = store._catalogue, store._commit
    if catalogue is None or catalogue.problem is not None:
        return
    at = 0
    for first, end, number in catalogue.windows:
        if first != at or end < first:
            raise StoreError(
                f"{store.path} is damaged: its manifest {number} begins after {first} examples, not {at}"
            )
        at = end
    skipped = sum(part.length for part in catalogue.skipped)
    if at != commit.examples or skipped != commit.skipped_bytes:
        raise StoreError(
            f"{store.path} is damaged: its manifests end after {at} examples and {skipped} bytes of skipped examples, "
            f"its commit mark after {commit.examples} and {commit.skipped_bytes}"
        )

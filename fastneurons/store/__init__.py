"""The store: a Zarr group that a run fills window by window, and that everything else is read from."""

from fastneurons.store.reader import SkippedRow, Store, StoredArray, open_store
from fastneurons.store.schema import ATTRIBUTION, CATEGORIES, FORMAT, NEAR_THRESHOLD, Header, Outcome
from fastneurons.store.writer import CommittedRow, StoreWriter, Window, check_output

__all__ = [
    "ATTRIBUTION",
    "CATEGORIES",
    "FORMAT",
    "NEAR_THRESHOLD",
    "CommittedRow",
    "Header",
    "Outcome",
    "SkippedRow",
    "Store",
    "StoreWriter",
    "StoredArray",
    "Window",
    "check_output",
    "open_store",
]

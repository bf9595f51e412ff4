"""The store: a Zarr group that a run fills window by window, and that everything else is read from."""

from fastneurons.arrays import ATTRIBUTION, CATEGORIES
from fastneurons.store.reader import SkippedRow, Store, StoredArray, open_store
from fastneurons.store.schema import FORMAT, LAST_TOKEN, NEAR_THRESHOLD, Header, Outcome
from fastneurons.store.writer import StoreWriter, Window, check_output

__all__ = [
    "ATTRIBUTION",
    "CATEGORIES",
    "FORMAT",
    "LAST_TOKEN",
    "NEAR_THRESHOLD",
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

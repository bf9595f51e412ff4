"""The store: a Zarr group that a run fills window by window, and that reports and analyses read."""

from fastneurons.arrays import ATTRIBUTION, CATEGORIES
from fastneurons.store.committed import CommittedExample
from fastneurons.store.merging import merge_stores
from fastneurons.store.opening import open_store
from fastneurons.store.place import check_output
from fastneurons.store.reader import Store
from fastneurons.store.schema import (
    FORMAT,
    LAST_TOKEN,
    NEAR_THRESHOLD,
    RECATEGORISED_FROM,
    Header,
    Outcome,
)
from fastneurons.store.skipped import SkippedExample
from fastneurons.store.stored_array import StoredArray
from fastneurons.store.verify import Damage, Verification, verify_store
from fastneurons.store.window import Window
from fastneurons.store.window_writer import StorePlace, WindowWriter, WrittenWindow
from fastneurons.store.writer import StoreWriter

__all__ = [
    "ATTRIBUTION",
    "CATEGORIES",
    "FORMAT",
    "LAST_TOKEN",
    "NEAR_THRESHOLD",
    "RECATEGORISED_FROM",
    "CommittedExample",
    "Damage",
    "Header",
    "Outcome",
    "SkippedExample",
    "Store",
    "StorePlace",
    "StoreWriter",
    "StoredArray",
    "Verification",
    "Window",
    "WindowWriter",
    "WrittenWindow",
    "check_output",
    "merge_stores",
    "open_store",
    "verify_store",
]

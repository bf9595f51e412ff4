"""What people look at: tables, JSON and figures, from a store."""

from pathlib import Path
from typing import TYPE_CHECKING

from fastneurons.report.tables import SkipReason, print_summary, skip_reasons, summary, summary_json

if TYPE_CHECKING:
    from fastneurons.store import Store

__all__ = ["SkipReason", "plot", "print_summary", "skip_reasons", "summary", "summary_json"]


def plot(store: "Store", path: str | Path, threshold: float | None = None) -> None:
    """Draw shares of the four categories by layer, and activated share by language.

    With attribution also the categories of the most contributing neurons; of a corpus, activation
    probability by layer and language.

    Args:
        store: A store, complete or not.
        path: The picture; its ending says what it is: .png, .svg or .pdf.
        threshold: One of the store's thresholds; the first for None.
    Raises:
        InputError: another ending, no such folder, no such threshold, or nothing measured yet.
        StoreError: an array is damaged.
    """
    from fastneurons.report.figures import draw  # here: matplotlib takes a second to load

    draw(store, Path(path), threshold)

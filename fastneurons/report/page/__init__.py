"""The report as a page for the browser: one self-contained file, or a folder for runs that are too large for one."""

from collections.abc import Sequence
from pathlib import Path

from fastneurons.errors import InputError
from fastneurons.model_name import short_name
from fastneurons.report.findings import Findings
from fastneurons.report.page.comparison import comparison_blocks
from fastneurons.report.page.data import run_page
from fastneurons.report.page.document import Page, build, write
from fastneurons.store import Store
from fastneurons.visible import visible

__all__ = ["BUDGET", "report_page", "write_report"]

# Bytes of data in a page that is one file: what a mail or a slow line still takes.
BUDGET = 3_000_000
_LONGEST_TITLE = 80


def write_report(
    stores: Sequence[Store],
    path: str | Path,
    threshold: float | None = None,
    folder: bool = False,
    found: Findings | None = None,
) -> None:
    """Write the report of one or several runs: a page that opens in a browser, without a network.

    Args:
        stores: Their stores, complete or not.
        path: The file to write; with `folder`, the folder, which gets an `index.html`.
        threshold: One that every store has; None takes each one's first.
        folder: Whether to write everything, in files that the page loads when they are needed, rather than what fits
            into one file of a few megabytes.
        found: Findings of the first store at that threshold, if they were computed already.
    Raises:
        InputError: a store has no such threshold, or the path cannot be written.
        StoreError: an array is damaged.
    """
    page = report_page(stores, threshold, folder, found)
    try:
        write(page, Path(path))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def report_page(
    stores: Sequence[Store],
    threshold: float | None = None,
    folder: bool = False,
    found: Findings | None = None,
) -> Page:
    """Make the page that `write_report` writes."""
    budget = None if folder else BUDGET // max(1, len(stores))
    runs = [
        (title, run_page(store, threshold, budget, found if store is stores[0] else None))
        for title, store in zip(titles(stores), stores, strict=True)
    ]
    return build(runs, comparison_blocks(stores, threshold), folder)


def titles(stores: Sequence[Store]) -> list[str]:
    """A name for each run that tells it from the others: its model; of one model, its store's name as well."""
    models = [visible(short_name(store.header.model), limit=_LONGEST_TITLE) for store in stores]
    named = [visible(store.path.rstrip("/").rpartition("/")[2], limit=_LONGEST_TITLE) for store in stores]
    return [
        model if models.count(model) == 1 else f"{model}, {name}"
        for model, name in zip(models, named, strict=True)
    ]

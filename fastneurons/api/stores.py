"""Stores that are there: open, verify, merge and report on them."""

import sys
from collections.abc import Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING

from fastneurons.api.arguments import Path
from fastneurons.errors import InputError
from fastneurons.progress import RunProgress, Silent, progress_for
from fastneurons.store import Store, Verification, merge_stores, open_store, verify_store

if TYPE_CHECKING:
    from fastneurons.report import AnyFindings


def open(path: Path, check: bool = True) -> Store:
    """Open a store for reading.

    Args:
        path: A local path or an fsspec URL.
        check: Whether to check first that every part of the store exists. Without this check, a damaged store
            opens, too, so that you can read what is left; every read is checked in either case.
    Raises:
        StoreError: nothing exists there, or it is not a store, or it is damaged.
    """
    return open_store(fspath(path), check)


def verify(path: Path) -> Verification:
    """Read all of a store and compare it with the checksums made when it was written.

    Args:
        path: A local path or an fsspec URL.
    Returns:
        A report of what is damaged and what is still usable.
    Raises:
        StoreError: nothing exists there, or it is not a store, or it is too damaged to open.
    """
    return verify_store(open_store(fspath(path)))


def merge(
    parts: Sequence[Path], out: Path, *, overwrite: bool = False, progress: bool | RunProgress = True
) -> Store:
    """Merge finished stores into one, as a single run would have left it.

    The parts are either all shards of one run, in any order, or whole stores, whose examples follow one another in the
    order given. A merge that was interrupted goes on when it is called again.

    Args:
        parts: Local paths or fsspec URLs.
        out: The store to write: a local path or an fsspec URL.
        overwrite: Whether to replace an existing store.
        progress: Whether to show progress on standard error; or an object whose methods are called instead.
    Returns:
        The merged store.
    Raises:
        InputError: a shard is missing, given twice or too short, or `out` may not be written.
        StoreError: the parts are of different runs, overlap or are damaged, or a store cannot be read or written.
    """
    shown = progress if not isinstance(progress, bool) else Silent()
    if progress is True:
        shown = progress_for(sys.stderr, "merging")
    done: int | None = None

    def advance(now: int, total: int) -> None:
        nonlocal done
        if done is None:
            shown.start(total, now)
        else:
            shown.advance(now - done, 0, 0)
        done = now

    try:
        return merge_stores([fspath(part) for part in parts], fspath(out), overwrite, advance)
    finally:
        shown.stop()


def findings(store: Store | Path, threshold: float | None = None) -> "AnyFindings":
    """Compute everything that `fastneurons summary` and `plot` show.

    Args:
        store: An open store, or its local path or fsspec URL; complete or not.
        threshold: One of the store's thresholds; None takes the first.
    Returns:
        Findings for `fastneurons.report`: `print_findings`, `findings_json`, `draw_findings`.
    Raises:
        InputError: the store has no such threshold.
        StoreError: nothing exists there, or it is not a store, or it is damaged.
    """
    from fastneurons.report import compute_findings  # here: a run needs no report

    return compute_findings(store if isinstance(store, Store) else open(store), threshold)


def write_report(
    stores: Store | Path | Sequence[Store | Path],
    path: Path,
    threshold: float | None = None,
    folder: bool = False,
) -> None:
    """Write a report that opens in any browser, without a network.

    Args:
        stores: One or several open stores, or their local paths or fsspec URLs; complete or not.
        path: The file to write; with `folder`, the folder, which gets an `index.html`.
        threshold: One that every store has; None takes each one's first.
        folder: Whether to write everything, in files that the page loads when they are needed, instead of what fits
            into one file of a few megabytes.
    Raises:
        InputError: a store has no such threshold, or the path cannot be written.
        StoreError: nothing exists at a path, or it is not a store, or it is damaged.
    """
    from fastneurons.report.page import write_report as write  # here: a run needs no report

    several = [stores] if isinstance(stores, Store | str | PathLike) else stores
    opened = [store if isinstance(store, Store) else open(store) for store in several]
    if not opened:
        raise InputError("a report needs at least one store")
    write(opened, fspath(path), threshold, folder)

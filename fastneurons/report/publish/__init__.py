"""A folder that shows a run to others: card, figures, tables, arrays and report, ready for the Hugging Face Hub."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fastneurons.errors import InputError, OutputError
from fastneurons.report.export import Format, export, tables
from fastneurons.report.findings import compute_findings
from fastneurons.report.publish.card import CAPTIONS, MARK, Contents, card
from fastneurons.report.publish.hub import check_push, push

if TYPE_CHECKING:
    import xarray

    from fastneurons.report.findings import Findings
    from fastneurons.store import Store

__all__ = ["Wanted", "check_folder", "check_push", "publish", "push"]


@dataclass(frozen=True)
class Wanted:
    """What the folder holds beside its card.

    Args:
        report: Whether the page for the browser.
        texts: Whether the prompts' texts in the tables. The page has them if the store does.
        store: Whether the store itself, whose many files take longer to upload than all else.
        licence: Of the data set, as the Hub spells it; None for none.
        threshold: Of figures, findings and the page; None for the store's first.
        resamples: Bootstrap samples for intervals.
        seed: Of whatever is drawn at random.
    """

    report: bool = True
    texts: bool = False
    store: bool = False
    licence: str | None = None
    threshold: float | None = None
    resamples: int = 1000
    seed: int | None = None


def check_folder(folder: Path) -> None:
    """Raise InputError unless a folder is new, empty, or one that was published before."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()):
        readme = folder / "README.md"
        if not readme.is_file() or MARK not in readme.read_text("utf-8", errors="replace"):
            raise InputError(f"{folder}: is a folder with other files; name a new one")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"{folder}: the folder {folder.absolute().parent} does not exist")


def publish(store: "Store", folder: str | Path, wanted: Wanted | None = None) -> list[Path]:
    """Write a folder for publication: `README.md`, figures, tables, arrays and the report.

    Tables are Parquet, which the Hub shows, or CSV without pyarrow. The store itself stays out by default: the Hub
    counts files, of which a Zarr store has many, and what readers compute from is in the tables and arrays.

    Args:
        store: A store, complete or not.
        folder: A new or empty folder, or one that was published before, whose files are replaced.
        wanted: What it holds; by default all but texts and the store.
    Returns:
        The files, the card last.
    Raises:
        InputError: the folder has other files, nothing was measured, or there is no such threshold.
        OutputError: a file cannot be written.
        StoreError: an array is damaged.
    """
    folder, wanted = Path(folder), wanted or Wanted()
    check_folder(folder)
    store.needs_kind("measure")
    found = compute_findings(store, wanted.threshold)
    if not found.num_measured:
        raise InputError(f"{store.path}: nothing was measured yet, so there is nothing to publish")
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for old in (folder / "figures").glob("*.png"):
            old.unlink()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    shown = dict(_figures(store, folder / "figures", found, wanted))
    kind: Format = "parquet" if find_spec("pyarrow") is not None else "csv"
    files = [folder / "figures" / f"{name}.png" for name in shown]
    written = export(store, folder / "tables", kind, texts=wanted.texts)
    arrays = export(store, folder, "safetensors")
    others = {
        "arrays.safetensors": "Counts and scores as arrays, as the store has them.",
        "labels.json": "The labels of the arrays' dimensions, and the ids of the examples.",
    }
    if wanted.report:
        from fastneurons.report.page import write_report

        write_report([store], folder / "report.html", wanted.threshold, found=found)
        others = {"report.html": "The report, a page for the browser: download it and open it."} | others
        files.append(folder / "report.html")
    if wanted.store:
        others["run.zarr"] = "The store of the run, which fastneurons, zarr and xarray open."
        _copy_store(store, folder / "run.zarr")
        files.append(folder / "run.zarr")
    about = {table.name: table.about for table in tables(store)}
    contents = Contents(
        figures=list(shown),
        tables={f"tables/{path.name}": about[path.stem] for path in written},
        others=others,
        sentences=_sentences(found, shown),
        licence=wanted.licence,
        store="run.zarr" if wanted.store else None,
    )
    readme = folder / "README.md"
    try:
        readme.write_text(card(found, contents), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise OutputError(f"{readme}: cannot be written: {error.strerror or error}") from error
    return [*files, *written, *arrays, readme]


def _figures(
    store: "Store", folder: Path, found: "Findings", wanted: Wanted
) -> "Iterator[tuple[str, xarray.Dataset | None]]":
    """Draw the figures that a store has; yields their names, with the datasets that they show."""
    from fastneurons.analysis.selection import Selection
    from fastneurons.report import draw_findings
    from fastneurons.report.plots import draw
    from fastneurons.report.plots.analyses import Request, analyses

    draw_findings(found, folder / "summary.png")
    yield "summary", None
    names = [name for name in CAPTIONS if name != "summary"]
    if store.header.is_corpus:
        names = ["inactive"]
    if len(store.header.thresholds) == 1:
        names = [name for name in names if name != "thresholds"]
    request = Request([store], Selection(threshold=wanted.threshold), wanted.resamples, wanted.seed)
    for name, result in analyses(names, request):
        if not isinstance(result, InputError):
            draw(name, result, folder / f"{name}.png")
            yield name, result


def _sentences(found: "Findings", shown: "dict[str, xarray.Dataset | None]") -> list[str]:
    from fastneurons.report.sentences import sentences

    made = sentences(found, shown.get("sharing"), shown.get("contribution"), shown.get("repeating"))
    return [each.text for each in made]


def _copy_store(store: "Store", target: Path) -> None:
    if "://" in store.path:
        raise InputError(f"{store.path}: only a store in a local folder can be copied; drop --with-store")
    try:
        if target.exists():
            shutil.rmtree(target)
        shutil.copytree(store.path, target)
    except (OSError, shutil.Error) as error:
        raise OutputError(f"{target}: cannot be written: {error}") from error

"""`plot`: draw the figure of an analysis, or all that a store has."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastneurons.cli.analysis_options import (
    DEFAULT_RESAMPLES,
    CorrectOnly,
    Resamples,
    Seed,
    StoreLanguages,
    Task,
    Threshold,
    opened,
    selection,
)
from fastneurons.cli.neurons import Category
from fastneurons.cli.paths import check_picture
from fastneurons.errors import InputError

if TYPE_CHECKING:
    from fastneurons.report.plots.analyses import Request
    from fastneurons.store import Store


class Figure(StrEnum):
    """Names of figures: those of the commands that print the same numbers."""

    SUMMARY = "summary"
    CATEGORIES = "categories"
    REPEATING = "repeating"
    THRESHOLDS = "thresholds"
    INACTIVE = "inactive"
    SHARING = "sharing"
    RECATEGORISE = "recategorise"
    ALIGNMENT = "alignment"
    NEURONS = "neurons"
    CONTRIBUTION = "contribution"
    COMPARE = "compare"
    LAPE = "lape"
    DISTRIBUTIONS = "distributions"


class Format(StrEnum):
    """Formats of pictures."""

    PNG = "png"
    SVG = "svg"
    PDF = "pdf"


def plot(
    store: Annotated[
        str,
        typer.Argument(metavar="STORE", help="A store: a local path or an fsspec URL.", show_default=False),
    ],
    figure: Annotated[
        Figure | None,
        typer.Argument(
            metavar="FIGURE",
            help="summary, categories, repeating, thresholds, inactive, sharing, recategorise, alignment, neurons, "
            "contribution, compare, lape or distributions. [default: summary]",
            show_default=False,
        ),
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STORE...",
            help="More stores: one to compare with, or any number for categories side by side.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The picture to write, ending in .png, .svg or .pdf; with --all, a folder. "
            "[default: the figure's name with .png; with --all, figures]",
            show_default=False,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Draw all figures that the store has.")] = False,
    format: Annotated[
        Format | None, typer.Option(help="With --all: the format. [default: png]", show_default=False)
    ] = None,
    width: Annotated[
        float, typer.Option(min=2.5, max=20, help="Width in inches: 3.3 for a column, 7 for a page.")
    ] = 7.0,
    task: Task = None,
    languages: StoreLanguages = None,
    threshold: Threshold = None,
    correct_only: CorrectOnly = False,
    reference: Annotated[
        str | None,
        typer.Option(
            help="For alignment: the language to align with. [default: the first]", show_default=False
        ),
    ] = None,
    category: Annotated[
        Category | None, typer.Option(help="For neurons: list those of this category.", show_default=False)
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            help="For neurons: count only examples in which this language activates the neuron.",
            show_default=False,
        ),
    ] = None,
    resamples: Resamples = DEFAULT_RESAMPLES,
    seed: Seed = None,
) -> None:
    """Draw a figure of a store as a .png, .svg or .pdf picture.

    Each figure shows the numbers of the command that has its name, with their intervals, at the size of print. To
    compare two stores: plot A.zarr compare B.zarr.

    summary draws the share of each category by layer, and the share of neurons that each language activates; for a
    corpus, the activation probability by layer, with one line per language; for a store of deactivate, what each
    category costs in each language, set against random neurons.
    """
    if every and figure is not None:
        raise InputError(f"--all draws every figure: drop {figure.value} or --all")
    if format is not None and not every:
        raise InputError("--format goes with --all; of one figure, the ending of --output says the format")
    others = others or []
    if figure is Figure.COMPARE and len(others) != 1:
        raise InputError("compare takes two stores: plot A.zarr compare B.zarr")
    if others and figure not in (Figure.COMPARE, Figure.CATEGORIES):
        raise InputError(f"{others[0]}: only categories and compare take more stores than one")
    wanted = selection(task, languages, threshold, correct_only)
    if figure in (None, Figure.SUMMARY) and not every:
        if task or languages or correct_only:
            raise InputError(
                "summary is of the whole store; choose categories for some tasks, languages or examples"
            )
        path = output or Path("sharing.png" if figure is None else "summary.png")
        check_picture(path)
        _draw_summary(opened(store), path, threshold)
        print(path)
        return
    if every:
        folder = output or Path("figures")
        _check_folder(folder)
    else:
        assert figure is not None
        path = output or Path(f"{figure.value}.png")
        check_picture(path)
    stores = [opened(each) for each in (store, *others)]
    # Imported late: a store that does not exist is reported sooner.
    from fastneurons.report.plots import draw
    from fastneurons.report.plots.analyses import Request, analyse

    request = Request(
        stores, wanted, resamples, seed, reference, None if category is None else category.value, language
    )
    if every:
        ending = (format or Format.PNG).value
        _draw_all(request, folder, ending, width)
        return
    assert figure is not None
    draw(figure.value, analyse(figure.value, request), path, width)
    print(path)


def _draw_all(request: "Request", folder: Path, ending: str, width: float) -> None:
    """Write the figures that a store has into a folder, and say which it has not."""
    from fastneurons.report.plots import draw
    from fastneurons.report.plots.analyses import analyses

    [store] = request.stores
    apart = (Figure.SUMMARY, Figure.COMPARE, Figure.LAPE, Figure.DISTRIBUTIONS)
    names = [each.value for each in Figure if each not in apart]
    if not store.header.is_measuring:
        names = []
    elif store.header.is_corpus:
        names = ["inactive", "lape", *(["distributions"] if store.header.bins is not None else [])]
    if len(store.header.thresholds) == 1:
        names = [name for name in names if name != "thresholds"]
    folder.mkdir(exist_ok=True)
    path = folder / f"summary.{ending}"
    _draw_summary(store, path, request.selection.threshold)
    print(path)
    for name, found in analyses(names, request) if names else ():
        if isinstance(found, InputError):
            print(f"no {name}: {found}", file=sys.stderr)
            continue
        path = folder / f"{name}.{ending}"
        draw(name, found, path, width)
        print(path)


def _draw_summary(store: "Store", path: Path, threshold: float | None) -> None:
    from fastneurons.report import plot as draw

    draw(store, path, threshold)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output {folder}: is a file; --all writes a folder")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"--output {folder}: the folder {folder.absolute().parent} does not exist")

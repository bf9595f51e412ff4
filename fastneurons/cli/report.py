"""`report`: write a page for the browser about one or several stores."""

from pathlib import Path
from typing import Annotated

import typer

from fastneurons.cli.analysis_options import StoresArgument, Threshold, opened
from fastneurons.cli.paths import check_written
from fastneurons.errors import InputError


def report(
    stores: StoresArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The file to write; with --folder, the folder."),
    ] = Path("report.html"),
    folder: Annotated[
        bool,
        typer.Option("--folder", help="Write everything into a folder, not what fits into one file of 3 MB."),
    ] = False,
    threshold: Threshold = None,
) -> None:
    """Write a report that opens in any browser, without a network.

    The page states the findings as sentences and shows them in figures that share one selection of layer, language,
    task and category; it has pages of single neurons and examples, and tables to sort, filter and download.

    Several stores share a page: choose one of them there, or see two side by side.
    """
    if folder:
        _check_folder(output)
    else:
        check_written(output)
    found = [opened(store) for store in stores]
    # Imported late: a store that does not exist is reported sooner.
    from fastneurons.report.page import write_report

    write_report(found, output, threshold, folder)
    print(output / "index.html" if folder else output)


def _check_folder(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"--output {path}: is a file; with --folder, name a folder")
    if path.is_dir() and any(path.iterdir()) and not (path / "index.html").exists():
        raise InputError(f"--output {path}: is a folder with other files; name a new one")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--output {path}: the folder {path.absolute().parent} does not exist")

"""`publish`: make a folder that shows a run to others, and upload it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fastneurons.cli.analysis_options import (
    DEFAULT_RESAMPLES,
    Resamples,
    Seed,
    StoreArgument,
    Threshold,
    opened,
)


def publish(
    store: StoreArgument,
    to: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="The folder to write.", show_default=False)
    ],
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            "--push-to-hub",
            metavar="NAME",
            help="Upload the folder to the Hugging Face Hub as this data set: user/name.",
            show_default=False,
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new data set on the Hub private.")
    ] = False,
    license: Annotated[
        str | None,
        typer.Option(help="License of the data set, as the Hub spells it: cc-by-4.0.", show_default=False),
    ] = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report", help="Write report.html, which shows the prompts if the store has them."
        ),
    ] = True,
    prompts: Annotated[
        bool,
        typer.Option("--prompts", help="Write the prompts' texts into the tables, if the store has them."),
    ] = False,
    with_store: Annotated[
        bool,
        typer.Option("--with-store", help="Copy the store itself as well, with the bits of each prompt."),
    ] = False,
    threshold: Threshold = None,
    resamples: Resamples = DEFAULT_RESAMPLES,
    seed: Seed = None,
) -> None:
    """Make a folder for the Hugging Face Hub.

    It has a card (README.md) with what was run and the main findings, figures, tables (Parquet, or CSV without
    pyarrow), arrays (safetensors) and the report.

    The store itself stays out unless --with-store is given: it has many files, and tables and arrays hold what was
    counted in it. --push-to-hub needs a login: hf auth login.
    """
    from_store = opened(store)
    # Imported late: a store that does not exist is reported sooner.
    from fastneurons.report.publish import Wanted, check_folder, check_push, push
    from fastneurons.report.publish import publish as write

    check_folder(to)
    if push_to_hub is not None:
        check_push(push_to_hub)
    write(from_store, to, Wanted(report, prompts, with_store, license, threshold, resamples, seed))
    print(to)
    if report and "prompt" in from_store:
        print(f"{to / 'report.html'} shows the prompts' texts; --no-report leaves it out", file=sys.stderr)
    if push_to_hub is not None:
        print(push(to, push_to_hub, private))

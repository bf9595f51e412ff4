"""`export`: write a store in a format that other programs read."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fastneurons.cli.analysis_options import StoreArgument, opened
from fastneurons.errors import InputError


class ExportFormat(StrEnum):
    """Formats of an export."""

    CSV = "csv"
    PARQUET = "parquet"
    SAFETENSORS = "safetensors"


def export(
    store: StoreArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path("export"),
    format: Annotated[
        ExportFormat, typer.Option(help="csv or parquet for tables, safetensors for arrays.")
    ] = ExportFormat.CSV,
    tables: Annotated[
        str | None,
        typer.Option(
            help="Write these tables alone, separated by commas. [default: all that the store has]",
            show_default=False,
        ),
    ] = None,
    prompts: Annotated[
        bool, typer.Option("--prompts/--no-prompts", help="Write the prompts' texts, if the store has them.")
    ] = True,
    bits: Annotated[
        bool,
        typer.Option(
            "--bits",
            help="With safetensors: also write packed bits, coefficients and histograms, as far as there are any.",
        ),
    ] = False,
) -> None:
    """Write a store as CSV, Parquet or safetensors files.

    Tables have one row per observation: examples, prompts, category_counts, activated_counts, attribution,
    neuron_categories, neuron_languages, neuron_contributions, neuron_distributions, outcomes, edited_neurons and
    skipped, as far as the store has them.

    safetensors holds the store's arrays under their names; labels.json next to it names what is along their
    dimensions. Parquet needs pyarrow: pip install 'fastneurons[parquet]'.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output}: is a file; name a folder")
    if bits and format is not ExportFormat.SAFETENSORS:
        raise InputError("--bits goes with --format safetensors: tables have counts")
    from_store = opened(store)
    # Imported late: a store that does not exist is reported sooner.
    from fastneurons.report.export import export as write

    names = [name.strip() for name in (tables or "").split(",") if name.strip()]
    for path in write(from_store, output, format.value, names, prompts, bits):
        print(path)

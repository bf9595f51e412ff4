"""`recategorise`: categories over some of a store's languages, shown or written as a store of its own."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from fastneurons.cli.analysis_options import (
    DEFAULT_RESAMPLES,
    AsJson,
    CorrectOnly,
    Csv,
    Resamples,
    ResultTable,
    Seed,
    StoreArgument,
    StoreLanguages,
    Task,
    Threshold,
    category_cells,
    category_rows,
    chosen_line,
    opened,
    selection,
    show,
)

if TYPE_CHECKING:
    import xarray


def recategorise(
    store: StoreArgument,
    task: Task = None,
    languages: StoreLanguages = None,
    threshold: Threshold = None,
    correct_only: CorrectOnly = False,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="STORE",
            help="Write a store with these languages and this threshold alone: a local path or an fsspec URL.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing store.")] = False,
    resamples: Resamples = DEFAULT_RESAMPLES,
    seed: Seed = None,
    as_json: AsJson = False,
    csv_file: Csv = None,
) -> None:
    """Categories over any subset of a store's languages.

    They are counted anew from the stored bits, without the model. Also shows how they change with the number
    of languages, as a mean over all subsets of each size: shares compare only at equal numbers of languages.
    """
    chosen = selection(task, languages, threshold, correct_only).of(opened(store, csv_file))
    from fastneurons.analysis.recategorise import by_number_of_languages, write_subset

    if out is not None:
        write_subset(chosen, out, overwrite)
        print(out)
        return
    found = by_number_of_languages(chosen, resamples, seed)
    variables = ("subset_share", "subset_share_low", "subset_share_high")
    show(found, _tables, as_json, csv_file, variables)


def _tables(found: "xarray.Dataset") -> Iterable[ResultTable]:
    from fastneurons.report.cells import CATEGORY_HEADINGS

    whole = found.isel(size=-1)
    rows = [
        *category_rows(whole, "layer", "subset_share"),
        ["all", *category_cells(whole, "overall_subset_share")],
    ]
    note = "Per cent of neurons, mean over examples; ±: half a 95 % bootstrap interval."
    yield ResultTable(("layer", *CATEGORY_HEADINGS), rows, 0, chosen_line(found), (note,), last_is_total=True)
    rows = category_rows(found, "size", "overall_subset_share")
    title = "all layers, mean over all subsets of so many languages"
    yield ResultTable(("languages", *CATEGORY_HEADINGS), rows, 0, title)

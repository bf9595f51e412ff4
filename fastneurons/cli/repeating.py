"""`repeating`: neurons that are in the same category in every example, or in most of them."""

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
    category_rows,
    chosen_line,
    opened,
    selection,
    share_cell,
    show,
)

if TYPE_CHECKING:
    import xarray


def repeating(
    store: StoreArgument,
    task: Task = None,
    languages: StoreLanguages = None,
    threshold: Threshold = None,
    correct_only: CorrectOnly = False,
    top: Annotated[int, typer.Option(min=1, help="Neurons to list.")] = 10,
    resamples: Resamples = DEFAULT_RESAMPLES,
    seed: Seed = None,
    as_json: AsJson = False,
    csv_file: Csv = None,
) -> None:
    """Share of neurons that stay in a category in every example.

    Shows it next to the average share and what chance would give, for every example and for at least 50 to 95 % of
    them, and lists the neurons that keep their category and those that change it most.
    """
    chosen = selection(task, languages, threshold, correct_only).of(opened(store, csv_file))
    from fastneurons.analysis.repeating import repeating as analysis

    found = analysis(chosen, replicates=resamples, seed=seed, top=top)
    variables = ("repeating", "repeating_low", "repeating_high", "repeating_chance")
    show(found, _tables, as_json, csv_file, variables)


def _tables(found: "xarray.Dataset") -> Iterable[ResultTable]:
    from fastneurons.report.cells import CATEGORY_HEADINGS

    columns = ("layer", *CATEGORY_HEADINGS)
    every = found.isel(at_least=-1)
    rows = category_rows(every, "layer", "repeating")
    note = "Per cent of neurons in the category in every example; ±: half a 95 % bootstrap interval."
    yield ResultTable(columns, rows, 0, f"{chosen_line(found)}\nin every example", (note,))
    rows = [
        [str(int(layer)), *(share_cell(value) for value in found.average.isel(layer=k).values)]
        for k, layer in enumerate(found.layer.values)
    ]
    yield ResultTable(columns, rows, 0, "average share")
    rows = []
    for q, share in enumerate(found.at_least.values):
        part = found.isel(at_least=q).mean("layer")
        cells = (
            f"{share_cell(part.repeating[c])} ({share_cell(part.repeating_chance[c])})" for c in range(4)
        )
        rows.append([f"{100 * share:g} %", *cells])
    note = "Per cent of all neurons; in parentheses, by chance, if all neurons of a layer were alike."
    yield ResultTable(("at least", *CATEGORY_HEADINGS), rows, 0, "in at least so many examples", (note,))
    yield from _lists(found)


def _lists(found: "xarray.Dataset") -> Iterable[ResultTable]:
    of, E = found.attrs, found.attrs["examples"]
    rows = [
        [f"{int(layer)}:{int(neuron)}", str(category), f"{share_cell(share)} %"]
        for layer, neuron, category, share in zip(
            found.keeper_layer.values,
            found.keeper_neuron.values,
            found.keeper_category.values,
            found.keeper_share.values,
            strict=True,
        )
    ]
    note = (
        f"{of['keepers_in_every_example']:,} neurons keep their category in all {E:,} examples; "
        f"{of['keepers_by_chance']:,.1f} would by chance."
    )
    title = "neurons that keep their category"
    yield ResultTable(("layer:neuron", "category", "of examples"), rows, 2, title, (note,))
    rows = [
        [f"{int(layer)}:{int(neuron)}", f"{change:.3f}", *(f"{int(n):,}" for n in occupancy)]
        for layer, neuron, change, occupancy in zip(
            found.changer_layer.values,
            found.changer_neuron.values,
            found.changer_change.values,
            found.changer_occupancy.values,
            strict=True,
        )
    ]
    note = (
        "change: how often two examples have the neuron in different categories. "
        f"{of['changers_as_much']:,} neurons\nchange at least as much as the last; "
        f"{of['changers_by_chance']:,} would by chance."
    )
    from fastneurons.report.cells import CATEGORY_HEADINGS

    columns = ("layer:neuron", "change", *CATEGORY_HEADINGS)
    yield ResultTable(columns, rows, 1, "neurons that change it most, and their examples", (note,))

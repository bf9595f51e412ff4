"""`inactive`: neurons that no token activates."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

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
    opened,
    selection,
    share_cell,
    show,
)
from fastneurons.errors import InputError

if TYPE_CHECKING:
    import xarray

# Neurons of a layer that the table names; --json and --csv have all.
_NAMED = 5


def inactive(
    store: StoreArgument,
    task: Task = None,
    languages: StoreLanguages = None,
    threshold: Threshold = None,
    correct_only: CorrectOnly = False,
    resamples: Resamples = DEFAULT_RESAMPLES,
    seed: Seed = None,
    as_json: AsJson = False,
    csv_file: Csv = None,
) -> None:
    """Neurons that no token of any prompt activates, by layer.

    Needs a store that was measured at position any, or a corpus. --csv writes the list of neurons.
    """
    from_store = opened(store, csv_file)
    wanted = selection(task, languages, threshold, correct_only)
    from fastneurons.analysis import inactive as analysis

    if from_store.header.is_corpus:
        if task is not None or correct_only:
            raise InputError(f"{store} is of a corpus: it has neither tasks nor answers to choose by")
        found = analysis.inactive_in_corpus(from_store, wanted.languages, threshold)
    else:
        found = analysis.inactive(wanted.of(from_store), resamples, seed)
    show(found, _tables, as_json, csv_file, ("layer_number", "neuron"))


def _tables(found: "xarray.Dataset") -> Iterable[ResultTable]:
    from fastneurons.model_name import short_name
    from fastneurons.report.cells import LONGEST_LIST, count
    from fastneurons.visible import visible

    of = found.attrs
    what, number = ("example", of["examples"]) if "examples" in of else ("token", of["tokens"])
    languages = visible(", ".join(of["languages"]), limit=LONGEST_LIST)
    title = (
        f"{visible(short_name(of['model']))}: {count(number, what)}, above {of['threshold']:g}\n"
        f"languages: {languages}"
    )
    rows = []
    for k, layer in enumerate(found.layer.values):
        each = found.isel(layer=k)
        names = found.neuron.values[found.layer_number.values == layer]
        more = f", and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        rows.append(
            [
                str(int(layer)),
                f"{int(each.inactive_count):,}",
                share_cell(each.inactive, each.inactive_low, each.inactive_high),
                share_cell(each.inactive_chance),
                ", ".join(str(int(name)) for name in names[:_NAMED]) + more,
            ]
        )
    total = int(found.inactive_count.sum())
    chance = float(found.inactive_chance.sum()) * of["neurons"]
    rows.append(
        ["all", f"{total:,}", share_cell(found.inactive.mean()), share_cell(found.inactive_chance.mean()), ""]
    )
    notes = (
        "Per cent of neurons; ±: half a 95 % bootstrap interval; chance: if all neurons of a layer\n"
        f"were alike, which would make it {chance:,.1f} neurons.",
        f"A neuron that up to {100 * of['activation_bound']:.2g} % of the {what}s activate may be missed with a\n"
        "probability of 5 %.",
    )
    columns = ("layer", "neurons", "per cent", "chance", "which")
    yield ResultTable(columns, rows, 0, title, notes, last_is_total=True)

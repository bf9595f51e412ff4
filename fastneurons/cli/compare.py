"""`compare`: two runs over the same examples."""

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
    StoreLanguages,
    Task,
    Threshold,
    opened,
    selection,
    show,
)

if TYPE_CHECKING:
    import xarray


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A store.", show_default=False)],
    second: Annotated[
        str, typer.Argument(metavar="B", help="A store with the same examples.", show_default=False)
    ],
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
    """Differences between two runs over the same examples.

    Compares two models, checkpoints, adapters or tasks, example by example: the share of each category by layer, the
    neurons that changed category most, and whether the two differ at all.
    """
    wanted = selection(task, languages, threshold, correct_only)
    one, two = opened(first, csv_file), opened(second)
    from fastneurons.analysis.compare import compare as analysis
    from fastneurons.analysis.compare import matched

    found = analysis(*matched(one, two, wanted), resamples, seed, top)
    variables = ("first", "second", "difference", "difference_low", "difference_high")
    show(found, _tables, as_json, csv_file, variables)


def _tables(found: "xarray.Dataset") -> Iterable[ResultTable]:
    from fastneurons.report.cells import CATEGORY_HEADINGS, LONGEST_LIST, count
    from fastneurons.visible import visible

    of = found.attrs
    rows = [
        [str(int(layer)), *(_cell(found.isel(layer=k, category=c)) for c in range(4))]
        for k, layer in enumerate(found.layer.values)
    ]
    rows.append(["all", *(_cell(found.isel(category=c), "overall_") for c in range(4))])
    title = (
        f"A: {visible(of['first_store'])}\nB: {visible(of['second_store'])}\n"
        f"{count(of['examples'], 'example')} in both, above {of['threshold']:g}\n"
        f"languages: {visible(', '.join(of['languages']), limit=LONGEST_LIST)}"
    )
    notes = [
        "B less A, in percentage points of neurons; ±: half a 95 % bootstrap interval over examples.",
    ]
    if of["p_no_difference"] == of["p_no_difference"]:
        notes.append(
            f"By chance alone, some difference would be as large with p = {of['p_no_difference']:.3g}."
        )
    if of["texts_different"] > 0:
        notes.append(f"{count(of['texts_different'], 'example')} have other texts in A than in B.")
    if "bits" in of:
        notes.append(_bits_line(of))
    yield ResultTable(("layer", *CATEGORY_HEADINGS), rows, 0, title, notes, last_is_total=True)
    if "bits" in of and not of["identical"]:
        yield _neurons(found)


def _bits_line(of: dict[str, object]) -> str:
    different, bits = int(str(of["bits_different"])), int(str(of["bits"]))
    if not different:
        return f"Identical: all {bits:,} activations are on the same side of the threshold in A and B."
    return (
        f"{different:,} of {bits:,} activations ({100 * different / bits:.3g} %) are on the other side of "
        "the threshold."
    )


def _neurons(found: "xarray.Dataset") -> ResultTable:
    of = found.attrs
    rows = [
        [
            f"{int(found.changed_layer[k])}:{int(found.changed_neuron[k])}",
            f"{int(found.changed_examples[k]):,}",
            "/".join(str(int(n)) for n in found.changed_first[k]),
            "/".join(str(int(n)) for n in found.changed_second[k]),
            f"{float(found.changed_p[k]):.2g}",
            f"{float(found.changed_q[k]):.2g}",
        ]
        for k in range(found.sizes["changed"])
    ]
    rate = of["rate"]
    notes = (
        "examples: those in which the category differs; A, B: examples in which the neuron is non-activated/\n"
        "specific/partial-shared/all-shared; p: sign test; q: corrected by Benjamini and Hochberg.",
        f"{of['neurons_significant']:,} of {of['neurons']:,} neurons changed at a false discovery rate of "
        f"{100 * rate:g} %; {of['neurons_below_rate']:,} have p up\nto {rate:g}, "
        f"as at most {of['neurons_by_chance']:,.0f} would by chance.",
    )
    columns = ("layer:neuron", "examples", "A", "B", "p", "q")
    return ResultTable(columns, rows, 1, "neurons that changed category most", notes)


def _cell(found: "xarray.Dataset", prefix: str = "") -> str:
    mean, low, high = (float(found[f"{prefix}difference{end}"]) for end in ("", "_low", "_high"))
    half = (high - low) / 2
    return f"{100 * mean:+.2f}" + (f" ±{100 * half:.2f}" if half == half else "")

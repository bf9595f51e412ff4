"""The command `alignment`: how often a translation has the most similar neurons."""

from collections.abc import Iterator
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
    opened,
    selection,
    show,
)
from fastneurons.cli.result_cells import percent, plain_percent, probability, scope

if TYPE_CHECKING:
    import xarray

# Languages that have a column each in the table of layers.
_COLUMNS = 5


def alignment(
    store: StoreArgument,
    reference: Annotated[
        str | None,
        typer.Option(help="Language to align with. [default: the store's first]", show_default=False),
    ] = None,
    task: Task = None,
    languages: StoreLanguages = None,
    threshold: Threshold = None,
    correct_only: CorrectOnly = False,
    sample: Annotated[
        int,
        typer.Option(
            min=2, help="Examples to compare, drawn by seed if there are more: all pairs are compared."
        ),
    ] = 500,
    resamples: Resamples = DEFAULT_RESAMPLES,
    seed: Seed = None,
    as_json: AsJson = False,
    csv: Csv = None,
) -> None:
    """Share of translations whose neurons are most alike.

    The score is the share of examples whose two prompts are each other's nearest neighbours: their sets of activated
    neurons are more similar (cosine) than either is to that of any other example. It is the score of NeuronXA
    (arXiv 2507.14900), from the stored bits.

    Also prints both directions apart: the reference's prompt finds its translation, and the translation finds it.
    """
    found_store = opened(store)
    from fastneurons.analysis.alignment import alignment as scores

    chosen = selection(task, languages, threshold, correct_only).of(found_store)
    found = scores(chosen, reference, sample, resamples, seed)
    show(found, _tables, as_json, csv, ("score", "score_low", "score_high", "p", "q"))


def _tables(found: "xarray.Dataset") -> Iterator[ResultTable]:
    n = found.attrs["sampled_examples"]
    codes = [str(code) for code in found["language"].values]
    rows = []
    for code in codes:
        at = {"direction": "both", "language": code}
        rows.append(
            (
                code,
                percent(found, "overall", **at),
                percent(found, "overall", language=code, direction="forward"),
                percent(found, "overall", language=code, direction="backward"),
                percent(found, "layer_mean", **at),
                probability(float(found["overall_q"].sel(at))),
            )
        )
    chance = plain_percent(float(found["chance"].sel(direction="both")), 2)
    one_way = plain_percent(float(found["chance"].sel(direction="forward")), 2)
    reference = found.attrs["reference"]
    yield ResultTable(
        ("language", "aligned", f"{reference}\nfinds it", f"it finds\n{reference}", "mean over\nlayers", "q"),
        rows,
        left=1,
        title=f"alignment with {reference}: {scope(found, n)}",
        notes=(
            "Per cent of examples; ±: half a 95 % bootstrap interval. aligned: both directions,",
            f"all layers' neurons together. By chance: {chance} %, in one direction {one_way} %.",
            "q: of as many by chance, corrected over languages (Benjamini-Hochberg).",
        ),
    )
    both = found.sel(direction="both")
    shown = codes[:_COLUMNS]
    yield ResultTable(
        ("layer", *shown),
        [
            (str(layer), *(percent(both, "score", language=code, layer=layer) for code in shown))
            for layer in found["layer"].values
        ],
        title="by layer: aligned in both directions, per cent",
        notes=(f"{len(codes) - len(shown)} more languages are in --json and --csv.",)
        if len(codes) > len(shown)
        else (),
    )

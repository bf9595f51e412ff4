"""The command `sharing`: which languages share neurons with which."""

from collections.abc import Iterator
from pathlib import Path
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
from fastneurons.cli.result_cells import number, percent, plain_percent, probability, scope
from fastneurons.errors import InputError

if TYPE_CHECKING:
    import xarray

# Pairs and sets that a table shows; JSON and CSV have more.
_PAIRS = 45
_SETS = 15
_CSV = ("jaccard", "jaccard_low", "jaccard_high", "chance", "chance_low", "chance_high", "chance_permuted",
        "excess", "excess_low", "excess_high", "unpaired", "p", "q")  # fmt: skip


def sharing(
    store: StoreArgument,
    task: Task = None,
    languages: StoreLanguages = None,
    threshold: Threshold = None,
    correct_only: CorrectOnly = False,
    similarity: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="CSV file with a similarity of languages: two languages and a value a line, or a square matrix.",
            show_default=False,
        ),
    ] = None,
    permutations: Annotated[
        int, typer.Option(min=0, help="Random permutations of neurons that check the chance level.")
    ] = 200,
    resamples: Resamples = DEFAULT_RESAMPLES,
    seed: Seed = None,
    as_json: AsJson = False,
    csv: Csv = None,
) -> None:
    """Overlap of the neurons that languages activate.

    For each pair of languages, prints the overlap of the neurons that they activate (Jaccard index: neurons
    activated in both over neurons activated in either), the overlap of as many neurons drawn at random, and the
    overlap if the two prompts were not translations of each other.

    Then the languages' order in a tree of their overlaps, the sets of languages that activate a neuron together, and
    how overlaps correlate with the languages' script, their family, and your own similarities.
    """
    found_store = opened(store)
    from fastneurons.analysis.language_sharing import language_sharing
    from fastneurons.analysis.similarity import read_similarity

    chosen = selection(task, languages, threshold, correct_only).of(found_store)
    measures = {}
    for path in similarity or ():
        if path.stem in measures:
            raise InputError(
                f"--similarity: two files are named {path.stem}; results are named after their files"
            )
        measures[path.stem] = read_similarity(path, chosen.languages)
    found = language_sharing(chosen, measures, permutations=permutations, resamples=resamples, seed=seed)
    show(found, _tables, as_json, csv, _CSV)


def _tables(found: "xarray.Dataset") -> Iterator[ResultTable]:
    yield _pairs(found)
    yield _layers(found)
    yield ResultTable(
        (),
        (),
        title="order in the tree of overlaps, neighbours most alike",
        notes=(", ".join(str(code) for code in found["leaf"].values),),
    )
    if "set" in found.coords:
        yield _sets(found)
    yield _correlations(found)


def _pairs(found: "xarray.Dataset") -> ResultTable:
    order = found["jaccard"].fillna(-1).argsort().values[::-1]
    rows = []
    for at in order[:_PAIRS]:
        pair = str(found["pair"].values[at])
        rows.append(
            (
                pair,
                percent(found, "jaccard", pair=pair),
                plain_percent(found["chance"].values[at]),
                percent(found, "excess", pair=pair),
                plain_percent(found["unpaired"].values[at]),
                probability(found["q"].values[at]),
            )
        )
    checked = found["chance_permuted"] - found["chance"]
    farthest = float(abs(checked).max()) if checked.notnull().any() else float("nan")
    notes = [
        "Per cent; ±: half a 95 % bootstrap interval over examples. chance: as many",
        "neurons drawn at random; unpaired: prompts of different examples. q: two-sided,",
        "against chance, corrected over all pairs (Benjamini-Hochberg).",
    ]
    if farthest == farthest:
        notes.append(
            f"{found.attrs['permutations']} permutations of {found.attrs['permuted_examples']:,} examples: "
            f"at most {100 * farthest:.2f} points from chance."
        )
    if len(order) > _PAIRS:
        notes.append(f"The {_PAIRS} largest of {len(order)} pairs; --json and --csv have all.")
    return ResultTable(
        ("languages", "overlap", "chance", "beyond\nchance", "unpaired", "q"),
        rows,
        left=1,
        title=f"overlap of activated neurons: {scope(found, found.attrs['compared_examples'])}",
        notes=notes,
    )


def _layers(found: "xarray.Dataset") -> ResultTable:
    rows = [
        (
            str(layer),
            percent(found, "layer_jaccard", layer=layer),
            plain_percent(found["layer_chance"].sel(layer=layer)),
        )
        for layer in found["layer"].values
    ]
    return ResultTable(("layer", "overlap", "chance"), rows, title="by layer: mean over all pairs, per cent")


def _sets(found: "xarray.Dataset") -> ResultTable:
    rows = []
    for at, name in enumerate(found["set"].values[:_SETS]):
        rows.append(
            (
                str(name) or "(none)",
                percent(found, "set_share", set=name),
                plain_percent(found["set_chance"].values[at]),
                percent(found, "set_excess", set=name),
            )
        )
    return ResultTable(
        ("activated in exactly", "share", "chance", "beyond\nchance"),
        rows,
        left=1,
        title=f"sets of languages: the {len(rows)} largest, of {found.attrs['set_examples']:,} examples",
        notes=(
            "Per cent of neurons. chance: languages activate neurons independently, each as",
            "many in each example and layer as it does.",
        ),
    )


def _correlations(found: "xarray.Dataset") -> ResultTable:
    rows = [
        (
            str(name),
            number(found, "rho", 2, measure=name),
            probability(found["rho_p"].values[at]),
            probability(found["rho_q"].values[at]),
            str(int(found["rho_pairs"].values[at])),
        )
        for at, name in enumerate(found["measure"].values)
    ]
    return ResultTable(
        ("similarity", "Spearman", "p", "q", "pairs"),
        rows,
        left=1,
        title="overlap and similarity of languages",
        notes=(
            "p by permuting languages (Mantel's test). -: the similarity is the same for all",
            "pairs, or is not known.",
        ),
    )

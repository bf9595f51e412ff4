"""The command `neurons`: lists of neurons, and the profile of one."""

from collections.abc import Iterator
from enum import StrEnum
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
from fastneurons.cli.paths import check_written
from fastneurons.cli.result_cells import expected, number, percent, plain_percent, probability, scope
from fastneurons.cli.sets import say_written
from fastneurons.errors import InputError

if TYPE_CHECKING:
    import xarray

    from fastneurons.analysis.neuron_lists import By

# Neurons of a list, unless --top says otherwise.
_LISTED = 50
# Languages that have a column each in a list; examples that the life of a neuron shows.
_COLUMNS = 4
_EXAMPLES = 20


class Category(StrEnum):
    """The four categories, as options spell them."""

    NON_ACTIVATED = "non-activated"
    SPECIFIC = "specific"
    PARTIAL_SHARED = "partial-shared"
    ALL_SHARED = "all-shared"


class _By(StrEnum):
    OCCUPANCY = "occupancy"
    SPECIFICITY = "specificity"
    CONTRIBUTION = "contribution"


def neurons(
    store: StoreArgument,
    category: Annotated[
        Category | None, typer.Option(help="List neurons of this category.", show_default=False)
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            help="Count only examples in which this language activates the neuron.", show_default=False
        ),
    ] = None,
    by: Annotated[
        _By | None,
        typer.Option(
            help="Order: occupancy (how often in the category), specificity (share of activations in one "
            "language), or contribution (needs --attribution). [default: occupancy with --category, else specificity]",
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Neurons to list. [default: 50]", show_default=False)
    ] = None,
    min_share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Least share of examples in which a listed neuron is in the category. "
            "[default: 0, or 0.5 by contribution]",
            show_default=False,
        ),
    ] = None,
    neuron: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER:INDEX",
            help="Show one neuron over all examples and languages instead: 12:345.",
            show_default=False,
        ),
    ] = None,
    task: Task = None,
    languages: StoreLanguages = None,
    threshold: Threshold = None,
    correct_only: CorrectOnly = False,
    resamples: Resamples = DEFAULT_RESAMPLES,
    seed: Seed = None,
    as_json: AsJson = False,
    csv: Csv = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="FILE",
            help="Also save the neurons as a set: the first --top ones, or, if --top is not given, all that meet "
            "the conditions, listed or not.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Lists of neurons, or one neuron over all examples.

    Neurons are listed by how often they are in a category, by how much they prefer a language, or by what they
    contribute. Each list says how many such neurons there are, and how many there would be by chance. q is
    corrected for the number of neurons tested (Benjamini-Hochberg).
    """
    place = None if neuron is None else _place(neuron)
    options = {"--category": category, "--language": language, "--by": by, "--min-share": min_share,
               "--save": save}  # fmt: skip
    given = [name for name, value in options.items() if value is not None]
    if place is not None and given:
        raise InputError(f"--neuron shows one neuron; {given[0]} is for many: drop one of them")
    if save is not None:
        check_written(save)
    found_store = opened(store)
    chosen = selection(task, languages, threshold, correct_only).of(found_store)
    if place is not None:
        from fastneurons.analysis.neuron_life import neuron_life

        life = neuron_life(chosen, *place, resamples=resamples, seed=seed)
        show(life, _life_tables, as_json, csv, ("activated",))
        return
    from fastneurons.analysis.neuron_lists import neuron_list

    category_name = None if category is None else category.value
    by_name: By | None = None if by is None else by.value
    found = neuron_list(chosen, category_name, language, by_name, top or _LISTED, min_share, resamples, seed)
    variables = ["count", "count_share", "count_share_low", "count_share_high", "p", "q", "entropy",
                 "entropy_low", "entropy_high"]  # fmt: skip
    show(found, _list_tables, as_json, csv, variables + (["preferred"] if "preferred" in found else []))
    if save is not None:
        from fastneurons.analysis.store_sets import set_of_list
        from fastneurons.neuron_sets import save as save_set

        neurons_saved = set_of_list(chosen, category_name, language, by_name, top, min_share)
        save_set(neurons_saved, save)
        which = "all that meet the conditions" if top is None else "those listed"
        say_written(save, f"{len(neurons_saved):,} neurons, {which}")


def _place(text: str) -> tuple[int, int]:
    layer, colon, index = text.partition(":")
    if not (colon and layer.strip().isdecimal() and index.strip().isdecimal()):
        raise InputError(f"--neuron {text}: is not a layer and an index, such as 12:345")
    return int(layer), int(index)


def _list_tables(found: "xarray.Dataset") -> Iterator[ResultTable]:
    by = found.attrs["by"]
    codes = [str(code) for code in found["language"].values][:_COLUMNS]
    counted = "in\ncategory" if by != "specificity" and found.attrs["of_category"] else "active"
    columns = ["neuron", *(["language"] if "preferred" in found else []), counted, "entropy"]
    columns += [*(f"in {code}" for code in codes), "q" if by != "contribution" else "score"]
    rows = []
    for at in range(found.sizes["entry"]):
        preferred = [str(found["preferred"].values[at])] if "preferred" in found else []
        if by == "contribution":
            of = found.attrs["of_language"]
            scores = found["contribution"].isel(entry=at)
            last = f"{float(scores.sel(language=of) if of else scores.mean()):.4g}"
        else:
            last = probability(found["q"].values[at])
        rows.append(
            (
                f"{int(found['layer'].values[at])}:{int(found['neuron'].values[at])}",
                *preferred,
                percent(found, "count_share", entry=at),
                number(found, "entropy", 2, entry=at),
                *(plain_percent(found["activation_rate"].values[at][k]) for k in range(len(codes))),
                last,
            )
        )
    yield ResultTable(
        columns,
        rows,
        left=1 + ("preferred" in found),
        title=f"{_heading(found)}: {scope(found, found.attrs['compared_examples'])}",
        notes=(
            _chance(found),
            "Per cent of examples; ±: half a 95 % bootstrap interval. entropy: 1 if activated",
            "equally often in all languages, 0 if in one alone.",
        ),
    )


def _heading(found: "xarray.Dataset") -> str:
    of = " ".join(filter(None, (found.attrs["of_category"], found.attrs["of_language"])))
    return f"neurons by {found.attrs['by']}" + (f", {of}" if of else "")


def _chance(found: "xarray.Dataset") -> str:
    total, number_found = found.attrs["num_neurons"], found.attrs["found"]
    by_chance = expected(found.attrs["expected_by_chance"])
    match found.attrs["by"]:
        case "occupancy":
            if not found.sizes["entry"]:
                return f"None of the {total:,} neurons."
            least = int(found["count"].values.min())
            return (
                f"{number_found:,} of {total:,} neurons are in it in {least:,} examples or more; "
                f"by chance: {by_chance}."
            )
        case "specificity":
            if not found.sizes["entry"]:
                return f"None of {total:,} neurons prefers a language significantly (q at most 0.05)."
            return f"{number_found:,} of {total:,} neurons have a p as small as those listed; by chance: {by_chance}."
    if not found.attrs["of_category"]:
        return f"Of {total:,} neurons; nothing is tested, so there is no chance level."
    share = found.attrs["min_share"]
    return (
        f"{number_found:,} of {total:,} neurons are in it in {100 * share:g} % of examples or more; "
        f"by chance: {by_chance}."
    )


def _life_tables(found: "xarray.Dataset") -> Iterator[ResultTable]:
    E = found.attrs["compared_examples"]
    has_scores = "contribution" in found
    rows = []
    for at, code in enumerate(found["language"].values):
        rows.append(
            (
                str(code),
                percent(found, "activation_rate", language=code),
                plain_percent(found["layer_activation_rate"].values[at]),
                percent(found, "activation_share", language=code),
                probability(found["q"].values[at]),
                *([f"{float(found['contribution'].values[at]):.4g}"] if has_scores else []),
            )
        )
    name = f"{found.attrs['layer']}:{found.attrs['neuron']}"
    yield ResultTable(
        (
            "language",
            "activated",
            "layer's\nmean",
            "share of\nactivations",
            "q",
            *(["contribution"] if has_scores else []),
        ),
        rows,
        left=1,
        title=f"neuron {name}: {scope(found, E)}",
        notes=(
            f"Per cent; ±: half a 95 % bootstrap interval. Entropy: {number(found, 'entropy', 2)}.",
            "q: the neuron prefers the language, against one that cannot tell languages",
            "apart, corrected over languages.",
        ),
    )
    yield ResultTable(
        ("category", "share of\nexamples", "layer's\nmean"),
        [
            (
                str(each),
                percent(found, "category_share", category=each),
                plain_percent(found["layer_category_share"].values[at]),
            )
            for at, each in enumerate(found["category"].values)
        ],
        left=1,
    )
    codes = [str(code) for code in found["language"].values]
    shown = [
        (
            str(found["example"].values[at]),
            str(found["category"].values[found["category_code"].values[at]]),
            ", ".join(code for code, on in zip(codes, found["activated"].values[at], strict=True) if on)
            or "-",
        )
        for at in range(min(E, _EXAMPLES))
    ]
    more = f"The first {_EXAMPLES} of {E:,} examples; --json and --csv have all." if E > _EXAMPLES else ""
    yield ResultTable(("example", "category", "activated in"), shown, left=3, notes=(more,) if more else ())

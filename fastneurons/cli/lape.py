"""`lape`: language-specific neurons from the counts of a corpus, by LAPE and other methods."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastneurons.cli.analysis_options import (
    AsJson,
    Csv,
    ResultTable,
    Seed,
    StoreLanguages,
    Threshold,
    opened,
    selection,
    share_cell,
    show,
)
from fastneurons.cli.result_cells import expected, plain_percent, probability
from fastneurons.errors import InputError

if TYPE_CHECKING:
    import xarray

# Sets that stand side by side in a table; pairs of sets that are listed.
_SIDE_BY_SIDE = 8
_PAIRS = 12
_LIST = "list"

TopRate = Annotated[
    float,
    typer.Option("--top-rate", help="lape: the share of all neurons to select, those of lowest entropy."),
]
FilterRate = Annotated[
    float,
    typer.Option(
        "--filter-rate",
        help="lape: a neuron must exceed, in some language, the activation probability of this rank among all "
        "neurons' and languages'.",
    ),
]
ActivationBarRatio = Annotated[
    float,
    typer.Option(
        "--activation-bar-ratio",
        help="A neuron belongs to each language in which it exceeds the activation probability of this rank.",
    ),
]
LapeResamples = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Bootstrap samples of the corpus's parts; 0 for no stability. [default: 200, fewer for large models]",
        show_default=False,
    ),
]


def lape(
    store: Annotated[
        str | None,
        typer.Argument(
            metavar="STORE",
            help="A store of run --position corpus: a local path or an fsspec URL.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="METHOD", help="How to find the neurons; `list` names the methods.")
    ] = "lape",
    top_rate: TopRate = 0.01,
    filter_rate: FilterRate = 0.95,
    activation_bar_ratio: ActivationBarRatio = 0.95,
    languages: StoreLanguages = None,
    threshold: Threshold = None,
    resamples: LapeResamples = None,
    seed: Seed = None,
    as_json: AsJson = False,
    csv_file: Csv = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="FOLDER",
            help="Also save each set of neurons in this folder, and all of them as masks.pt, in the format of LAPE's "
            "published code.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Neurons of each language in a corpus, by LAPE and others.

    Shows how many neurons each language has in each layer, how stable the sets are under other texts of the same
    kind, and which languages share neurons, next to what chance would give. --csv writes the list of neurons.
    """
    if method == _LIST:
        from fastneurons.analysis.language_neurons import TITLES

        for name, title in TITLES.items():
            print(f"{name:20}{title}")
        return
    if store is None:
        raise InputError("STORE is missing: name a store of run --position corpus, or --method list")
    if save is not None:
        _check_folder(save)
    from_store = opened(store, csv_file)
    wanted = selection(None, languages, threshold)
    from fastneurons.analysis.find_language_neurons import language_neurons, sets_of
    from fastneurons.analysis.lape import Rates

    rates = Rates(top_rate, filter_rate, activation_bar_ratio)
    found = language_neurons(from_store, method, wanted.languages, threshold, rates, resamples, seed)
    variables = ["set_name", "layer_number", "neuron_number", *(["score"] if "score" in found else [])]
    show(found.drop_vars("member"), language_neuron_tables, as_json, csv_file, variables)
    if save is not None:
        from fastneurons.exchange.masks import save_sets

        sets = sets_of(from_store, found)
        save_sets(sets, save)
        from fastneurons.visible import visible

        print(f"wrote {visible(str(save))}: {len(sets)} sets, and masks.pt", file=sys.stderr)


def language_neuron_tables(found: "xarray.Dataset") -> Iterator[ResultTable]:
    """Lay out the dataset of `language_neurons` for people."""
    from fastneurons.model_name import short_name
    from fastneurons.report.cells import LONGEST_LIST, LONGEST_NAME, count
    from fastneurons.visible import visible

    of = found.attrs
    names = [str(name) for name in found["set"].values]
    title = (
        f"{visible(short_name(of['model']), limit=LONGEST_NAME)}: {count(of['tokens'], 'token')}, "
        f"above {of['threshold']:g}{'' if of['complete'] else ' (the run is not complete)'}\n"
        f"languages: {visible(', '.join(of['languages']), limit=LONGEST_LIST)}"
    )
    if of["without_tokens"]:
        title += f"\nleft out, without tokens: {visible(', '.join(of['without_tokens']), limit=LONGEST_LIST)}"
    for first in range(0, len(names), _SIDE_BY_SIDE):
        some = slice(first, first + _SIDE_BY_SIDE)
        counts = found["layer_count"].values[some].T
        rows = [
            [str(int(layer)), *(f"{each:,}" for each in row)]
            for layer, row in zip(found["layer"].values, counts.tolist(), strict=True)
        ]
        rows.append(["all", *(f"{each:,}" for each in found["count"].values[some].tolist())])
        last = first + _SIDE_BY_SIDE >= len(names)
        columns = ("layer", *names[some])
        yield ResultTable(columns, rows, 0, title, _notes(found) if last else (), last_is_total=True)
        title = ""
    yield _stability(found, names)
    if not of["exclusive"]:
        yield _overlaps(found)


def _notes(found: "xarray.Dataset") -> tuple[str, ...]:
    of = found.attrs
    total = of["neurons"] * found.sizes["layer"]
    chosen = f"{of['chosen']:,} of {total:,} neurons are selected"
    if of["replicates"]:
        by_chance = of["chosen_by_chance"]
        share = f" ({plain_percent(by_chance / of['chosen'])} %)" if of["chosen"] else ""
        chosen += f"; by chance, at most: {expected(by_chance)}{share}"
    lines = [f"{chosen}."]
    if of["method"] == "average-precision":
        lowest = min(found["score"].values.tolist(), default=float("nan"))
        return (*lines, f"The best detectors of each language, of average precision {lowest:.3f} or more.")
    if of["method"] == "lape":
        highest = (
            "" if of["highest_entropy"] != of["highest_entropy"] else f" up to {of['highest_entropy']:.4f}"
        )
        lines.append(
            f"Entropy{highest}; {of['passed_filter']:,} pass the filter, p > {of['filter_bar']:.4g}."
        )
    lines.append(f"A neuron belongs to each language in which p > {of['activation_bar']:.4g}.")
    return tuple(lines)


def _stability(found: "xarray.Dataset", names: list[str]) -> ResultTable:
    of = found.attrs
    sizes = zip(*(found[f"count{end}"].values.tolist() for end in ("", "_low", "_high")), strict=True)
    shares = zip(
        *(found[each].values.tolist() for each in ("agreement", "agreement_chance", "again", "stable")),
        strict=True,
    )
    rows = [
        [name, f"{size:,}", f"{low:,.0f} to {high:,.0f}" if low == low else "-", *map(plain_percent, each)]
        for name, (size, low, high), each in zip(names, sizes, shares, strict=True)
    ]
    if of["no_stability"]:
        notes: tuple[str, ...] = (f"Stability is not known: {of['no_stability']}.",)
        rows = [row[:2] for row in rows]
        return ResultTable(("set", "neurons"), rows, 1, notes=notes)
    notes = (
        f"95 %: bootstrap interval over parts of the corpus ({of['replicates']} samples). two halves: Jaccard index",
        f"in per cent of the sets from two halves of the corpus, mean of {of['divisions']}; by chance: of random sets",
        "of these sizes. again: share of samples that have a neuron in the set again; stable: share of",
        "the neurons that nine in ten samples have in it again.",
    )
    columns = ("set", "neurons", "95 %", "two\nhalves", "by\nchance", "again", "stable")
    return ResultTable(columns, rows, 1, notes=notes)


def _overlaps(found: "xarray.Dataset") -> ResultTable:
    pairs = found.sortby("jaccard", ascending=False).isel(pair=slice(_PAIRS))
    rows = [
        [
            str(each["first"].item()), str(each["second"].item()), f"{int(each['common']):,}",
            expected(float(each["common_chance"])), share_cell(each["jaccard"]), share_cell(each["jaccard_chance"]),
            probability(float(each["q"])),
        ]
        for each in (pairs.isel(pair=k) for k in range(pairs.sizes["pair"]))
    ]  # fmt: skip
    more = f"The {_PAIRS} largest of {found.sizes['pair']} overlaps; " if found.sizes["pair"] > _PAIRS else ""
    notes = (
        f"{more}overlap: Jaccard index, per cent. by chance: if the neurons of each",
        "layer were drawn at random. q: corrected over pairs.",
    )
    columns = ("set", "and", "in\ncommon", "by\nchance", "overlap", "by\nchance", "q")
    return ResultTable(columns, rows, 2, notes=notes)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--save {folder}: is a file; name a folder")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"--save {folder}: the folder {folder.absolute().parent} does not exist")

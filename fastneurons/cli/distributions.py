"""The command `distributions`: how neurons' signals are distributed in each language."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastneurons.cli.analysis_options import (
    AsJson,
    Csv,
    ResultTable,
    StoreArgument,
    StoreLanguages,
    opened,
    selection,
    share_cell,
    show,
)
from fastneurons.cli.paths import check_written
from fastneurons.errors import InputError

if TYPE_CHECKING:
    import xarray

# Languages of a matrix that fits a terminal's width.
_IN_A_MATRIX = 10


def distributions(
    store: StoreArgument,
    languages: StoreLanguages = None,
    top: Annotated[int, typer.Option(min=0, max=100_000, help="Neurons to list for each language.")] = 10,
    neurons: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --save-edit: a file of a set of neurons. [default: all neurons of the store]",
            show_default=False,
        ),
    ] = None,
    mean_of: Annotated[
        str | None,
        typer.Option(
            metavar="LANGUAGE",
            help="With --save-edit: the language whose means they are. [default: the mean of all languages]",
            show_default=False,
        ),
    ] = None,
    save_edit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write an edit that sets neurons to the mean of their signal.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    csv_file: Csv = None,
) -> None:
    """Means, quantiles, signs and overlaps of neurons' signals.

    Needs a store of run --position corpus --histogram. The overlap of two languages is the share of tokens that their
    histograms of a neuron have in common, mean over neurons: 100 % if they are equal. The neurons listed for a language
    are those in which it overlaps least with the mean of the other languages.

    --save-edit writes a file for mean replacement: the signal of each neuron of a set becomes its mean over the
    tokens of a language.
    """
    if save_edit is None and (neurons is not None or mean_of is not None):
        raise InputError("--neurons and --mean-of choose what --save-edit writes; name a file for it")
    if save_edit is not None:
        check_written(save_edit)
    from_store = opened(store, csv_file)
    wanted = selection(languages=languages, at_least=1).languages
    from fastneurons.analysis.distributions import distributions as analysis

    found = analysis(from_store, wanted, top)
    show(found, _tables, as_json, csv_file, ("top_layer", "top_neuron", "top_overlap", "top_mean"))
    if save_edit is not None:
        _save_edit(from_store, neurons, mean_of, save_edit)


def _save_edit(store: Any, neurons: Path | None, language: str | None, path: Path) -> None:
    from fastneurons.analysis.distributions import mean_edit
    from fastneurons.analysis.store_sets import model_neurons
    from fastneurons.cli.sets import say_written
    from fastneurons.neuron_sets import NeuronSet, load_set, save

    chosen = load_set(neurons) if neurons is not None else NeuronSet.from_layers(model_neurons(store))
    edit = mean_edit(store, chosen, language)
    save(edit, path)
    say_written(path, f"sets {len(chosen):,} neurons to their means")


def _tables(found: "xarray.Dataset") -> Iterator[ResultTable]:
    from fastneurons.model_name import short_name
    from fastneurons.report.cells import LONGEST_LIST, LONGEST_NAME
    from fastneurons.visible import visible

    of = found.attrs
    signal = "coefficient" if of["signal"] == "product" else "activation"
    partial = "" if of["complete"] else " (the run is not complete)"
    title = (
        f"{visible(short_name(of['model']), limit=LONGEST_NAME)}: {of['tokens']:,} tokens{partial}, {signal}s in "
        f"{of['bins']} bins\nlanguages: {visible(', '.join(of['languages']), limit=LONGEST_LIST)}"
    )
    yield _language_table(found, title)
    if "sign_share" in found:
        yield _sign_table(found)
    if found.sizes["language"] > 1:
        yield _overlap_table(found)
        yield _layer_table(found)
    if found.sizes["rank"]:
        yield _neuron_table(found)


def _language_table(found: "xarray.Dataset", title: str) -> ResultTable:
    shown = [level for level in (0.01, 0.5, 0.99) if level in found["level"].values]
    rows = []
    for code in found["language"].values:
        each = found.sel(language=code)
        mean = each["mean"].mean("layer")
        rows.append(
            [
                str(code),
                f"{int(each['tokens']):,}",
                _value(mean),
                _value(each["deviation"].mean("layer")),
                *(_value(each["quantile"].sel(level=level).mean("layer")) for level in shown),
            ]
        )
    columns = ("language", "tokens", "mean", "deviation", *(f"{100 * level:g} %" for level in shown))
    notes = ("Of all neurons of a layer together, mean over layers. Quantiles come from the histogram;",
             "mean and standard deviation are exact.")  # fmt: skip
    return ResultTable(columns, rows, 1, title, notes)


def _sign_table(found: "xarray.Dataset") -> ResultTable:
    share = found["sign_share"].mean("layer")
    rows = [
        [str(code), *(share_cell(value) for value in share.sel(language=code).values)]
        for code in found["language"].values
    ]
    columns = ("language", *(str(case).replace(" ", "\n") for case in found["case"].values))
    return ResultTable(columns, rows, 1, "signs of gate and up, per cent of tokens, mean over neurons")


def _overlap_table(found: "xarray.Dataset") -> ResultTable:
    codes = [str(code) for code in found["language"].values]
    matrix = found["overlap"].mean("layer").values
    others, chance = (
        found[name].mean("layer").values for name in ("others_overlap", "others_overlap_chance")
    )
    shown = codes if len(codes) <= _IN_A_MATRIX else []
    rows = [
        [
            code,
            *("" if a == b else share_cell(matrix[a, b]) for b in range(len(shown))),
            share_cell(others[a]),
            share_cell(chance[a]),
        ]
        for a, code in enumerate(codes)
    ]
    notes = (
        "Mean over neurons and layers. others: with the mean of the other languages; by chance: if the",
        "tokens of both were drawn independently from one distribution.",
    )
    title = "overlap of distributions, per cent"
    return ResultTable(("language", *shown, "others", "by chance"), rows, 1, title, notes)


def _layer_table(found: "xarray.Dataset") -> ResultTable:
    codes = [str(code) for code in found["language"].values][:_IN_A_MATRIX]
    rows = [
        [
            str(int(layer)),
            *(share_cell(found["others_overlap"].sel(layer=layer, language=code)) for code in codes),
        ]
        for layer in found["layer"].values
    ]
    return ResultTable(("layer", *codes), rows, 0, "overlap with the other languages by layer, per cent")


def _neuron_table(found: "xarray.Dataset") -> ResultTable:
    rows = []
    for code in found["language"].values:
        each = found.sel(language=code)
        for k in range(found.sizes["rank"]):
            of = each.isel(rank=k)
            rows.append(
                [
                    str(code) if k == 0 else "",
                    f"{int(of['top_layer'])}:{int(of['top_neuron'])}",
                    share_cell(of["top_overlap"]),
                    _value(of["top_mean"]),
                    _value(of["top_others_mean"]),
                ]
            )
    title = "neurons that set a language apart: the smallest overlap with the others"
    columns = ("language", "neuron", "overlap", "mean", "mean of\nthe others")
    return ResultTable(columns, rows, 2, title)


def _value(number: Any) -> str:
    return f"{float(number):.3g}"

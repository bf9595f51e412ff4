"""`categories` and `thresholds`: share of each category by layer, task, store or threshold."""

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
    StoresArgument,
    Task,
    Threshold,
    category_cells,
    category_rows,
    chosen_line,
    interval_cell,
    opened,
    selection,
    share_cell,
    show,
)
from fastneurons.model_name import short_name
from fastneurons.visible import visible

if TYPE_CHECKING:
    import xarray

_NUMBERS = ("share", "share_low", "share_high", "least", "p5", "p95", "most")
# Up to so many runs have a column with intervals each.
_WIDE = 5
_MEAN = "Per cent of neurons, mean over examples; ±: half a 95 % bootstrap interval."


def categories(
    stores: StoresArgument,
    task: Task = None,
    languages: StoreLanguages = None,
    threshold: Threshold = None,
    correct_only: CorrectOnly = False,
    resamples: Resamples = DEFAULT_RESAMPLES,
    seed: Seed = None,
    as_json: AsJson = False,
    csv_file: Csv = None,
) -> None:
    """Share of each category by layer, and how examples differ.

    Shows the mean over examples with its interval, and the range that nine tenths and all of the examples lie in.
    With several tasks also each task; with several stores, the stores side by side.
    """
    wanted = selection(task, languages, threshold, correct_only)
    chosen = [wanted.of(opened(store, csv_file)) for store in stores]
    from fastneurons.analysis import categories as analysis

    found = [analysis.categories(each, resamples, seed) for each in chosen]
    if len(found) == 1:
        show(found[0], _one_store, as_json, csv_file, _NUMBERS)
    else:
        joined = analysis.side_by_side(found)
        show(joined, _side_by_side, as_json, csv_file, _NUMBERS)


def thresholds(
    store: StoreArgument,
    task: Task = None,
    languages: StoreLanguages = None,
    correct_only: CorrectOnly = False,
    resamples: Resamples = DEFAULT_RESAMPLES,
    seed: Seed = None,
    as_json: AsJson = False,
    csv_file: Csv = None,
) -> None:
    """Share of each category by layer, at every stored threshold."""
    chosen = selection(task, languages, None, correct_only).of(opened(store, csv_file))
    from fastneurons.analysis.thresholds import thresholds as analysis

    show(analysis(chosen, resamples, seed), _by_threshold, as_json, csv_file, _NUMBERS)


def _one_store(found: "xarray.Dataset") -> Iterable[ResultTable]:
    names = [str(name) for name in found.task.values]
    whole = found.isel(task=-1)
    title = chosen_line(found)
    yield ResultTable(_columns("layer"), _layer_rows(whole), 0, title, (_MEAN,), last_is_total=True)
    for name, low, high in (
        ("the 5th to the 95th percentile of the examples", "p5", "p95"),
        ("the example with the least to the one with the most", "least", "most"),
    ):
        yield ResultTable(
            _columns("layer"), _range_rows(whole, low, high), 0, f"from {name}", last_is_total=True
        )
    if len(names) > 1:
        rows = [
            [name, f"{int(found.examples[k]):,}", *_overall(found.isel(task=k))]
            for k, name in enumerate(names)
        ]
        yield ResultTable(
            ("task", "examples", *_columns()), rows, 1, "all layers, by task", last_is_total=True
        )


def _by_threshold(found: "xarray.Dataset") -> Iterable[ResultTable]:
    rows = [
        [f"{threshold:g}", *_overall(found.isel(threshold=k))]
        for k, threshold in enumerate(found.threshold.values)
    ]
    yield ResultTable(_columns("threshold"), rows, 0, f"{chosen_line(found)}\nall layers", (_MEAN,))
    for k, threshold in enumerate(found.threshold.values):
        title = f"threshold {threshold:g}"
        rows = _layer_rows(found.isel(threshold=k))
        yield ResultTable(_columns("layer"), rows, 0, title, last_is_total=True)


def _side_by_side(found: "xarray.Dataset") -> Iterable[ResultTable]:
    from fastneurons.report.cells import count

    runs = range(found.sizes["run"])
    # Lines, not a table: paths are long.
    lines = [
        f"run {k + 1}: {visible(str(found.store.values[k]))}\n"
        f"       {visible(short_name(str(found.model.values[k])))}, {visible(str(found.task.values[k]))}: "
        f"{count(int(found.examples[k]), 'example')} in {count(int(found.num_languages[k]), 'language')}, "
        f"above {float(found.threshold[k]):g}"
        for k in runs
    ]
    notes = () if found.attrs["same_languages"] else (
        "The languages differ: shares compare only over equally many languages; see --languages.",
    )  # fmt: skip
    yield ResultTable((), (), 0, "\n".join(lines), notes)
    cell = _cell if len(runs) <= _WIDE else _short_cell
    for category in found.category.values:
        each = found.sel(category=category)
        rows = [
            [str(int(layer)), *(cell(each.isel(run=k, layer=n)) for k in runs)]
            for n, layer in enumerate(found.layer.values)
        ]
        rows.append(["all", *(cell(each.isel(run=k), "overall_") for k in runs)])
        heads = ("layer", *(f"run {k + 1}" for k in runs))
        yield ResultTable(heads, rows, 0, str(category), last_is_total=True)
    yield ResultTable((), (), notes=(_MEAN,))


def _short_cell(found: "xarray.Dataset", prefix: str = "") -> str:
    return share_cell(found[f"{prefix}share"])


def _columns(*first: str) -> list[str]:
    from fastneurons.report.cells import CATEGORY_HEADINGS

    return [*first, *CATEGORY_HEADINGS]


def _layer_rows(found: "xarray.Dataset") -> list[list[str]]:
    return [*category_rows(found, "layer", "share"), ["all", *_overall(found)]]


def _overall(found: "xarray.Dataset") -> list[str]:
    return category_cells(found, "overall_share")


def _cell(found: "xarray.Dataset", prefix: str = "") -> str:
    return interval_cell(found, f"{prefix}share")


def _range_rows(found: "xarray.Dataset", low: str, high: str) -> list[list[str]]:
    def cells(prefix: str, ends: "xarray.Dataset") -> list[str]:
        pairs = zip(ends[prefix + low].values, ends[prefix + high].values, strict=True)
        return [f"{share_cell(least)} - {share_cell(most)}" for least, most in pairs]

    rows = [[str(int(n)), *cells("", found.isel(layer=k))] for k, n in enumerate(found.layer.values)]
    return [*rows, ["all", *cells("overall_", found)]]

"""Options that the commands of findings share, and what prints a labelled result as a table, JSON or CSV.

A command of findings is three steps:

    chosen = selection(task, languages, threshold, correct_only).of(opened(store, csv_file))
    found = categories(chosen, resamples, seed)  # an xarray.Dataset
    show(found, _tables, as_json, csv_file, ("share", "share_low", "share_high"))
"""

import csv
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastneurons.cli.engine_options import AsJson as AsJson
from fastneurons.cli.paths import check_written
from fastneurons.errors import InputError, OutputError, StoreError

if TYPE_CHECKING:
    import xarray

    from fastneurons.analysis.selection import Selection
    from fastneurons.store import Store

# -- options ------------------------------------------------------------------------------------------------

StoreArgument = Annotated[
    str, typer.Argument(metavar="STORE", help="A store: a local path or an fsspec URL.", show_default=False)
]
StoresArgument = Annotated[
    list[str],
    typer.Argument(metavar="STORE...", help="Stores: local paths or fsspec URLs.", show_default=False),
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="Use these tasks of the store alone, separated by commas. [default: all]",
        show_default=False,
    ),
]
StoreLanguages = Annotated[
    str | None,
    typer.Option(
        "--languages",
        help="Use these languages of the store alone: en,de,th. [default: all]",
        show_default=False,
    ),
]
Threshold = Annotated[
    float | None, typer.Option(help="One of the store's thresholds. [default: the first]", show_default=False)
]
CorrectOnly = Annotated[
    bool,
    typer.Option(
        "--correct-only", help="Use only examples that were answered right in every chosen language."
    ),
]
Csv = Annotated[
    Path | None,
    typer.Option("--csv", metavar="FILE", help="Also write the numbers to a CSV file.", show_default=False),
]
Seed = Annotated[int | None, typer.Option(help="Seed of whatever is drawn at random.", show_default=False)]
Resamples = Annotated[
    int,
    typer.Option(min=0, help="Bootstrap samples of the examples for each interval; 0 for no intervals."),
]
DEFAULT_RESAMPLES = 1000


def opened(store: str, csv_file: Path | None = None) -> "Store":
    """Open a store; fail early if there is none, since the packages that read stores take a second to import.

    Args:
        csv_file: A file that will be written, checked beforehand as well.
    """
    if csv_file is not None:
        check_written(csv_file)
    if "://" not in store and not Path(store).exists():
        raise StoreError(f"{store}: does not exist")
    from fastneurons.store import open_store

    return open_store(store, check=True)


def selection(
    task: str | None = None,
    languages: str | None = None,
    threshold: float | None = None,
    correct_only: bool = False,
    at_least: int = 2,
) -> "Selection":
    """Make a selection from the options' values.

    Args:
        at_least: How many languages an analysis needs.
    """
    from fastneurons.analysis.selection import Selection

    return Selection(
        tasks=_listed(task, "--task"),
        languages=_listed(languages, "--languages"),
        threshold=threshold,
        correct_only=correct_only,
        at_least=at_least,
    )


def _listed(text: str | None, option: str) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise InputError(f"{option} {text!r}: names nothing")
    return names


# -- results ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ResultTable:
    """A table of a result.

    Args:
        columns: Headings.
        rows: Cells, as many as headings. Text may come from anywhere: what would act on a terminal is made visible.
        left: How many of the first columns hold text; the others hold numbers.
        title: A line above the table.
        notes: Lines below it.
        last_is_total: Whether to set the last row apart.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 0
    title: str = ""
    notes: Sequence[str] = field(default_factory=tuple)
    last_is_total: bool = False


def show(
    found: "xarray.Dataset",
    tables: Callable[["xarray.Dataset"], Iterable[ResultTable]],
    as_json: bool,
    csv_file: Path | None,
    variables: Sequence[str],
) -> None:
    """Print a labelled result, and write it to a CSV file if one is named.

    Args:
        tables: Lays the result out for people.
        as_json: Whether to print JSON instead: `xarray.Dataset.from_dict` makes the same result of it.
        variables: The result's variables that the CSV file holds, all with the same dimensions.
    """
    if csv_file is not None:
        write_csv(found, csv_file, variables)
    if as_json:
        from fastneurons.visible import visible_json

        print(visible_json(dataset_numbers(found)))
        return
    print_tables(tables(found))
    if csv_file is not None:
        from fastneurons.visible import visible

        print(f"wrote {visible(str(csv_file))}", file=sys.stderr)


def print_tables(tables: Iterable[ResultTable]) -> None:
    """Print tables to standard output; plain text, 80 columns wide, unless it is a terminal."""
    from rich.text import Text

    from fastneurons.console import PlainConsole
    from fastneurons.report.cells import table

    console = PlainConsole(sys.stdout, 80)
    for index, one in enumerate(tables):
        if index:
            console.print()
        if one.title:
            console.print(Text(one.title, style="bold"), soft_wrap=True)
        if one.rows:
            made = table(*one.columns, left=one.left)
            *above, last = one.rows
            for row in above:
                made.add_row(*row)
            if one.last_is_total:
                made.add_section()
            made.add_row(*last, style="bold" if one.last_is_total else None)
            console.print(made)
        for note in one.notes:
            console.print(Text(note, style="dim"), soft_wrap=True)


def share_cell(share: Any, low: Any = float("nan"), high: Any = float("nan")) -> str:
    """Format a share in per cent and half of its interval: `12.3 ±0.45`."""
    from fastneurons.report.cells import percent

    half = (float(high) - float(low)) / 2
    return percent(float(share)) + (f" ±{100 * half:.2f}" if half == half else "")


def interval_cell(found: "xarray.Dataset", name: str) -> str:
    """Format a variable's share with its interval, `NAME_low` to `NAME_high`, as `share_cell` does."""
    return share_cell(*(found[f"{name}{end}"] for end in ("", "_low", "_high")))


def category_cells(found: "xarray.Dataset", name: str) -> list[str]:
    """Format a variable's share of each category."""
    return [interval_cell(found.isel(category=c), name) for c in range(found.sizes["category"])]


def category_rows(found: "xarray.Dataset", dim: str, name: str) -> list[list[str]]:
    """Rows of a table: each label of a dimension, a whole number, and a variable's share of each category."""
    return [
        [str(int(label)), *category_cells(found.isel({dim: k}), name)]
        for k, label in enumerate(found[dim].values)
    ]


def chosen_line(found: "xarray.Dataset") -> str:
    """Say in a line or two what a result is about: the model, the examples, the languages, the threshold."""
    from fastneurons.model_name import short_name
    from fastneurons.report.cells import LONGEST_LIST, LONGEST_NAME, count
    from fastneurons.visible import visible

    of = found.attrs
    model = visible(short_name(of["model"]), limit=LONGEST_NAME)
    languages = visible(", ".join(of["languages"]), limit=LONGEST_LIST)
    partial = "" if of["complete"] else " (the run is not complete)"
    threshold = f", above {of['threshold']:g}" if "threshold" in of else ""
    lacking = of.get("incomplete_examples", 0)
    missing = f"\n{count(lacking, 'example')} lack some of the languages" if lacking else ""
    return f"{model}: {count(of['examples'], 'example')}{partial}{threshold}\nlanguages: {languages}{missing}"


def dataset_numbers(found: "xarray.Dataset") -> dict[str, Any]:
    """Convert a labelled result to what JSON can hold, in the form of `xarray.Dataset.to_dict`; NaN becomes null.

    Empty tables are left out: an empty list does not say how many columns it would have.
    """
    empty = [name for name, values in found.data_vars.items() if not values.size and values.ndim > 1]
    return _plain(found.drop_vars(empty).to_dict())  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case float():
            return (
                value if value - value == 0 else None
            )  # NaN and infinity differ from themselves less themselves
        case bool() | int() | str() | None:
            return value
    return _plain(value.item()) if hasattr(value, "item") else str(value)


def write_csv(found: "xarray.Dataset", path: Path, variables: Sequence[str]) -> None:
    """Write variables that share their dimensions to a CSV file, one row for each combination of labels.

    Raises:
        InputError: the file's folder does not exist.
        OutputError: it cannot be written.
    """
    check_written(path)
    dims = found[variables[0]].dims
    assert all(found[name].dims == dims for name in variables)
    labels = [
        name for name, label in found.coords.items() if label.dims and set(label.dims) <= set(dims)
    ]  # several for a dimension, such as layer and neuron of a list
    columns = [
        found[name].broadcast_like(found[variables[0]]).transpose(*dims) for name in (*labels, *variables)
    ]
    try:
        with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file)
            writer.writerow([*labels, *variables])
            writer.writerows(zip(*(_csv_cells(column.values.ravel()) for column in columns), strict=True))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def _csv_cells(values: Any) -> list[Any]:
    """Values as CSV has them: empty for NaN."""
    return ["" if value != value else value for value in values.tolist()]

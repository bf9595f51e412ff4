"""The commands `sets show`, `sets combine` and `sets random`: files of sets of neurons."""

import operator
import sys
from collections.abc import Iterator
from enum import StrEnum
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastneurons.cli.analysis_options import ResultTable, print_tables
from fastneurons.cli.engine_options import AsJson
from fastneurons.cli.help import SectionedCommand, help_if_alone
from fastneurons.cli.paths import check_written
from fastneurons.errors import InputError

if TYPE_CHECKING:
    from fastneurons.neuron_sets import Edit, NeuronSet, Overlap

sets = typer.Typer(name="sets", help="Show, combine and draw sets of neurons.")


class _By(StrEnum):
    UNION = "union"
    INTERSECTION = "intersection"
    DIFFERENCE = "difference"


_OPERATIONS = {
    _By.UNION: operator.or_,
    _By.INTERSECTION: operator.and_,
    _By.DIFFERENCE: operator.sub,
}

SetFile = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="A file of a set of neurons, or of an edit.", show_default=False),
]
Save = Annotated[Path, typer.Option("--save", metavar="FILE", help="The file to write.", show_default=False)]


@sets.callback(invoke_without_command=True)
def _sets(context: typer.Context) -> None:
    help_if_alone(context)


@sets.command(cls=SectionedCommand)
def show(file: SetFile, as_json: AsJson = False) -> None:
    """Number of neurons by layer, and how the set was made."""
    from fastneurons.neuron_sets import Edit, load

    found = load(file)
    neurons = found.neurons if isinstance(found, Edit) else found
    _print(neurons, as_json, edit=found if isinstance(found, Edit) else None)


@sets.command(cls=SectionedCommand)
def combine(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Files of sets of one model.", show_default=False),
    ],
    save_to: Save,
    by: Annotated[
        _By, typer.Option(help="How to combine them; difference takes all others from the first.")
    ] = _By.UNION,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Keep only neurons of these layers: 10-20 (both included) or 0,3,10-20. [default: all]",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Union, intersection or difference of sets, or part of one.

    The history of the result names all steps that led to it. With a single file and --layers, it is that set's
    neurons in these layers.
    """
    check_written(save_to)
    if len(files) == 1 and layers is None:
        raise InputError("one set alone: name others to combine it with, or --layers to keep a part of it")
    from fastneurons.neuron_sets import load_set, save

    named = [(file, load_set(file)) for file in files]
    first_file, first = named[0]
    for file, other in named[1:]:
        apart = first.among.why_apart(other.among)
        if apart is not None:
            raise InputError(f"{first_file} and {file} are of different models: {apart}")
    found = reduce(_OPERATIONS[by], [each for _, each in named])
    if layers is not None:
        found = found.in_layers(layers)
    save(found, save_to)
    _print(found, as_json, written=save_to)


@sets.command(cls=SectionedCommand)
def random(
    file: SetFile,
    save_to: Save,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    as_json: AsJson = False,
) -> None:
    """A random set with as many neurons in each layer: a control.

    Neurons are drawn from all of a layer's neurons, those of the given set included; the table says how many
    the two have in common, and how many to expect.
    """
    check_written(save_to)
    from fastneurons.neuron_sets import load_set, save

    given = load_set(file)
    drawn = given.random_like(seed)
    save(drawn, save_to)
    _print(drawn, as_json, overlap=drawn.overlap(given), written=save_to)


def _print(
    neurons: "NeuronSet",
    as_json: bool,
    edit: "Edit | None" = None,
    overlap: "Overlap | None" = None,
    written: Path | None = None,
) -> None:
    if as_json:
        from fastneurons.visible import visible_json

        print(visible_json(_numbers(neurons, edit, overlap)))
    else:
        print_tables(_tables(neurons, edit, overlap))
    if written is not None:
        say_written(written, f"{len(neurons):,} neurons")


def say_written(file: Path, what: str) -> None:
    """Say on standard error which file was written, and with what."""
    from fastneurons.visible import visible

    print(f"wrote {visible(str(file))}: {what}", file=sys.stderr)


def _numbers(neurons: "NeuronSet", edit: "Edit | None", overlap: "Overlap | None") -> dict[str, Any]:
    from msgspec import to_builtins

    among = neurons.among
    found: dict[str, Any] = {
        "model": among.model,
        "model_fingerprint": among.model_fingerprint,
        "neurons": len(neurons),
        "layers": list(among.layers),
        "widths": list(among.widths),
        "sizes": neurons.counts.tolist(),
        "history": to_builtins(neurons.history),
    }
    if edit is not None:
        found["edit"] = {
            "site": edit.site, "scale": edit.scale, "scope": edit.scope, "has_value": edit.value is not None
        }  # fmt: skip
    if overlap is not None:
        found["overlap"] = {"common": overlap.common.tolist(), "by_chance": overlap.by_chance.tolist()}
    return found


def _tables(neurons: "NeuronSet", edit: "Edit | None", overlap: "Overlap | None") -> Iterator[ResultTable]:
    from fastneurons.model_name import short_name
    from fastneurons.neuron_sets import history_lines
    from fastneurons.report.cells import LONGEST_LIST, LONGEST_NAME, percent
    from fastneurons.visible import visible

    among = neurons.among
    counts, widths = neurons.counts.tolist(), among.widths
    rows = [
        [str(layer), f"{count:,}", f"{width:,}", percent(count / width)]
        for layer, count, width in zip(among.layers, counts, widths, strict=True)
    ]
    rows.append(["all", f"{len(neurons):,}", f"{sum(widths):,}", percent(len(neurons) / sum(widths))])
    columns = ["layer", "neurons", "of", "per cent"]
    if overlap is not None:
        columns += ["in common", "by chance"]
        common, by_chance = overlap.common.tolist(), overlap.by_chance.tolist()
        pairs = [*zip(common, by_chance, strict=True), (sum(common), sum(by_chance))]
        rows = [[*row, f"{n:,}", f"{m:,.1f}"] for row, (n, m) in zip(rows, pairs, strict=True)]
    title = f"{visible(short_name(among.model), limit=LONGEST_NAME)}: {len(neurons):,} neurons"
    if edit is not None:
        added = "" if edit.value is None else " + values of their own"
        tokens = {
            "prompt": "of the prompt",
            "generation": "that are generated",
            "both": "of the prompt and generated ones",
        }[edit.scope]
        title += f"\nedit: {edit.scale:g} x {edit.site}{added}, at tokens {tokens}"
    notes = [
        "made by:",
        *(f"  {visible(line, limit=LONGEST_LIST)}" for line in history_lines(neurons.history)),
    ]
    yield ResultTable(columns, rows, 0, title, notes, last_is_total=True)

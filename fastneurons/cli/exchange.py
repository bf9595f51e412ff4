"""`import-counts`, `import-masks`, `export-counts`, `export-masks`: files in the formats of LAPE's published code."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastneurons.cli.analysis_options import (
    ResultTable,
    StoreArgument,
    Threshold,
    opened,
    print_tables,
    selection,
)
from fastneurons.cli.paths import check_written
from fastneurons.errors import InputError

if TYPE_CHECKING:
    from fastneurons.neuron_sets import ModelNeurons

_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing store.")]
_Folder = Annotated[
    Path, typer.Option("--output", "-o", metavar="FOLDER", help="The folder to write.", show_default=False)
]


def import_counts(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="A file of counts for each language: n or total_tokens, and over_zero.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str,
        typer.Option("--out", "-o", help="The store to write: a path or an fsspec URL.", show_default=False),
    ],
    languages: Annotated[
        str | None,
        typer.Option(
            help="The files' languages, in their order: en,de,th. [default: from the files' names]",
            show_default=False,
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Name of the model that the counts are of.")] = "unknown",
    overwrite: _Overwrite = False,
) -> None:
    """Make a store of a corpus from counts of LAPE's code.

    Projects that follow its published code have the same files, or nearly so.

    lape, summary, inactive and all other commands for a corpus read the store. Files are only loaded if they hold
    nothing but numbers and text.
    """
    codes = selection(None, languages).languages
    from fastneurons.exchange.counts import import_counts as make_store
    from fastneurons.visible import visible

    store = make_store(files, out, codes, model, overwrite)
    header = store.header
    print(
        f"store:   {visible(out)}   ({len(header.layers)} layers of {header.neurons:,} neurons; "
        f"{', '.join(header.languages)})",
        file=sys.stderr,
    )


def export_counts(store: StoreArgument, output: _Folder, threshold: Threshold = None) -> None:
    """Write a corpus's counts in the format of LAPE's code.

    There is one file for each language, with n and over_zero, and average_activations if the run had --histogram."""
    _check_folder(output)
    from_store = opened(store)
    from fastneurons.exchange.counts import write_counts
    from fastneurons.visible import visible

    for path in write_counts(from_store, output, threshold):
        print(visible(str(path)))


def import_masks(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A mask file: a list by language of lists by layer of tensors of indices.",
            show_default=False,
        ),
    ],
    output: _Folder,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="STORE|SET",
            help="A store or a set of the masks' model, which has its layers and widths.",
            show_default=False,
        ),
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Neurons of each layer, without --like.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name of the model, without --like. [default: unknown]", show_default=False),
    ] = None,
    languages: Annotated[
        str | None,
        typer.Option(
            help="The masks' languages, in their order: en,de,th. [default: numbers]", show_default=False
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            help="Save edits that multiply these neurons by this; 0 switches them off.", show_default=False
        ),
    ] = None,
    means: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Save edits that set each mask's neurons to the average_activations of a file; once for each mask.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make sets of neurons, or edits, from masks of LAPE's code.

    With --scale or --means, edits are made.

    A mask file names neither languages nor a model: name a store or a set with --like, or the width of its layers.
    """
    if (like is None) == (width is None):
        raise InputError("names the masks' model twice, or not at all: give --like or --width")
    if like is not None and model is not None:
        raise InputError("--model goes with --width; --like names the model itself")
    if scale is not None and means:
        raise InputError("--scale and --means: neurons are scaled, or set to means; drop one of them")
    _check_folder(output)
    names = selection(None, languages).languages
    among = None if like is None else _model_of(like)
    from fastneurons.exchange.masks import edits_of, read_masks, save_sets
    from fastneurons.visible import visible

    sets = read_masks(file, among, names, width=width, model=model or "unknown")
    edits = edits_of(sets, scale=scale, means=means or ())
    save_sets(sets, output, edits)
    rows = [[name, f"{len(each):,}"] for name, each in sets.items()]
    print_tables([ResultTable(("mask", "neurons"), rows, 1)])
    what = "sets" if edits is None else "edits"
    print(f"wrote {visible(str(output))}: {what} of {len(sets)} masks", file=sys.stderr)


def export_masks(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="SET...",
            help="Files of sets of one model, in the order of the masks.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The mask file to write.", show_default=False),
    ],
) -> None:
    """Write sets of neurons as a mask file of LAPE's code."""
    check_written(output)
    from fastneurons.exchange.masks import write_masks
    from fastneurons.neuron_sets import load_set
    from fastneurons.visible import visible

    write_masks([load_set(file) for file in files], output)
    print(visible(str(output)))


def _model_of(place: str) -> "ModelNeurons":
    if Path(place).is_file():
        from fastneurons.neuron_sets import load_set

        return load_set(place).among
    from fastneurons.analysis.store_sets import model_neurons

    return model_neurons(opened(place))


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output {folder}: is a file; name a folder")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"--output {folder}: the folder {folder.absolute().parent} does not exist")

"""Commands that read a store: `summary` and `plot`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fastneurons.cli.analysis_options import opened
from fastneurons.cli.engine_options import AsJson
from fastneurons.cli.paths import check_picture

_Store = Annotated[str, typer.Argument(metavar="STORE", help="A store: a local path or an fsspec URL.")]
_Threshold = Annotated[
    float | None, typer.Option(help="One of the store's thresholds. [default: the first]", show_default=False)
]


def summary(store: _Store, threshold: _Threshold = None, as_json: AsJson = False) -> None:
    """Print a store's results as tables or JSON.

    Prints the share of each of the four categories by layer, the share of neurons that each language activates, and
    the rows that were skipped.

    With attribution, also how much each category matters for the answer; for a corpus, the share of each
    language's tokens that activate a neuron.
    """
    from_store = opened(store)
    # Imported late: a store that does not exist is reported sooner.
    from fastneurons.report import compute_findings, findings_json, print_findings

    found = compute_findings(from_store, threshold)
    if as_json:
        print(findings_json(found))
    else:
        print_findings(found, sys.stdout)


def plot(
    store: _Store,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The picture to write, ending in .png, .svg or .pdf."),
    ] = Path("sharing.png"),
    threshold: _Threshold = None,
) -> None:
    """Draw a store's results as a .png, .svg or .pdf picture.

    Draws the share of each of the four categories by layer, and the share of neurons that each language activates.

    With attribution, also the categories of the most contributing neurons; for a corpus, activation
    probability by layer, with one line per language.
    """
    check_picture(output)
    from_store = opened(store)
    from fastneurons.report import plot as draw

    draw(from_store, output, threshold)
    print(output)

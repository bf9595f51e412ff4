"""Commands that read a store: `summary` and `plot`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fastneurons.cli.engine_options import AsJson

_Store = Annotated[str, typer.Argument(help="A store: a local path or an fsspec URL.")]
_Threshold = Annotated[
    float | None, typer.Option(help="One of the store's thresholds. [default: its first]", show_default=False)
]


def summary(store: _Store, threshold: _Threshold = None, as_json: AsJson = False) -> None:
    """Shares of the four categories by layer, activated share by language, and what was skipped.

    With attribution also how much each category matters for the answer; of a corpus, how many of each
    language's tokens activate neurons.
    """
    from fastneurons.report import print_summary, summary_json
    from fastneurons.store import open_store

    opened = open_store(store, check=True)
    if as_json:
        print(summary_json(opened, threshold))
    else:
        print_summary(opened, sys.stdout, threshold)


def plot(
    store: _Store,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The picture; its ending says what it is: .png, .svg or .pdf."),
    ] = Path("sharing.png"),
    threshold: _Threshold = None,
) -> None:
    """Draw shares of the four categories by layer, and activated share by language.

    With attribution also the categories of the neurons that contribute most; of a corpus, activation
    probability by layer, a line for each language.
    """
    from fastneurons.report import plot as draw
    from fastneurons.store import open_store

    draw(open_store(store, check=True), output, threshold)
    print(output)

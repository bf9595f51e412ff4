"""Commands that read a store: `summary` and `plot`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastneurons.cli.engine_options import AsJson
from fastneurons.cli.paths import check_picture
from fastneurons.errors import StoreError

if TYPE_CHECKING:
    from fastneurons.store import Store

_Store = Annotated[str, typer.Argument(help="A store: a local path or an fsspec URL.")]
_Threshold = Annotated[
    float | None, typer.Option(help="One of the store's thresholds. [default: its first]", show_default=False)
]


def _opened(store: str) -> "Store":
    """A store, or at once that nothing is there: what reads stores takes a second to import."""
    if "://" not in store and not Path(store).exists():
        raise StoreError(f"{store}: nothing is there")
    from fastneurons.store import open_store

    return open_store(store, check=True)


def summary(store: _Store, threshold: _Threshold = None, as_json: AsJson = False) -> None:
    """Print what a store holds, as tables or JSON.

    Shares of the four categories by layer, activated share by language, and what was skipped.

    With attribution also how much each category matters for the answer; of a corpus, how many of each
    language's tokens activate neurons.
    """
    opened = _opened(store)
    # Here: what is not there is told sooner.
    from fastneurons.report import compute_findings, findings_json, print_findings

    found = compute_findings(opened, threshold)
    if as_json:
        print(findings_json(found))
    else:
        print_findings(found, sys.stdout)


def plot(
    store: _Store,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The picture; its ending says what it is: .png, .svg or .pdf."),
    ] = Path("sharing.png"),
    threshold: _Threshold = None,
) -> None:
    """Draw what a store holds, as .png, .svg or .pdf.

    Shares of the four categories by layer, and activated share by language.

    With attribution also the categories of the neurons that contribute most; of a corpus, activation
    probability by layer, a line for each language.
    """
    check_picture(output)
    opened = _opened(store)
    from fastneurons.report import plot as draw

    draw(opened, output, threshold)
    print(output)

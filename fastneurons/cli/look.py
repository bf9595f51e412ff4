"""`summary`: print what a store says."""

import sys
from typing import Annotated

import typer

from fastneurons.cli.analysis_options import opened
from fastneurons.cli.engine_options import AsJson

_Store = Annotated[str, typer.Argument(metavar="STORE", help="A store: a local path or an fsspec URL.")]
_Threshold = Annotated[
    float | None, typer.Option(help="One of the store's thresholds. [default: the first]", show_default=False)
]


def summary(store: _Store, threshold: _Threshold = None, as_json: AsJson = False) -> None:
    """Print a store's results as tables or JSON.

    Prints the share of each of the four categories by layer, the share of neurons that each language activates, and
    the examples that were skipped.

    With attribution, also how much each category matters for the answer; for a corpus, the share of each
    language's tokens that activate a neuron.

    For a store of deactivate: how much log-probability and accuracy each category costs, set against random neurons.
    For a store of perplexity: the perplexity of each language's texts, and its change under each edit.
    For a store of generate: how many texts each edit leaves as they are, and how many are right.
    """
    from_store = opened(store)
    # Imported late: a store that does not exist is reported sooner.
    from fastneurons.report import compute_findings, findings_json, print_findings

    found = compute_findings(from_store, threshold)
    if as_json:
        print(findings_json(found))
    else:
        print_findings(found, sys.stdout)

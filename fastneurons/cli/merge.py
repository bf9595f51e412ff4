"""`merge`: put stores of shards, or of several sources, together into one."""

from typing import Annotated

import typer

from fastneurons.streams import say


def merge(
    parts: Annotated[
        list[str],
        typer.Argument(
            metavar="PART...",
            help="Finished stores: all shards of a run in any order, or whole stores in the order of their examples.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str,
        typer.Option("--out", "-o", help="The store to write: a path or an fsspec URL.", show_default=False),
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing store.")] = False,
) -> None:
    """Merge stores of shards, or of several sources.

    The result is the store that a single run would have left. The parts must be of the same model, languages,
    thresholds and options; whatever differs, is missing or is there twice is named. A merge that was interrupted
    goes on when the same command is given again.
    """
    from fastneurons.api import merge as merge_parts

    store = merge_parts(parts, out, overwrite=overwrite)
    say(f"store:   {out}   ({store.num_examples:,} examples; fastneurons summary {out})")

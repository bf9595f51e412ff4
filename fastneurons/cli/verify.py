"""`verify`: read all of a store and report what is damaged."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from fastneurons.cli.engine_options import AsJson

if TYPE_CHECKING:
    from fastneurons.store import Verification

# Damaged objects listed in text; --json lists all of them.
_SHOWN = 20


def verify(
    store: Annotated[str, typer.Argument(metavar="STORE", help="A store: a local path or an fsspec URL.")],
    as_json: AsJson = False,
) -> None:
    """Read all of a store and report what is damaged.

    Compares every byte with the checksums made when it was written, and lists what is still usable. The exit
    status is 0 if the store is intact and 1 if anything is damaged.
    """
    from fastneurons.store import open_store, verify_store
    from fastneurons.store.verify import as_json as to_json

    found = verify_store(open_store(store))
    if as_json:
        print(json.dumps(to_json(found), indent=2))
    else:
        _print(found)
    if not found.is_whole:
        raise typer.Exit(1)


def _print(found: "Verification") -> None:
    state = "complete" if found.complete else "not complete"
    print(f"{found.store}: {found.examples} examples, {state}")
    if found.format == 1:
        print("this store has no checksums of its objects: whatever can be read counts as intact")
    else:
        print(f"read {found.objects} objects, {found.bytes:,} bytes")
    if found.is_whole:
        print("intact: everything is as it was written")
        return
    print(f"{len(found.damaged)} damaged:")
    for each in found.damaged[:_SHOWN]:
        rows = "" if each.first is None or each.end is None else f" (examples {each.first} to {each.end - 1})"
        print(f"  {each.object}{rows} {each.how}")
    if len(found.damaged) > _SHOWN:
        print(f"  and {len(found.damaged) - _SHOWN} more; --json lists all")
    print("usable:")
    for name, whole in found.arrays.items():
        print(f"  {name}: {_usable(whole, found.examples)}")
    ranges = ", ".join(f"{first} to {end - 1}" for first, end in found.whole_examples) or "none"
    print(f"  examples intact in every array: {ranges}")


def _usable(whole: int | bool, examples: int) -> str:
    if whole is True:
        return "whole"
    if whole is False:
        return "damaged"
    return "whole" if whole == examples else f"{whole} of {examples} examples"

"""Whether a run may continue a store: what it measures must be what the store holds."""

from collections.abc import Collection
from typing import Any

from fastneurons.errors import StoreError
from fastneurons.store import schema
from fastneurons.store.root import Root
from fastneurons.store.schema import Header

# How to make a run agree with a store, by the field of the header that differs.
_OPTIONS = {
    "dtype": "--dtype",
    "revision": "--revision",
    "quantization": "--quantization",
    "languages": "--languages",
    "thresholds": "--threshold",
    "window": "--window",
    "source": "--data",
    "position": "--position",
    "signal": "--signal",
    "top_k": "--attribution --top-k",
}
_FREE = ("version", "config", "created", "status", "format")
_KEPT = {
    schema.ACTIVATED: ("bits", "pass --keep-bits", "pass --no-keep-bits"),
    schema.COEFFICIENT: ("coefficients", "pass --keep-coefficients", "drop --keep-coefficients"),
}


def check_same(path: str, root: Root, header: Header, kept: Collection[str]) -> None:
    """A run may only continue what it would have begun.

    Raises:
        StoreError: naming what differs, both values, and what to do.
    """
    others = "another --out, or --overwrite in place of --resume"
    if root.header.model != header.model:
        raise StoreError(f"{path} holds {root.header.model}, this run is {header.model}; pass {others}")
    for name in Header.__struct_fields__:
        stored, given = getattr(root.header, name), getattr(header, name)
        if name in _FREE or stored == given:
            continue
        has, this = f"{name.replace('_', ' ')} {_shown(stored)}", _shown(given)
        if name == "top_k":
            has, this = _attribution(stored), _attribution(given)
        option = f"{_OPTIONS[name]} {_spelled(name, stored)}, or " if name in _OPTIONS and stored else ""
        raise StoreError(f"{path} has {has}, this run has {this}; pass {option}{others}")
    for spec in schema.ARRAYS if root.arrays else ():
        stored, given = spec.name in root.arrays, spec.name in kept
        if spec.optional and spec.when(header) and stored != given:
            what, keep, keep_not = _KEPT[spec.name]
            has, do = ("has", keep) if stored else ("has no", keep_not)
            raise StoreError(
                f"{path} {has} {what} of its neurons, unlike this run; {do}, or pass another --out"
            )


def _spelled(name: str, value: Any) -> str:
    if name == "thresholds":
        return " --threshold ".join(f"{threshold:g}" for threshold in value)
    return ",".join(value) if isinstance(value, list) else str(value)


def _shown(value: Any) -> str:
    text = ",".join(f"{item}" for item in value) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _attribution(top_k: int | None) -> str:
    return "no attribution" if top_k is None else f"attribution with top k {top_k}"

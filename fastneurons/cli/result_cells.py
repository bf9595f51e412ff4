"""Cells of the tables that commands of findings print."""

from math import isfinite
from typing import Any


def percent(found: Any, name: str, **at: Any) -> str:
    """Format a share of a labelled result in per cent, with half of its interval if it has one.

    Args:
        found: An `xarray.Dataset` with `name`, and perhaps `name_low` and `name_high`.
        at: Labels or, with `entry`, positions that pick one value.
    """
    return _cell(*_values(found, name, at), 100, 1, 2)


def number(found: Any, name: str, digits: int = 3, **at: Any) -> str:
    """Format a number likewise."""
    return _cell(*_values(found, name, at), 1, digits, digits)


def plain_percent(value: float, digits: int = 1) -> str:
    """Format a share without an interval in per cent."""
    return f"{100 * float(value):.{digits}f}" if isfinite(value) else "-"


def probability(value: float) -> str:
    """Format a p or q value."""
    if not isfinite(value):
        return "-"
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def expected(value: float) -> str:
    """Format an expected number of neurons."""
    if not isfinite(value):
        return "-"
    if value < 0.01:
        return "fewer than 0.01"
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def scope(found: Any, num_examples: int) -> str:
    """Say what a result is of, in a line: model, examples, languages, threshold."""
    languages = found.attrs["languages"]
    named = ", ".join(languages) if len(languages) <= 6 else f"{len(languages)} languages"
    state = "" if found.attrs["complete"] else "; the run is not complete"
    noun = "example" if num_examples == 1 else "examples"
    return f"{num_examples:,} {noun}; {named}; activated: above {found.attrs['threshold']:g}{state}"


def _values(found: Any, name: str, at: dict[str, Any]) -> tuple[float, float, float]:
    names = (name, f"{name}_low", f"{name}_high")
    positions = {dim: each for dim, each in at.items() if dim == "entry"}
    labels = {dim: each for dim, each in at.items() if dim != "entry"}
    values = [
        float(found[each].isel(positions).sel(labels)) if each in found else float("nan") for each in names
    ]
    return values[0], values[1], values[2]


def _cell(value: float, low: float, high: float, factor: int, digits: int, half_digits: int) -> str:
    if not isfinite(value):
        return "-"
    half = factor * (high - low) / 2
    return f"{factor * value:.{digits}f}" + (f" ±{half:.{half_digits}f}" if isfinite(half) else "")

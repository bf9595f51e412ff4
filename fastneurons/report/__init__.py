"""Reports for people: tables, JSON and figures.

`compute_findings` reads a store once; `print_findings`, `findings_json` and `draw_findings` show what it found.
`print_summary`, `summary_json` and `plot` do both for one use.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from fastneurons.report.findings import Findings, SkipReason, compute_findings, skip_reasons
from fastneurons.report.style import check_ending
from fastneurons.report.tables import findings_json, findings_numbers, print_findings

if TYPE_CHECKING:
    from fastneurons.store import Store

__all__ = [
    "Findings",
    "SkipReason",
    "compute_findings",
    "draw_findings",
    "findings_json",
    "findings_numbers",
    "plot",
    "print_findings",
    "print_summary",
    "skip_reasons",
    "summary",
    "summary_json",
]


def draw_findings(found: Findings, path: str | Path) -> None:
    """Draw shares of the four categories by layer, and activated share by language.

    With attribution also the categories of the most contributing neurons; of a corpus, activation
    probability by layer and language.

    Args:
        found: The findings of a store.
        path: The picture to write, ending in .png, .svg or .pdf.
    Raises:
        InputError: another ending, no such folder, or nothing measured yet.
    """
    from fastneurons.report.figures import draw  # here: matplotlib takes a second to load

    draw(found, Path(path))


def plot(store: "Store", path: str | Path, threshold: float | None = None) -> None:
    """Compute a store's findings and draw them: `compute_findings`, then `draw_findings`."""
    check_ending(Path(path))  # before anything is read
    draw_findings(compute_findings(store, threshold), path)


def print_summary(store: "Store", stream: TextIO, threshold: float | None = None) -> None:
    """Compute a store's findings and print them: `compute_findings`, then `print_findings`."""
    print_findings(compute_findings(store, threshold), stream)


def summary(store: "Store", threshold: float | None = None) -> dict[str, Any]:
    """Compute a store's findings as numbers for JSON: `compute_findings`, then `findings_numbers`."""
    return findings_numbers(compute_findings(store, threshold))


def summary_json(store: "Store", threshold: float | None = None) -> str:
    """Compute a store's findings as JSON text: `compute_findings`, then `findings_json`."""
    return findings_json(compute_findings(store, threshold))

"""Reports for people: tables, JSON and figures, of stores of every kind that has them.

`compute_findings` reads a store once; `print_findings`, `findings_json` and `draw_findings` show what it found.
`print_summary`, `summary_json` and `plot` do both for one use.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias, cast

from fastneurons.errors import InputError
from fastneurons.report import findings, tables
from fastneurons.report.findings import Findings, Overview, SkipReason, skip_reasons
from fastneurons.report.style import check_ending
from fastneurons.visible import visible_json

if TYPE_CHECKING:
    from fastneurons.report.deactivation import Deactivation
    from fastneurons.report.generation import Generation
    from fastneurons.report.perplexity import Perplexities
    from fastneurons.store import Store

    AnyFindings: TypeAlias = Findings | Deactivation | Generation | Perplexities

__all__ = [
    "Findings",
    "Overview",
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


def compute_findings(store: "Store", threshold: float | None = None) -> "AnyFindings":
    """Read a store and compute all that its report needs, in memory that does not grow with the examples.

    Args:
        store: A store, complete or not.
        threshold: One of its thresholds; None takes the first.
    Returns:
        The findings of the store's kind.
    Raises:
        InputError: the store has no such threshold, or there is no report of its kind.
        StoreError: an array is damaged.
    """
    kind = store.header.kind
    if kind == "measure":
        return findings.compute_findings(store, threshold)
    if kind == "deactivate":
        from fastneurons.report.deactivation import (
            compute_deactivation,
        )  # here: xarray takes a third of a second

        return compute_deactivation(store, threshold)
    if kind == "perplexity":
        from fastneurons.report.perplexity import compute_perplexities

        return compute_perplexities(store)
    if kind == "generate":
        from fastneurons.report.generation import compute_generation

        return compute_generation(store)
    raise InputError(f"{store.path} is of kind {kind}, which has no report")


def print_findings(found: "AnyFindings", stream: TextIO) -> None:
    """Print findings as tables: plain text, 80 columns wide, unless the stream is a terminal."""
    if isinstance(found, Findings):
        tables.print_findings(found, stream)
        return
    if found.header.kind == "perplexity":
        from fastneurons.report.perplexity import print_perplexities

        print_perplexities(cast("Perplexities", found), stream)
        return
    if found.header.kind == "generate":
        from fastneurons.report.generation import print_generation

        print_generation(cast("Generation", found), stream)
        return
    from fastneurons.report.deactivation_tables import print_deactivation

    print_deactivation(cast("Deactivation", found), stream)


def findings_numbers(found: "AnyFindings") -> dict[str, Any]:
    """Return the numbers that `print_findings` prints, with all digits, for JSON; null stands for no value."""
    if isinstance(found, Findings):
        return tables.findings_numbers(found)
    if found.header.kind == "perplexity":
        from fastneurons.report.perplexity import perplexity_numbers

        return perplexity_numbers(cast("Perplexities", found))
    if found.header.kind == "generate":
        from fastneurons.report.generation import generation_numbers

        return generation_numbers(cast("Generation", found))
    from fastneurons.report.deactivation_tables import deactivation_numbers

    return deactivation_numbers(cast("Deactivation", found))


def findings_json(found: "AnyFindings") -> str:
    """Return `findings_numbers` as indented JSON text that is safe to print."""
    return visible_json(findings_numbers(found))


def draw_findings(found: "AnyFindings", path: str | Path) -> None:
    """Draw findings.

    Of activations, shares of the four categories by layer, and activated share by language; with attribution also the
    categories of the most contributing neurons; of a corpus, activation probability by layer and language. Of a
    deactivation, what each category costs in each language, set against its controls. Of perplexities, the change under
    each edit in each language.

    Args:
        found: The findings of a store.
        path: The picture to write, ending in .png, .svg or .pdf.
    Raises:
        InputError: another ending, no such folder, or nothing measured yet.
    """
    # Here: matplotlib takes a second to load.
    if isinstance(found, Findings):
        from fastneurons.report.figures import draw

        draw(found, Path(path))
        return
    if found.header.kind == "perplexity":
        from fastneurons.report.perplexity import draw_perplexities

        draw_perplexities(cast("Perplexities", found), Path(path))
        return
    if found.header.kind == "generate":
        raise InputError(f"{found.store} holds generated texts, of which there is no figure; see fastneurons summary")
    from fastneurons.report.deactivation_figure import draw_deactivation

    draw_deactivation(cast("Deactivation", found), Path(path))


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

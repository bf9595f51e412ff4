"""Print how much each category matters for the answer, and convert it to numbers for JSON."""

from typing import Any

from rich.console import Console

from fastneurons.analysis import Attribution, Shares
from fastneurons.report.cells import interval, percent_with_interval, score_cells, table
from fastneurons.store import ATTRIBUTION, CATEGORIES


def attribution_numbers(found: Attribution) -> dict[str, Any]:
    """Return everything that attribution stores, by category: overall, by layer and by language."""

    def by_category(estimates: Any, *index: int) -> dict[str, Any]:
        return {
            category: {name: interval(estimates[name], *index, c) for name in ATTRIBUTION}
            for c, category in enumerate(CATEGORIES)
        }

    return {
        "top_k": found.top_k,
        "threshold": found.threshold,
        "categories": by_category(found.overall),
        "languages": {
            language: by_category(found.by_language, k) for k, language in enumerate(found.languages)
        },
        "layers": [
            {"layer": layer, "categories": by_category(found.by_layer, index)}
            for index, layer in enumerate(found.layers)
        ],
    }


def print_attribution(console: Console, found: Attribution, shares: Shares) -> None:
    """Print one row per category; `shares` is at the threshold that defines the categories of `found`."""
    made = table("category", "of all\nneurons", f"of the\ntop {found.top_k:,}", "contribution\nscore",
                 "effective\nscore", left=1)  # fmt: skip
    contribution = score_cells(found.overall["contribution_mean"])
    effective = score_cells(found.overall["effective_mean"])
    for c, name in enumerate(CATEGORIES):
        made.add_row(
            name,
            percent_with_interval(shares.category_overall, c),
            percent_with_interval(found.overall["contribution_share"], c),
            contribution[c],
            effective[c],
        )
    console.print()
    console.print(
        f"importance: each category's share of all neurons, and of the {found.top_k:,} neurons of each\n"
        f"layer with the highest contribution scores (activated: above {found.threshold:g})"
    )
    console.print(made)
    console.print(
        "Per cent of neurons; scores are means over a category's neurons. Contribution:\n"
        "abs(m) times the norm of the value vector v; effective: m times (v . e), where\n"
        "e is the unembedding of the answer's first token. ±: half a 95 % bootstrap\n"
        "interval.",
        style="dim",
    )

"""Print how many tokens of a corpus activate neurons, by language and layer, and convert it to numbers for JSON."""

from typing import Any

from rich.console import Console
from rich.table import Table

from fastneurons.analysis import TokenShares
from fastneurons.report.cells import (
    LONGEST_LANGUAGE,
    language_cells,
    language_headings,
    number,
    percent,
    table,
)
from fastneurons.visible import visible


def corpus_numbers(found: TokenShares) -> dict[str, Any]:
    """Return the numbers of the tables, with all digits."""
    languages = list(enumerate(found.languages))
    return {
        "threshold": found.threshold,
        "texts": {name: int(found.texts[k]) for k, name in languages},
        "tokens": {name: int(found.tokens[k]) for k, name in languages},
        "activation_probability": {name: number(found.activated_overall[k]) for k, name in languages},
        "layers": [
            {
                "layer": layer,
                "activation_probability": {name: number(found.activated[k, index]) for k, name in languages},
            }
            for index, layer in enumerate(found.layers)
        ],
    }


def print_corpus(console: Console, found: TokenShares) -> None:
    """Print a table of languages and one of layers."""
    console.print(_language_table(found))
    console.print(_layer_table(found))
    console.print(
        "activated: per cent of a language's tokens that activate a neuron, mean over\n"
        "neurons; each token counts once.",
        style="dim",
    )


def _language_table(found: TokenShares) -> Table:
    made = table("language", "texts", "tokens", "activated", left=1)
    for k, language in enumerate(found.languages):
        numbers = (f"{found.texts[k]:,}", f"{found.tokens[k]:,}", percent(found.activated_overall[k]))
        made.add_row(visible(language, limit=LONGEST_LANGUAGE), *numbers)
    made.add_section()
    made.add_row("all", f"{found.texts.sum():,}", f"{found.tokens.sum():,}", "", style="bold")
    return made


def _layer_table(found: TokenShares) -> Table:
    made = table("layer", *language_headings(found.languages))
    for index, layer in enumerate(found.layers):
        activated = found.activated[:, index], found.activated_mean[index]
        made.add_row(str(layer), *language_cells(*activated, found.languages))
    made.add_section()
    overall = language_cells(found.activated_overall, found.activated_overall_mean, found.languages)
    made.add_row("all", *overall, style="bold")
    return made

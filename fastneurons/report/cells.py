"""Building blocks of tables and JSON, and words for the signal and the position."""

from collections.abc import Sequence
from math import floor, isfinite, log10
from typing import Any

import numpy as np

from fastneurons.analysis import Estimate
from fastneurons.console import PlainTable
from fastneurons.languages import language, short_code
from fastneurons.store import CATEGORIES, Header
from fastneurons.visible import visible

# Up to this many languages have a column each in a table of layers; beyond, the table shows their extremes.
LANGUAGE_COLUMNS = 6
CATEGORY_HEADINGS = [name.replace("-", "-\n") for name in CATEGORIES]
# Characters shown of texts from a store, which may be damaged or someone else's.
LONGEST_LANGUAGE = 60
LONGEST_NAME = 200
LONGEST_LIST = 2000

_POSITIONS = {
    "last": "at the last token",
    "any": "at any token of the prompt",
    "answer": "at any token of the answer",
    "corpus": "at each token",
}


def signal_name(header: Header) -> str:
    """Return the name of the value compared with the threshold."""
    return "coefficient" if header.signal == "product" else "activation"


def where_read(header: Header) -> str:
    """Name the tokens that were read, in words that follow "above 0"."""
    return _POSITIONS.get(header.position) or visible(header.position, limit=LONGEST_NAME)


def language_label(code: str) -> str:
    """Name a language with its code, `Thai (th)`; a language of the user's own by its code alone."""
    return f"{language(code).name} ({code})" if short_code(code) else visible(code, limit=LONGEST_LANGUAGE)


# -- tables -----------------------------------------------------------------------------------------------


def table(*columns: str, left: int = 0) -> PlainTable:
    """Make an empty table whose first `left` columns hold text and the others numbers."""
    made = PlainTable(padding=(0, 1), collapse_padding=True)
    for index, name in enumerate(columns):
        made.add_column(name, justify="left" if index < left else "right", vertical="bottom", no_wrap=True)
    return made


def percent(share: float, digits: int = 1) -> str:
    """Format a share in per cent."""
    return f"{100 * share:.{digits}f}" + (" %" if digits > 1 else "") if isfinite(share) else "-"


def half_width(estimate: Estimate, *index: int) -> str:
    """Format half of a share's interval, in per cent."""
    half = (estimate.high[index] - estimate.low[index]) / 2
    return f"±{100 * half:.2f}" if isfinite(half) else ""


def percent_with_interval(estimate: Estimate, *index: int) -> str:
    """Format a share in per cent and half of its interval."""
    return f"{percent(estimate.mean[index])} {half_width(estimate, *index)}".rstrip()


def score_cells(estimate: Estimate) -> list[str]:
    """Format a column of means with half of each interval, with enough decimals for the smallest."""
    sizes = [floor(log10(abs(mean))) for mean in estimate.mean if isfinite(mean) and mean]
    decimals = max(0, min(2 - min(sizes), 4 - max(sizes))) if sizes else 0
    shape = f".{decimals}f" if decimals <= 6 else ".2e"
    cells = []
    for mean, half in zip(estimate.mean, (estimate.high - estimate.low) / 2, strict=True):
        cell = f"{mean:{shape}}" if isfinite(mean) else "-"
        cells.append(cell + (f" ±{half:{shape}}" if isfinite(half) else ""))
    return cells


def count(number: int, noun: str) -> str:
    """Format a count with its noun: `1 example`, `2 examples`."""
    return f"{number:,} {noun}" + ("s" if number != 1 else "")


def last_token_line(percent_same: float, largest: float, languages: float) -> str:
    """Say how often an example's prompts end in the same token, in two lines of at most 80 columns.

    Args:
        percent_same: Per cent of examples in which all languages end in the same token.
        largest: Mean size of the largest group of languages that end in the same token.
        languages: Mean number of languages of an example.
    """
    return (
        f"last token: the same in all languages in {percent_same:.1f} % of examples; on average, the\n"
        f"largest group of languages that share one has {largest:.2f} of {languages:.3g} languages"
    )


def language_headings(languages: Sequence[str]) -> Sequence[str]:
    """Return one heading per language, or for many languages headings for their mean and extremes."""
    if len(languages) > LANGUAGE_COLUMNS:
        return ("activated", "least", "most")
    return [visible(name, limit=LONGEST_LANGUAGE) for name in languages]


def language_cells(values: Any, mean: float, languages: Sequence[str]) -> list[str]:
    """Return the cells below `language_headings`, from shares [L] and their mean."""
    if len(languages) <= LANGUAGE_COLUMNS:
        return [percent(value) for value in values]
    if not np.isfinite(values).any():
        return ["-", "-", "-"]
    least, most = int(np.nanargmin(values)), int(np.nanargmax(values))
    return [
        percent(mean),
        *(f"{percent(values[k])} {visible(languages[k], limit=LONGEST_LANGUAGE)}" for k in (least, most)),
    ]


# -- JSON -------------------------------------------------------------------------------------------------


def number(value: Any) -> float | None:
    """Return a number that JSON can hold: None for NaN and infinity."""
    return float(value) if isfinite(value) else None


def interval(estimate: Estimate, *index: int) -> dict[str, float | None]:
    """Return a mean with the ends of its interval."""
    return {
        "mean": number(estimate.mean[index]),
        "low": number(estimate.low[index]),
        "high": number(estimate.high[index]),
    }


def by_category(estimate: Estimate, *index: int) -> dict[str, Any]:
    """Return the interval of each category."""
    return {name: interval(estimate, *index, c) for c, name in enumerate(CATEGORIES)}

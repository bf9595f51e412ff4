"""Findings as plain sentences, each with its numbers, their intervals and the figure that shows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fastneurons.analysis import Estimate, Shares
from fastneurons.analysis.answers import AnswerScores
from fastneurons.languages import language, short_code
from fastneurons.report.cells import count, language_label
from fastneurons.report.findings import Findings
from fastneurons.visible import visible

if TYPE_CHECKING:
    import xarray

# Shares below this get another decimal.
_SMALL = 0.001
_NON, _SPECIFIC, _PARTIAL, _ALL = range(4)


@dataclass(frozen=True)
class Sentence:
    """A finding.

    Args:
        parts: Its text in pieces; every second one, from the second on, is a number that readers look for.
        figure: The view that shows it: "categories", "languages", "matrix", "contribution", ...
        selection: What to select there, such as {"layer": 12}.
    """

    parts: tuple[str, ...]
    figure: str
    selection: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The sentence."""
        return "".join(self.parts)


def sentences(
    found: Findings,
    sharing: "xarray.Dataset | None" = None,
    contributions: "xarray.Dataset | None" = None,
    repeating: "xarray.Dataset | None" = None,
) -> list[Sentence]:
    """The main findings of a run, the most general first; none where nothing was measured.

    Args:
        found: The findings of a store.
        sharing: Of `fastneurons.analysis.language_sharing`, if the store has bits.
        contributions: Of `fastneurons.analysis.contributions`, if it has attribution.
        repeating: Of `fastneurons.analysis.repeating`.
    """
    if not found.num_measured:
        return []
    made: list[Sentence] = []
    if found.sharing is not None:
        made += _sharing(found.sharing)
    if sharing is not None:
        made += _pairs(sharing)
    if contributions is not None:
        made.append(_contributions(contributions))
    if repeating is not None:
        made.append(_repeating(repeating, found.num_measured))
    made += _corpus(found)
    if found.answers is not None:
        made += _answers(found.answers)
    return made


def _answers(scores: AnswerScores) -> list[Sentence]:
    """How well the model answers, and in which languages best and least well."""
    accuracy, values = scores.overall_accuracy, scores.log_probability.mean
    made = []
    if np.isfinite(accuracy.mean):
        made.append(
            Sentence(
                (
                    "The model answers ",
                    percent(accuracy),
                    f" of questions right{between(accuracy)}, mean over languages.",
                ),
                "categories",
            )
        )
    if np.isfinite(values).sum() > 1:
        most, least = int(np.nanargmax(values)), int(np.nanargmin(values))
        names = [language_label(code) for code in scores.languages]
        made.append(
            Sentence(
                (
                    f"The log-probability of the reference answer is highest in {names[most]}, ",
                    f"{values[most]:.2f}",
                    f", and lowest in {names[least]}, ",
                    f"{values[least]:.2f}",
                    ".",
                ),
                "languages",
                {"language": least},
            )
        )
    return made


def _sharing(shares: Shares) -> list[Sentence]:
    overall = shares.category_overall
    L = len(shares.languages)
    made = [
        Sentence(
            (
                f"Over {count(shares.num_examples, 'example')}, ",
                percent(overall, _ALL),
                f" of neurons are activated in all {L} languages{between(overall, _ALL)}, ",
                *((percent(overall, _PARTIAL), " in several, ") if L > 2 else ()),
                percent(overall, _SPECIFIC),
                " in exactly one, and ",
                percent(overall, _NON),
                " in none.",
            ),
            "categories",
        )
    ]
    by_layer = shares.category
    most, least = int(np.argmax(by_layer.mean[:, _ALL])), int(np.argmin(by_layer.mean[:, _ALL]))
    if most != least:
        made.append(
            Sentence(
                (
                    f"Sharing depends on depth: all-shared neurons peak in layer {shares.layers[most]} at ",
                    percent(by_layer, most, _ALL),
                    f"{between(by_layer, most, _ALL)} and are rarest in layer {shares.layers[least]} at ",
                    percent(by_layer, least, _ALL),
                    f"{between(by_layer, least, _ALL)}.",
                ),
                "categories",
                {"layer": most, "category": _ALL},
            )
        )
    activated = shares.activated_overall
    if np.isfinite(activated.mean).sum() > 1:
        high, low = int(np.nanargmax(activated.mean)), int(np.nanargmin(activated.mean))
        made.append(
            Sentence(
                (
                    f"{name(shares.languages[high])} activates the most neurons, ",
                    percent(activated, high),
                    f"{between(activated, high)}; {name(shares.languages[low])} the fewest, ",
                    percent(activated, low),
                    f"{between(activated, low)}.",
                ),
                "languages",
                {"language": high},
            )
        )
    return made


def _pairs(sharing: "xarray.Dataset") -> list[Sentence]:
    """The pairs of languages that overlap most and least."""
    jaccard = sharing.jaccard.values
    if len(jaccard) < 2 or not np.isfinite(jaccard).all():
        return []

    def pair(index: int) -> str:
        return f"{name(str(sharing['first'].values[index]))} and {name(str(sharing['second'].values[index]))}"

    def overlap(index: int) -> tuple[str, str]:
        low, high = (100 * float(sharing[f"jaccard_{end}"].values[index]) for end in ("low", "high"))
        chance = 100 * float(sharing.chance.values[index])
        interval = f"95 % interval {low:.1f} to {high:.1f} %; " if np.isfinite(low) else ""
        return f"{100 * jaccard[index]:.1f} %", f" ({interval}chance alone gives {chance:.1f} %)"

    most, least = int(np.argmax(jaccard)), int(np.argmin(jaccard))
    high, low = overlap(most), overlap(least)
    return [
        Sentence(
            (
                f"{pair(most)} overlap most: of the neurons that either activates, ",
                high[0],
                f" are activated by both{high[1]}. {pair(least)} overlap least, ",
                low[0],
                f"{low[1]}.",
            ),
            "matrix",
        )
    ]


def _contributions(contributions: "xarray.Dataset") -> Sentence:
    """How much the shared neurons contribute, compared with how many they are."""

    def share(variable: str, categories: slice) -> str:
        return f"{100 * float(contributions[variable].values[categories].sum()):.1f} %"

    shared, estimate = slice(_ALL, _ALL + 1), contributions["sum_share"].values[_ALL]
    low, high = (100 * float(contributions[f"sum_share_{end}"].values[_ALL]) for end in ("low", "high"))
    interval = f" (95 % interval {low:.1f} to {high:.1f} %)" if np.isfinite(low) else ""
    number = float(contributions["neuron_share"].values[_ALL])
    return Sentence(
        (
            f"All-shared neurons are {'only ' if number < estimate else ''}",
            share("neuron_share", shared),
            " of a layer's neurons and give ",
            share("sum_share", shared),
            f" of its summed contribution scores{interval}.",
        ),
        "contribution",
        {"category": _ALL},
    )


def _repeating(repeating: "xarray.Dataset", num_examples: int) -> Sentence:
    """How many neurons never leave their category."""
    kept = int(repeating.attrs["keepers_in_every_example"])
    chance = float(repeating.attrs["keepers_by_chance"])
    expected = f"{chance:,.0f}" if chance >= 1 else "fewer than one"
    total = int(repeating.attrs["neurons"]) * repeating.sizes["layer"]
    return Sentence(
        (
            "",
            f"{kept:,}",
            f" of {total:,} neurons ({100 * kept / total:.1f} %) are in the same category in every one of "
            f"{count(num_examples, 'example')}; if neurons changed at random, {expected} would be.",
        ),
        "neurons",
    )


def _corpus(found: Findings) -> list[Sentence]:
    corpus = found.corpus
    if corpus is None:
        return []
    activated = corpus.activated_overall
    high, low = int(np.nanargmax(activated)), int(np.nanargmin(activated))
    return [
        Sentence(
            (
                "On average, a token of ",
                name(corpus.languages[high]),
                " activates ",
                f"{100 * activated[high]:.1f} %",
                f" of neurons, the most of all {len(corpus.languages)} languages; one of "
                f"{name(corpus.languages[low])} ",
                f"{100 * activated[low]:.1f} %",
                ", the fewest.",
            ),
            "languages",
            {"language": high},
        )
    ]


def percent(estimate: Estimate, *index: int) -> str:
    """A share in per cent."""
    return _percent(float(estimate.mean[index]))


def between(estimate: Estimate, *index: int) -> str:
    """The interval of a share in brackets, to stand after it; empty where there is none."""
    low, high = estimate.low[index], estimate.high[index]
    if not (np.isfinite(low) and np.isfinite(high)):
        return ""
    digits = 2 if high < _SMALL else 1
    return f" (95 % interval {100 * low:.{digits}f} to {100 * high:.{digits}f} %)"


def _percent(share: float) -> str:
    return f"{100 * share:.{2 if share < _SMALL else 1}f} %"


def name(code: str) -> str:
    """A language's English name; its code where it has none."""
    return language(code).name if short_code(code) else visible(code, limit=60)

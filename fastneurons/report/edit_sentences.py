"""Findings of generated texts and of perplexities as sentences: what the intact model does, and each edit."""

from collections.abc import Callable

import numpy as np

from fastneurons.analysis.bootstrap import Estimate
from fastneurons.report.cells import LONGEST_NAME, count, language_label, percent
from fastneurons.report.deactivation import differs, estimate, signed
from fastneurons.report.generation import Generation, Texts, leaves_out_0
from fastneurons.report.perplexity import Perplexities, shown_perplexity
from fastneurons.report.sentences import Sentence
from fastneurons.scores import Mean
from fastneurons.visible import visible

_MOST = 6  # edits that have a sentence: those with the largest effects


# -- generated texts --------------------------------------------------------------------------------------


def generation_sentences(found: Generation) -> list[Sentence]:
    """The main findings of generated texts, the largest effect first; none where nothing was measured."""
    conditions = found.header.conditions
    if not found.num_measured or not conditions:
        return []
    edits = range(1, len(conditions))
    intact = found.overall[conditions[0]]
    if not np.isfinite(intact.right.mean):
        order = sorted(edits, key=lambda c: np.nan_to_num(found.overall[conditions[c]].unchanged))
        return [_lengths(found, c) for c in order[:_MOST]] or [_length(found, intact)]
    order = sorted(edits, key=lambda c: -abs(np.nan_to_num(found.overall[conditions[c]].change.mean)))
    return [_right(found, intact), *(_change(found, c) for c in order[:_MOST])]


def _right(found: Generation, intact: Texts) -> Sentence:
    """How many texts of the intact model are right, and in which languages most and fewest."""
    by_language = found.texts[found.header.conditions[0]]
    parts = ["Of the intact model's texts, ", f"{percent(intact.right.mean)} %"]
    parts.append(f" are right{_range(intact.right)}{_over(found)}")
    place = _extremes([by_language[code].right.mean for code in found.header.languages])
    if place is None:
        parts[-1] += "."
        return Sentence(tuple(parts), "answers")
    most, least = place[1], place[0]
    labels = [language_label(code) for code in found.header.languages]
    right = [by_language[code].right for code in found.header.languages]
    parts[-1] += f": most in {labels[most]}, "
    parts += [
        f"{percent(right[most].mean)} %",
        f"{_range(right[most])}, fewest in {labels[least]}, ",
        f"{percent(right[least].mean)} %",
        f"{_range(right[least])}.",
    ]
    return Sentence(tuple(parts), "answers", {"language": least})


def _change(found: Generation, c: int) -> Sentence:
    """How an edit changes the share of right texts."""
    condition = found.header.conditions[c]
    overall, by_language = found.overall[condition], found.texts[condition]
    parts = [f"Under the edit {_name(condition)}, ", f"{percent(overall.right.mean)} %", " are right, "]
    parts += [f"{signed(100 * overall.change.mean, 1)} points", _points(overall.change)]
    change = [by_language[code].change for code in found.header.languages]
    place = _extremes([each.mean for each in change])
    selection = {"condition": c}
    if place is not None:
        first = max(place, key=lambda k: abs(change[k].mean))
        last = place[0] if first == place[1] else place[1]
        labels = [language_label(code) for code in found.header.languages]
        parts[-1] += f": {labels[first]} "
        parts += [signed(100 * change[first].mean, 1), f"{_points(change[first])}, {labels[last]} "]
        parts += [signed(100 * change[last].mean, 1), _points(change[last])]
        selection["language"] = first
    parts[-1] += "." if leaves_out_0(overall.change) else ". The interval of the change includes 0."
    return Sentence(tuple(parts), "answers", selection)


def _lengths(found: Generation, c: int) -> Sentence:
    """How many texts an edit leaves as they are, and how long its texts are."""
    condition = found.header.conditions[c]
    overall, intact = found.overall[condition], found.overall[found.header.conditions[0]]
    return Sentence(
        (
            f"Under the edit {_name(condition)}, ",
            f"{percent(overall.unchanged)} %",
            f" of the texts stay as they are{_over(found)}; a text has ",
            f"{overall.tokens:.1f}",
            " tokens, the intact model's ",
            f"{intact.tokens:.1f}",
            ".",
        ),
        "lengths",
        {"condition": c},
    )


def _length(found: Generation, intact: Texts) -> Sentence:
    return Sentence(("A text has ", f"{intact.tokens:.1f}", f" tokens{_over(found)}."), "lengths")


def _over(found: Generation) -> str:
    return ", mean over languages" if len(found.header.languages) > 1 else ""


def _range(mean: Mean) -> str:
    return f" ({percent(mean.low)} to {percent(mean.high)} %)" if np.isfinite(mean.low) else ""


def _points(mean: Mean) -> str:
    if not np.isfinite(mean.low):
        return ""
    return f" ({signed(100 * mean.low, 1)} to {signed(100 * mean.high, 1)})"


# -- perplexities -----------------------------------------------------------------------------------------


def perplexity_sentences(found: Perplexities) -> list[Sentence]:
    """The main findings of perplexities, the largest effect first; none where nothing was measured."""
    if not found.num_measured:
        return []
    conditions = found.header.conditions
    change = estimate(found.result, "change")  # [L, C]
    made = [_levels(found)]
    largest = np.nanmax(np.abs(np.nan_to_num(change.mean)), axis=0, initial=0.0)
    edits = sorted(range(1, len(conditions)), key=lambda c: -largest[c])
    return made + [_ratio(found, change, c) for c in edits[:_MOST] if np.isfinite(change.mean[:, c]).any()]


def _levels(found: Perplexities) -> Sentence:
    """The languages that the intact model predicts best and worst."""
    level = estimate(found.result, "perplexity")
    labels = [language_label(str(code)) for code in found.result["language"].values]

    def of(k: int) -> tuple[str, str]:
        low, high = level.low[k, 0], level.high[k, 0]
        interval = f" ({shown_perplexity(low)} to {shown_perplexity(high)})" if np.isfinite(low) else ""
        return shown_perplexity(level.mean[k, 0]), interval

    place = _extremes(list(level.mean[:, 0]))
    if place is None:
        value, interval = of(int(np.argmax(np.isfinite(level.mean[:, 0]))))
        return Sentence(("The intact model's perplexity is ", value, f"{interval}."), "perplexity")
    (low, low_interval), (high, high_interval) = of(place[0]), of(place[1])
    return Sentence(
        (
            f"The intact model's perplexity is lowest in {labels[place[0]]}, ",
            low,
            f"{low_interval}, and highest in {labels[place[1]]}, ",
            high,
            f"{high_interval}.",
        ),
        "perplexity",
        {"language": place[1]},
    )


def _ratio(found: Perplexities, change: Estimate, c: int) -> Sentence:
    """By how much an edit multiplies perplexities."""
    labels = [language_label(str(code)) for code in found.result["language"].values]
    of_edit = [float(each) for each in change.mean[:, c]]
    ratio = Estimate(*(np.exp(getattr(change, end)) for end in ("mean", "low", "high")))

    def interval(k: int) -> str:
        low, high = ratio.low[k, c], ratio.high[k, c]
        return f" ({low:.2f} to {high:.2f})" if np.isfinite(low) else ""

    name = _name(found.header.conditions[c])
    place = _extremes(of_edit)
    if place is None:
        k = int(np.argmax(np.isfinite(of_edit)))
        return Sentence(
            (f"The edit {name} multiplies perplexity by ", f"{ratio.mean[k, c]:.2f}", f"{interval(k)}."),
            "perplexity",
            {"condition": c},
        )
    least, most = place
    parts = [f"The edit {name} multiplies perplexity by ", f"{ratio.mean[most, c]:.2f}"]
    parts += [
        f"{interval(most)} in {labels[most]}, where it rises most, and by ",
        f"{ratio.mean[least, c]:.2f}",
    ]
    parts.append(f"{interval(least)} in {labels[least]}")
    if np.isfinite(change.low[:, c]).any():
        changed = sum(differs(change, k, c) for k in range(len(labels)))
        parts[-1] += "; in "
        parts += [f"{changed} of {count(len(labels), 'language')}", ", the interval leaves out 1"]
    parts[-1] += "."
    return Sentence(tuple(parts), "perplexity", {"condition": c, "language": most})


# -- both -------------------------------------------------------------------------------------------------


def _extremes(values: list[float]) -> tuple[int, int] | None:
    """Places of the least and of the largest value; None without two values."""
    given = [k for k, value in enumerate(values) if np.isfinite(value)]
    if len(given) < 2:
        return None
    of: Callable[[int], float] = values.__getitem__
    return min(given, key=of), max(reversed(given), key=of)


def _name(condition: str) -> str:
    return visible(condition, limit=LONGEST_NAME)

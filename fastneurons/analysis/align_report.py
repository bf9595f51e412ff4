"""Models before and after alignment: categories, answers, and whether the one goes with the other.

    from fastneurons.analysis.align_report import align_report

    align_report(open_store("before.zarr"), open_store("after.zarr"), [open_store("control.zarr")])

All stores hold the same examples, so that every difference is within an example, and intervals are over examples. A
control is a model that was trained as long, on texts without the parallel link, or in one language: what it changes
too is not the effect of alignment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray

from fastneurons.analysis.bits import bit_blocks, category_count_blocks
from fastneurons.analysis.bootstrap import REPLICATES, Estimate, Floats
from fastneurons.analysis.compare import matched
from fastneurons.analysis.paired_growth import (
    OUTCOMES,
    Growth,
    correlation,
    estimated,
    growth_by_outcome,
    paired_mean,
)
from fastneurons.analysis.reading import add_estimate
from fastneurons.analysis.selection import CORRECT, Chosen, Selection
from fastneurons.analysis.words import category_masks, count_bits
from fastneurons.arrays import Answer
from fastneurons.errors import InputError
from fastneurons.store import CATEGORIES, Store

__all__ = ["Growth", "Judged", "align_report", "correlation", "growth_by_outcome"]

BEFORE, AFTER, CONTROL = "before", "after", "control"
# Categories of a neuron that a language activates.
OF_LANGUAGE = CATEGORIES[1:]
GROUPS = ("all", "trained", "untrained", "trained - untrained")
_WHAT = ("log_probability", "accuracy")


@dataclass(frozen=True)
class Judged:
    """Answers of a run that were judged elsewhere, for stores that do not hold them.

    Args:
        log_probability: Floats [E, L], of the right answer, per token; NaN where there is none.
        correct: Floats [E, L], 1 or 0; NaN where the answer was not judged.
        examples: The E ids.
    """

    log_probability: NDArray[Any]
    correct: NDArray[Any]
    examples: Sequence[str]


@dataclass(frozen=True)
class _Run:
    """One run's numbers of the E common examples."""

    share: Floats  # [E, N, 4], of each layer's neurons
    of_language: Floats | None  # [E, L, 3], of the neurons that a language activates; None without bits
    log_probability: Floats | None  # [E, L]
    correct: Floats | None  # [E, L]


def align_report(
    before: Store,
    after: Store,
    controls: Sequence[Store] = (),
    selection: Selection | None = None,
    replicates: int = REPLICATES,
    seed: int | None = None,
    judged: Sequence[Judged | None] = (),
) -> xarray.Dataset:
    """Compare a model before and after alignment, and controls.

    Args:
        before: Of the model as it was.
        after: Of the model that was aligned.
        controls: Of models that were trained otherwise.
        selection: Tasks, languages and threshold.
        replicates: Bootstrap samples of the examples; 0 for no intervals.
        seed: Of these.
        judged: Answers that were judged elsewhere, in the order before, after, controls; empty to take the stores'.
    Returns:
        A dataset over `run` (before, after, controls) and `comparison` (after - before, each control - before,
        after - each control), the latter with 95 % intervals (`_low`, `_high`):
        `share` and `change` by layer and category; `overall_share`, `overall_change` over all layers' neurons;
        `task_change` by task; `language_share`, `language_change` by language and `of_language`: of the neurons that a
        language activates, which are specific, partial-shared and all-shared (NaN without bits); `log_probability`
        (per token of the right answer) and `accuracy` by language with `_change`, and by `group` of languages
        `group_log_probability_change`, `group_accuracy_change`, `group_language_change`; for comparisons with before,
        `growth` by outcome and category, `growth_gained`, `growth_lost` and `pairs` as in `Growth`,
        `growth_accuracy` and `growth_log_probability`: correlations over examples between the growth of a category
        and the gain of the example's languages. Scores are NaN where a store does not hold them.
        Attributes: `examples`, `languages`, `trained`, `untrained`, names and models of the stores.
    Raises:
        InputError: the stores cannot be compared.
        StoreError: an array is damaged.
    """
    stores = [before, after, *controls]
    given = [*judged, *[None] * (len(stores) - len(judged))]
    chosen = _common(stores, selection or Selection())
    runs = [_run(each, one) for each, one in zip(chosen, given, strict=True)]
    languages = list(chosen[0].languages)
    trained = _trained_languages(after)
    names = [BEFORE, AFTER, *_control_names(controls)]
    comparisons = [(1, 0), *((c, 0) for c in range(2, len(runs))), *((1, c) for c in range(2, len(runs)))]
    groups = _groups(languages, trained)
    found = xarray.Dataset(
        coords={
            "run": names,
            "comparison": [f"{names[one]} - {names[other]}" for one, other in comparisons],
            "layer": list(before.header.layers),
            "category": list(CATEGORIES),
            "of_language": list(OF_LANGUAGE),
            "language": languages,
            "task": list(chosen[0].tasks),
            "group": list(GROUPS),
            "outcome": list(OUTCOMES),
        },
        attrs={
            "stores": [each.path for each in stores],
            "models": [each.header.model for each in stores],
            "adapters": [each.header.lora or "" for each in stores],
            "examples": len(chosen[0]),
            "languages": languages,
            "trained": [code for code in languages if trained is not None and code in trained],
            "untrained": [code for code in languages if trained is not None and code not in trained],
            "threshold": chosen[0].threshold,
            "position": before.header.position,
            "signal": before.header.signal,
            "has_scores": int(any(run.correct is not None for run in runs)),
            "comparisons_with_before": 1 + len(controls),
        },
    )
    _add_categories(found, runs, comparisons, chosen[0], replicates, seed)
    _add_languages(found, runs, comparisons, groups, replicates, seed)
    _add_scores(found, runs, comparisons, groups, replicates, seed)
    _add_growth(found, runs, comparisons, replicates, seed)
    return found


def _common(stores: Sequence[Store], selection: Selection) -> list[Chosen]:
    """The examples that all stores have."""
    first, *others = stores
    pairs = [matched(first, other, selection) for other in others]
    shared = pairs[0][0].examples
    for one, _ in pairs[1:]:
        shared = np.intersect1d(shared, one.examples)
    if not len(shared):
        raise InputError(f"{' and '.join(each.path for each in stores)} have no example in common")
    kept = [np.isin(one.examples, shared) for one, _ in pairs]
    return [
        pairs[0][0].subset(kept[0]),
        *(two.subset(rows) for (_, two), rows in zip(pairs, kept, strict=True)),
    ]


def _run(chosen: Chosen, judged: Judged | None) -> _Run:
    counts = np.concatenate([block for _, block in category_count_blocks(chosen)])
    share = counts / chosen.store.header.neurons
    return _Run(
        share,
        _of_language(chosen) if chosen.store.has_bits else None,
        *(_judged_elsewhere(chosen, judged) if judged is not None else _judged(chosen)),
    )


def _of_language(chosen: Chosen) -> Floats:
    """[E, L, 3], which part of the neurons that a language activates, over all layers, is in each category."""
    parts = []
    for block in bit_blocks(chosen, "align-report needs it"):
        masks = category_masks(block.planes)[:, 1:]  # [E, 3, N, W]
        counts = count_bits(block.words[:, :, None] & masks[:, None]).sum(-1, dtype=np.int64)  # [E, L, 3]
        activated = count_bits(block.words).sum(-1, dtype=np.int64)[..., None]
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append(np.where(block.present[..., None], counts / activated, np.nan))
    return np.concatenate(parts)


def _judged(chosen: Chosen) -> tuple[Floats | None, Floats | None]:
    """Log-probability per token and correctness, [E, L] each, as the store has them."""
    store, languages = chosen.store, list(chosen.language_index)
    logs = correct = None
    if "log_probability" in store and "judged_count" in store:
        total = np.asarray(store["log_probability"][...], np.float64)[chosen.examples][:, languages]
        number = np.asarray(store["judged_count"][...])[chosen.examples][:, languages]
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = np.where(number > 0, total / number, np.nan)
    if CORRECT in store:
        codes = np.asarray(store[CORRECT][...])[chosen.examples][:, languages]
        correct = np.where(codes == Answer.NOT_JUDGED, np.nan, codes == Answer.RIGHT)
    return logs, correct


def _judged_elsewhere(chosen: Chosen, judged: Judged) -> tuple[Floats, Floats]:
    place = {name: index for index, name in enumerate(judged.examples)}
    names = [str(name) for name in chosen.store["example_id"][...][chosen.examples]]
    missing = [name for name in names if name not in place]
    if missing:
        raise InputError(f"{chosen.store.path}: example {missing[0]!r} was not judged")
    rows = [place[name] for name in names]
    return (
        np.asarray(judged.log_probability, np.float64)[rows],
        np.asarray(judged.correct, np.float64)[rows],
    )


def _trained_languages(store: Store) -> list[str] | None:
    """The languages that a model was aligned in, as `fastneurons align` has recorded; None for models of others."""
    record = store.header.config.get("alignment")
    languages = record.get("languages") if isinstance(record, dict) else None
    return [str(code) for code in languages] if isinstance(languages, list) else None


def _control_names(controls: Sequence[Store]) -> list[str]:
    return [CONTROL] if len(controls) == 1 else [f"{CONTROL} {k}" for k in range(1, len(controls) + 1)]


def _groups(languages: list[str], trained: list[str] | None) -> dict[str, list[int]]:
    """Indices of the languages of each group; without a record, of all alone."""
    everything = list(range(len(languages)))
    if trained is None:
        return {"all": everything, "trained": [], "untrained": []}
    return {
        "all": everything,
        "trained": [k for k in everything if languages[k] in trained],
        "untrained": [k for k in everything if languages[k] not in trained],
    }


def _add_categories(
    found: xarray.Dataset,
    runs: list[_Run],
    comparisons: list[tuple[int, int]],
    chosen: Chosen,
    replicates: int,
    seed: int | None,
) -> None:
    share = np.stack([run.share.mean(0) for run in runs])
    found["share"] = ("run", "layer", "category"), share
    found["overall_share"] = ("run", "category"), share.mean(1)
    changes = [runs[one].share - runs[other].share for one, other in comparisons]
    by_layer = [estimated(each, replicates, seed) for each in changes]
    add_estimate(found, "change", ("comparison", "layer", "category"), _stacked(by_layer))
    overall = [estimated(each.mean(1), replicates, seed) for each in changes]
    add_estimate(found, "overall_change", ("comparison", "category"), _stacked(overall))
    of_task = [chosen.task == index for index in chosen.task_index]
    by_task = [
        _stacked(
            [estimated(np.where(mine[:, None], each.mean(1), np.nan), replicates, seed) for mine in of_task]
        )
        for each in changes
    ]
    add_estimate(found, "task_change", ("comparison", "task", "category"), _stacked(by_task))


def _add_languages(
    found: xarray.Dataset,
    runs: list[_Run],
    comparisons: list[tuple[int, int]],
    groups: dict[str, list[int]],
    replicates: int,
    seed: int | None,
) -> None:
    shape = (len(runs[0].share), found.sizes["language"], len(OF_LANGUAGE))
    values = [run.of_language if run.of_language is not None else np.full(shape, np.nan) for run in runs]
    mean = np.stack([paired_mean(each, 0)[0] for each in values])
    found["language_share"] = ("run", "language", "of_language"), mean
    changes = [values[one] - values[other] for one, other in comparisons]
    by_language = _stacked([estimated(each, replicates, seed) for each in changes])
    add_estimate(found, "language_change", ("comparison", "language", "of_language"), by_language)
    by_group = _stacked([_by_group(each, groups, replicates, seed) for each in changes])
    add_estimate(found, "group_language_change", ("comparison", "group", "of_language"), by_group)


def _add_scores(
    found: xarray.Dataset,
    runs: list[_Run],
    comparisons: list[tuple[int, int]],
    groups: dict[str, list[int]],
    replicates: int,
    seed: int | None,
) -> None:
    nothing = np.full((len(runs[0].share), found.sizes["language"]), np.nan)
    for name in _WHAT:
        scores = [run.log_probability if name == "log_probability" else run.correct for run in runs]
        values = [each if each is not None else nothing for each in scores]
        mean = np.stack([paired_mean(each, 0)[0] for each in values])
        found[name] = ("run", "language"), mean
        changes = [values[one] - values[other] for one, other in comparisons]
        by_language = _stacked([estimated(each, replicates, seed) for each in changes])
        add_estimate(found, f"{name}_change", ("comparison", "language"), by_language)
        by_group = _stacked([_by_group(each, groups, replicates, seed) for each in changes])
        add_estimate(found, f"group_{name}_change", ("comparison", "group"), by_group)


def _by_group(values: Floats, groups: dict[str, list[int]], replicates: int, seed: int | None) -> Estimate:
    """Means over the languages of each group, of their means over examples; and trained less untrained.

    Args:
        values: [E, L, ...].
    """
    mean, drawn = paired_mean(values, replicates, seed)
    rows, replicated = [], []
    for members in groups.values():
        rows.append(mean[members].mean(0) if members else np.full(mean.shape[1:], np.nan))
        some = drawn[:, members].mean(1) if members else np.full((replicates, *mean.shape[1:]), np.nan)
        replicated.append(some)
    rows.append(rows[1] - rows[2])
    replicated.append(replicated[1] - replicated[2])
    return Estimate.of(np.stack(rows), np.stack(replicated, 1))


def _add_growth(
    found: xarray.Dataset,
    runs: list[_Run],
    comparisons: list[tuple[int, int]],
    replicates: int,
    seed: int | None,
) -> None:
    number, means, gained, lost, accuracy, logs = [], [], [], [], [], []
    no_scores = np.full((len(runs[0].share), found.sizes["language"]), np.nan)
    with_before = [one for one, other in comparisons if other == 0]
    for one in with_before:
        growth = (runs[one].share - runs[0].share).mean(1)  # [E, 4]
        was, became = (
            each.correct if each.correct is not None else no_scores for each in (runs[0], runs[one])
        )
        log_was, log_became = (
            each.log_probability if each.log_probability is not None else no_scores
            for each in (runs[0], runs[one])
        )
        of_one = growth_by_outcome(growth, was, became, replicates, seed)
        number.append(of_one.number)
        means.append(of_one.mean)
        gained.append(of_one.gained)
        lost.append(of_one.lost)
        accuracy.append(correlation(growth, _gain(was, became), replicates, seed))
        logs.append(correlation(growth, _gain(log_was, log_became), replicates, seed))
    found["with_before"] = (
        ("with_before",),
        [str(found["comparison"].values[k]) for k in range(len(with_before))],
    )
    found["pairs"] = ("with_before", "outcome"), np.stack(number)
    add_estimate(found, "growth", ("with_before", "outcome", "category"), _stacked(means))
    for name, estimates in (
        ("growth_gained", gained),
        ("growth_lost", lost),
        ("growth_accuracy", accuracy),
        ("growth_log_probability", logs),
    ):
        add_estimate(found, name, ("with_before", "category"), _stacked(estimates))


def _gain(before: Floats, after: Floats) -> Floats:
    """[E], mean gain over the languages that have both."""
    gain = after - before
    given = ~np.isnan(gain)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(given, gain, 0).sum(1) / given.sum(1)
    return mean


def _stacked(estimates: Sequence[Estimate]) -> Estimate:
    return Estimate(
        *(np.stack([getattr(each, end) for each in estimates]) for end in ("mean", "low", "high"))
    )

"""Compute everything that a report says about a store, once, for tables, JSON and figures."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastneurons.analysis import (
    Attribution,
    LastTokens,
    Shares,
    TokenShares,
    attribution,
    last_tokens,
    shares,
    shares_and_by_task,
    token_shares,
)
from fastneurons.analysis.answers import AnswerScores, answer_scores, has_answers
from fastneurons.store import Header, SkippedExample, Store

# Skipped examples named for each reason.
_NAMED = 3


@dataclass(frozen=True)
class SkipReason:
    """Skipped examples whose reasons are the same but for numbers and quoted text.

    Args:
        reason: Reason of the first.
        count: How many there are.
        varies: Whether the reasons differ in numbers or quoted text.
        first: The first few.
    """

    reason: str
    count: int
    varies: bool
    first: list[SkippedExample]


@dataclass(frozen=True)
class Overview:
    """What a report of a store of any kind says first, of the examples committed when it was computed.

    Args:
        store: The store's path, as the user wrote it.
        header: Its header: the model, the languages, how activations were read.
        is_complete: Whether the run that wrote it is complete.
        num_examples: Examples committed, skipped ones included.
        num_measured: Examples measured.
        num_skipped: Examples skipped.
        skip_reasons: Skipped examples by reason, the most frequent first.
    """

    store: str
    header: Header
    is_complete: bool
    num_examples: int
    num_measured: int
    num_skipped: int
    skip_reasons: Sequence[SkipReason]


@dataclass(frozen=True)
class Findings(Overview):
    """All numbers of a report of activated neurons, at one threshold.

    Of a corpus, `corpus` has them and `sharing`, `attribution` and `attribution_sharing` are None; of other runs,
    `corpus` is None. Where nothing was measured, means are NaN.

    Args:
        threshold: A neuron is activated if its signal is above this value.
        sharing: Shares of neurons by category, language and layer, over all examples measured.
        by_task: The same of each task, in the order of the header; empty where there is only one.
        attribution: How much each category matters for the answer; None without attribution.
        attribution_sharing: `sharing` at the threshold of `attribution`, which is the store's first.
        corpus: How many tokens activate neurons, by language and layer.
        last_tokens: How often the prompts of an example end in the same token; None if the store does not say.
        answers: How well the model answers; None where that was not judged.
    """

    threshold: float
    sharing: Shares | None
    by_task: Mapping[str, Shares]
    attribution: Attribution | None
    attribution_sharing: Shares | None
    corpus: TokenShares | None
    last_tokens: LastTokens | None
    answers: AnswerScores | None = None


def compute_findings(store: Store, threshold: float | None = None) -> Findings:
    """Read a store's counts and compute all that a report needs, in memory that does not grow with the examples.

    Args:
        store: A store, complete or not.
        threshold: One of its thresholds; None takes the first.
    Raises:
        InputError: the store has no such threshold.
        StoreError: an array is damaged.
    """
    store.needs_kind("measure")
    header, t = store.header, store.threshold_index(threshold)
    sharing: Shares | None = None
    by_task: dict[str, Shares] = {}
    attributed: Attribution | None = None
    first: Shares | None = None
    corpus: TokenShares | None = None
    if header.is_corpus:
        corpus = token_shares(store, threshold)
    else:
        sharing, by_task = shares_and_by_task(store, threshold, by_task=len(header.tasks) > 1)
        if header.has_attribution:
            attributed = attribution(store)
            first = sharing if t == 0 else shares(store)
    return Findings(
        **vars(overview(store)),
        threshold=header.thresholds[t],
        sharing=sharing,
        by_task=by_task,
        attribution=attributed,
        attribution_sharing=first,
        corpus=corpus,
        last_tokens=last_tokens(store),
        answers=answer_scores(store) if has_answers(store) else None,
    )


def overview(store: Store) -> Overview:
    """Read what a report of a store of any kind says first.

    Raises:
        StoreError: an array is damaged.
    """
    skipped = store.skipped()
    return Overview(
        store=store.path,
        header=store.header,
        is_complete=store.is_complete,
        num_examples=store.num_examples,
        num_measured=int(store.measured.sum()),
        num_skipped=len(skipped),
        skip_reasons=skip_reasons(skipped),
    )


def skip_reasons(skipped: Sequence[SkippedExample], named: int = _NAMED) -> list[SkipReason]:
    """Group skipped examples by reason, the most frequent first."""
    groups: dict[str, list[SkippedExample]] = {}
    for each in skipped:
        groups.setdefault(re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "*", each.reason), []).append(each)
    ordered = sorted(groups.values(), key=len, reverse=True)
    return [
        SkipReason(group[0].reason, len(group), len({each.reason for each in group}) > 1, group[:named])
        for group in ordered
    ]

"""How well a model answers, by language: log-probability of the reference answer, and accuracy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import REPLICATES, Estimate, blocks, bootstrap_generator
from fastneurons.analysis.deactivation import MeansOverExamples
from fastneurons.analysis.reading import drawn_weights
from fastneurons.arrays import Answer
from fastneurons.errors import InputError
from fastneurons.store import Outcome, Store


@dataclass(frozen=True)
class AnswerScores:
    """Means over the examples of a run, by language, with their 95 % intervals over examples.

    Args:
        languages: L codes.
        log_probability: [L], of the reference answer, summed over its tokens.
        per_token: [L], the same divided by the number of its tokens.
        accuracy: [L], the share of the judged answers that are right; NaN where none was judged.
        answered: int64 [L], reference answers.
        judged: int64 [L], answers that were judged right or wrong.
        overall_log_probability: Mean over languages.
        overall_accuracy: Likewise.
    """

    languages: tuple[str, ...]
    log_probability: Estimate
    per_token: Estimate
    accuracy: Estimate
    answered: NDArray[np.int64]
    judged: NDArray[np.int64]
    overall_log_probability: Estimate
    overall_accuracy: Estimate


def has_answers(store: Store) -> bool:
    """Whether a measuring store has judged answers."""
    return store.header.is_measuring and "correct" in store and "log_probability" in store


def answer_scores(store: Store, replicates: int = REPLICATES, seed: int | None = None) -> AnswerScores:
    """How well a model answered, from a store of `run --score`.

    Args:
        store: The store, complete or not.
        replicates: Bootstrap replicates; 0 for no intervals.
        seed: Of the bootstrap; None for the one that all analyses share.
    Raises:
        InputError: the store has no answers.
        StoreError: an array is damaged.
    """
    store.needs_kind("measure")
    if not has_answers(store):
        raise InputError(f"{store.path} has no answers; fastneurons run --score judges them")
    L = len(store.header.languages)
    means = {
        name: MeansOverExamples((L,), replicates) for name in ("log_probability", "per_token", "accuracy")
    }
    rng = bootstrap_generator(seed)
    for _, window in store.windows("outcome", "log_probability", "judged_count", "correct"):
        rows = window["outcome"] == Outcome.MEASURED
        log_probability, judged = window["log_probability"][rows].astype(np.float64), window["correct"][rows]
        with np.errstate(invalid="ignore", divide="ignore"):
            per_token = log_probability / window["judged_count"][rows]
        values = {
            "log_probability": log_probability,
            "per_token": per_token,
            "accuracy": np.where(judged == Answer.NOT_JUDGED, np.nan, judged == Answer.RIGHT),
        }
        for part in blocks(len(judged)):
            weights = drawn_weights(rng, part.stop - part.start, replicates)
            for name, each in means.items():
                each.add(values[name][part], weights)
    return AnswerScores(
        languages=tuple(store.header.languages),
        log_probability=means["log_probability"].estimate(),
        per_token=means["per_token"].estimate(),
        accuracy=means["accuracy"].estimate(),
        answered=means["log_probability"].number,
        judged=means["accuracy"].number,
        overall_log_probability=means["log_probability"].overall(),
        overall_accuracy=means["accuracy"].overall(),
    )

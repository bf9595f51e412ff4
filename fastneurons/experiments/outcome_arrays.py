"""Answers under several conditions, as arrays of the store."""

from collections.abc import Sequence

import numpy as np

from fastneurons.arrays import Answer, Arrays
from fastneurons.engine.answers import Answerable
from fastneurons.engine.outcomes import Outcome
from fastneurons.scores import choose, is_chosen


def outcome_arrays(
    outcomes: Sequence[Outcome], num_languages: int, num_conditions: int, num_layers: int
) -> Arrays:
    """The store's arrays of E examples that are through, judged.

    Args:
        num_languages: L.
        num_conditions: C.
        num_layers: N.
    Returns:
        `digest`, `token_count`, `present`, `log_probability`, `judged_count`, `correct`, and of the sizes of
        sets `neuron_count` and `overlap`; fill values where an example was skipped.
    """
    E, L, C, N = len(outcomes), num_languages, num_conditions, num_layers
    arrays: Arrays = {
        "digest": np.array([outcome.digest for outcome in outcomes], np.uint64),
        "token_count": np.zeros((E, L), np.int32),
        "present": np.zeros((E, L), np.bool_),
        "log_probability": np.full((E, L, C), np.nan, np.float32),
        "judged_count": np.zeros((E, L), np.int32),
        "correct": np.full((E, L, C), Answer.NOT_JUDGED, np.uint8),
        "neuron_count": np.zeros((E, C, N), np.int32),
        "overlap": np.zeros((E, C, N), np.int32),
    }
    for e, outcome in enumerate(outcomes):
        encoded = outcome.encoded
        if not isinstance(encoded, Answerable):
            continue
        lengths = [len(ids) if ids is not None else 0 for ids in encoded.token_ids]
        arrays["token_count"][e] = lengths
        arrays["present"][e] = np.array(lengths) > 0
        arrays["neuron_count"][e], arrays["overlap"][e] = outcome.neuron_count, outcome.overlap
        for index, reference in enumerate(encoded.reference):
            if reference < 0:
                continue
            likelihood, chosen = outcome.log_likelihood[index], encoded.candidates[index][reference]
            arrays["log_probability"][e, index] = likelihood[:, reference]
            arrays["judged_count"][e, index] = len(chosen.token_ids) - chosen.first
            if likelihood.shape[1] > 1:
                right = is_chosen(choose(likelihood), np.full(len(likelihood), reference)) == 1
            else:
                right = outcome.is_greedy[index][:, reference]
            arrays["correct"][e, index] = np.where(right, Answer.RIGHT, Answer.WRONG)
    return arrays

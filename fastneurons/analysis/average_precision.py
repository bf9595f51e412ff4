"""How well a neuron detects a language, from histograms of its signal over tokens.

    from fastneurons.analysis.average_precision import average_precision

    average_precision(histogram)  # histogram int64 [L, I, B]: tokens of each language by bin, ascending

A token is taken to be of the language if the neuron's signal there is high: average precision is the mean of the
precision over all recalls, from the highest signals down.

Source: Suau et al. 2022, Self-Conditioning Pre-Trained Language Models (ICML), whose experts are neurons with a high
average precision; for languages, Kojima et al. 2024, arXiv:2404.02431.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import Floats
from fastneurons.analysis.language_neurons import LanguageNeurons
from fastneurons.analysis.probability_ranks import rank_of


def average_precision(histogram: NDArray[np.int64]) -> Floats:
    """Average precision of neurons as detectors of each language against all others.

    Each language has the same weight, however many its tokens are: a neuron that knows nothing has 1 / L. Tokens of a
    bin are taken together, so that the result is the one of the signal rounded to bins: the sum over thresholds of
    precision times the gain in recall, as in scikit-learn.

    Args:
        histogram: int64 [L, I, B], tokens of each language by bin of the signal, in ascending order.
    Returns:
        float64 [L, I]; NaN where a language has no tokens.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        # Of each language's tokens; a language without any takes no part.
        share = np.nan_to_num(histogram / histogram.sum(-1, keepdims=True))
        recall = np.cumsum(share[..., ::-1], axis=-1)
        precision = recall / recall.sum(0)
        found: Floats = np.where(share[..., ::-1] > 0, share[..., ::-1] * precision, 0).sum(-1)
    return np.where(histogram.any(-1), found, np.nan)


def best_detectors(
    histograms: Iterable[NDArray[np.int64]], languages: tuple[str, ...], top_rate: float
) -> LanguageNeurons:
    """For each language, the neurons with the highest average precision, as many as `top_rate` of all neurons.

    Of equal ones, those of lower layers, and within a layer those of lower index.

    Args:
        histograms: int64 [L, I, B] for each layer, in order.
        languages: The L codes, with tokens each.
    Raises:
        InputError: the rate is not above 0 and up to 1.
    """
    score = np.stack([average_precision(each) for each in histograms], axis=1)  # [L, N, I]
    number = rank_of(top_rate, score[0].size, "--top-rate")
    member = np.zeros(score.shape, np.bool_)
    for own, scores in zip(member, score, strict=True):
        own.ravel()[np.argsort(-scores, axis=None, kind="stable")[:number]] = True
    return LanguageNeurons(languages, member, int(member.any(0).sum()), score=score)

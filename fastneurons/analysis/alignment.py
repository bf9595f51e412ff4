"""Alignment of each language with a reference language: how often translations have the most similar neurons.

    from fastneurons.analysis.alignment import retrieved

    retrieved(cosines)["both"].mean()  # float64 [n, n] of n sentence pairs

Two prompts are as similar as the cosine of their neuron states: the neurons activated in both, over the geometric mean
of how many each activates. A pair is retrieved if its two prompts are more similar than either is to any prompt of
another pair; the score is the share of pairs retrieved. That is the score of MEXA with neuron states for embeddings,
as NeuronXA proposes.

Source: Huang et al. 2025, From Neurons to Semantics, arXiv:2507.14900; Kargaran et al. 2024, MEXA, arXiv:2410.05873.
"""

import numpy as np
import xarray
from numpy.typing import NDArray

from fastneurons.analysis.bits import bit_blocks
from fastneurons.analysis.bootstrap import (
    REPLICATES,
    Estimate,
    Floats,
    bootstrap_generator,
)
from fastneurons.analysis.multiple import adjusted, at_least_by_chance
from fastneurons.analysis.reading import add_estimate, complete_examples, drawn_weights
from fastneurons.analysis.selection import Chosen, language_indices
from fastneurons.errors import InputError

# "forward": the reference's prompt finds its translation. "backward": the translation finds it. "both": NeuronXA's.
DIRECTIONS = ("both", "forward", "backward")
SAMPLE = 500
_LEAST_EXAMPLES = 2


def cosines(common: Floats, first: NDArray[np.number], second: NDArray[np.number]) -> Floats:
    """Cosine of binary states.

    Args:
        common: float64 [n, m], neurons activated in both prompts.
        first: Numbers [n], neurons that each prompt of one language activates.
        second: Numbers [m], likewise of the other language.
    Returns:
        float64 [n, m]; 0 where a prompt activates nothing.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine: Floats = common / np.sqrt(np.multiply.outer(first, second).astype(np.float64))
    return np.nan_to_num(cosine, nan=0.0)


def retrieved(similarity: Floats) -> dict[str, NDArray[np.bool_]]:
    """Which of n pairs are retrieved, by `DIRECTIONS`; a tie does not count.

    Args:
        similarity: float64 [n, n], of prompt *i* in the reference language and prompt *j* in the other one.
    Returns:
        bool [n] for each direction.
    """
    own = similarity.diagonal()
    others = similarity.copy()
    np.fill_diagonal(others, -np.inf)
    forward, backward = own > others.max(1), own > others.max(0)
    return {"both": forward & backward, "forward": forward, "backward": backward}


def chance(num_pairs: int) -> dict[str, float]:
    """Probability, by `DIRECTIONS`, that a pair is retrieved if all similarities are drawn alike."""
    n = num_pairs
    return {"both": 1 / (2 * n - 1), "forward": 1 / n, "backward": 1 / n}


def alignment(
    chosen: Chosen,
    reference: str | None = None,
    sample: int = SAMPLE,
    resamples: int = REPLICATES,
    seed: int | None = None,
) -> xarray.Dataset:
    """Alignment scores of each language with a reference language, by layer and of all layers' neurons together.

    All pairs of prompts are compared, so larger selections are sampled.

    Args:
        chosen: Which examples, languages and threshold; examples that lack one of the languages are left out.
        reference: A code; None for the first language.
        sample: Examples to draw by seed where there are more.
        resamples: Bootstrap resamples of the examples, whose scores stay as they are; 0 for no intervals.
        seed: For the sample and the resamples; None for the seed that all analyses share.
    Returns:
        `score`, `score_low`, `score_high`, `p` and `q` [direction, language, layer]; `overall` and the same of it
        [direction, language], of all layers' neurons as one state; `layer_mean` and its interval [direction,
        language], mean of `score` over layers; `chance` [direction]. p is one-sided, of as many retrieved at random;
        q is p corrected over all languages and layers of a direction.
    Raises:
        InputError: the store has no bits, or not that language; fewer than two examples have all languages.
        StoreError: an array is damaged.
    """
    wanted = None if reference is None else language_indices(chosen.store, [reference], 1)[0]
    if wanted is not None and wanted not in chosen.language_index:
        code = chosen.store.header.languages[wanted]
        raise InputError(f"--reference {code}: is not among the languages {', '.join(chosen.languages)}")
    at = 0 if wanted is None else chosen.language_index.index(wanted)
    complete = complete_examples(chosen, "alignment needs it")
    rng = bootstrap_generator(seed)
    if len(complete) > sample:
        complete = complete.subset(np.sort(rng.choice(len(complete), sample, replace=False)))
    n = len(complete)
    if n < _LEAST_EXAMPLES:
        raise InputError(
            f"{chosen.store.path}: {n} of the chosen examples has all languages; alignment compares at least 2"
        )
    others = [index for index in range(len(chosen.languages)) if index != at]
    hits, hits_overall = _hits(complete, at, others)  # bool [D, L - 1, N, n], [D, L - 1, n]
    weights = drawn_weights(rng, n, resamples).T.astype(np.float64)  # [R, n]
    by_chance = np.array([chance(n)[direction] for direction in DIRECTIONS])
    found = xarray.Dataset(
        coords={
            "direction": list(DIRECTIONS),
            "language": [chosen.languages[index] for index in others],
            "layer": list(chosen.store.header.layers),
        },
        attrs=chosen.attributes()
        | {"reference": chosen.languages[at], "similarity": "cosine", "sampled_examples": n},
    )
    found["chance"] = ("direction",), by_chance
    dims = ("direction", "language", "layer")
    _add(found, "score", dims, hits, weights)
    _add(found, "overall", dims[:2], hits_overall, weights)
    _add(found, "layer_mean", dims[:2], hits.mean(2), weights)
    for name, counts, prefix in (("score", hits, ""), ("overall", hits_overall, "overall_")):
        p = at_least_by_chance(counts.sum(-1), n, by_chance.reshape(-1, *[1] * (counts.ndim - 2)))
        found[f"{prefix}p"] = found[name].dims, p
        found[f"{prefix}q"] = found[name].dims, np.stack([adjusted(of_direction) for of_direction in p])
    return found


def _add(
    found: xarray.Dataset, name: str, dims: tuple[str, ...], hits: NDArray[np.generic], weights: Floats
) -> None:
    """Add the mean of hits [..., n] with its interval."""
    values = hits.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        sums = np.tensordot(weights, values, (1, values.ndim - 1))
        drawn: Floats = sums / weights.sum(1).reshape(-1, *[1] * (values.ndim - 1))
    mean: Floats = values.mean(-1)
    add_estimate(found, name, dims, Estimate.of(mean, drawn))


def _hits(chosen: Chosen, reference: int, others: list[int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which examples are retrieved: bool [D, L - 1, N, n] by layer, and bool [D, L - 1, n] of all layers' neurons."""
    header = chosen.store.header
    n, N, B = len(chosen), len(header.layers), -(-header.neurons // 8)
    states = np.empty((n, len(chosen.languages), N, B), np.uint8)
    for block in bit_blocks(chosen, "alignment needs it"):
        states[block.rows] = block.bits
    by_layer = np.empty((len(DIRECTIONS), len(others), N, n), np.bool_)
    overall = np.empty((len(DIRECTIONS), len(others), n), np.bool_)
    common_sum = np.zeros((len(others), n, n))
    activated_sum = np.zeros((len(chosen.languages), n), np.int64)

    def state(language: int, layer: int) -> NDArray[np.float32]:
        unpacked = np.unpackbits(states[:, language, layer], axis=-1, count=header.neurons, bitorder="little")
        return unpacked.astype(np.float32)  # counts are exact up to 2**24 neurons

    for layer in range(N):
        first = state(reference, layer)
        activated = first.sum(1)
        activated_sum[reference] += activated.astype(np.int64)
        for k, language in enumerate(others):
            second = state(language, layer)
            common, of_second = (first @ second.T).astype(np.float64), second.sum(1)
            common_sum[k] += common
            activated_sum[language] += of_second.astype(np.int64)
            hits = retrieved(cosines(common, activated, of_second))
            for d, direction in enumerate(DIRECTIONS):
                by_layer[d, k, layer] = hits[direction]
    for k, language in enumerate(others):
        hits = retrieved(cosines(common_sum[k], activated_sum[reference], activated_sum[language]))
        for d, direction in enumerate(DIRECTIONS):
            overall[d, k] = hits[direction]
    return by_layer, overall

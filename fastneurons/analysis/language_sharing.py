"""Which languages of a store share neurons: overlaps of pairs, a tree, sets of languages, correlations.

    from fastneurons.analysis.language_sharing import language_sharing
    from fastneurons.analysis.selection import Selection

    found = language_sharing(Selection().of(store))
    found.jaccard.sel(pair="en/de")

The functions of plain arrays are in `overlap`, `language_sets` and `similarity`.
"""

from collections.abc import Mapping

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
from fastneurons.analysis.language_sets import MOST_LANGUAGES, SetShares, SetSums, members, set_counts
from fastneurons.analysis.multiple import adjusted
from fastneurons.analysis.overlap import Overlaps, OverlapSums, pairs, permuted_common, pooled, tree
from fastneurons.analysis.reading import add_estimate, complete_examples, drawn_weights
from fastneurons.analysis.selection import Chosen
from fastneurons.analysis.similarity import mantel, same_family, same_script
from fastneurons.analysis.words import NeuronCounter, pair_counts

SET_SAMPLE = 500
PERMUTATIONS = 200
# Draws of the permutations, some tenths of a second of work; of longer runs, examples are sampled.
_DRAWS = 5 * 10**5
# Sets that get into the result, the largest first; with few languages, all.
_MOST_SETS = 64


def language_sharing(
    chosen: Chosen,
    similarity: Mapping[str, Floats] | None = None,
    set_sample: int = SET_SAMPLE,
    permutations: int = PERMUTATIONS,
    resamples: int = REPLICATES,
    seed: int | None = None,
) -> xarray.Dataset:
    """Overlaps of the chosen languages next to chance, their tree, their sets, and correlations with similarities.

    Args:
        chosen: Which examples, languages and threshold; examples that lack one of the languages are left out.
        similarity: Similarities of the languages by name, float64 [P] each, in the order of
            `fastneurons.analysis.overlap.pairs`; same script and same family are always added.
        set_sample: Examples of which sets are counted, drawn by seed where there are more.
        permutations: Random permutations of neurons that check the chance level.
        resamples: Bootstrap resamples of the examples; 0 for no intervals.
        seed: For resamples, samples and permutations; None for the seed that all analyses share.
    Returns:
        By pair of languages (with coordinates `first` and `second`): `jaccard`, `chance`, `chance_low` and
        `chance_high`, `chance_permuted`, `excess` (`jaccard` less `chance`), `unpaired`, `p`, `q`; by pair and layer
        the same with `_by_layer`; by layer `layer_jaccard` and `layer_chance`, means over pairs. The tree: `linkage`
        [merge, column], `leaf` [leaf], codes in its order. With at most 12 languages, by set: `set_share`,
        `set_chance`, `set_excess` and `set_share_by_layer`. By measure: `rho`, `rho_p`, `rho_q`, `rho_pairs`. Estimates
        have `_low` and `_high` next to them. See `Overlaps`, `SetShares` and `Correlation` for their meanings.
    Raises:
        InputError: the store has no bits, or none of the chosen examples has all languages.
        StoreError: an array is damaged.
    """
    complete = complete_examples(chosen, "sharing needs it")
    header, languages, E = chosen.store.header, chosen.languages, len(complete)
    L, N = len(languages), len(header.layers)
    rng = bootstrap_generator(seed)
    others = bootstrap_generator(seed).spawn(1)[0]  # draws that leave the intervals as they are
    sums = OverlapSums(L, N, header.neurons, resamples)
    set_sums = SetSums(L, N, header.neurons, resamples) if L <= MOST_LANGUAGES else None
    counter = NeuronCounter((L, N), header.neurons)
    of_sets = _sample(others, E, set_sample)
    permuted = _sample(others, E, max(2, _DRAWS // max(1, permutations * len(pairs(L)) * N)))
    activated = np.zeros((int(permuted.sum()), L, N), np.int32)
    at = 0
    for block in bit_blocks(complete, "sharing needs it"):
        weights = drawn_weights(rng, len(block), resamples)
        shared = pair_counts(block.words)  # [E, L, L, N]
        sums.add(shared, weights)
        counter.add(block.words)
        own = shared.diagonal(axis1=1, axis2=2).transpose(0, 2, 1)  # [E, L, N]
        if set_sums is not None:
            rows = of_sets[block.rows]
            set_sums.add(set_counts(block.bits[rows], header.neurons), own[rows], weights[rows])
        drawn = own[permuted[block.rows]]
        activated[at : at + len(drawn)] = drawn
        at += len(drawn)
    overlaps = sums.overlaps(counter.counts())
    found = xarray.Dataset(
        coords={"layer": list(header.layers)},
        attrs=chosen.attributes()
        | {
            "compared_examples": E,
            "permuted_examples": len(activated),
            "permutations": permutations,
            "set_examples": int(of_sets.sum()) if set_sums is not None else 0,
        },
    )
    _add_overlaps(found, overlaps, languages)
    common = permuted_common(activated, header.neurons, permutations, others).sum(2)  # [R, P]
    both = np.stack([activated[:, i] + activated[:, j] for i, j in pairs(L)], 1).sum((0, 2))
    found["chance_permuted"] = (
        "pair",
        pooled(common.mean(0) if permutations else np.full(len(both), np.nan), both),
    )
    _add_tree(found, overlaps, languages)
    if set_sums is not None:
        _add_sets(found, set_sums.shares(), languages)
    measures = dict(similarity or {}) | {
        "same script": same_script(languages),
        "same family": same_family(languages),
    }
    _add_correlations(found, overlaps, measures, others)
    return found


def _sample(rng: np.random.Generator, num_examples: int, wanted: int) -> NDArray[np.bool_]:
    """bool [E], which examples are in a sample of at most `wanted`."""
    chosen = np.ones(num_examples, np.bool_)
    if num_examples > wanted:
        chosen[rng.choice(num_examples, num_examples - wanted, replace=False)] = False
    return chosen


def _add_overlaps(found: xarray.Dataset, overlaps: Overlaps, languages: tuple[str, ...]) -> None:
    first, second = ([languages[each] for each in side] for side in zip(*pairs(len(languages)), strict=True))
    found.coords["pair"] = [f"{one}/{other}" for one, other in zip(first, second, strict=True)]
    found.coords["first"], found.coords["second"] = ("pair", first), ("pair", second)
    add_estimate(found, "jaccard", ("pair",), overlaps.jaccard)
    add_estimate(found, "excess", ("pair",), overlaps.excess)
    for name in ("chance", "chance_low", "chance_high", "unpaired", "p"):
        found[name] = "pair", getattr(overlaps, name)
    found["q"] = "pair", adjusted(overlaps.p)
    add_estimate(found, "jaccard_by_layer", ("pair", "layer"), overlaps.jaccard_by_layer)
    add_estimate(found, "excess_by_layer", ("pair", "layer"), overlaps.excess_by_layer)
    for name in ("chance_by_layer", "unpaired_by_layer", "p_by_layer"):
        found[name] = ("pair", "layer"), getattr(overlaps, name)
    found["q_by_layer"] = ("pair", "layer"), adjusted(overlaps.p_by_layer)
    add_estimate(found, "layer_jaccard", ("layer",), overlaps.layer)
    found["layer_chance"] = "layer", overlaps.layer_chance


def _add_tree(found: xarray.Dataset, overlaps: Overlaps, languages: tuple[str, ...]) -> None:
    linkage, leaves = tree(overlaps.jaccard.mean)
    found.coords["column"] = ["left", "right", "distance", "leaves"]
    found["linkage"] = ("merge", "column"), linkage
    found["leaf"] = "leaf_order", [languages[index] for index in leaves]


def _add_sets(found: xarray.Dataset, shares: SetShares, languages: tuple[str, ...]) -> None:
    largest = np.argsort(-shares.share.mean, kind="stable")[:_MOST_SETS]
    named = [members(int(number), languages) for number in largest]
    found.coords["set"] = ["+".join(codes) for codes in named]  # the empty set's name is empty
    found.coords["set_size"] = "set", [len(codes) for codes in named]
    for name, estimate in (("set_share", shares.share), ("set_excess", shares.excess)):
        picked = Estimate(estimate.mean[largest], estimate.low[largest], estimate.high[largest])
        add_estimate(found, name, ("set",), picked)
    found["set_chance"] = "set", shares.chance[largest]
    found["set_share_by_layer"] = ("set", "layer"), shares.by_layer[largest]
    found["set_chance_by_layer"] = ("set", "layer"), shares.chance_by_layer[largest]


def _add_correlations(
    found: xarray.Dataset, overlaps: Overlaps, measures: Mapping[str, Floats], rng: np.random.Generator
) -> None:
    results = [
        mantel(overlaps.jaccard.mean, values, overlaps.replicates, rng=rng) for values in measures.values()
    ]
    found.coords["measure"] = list(measures)
    found["similarity"] = ("measure", "pair"), np.stack(list(measures.values()))
    rho = (np.array([getattr(each.rho, part) for each in results]) for part in ("mean", "low", "high"))
    add_estimate(found, "rho", ("measure",), Estimate(*rho))
    p = np.array([each.p for each in results])
    found["rho_p"], found["rho_q"] = ("measure", p), ("measure", adjusted(p))
    found["rho_pairs"] = "measure", [each.num_pairs for each in results]

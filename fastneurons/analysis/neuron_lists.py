"""Lists of a store's neurons by occupancy, by language preference or by contribution.

    from fastneurons.analysis.neuron_lists import neuron_list
    from fastneurons.analysis.selection import Selection

    neuron_list(Selection().of(store), category="specific", language="th", top=50)

The functions of plain arrays are in `neurons`.
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
import xarray
from numpy.typing import NDArray
from scipy import stats

from fastneurons.analysis.bits import bit_blocks
from fastneurons.analysis.bootstrap import REPLICATES, Floats, bootstrap_generator
from fastneurons.analysis.multiple import adjusted, at_least_by_chance
from fastneurons.analysis.neuron_reading import (
    PURPOSE,
    add_rates,
    count_members,
    count_neurons,
    mean_contributions,
    picked_bits,
)
from fastneurons.analysis.neurons import (
    NeuronRates,
    NeuronSums,
    members_by_chance,
    preference,
)
from fastneurons.analysis.reading import complete_examples, drawn_weights
from fastneurons.analysis.selection import Chosen, language_indices
from fastneurons.errors import InputError
from fastneurons.store import CATEGORIES

By = Literal["occupancy", "specificity", "contribution"]
SIGNIFICANT = 0.05


def neuron_list(
    chosen: Chosen,
    category: str | None = None,
    language: str | None = None,
    by: By | None = None,
    top: int = 50,
    min_share: float | None = None,
    resamples: int = REPLICATES,
    seed: int | None = None,
) -> xarray.Dataset:
    """List neurons, with how many such neurons chance would give.

    - By `occupancy`: the neurons that are in the category in most examples. By chance, all of a layer's neurons are
      equally likely to be, in each example.
    - By `specificity`: the neurons with the largest share of their activations in one language, of those that prefer
      it significantly (q at most 0.05). By chance, neurons cannot tell languages apart; see `neurons.preference`.
    - By `contribution`: the neurons with the highest mean contribution score, of those in the category.

    Args:
        chosen: Which examples, languages and threshold; examples that lack one of the languages are left out.
        category: One of `fastneurons.store.CATEGORIES`; None for all.
        language: With a category, count only examples in which this language activates the neuron; by specificity,
            the language preferred; by contribution, the language whose scores count. None for any.
        by: None for `occupancy` with a category, else `specificity`.
        top: How many to list at most.
        min_share: Least share of examples in which a listed neuron is in the category; None for 0, or, by contribution,
            for 0.5.
        resamples: Bootstrap resamples of the examples; 0 for no intervals.
        seed: None for the seed that all analyses share.
    Returns:
        By entry, with coordinates `layer` and `neuron`: `count` and `count_share` (examples in the category; without
        one, examples in which the preferred or the given language activates it, or any), `p` and `q`;
        `activation_rate` and `activation_share` [entry, language], `category_share` [entry, category], `entropy`
        [entry]; by specificity `preferred`; `contribution` [entry, language] where the store has it. Estimates have
        `_low` and `_high` next to them. Attributes:
        `found`, how many neurons are as extreme as the last one listed or are in the category, and
        `expected_by_chance`, how many would be.
    Raises:
        InputError: the options contradict each other, or the store lacks what they need.
        StoreError: an array is damaged.
    """
    listed = _listed(chosen, category, language, by, top, min_share)
    picked, complete, index, scores = listed.picked, listed.complete, listed.language, listed.scores
    E = len(complete)
    shape = (len(chosen.store.header.layers), chosen.store.header.neurons)
    found = xarray.Dataset(
        coords={
            "layer": ("entry", [chosen.store.header.layers[layer] for layer in picked.layer]),
            "neuron": ("entry", picked.neuron),
            "language": list(chosen.languages),
            "category": list(CATEGORIES),
        },
        attrs=chosen.attributes()
        | {
            "by": listed.by,
            "of_category": category or "",
            "of_language": "" if index is None else chosen.languages[index],
            "min_share": listed.min_share,
            "compared_examples": E,
            "num_neurons": shape[0] * shape[1],
            "found": picked.found,
            "expected_by_chance": picked.expected,
        },
    )
    rates = _rates(complete, picked.layer, picked.neuron, resamples, seed)
    count = picked.count
    if count is None:  # of no category: activated in the language, or in any
        share = 1 - rates.category.mean[:, 0] if index is None else rates.rate.mean[:, index]
        count = np.rint(E * share).astype(np.int64)
    found["count"], found["p"], found["q"] = ("entry", count), ("entry", picked.p), ("entry", picked.q)
    low, high = _binomial_interval(count, E)
    found["count_share"] = "entry", count / E
    found["count_share_low"], found["count_share_high"] = ("entry", low), ("entry", high)
    if picked.preferred is not None:
        found["preferred"] = "entry", [chosen.languages[each] for each in picked.preferred]
    add_rates(found, rates)
    if scores is not None:
        found["contribution"] = ("entry", "language"), scores[:, picked.layer, picked.neuron].T
    return found


@dataclass(frozen=True)
class _Listed:
    """The neurons of a list, and what else follows from the options."""

    picked: "_Picked"
    complete: Chosen
    by: By
    language: int | None
    min_share: float
    scores: Floats | None


def _listed(
    chosen: Chosen,
    category: str | None,
    language: str | None,
    by: By | None,
    top: int,
    min_share: float | None,
) -> _Listed:
    """Check the options of `neuron_list` and choose its neurons."""
    by = by or ("occupancy" if category is not None else "specificity")
    code, index = _checked(chosen, category, language, by, top, min_share)
    scores = mean_contributions(chosen, needed=by == "contribution")
    complete = complete_examples(chosen, PURPOSE)
    E = len(complete)
    least_share = min_share if min_share is not None else (0.5 if by == "contribution" else 0.0)
    member = None if code is None else count_members(complete, code, index)
    shape = (len(chosen.store.header.layers), chosen.store.header.neurons)
    allowed = (
        np.ones(shape, np.bool_) if member is None else member >= max(1, ceil(round(least_share * E, 9)))
    )
    if by == "occupancy":
        assert member is not None
        picked = _by_occupancy(member, E, allowed, top)
    elif by == "specificity":
        picked = _by_specificity(complete, index, allowed, top)
    else:
        assert scores is not None
        score = scores.mean(0) if index is None else scores[index]
        expected = np.nan if member is None else members_by_chance(member, E, max(1, ceil(least_share * E)))
        picked = _by_contribution(score, member, allowed, top, expected)
    return _Listed(picked, complete, by, index, least_share, scores)


def neuron_places(
    chosen: Chosen,
    category: str | None = None,
    language: str | None = None,
    by: By | None = None,
    min_share: float | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find all neurons that `neuron_list` would list with no limit to their number.

    Args:
        chosen: As of `neuron_list`, and so are the others.
    Returns:
        int [K], their indices on the layer axis, and int [K], the neurons; in the order of the list.
    Raises:
        As `neuron_list`.
    """
    header = chosen.store.header
    picked = _listed(chosen, category, language, by, len(header.layers) * header.neurons, min_share).picked
    return picked.layer, picked.neuron


@dataclass(frozen=True)
class _Picked:
    """Neurons of a list, in its order, and their number next to the one that chance gives."""

    layer: NDArray[np.intp]
    neuron: NDArray[np.intp]
    count: NDArray[np.integer] | None
    p: Floats
    q: Floats
    found: int
    expected: float
    preferred: NDArray[np.intp] | None = None


def _by_occupancy(member: NDArray[np.int32], E: int, allowed: NDArray[np.bool_], top: int) -> _Picked:
    rows, columns = _first(allowed, (-member,), top)
    p = at_least_by_chance(member, E, (member.mean(1) / E)[:, None])
    q = adjusted(p)
    count = member[rows, columns]
    least = int(count.min()) if len(count) else 1
    found = int((member >= least).sum()) if len(count) else 0
    expected = members_by_chance(member, E, least)
    return _Picked(rows, columns, count, p[rows, columns], q[rows, columns], found, expected)


def _by_specificity(complete: Chosen, language: int | None, allowed: NDArray[np.bool_], top: int) -> _Picked:
    activated, occupancy = count_neurons(complete)
    tests = preference(activated, occupancy, len(complete))
    if language is None:
        preferred = tests.p.argmin(0)
        p = np.minimum(1, tests.p.min(0) * len(tests.p))  # of several languages, the best one
    else:
        preferred = np.full(allowed.shape, language, np.intp)
        p = tests.p[language]
    at = preferred[None]
    share = np.take_along_axis(tests.share, at, 0)[0]
    count = np.take_along_axis(activated, at, 0)[0]
    q = adjusted(p)
    significant = allowed & (q <= SIGNIFICANT)
    rows, columns = _first(significant, (-np.nan_to_num(share), -count), top)
    listed = p[rows, columns]
    last = listed.max() if len(listed) else 0.0
    return _Picked(
        rows,
        columns,
        count[rows, columns],
        listed,
        q[rows, columns],
        int((allowed & (p <= last)).sum()) if len(listed) else 0,
        float(allowed.sum() * last),
        preferred[rows, columns],
    )


def _by_contribution(
    score: Floats,
    member: NDArray[np.int32] | None,
    allowed: NDArray[np.bool_],
    top: int,
    expected: float,
) -> _Picked:
    rows, columns = _first(allowed, (-score,), top)
    count = None if member is None else member[rows, columns]
    nothing = np.full(len(rows), np.nan)
    return _Picked(rows, columns, count, nothing, nothing, int(allowed.sum()), expected)


def _first(
    allowed: NDArray[np.bool_], keys: tuple[NDArray[np.number], ...], top: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first of the allowed neurons in the order of some keys, then of layers and neurons."""
    rows, columns = np.nonzero(allowed)
    order = np.lexsort(tuple(key[rows, columns] for key in reversed(keys)))[:top]
    return rows[order], columns[order]


def _rates(
    complete: Chosen, layer: NDArray[np.intp], neuron: NDArray[np.intp], resamples: int, seed: int | None
) -> NeuronRates:
    """Rates of listed neurons, from a second pass over the bits."""
    sums = NeuronSums(len(layer), len(complete.languages), resamples)
    rng = bootstrap_generator(seed)
    for block in bit_blocks(complete, PURPOSE):
        sums.add(picked_bits(block.bits, layer, neuron), drawn_weights(rng, len(block), resamples))
    return sums.rates()


def _binomial_interval(count: NDArray[np.integer], num_examples: int) -> tuple[Floats, Floats]:
    """Bootstrap interval of a share of examples: resampled counts are binomial, so nothing needs to be drawn."""
    low, high = (
        stats.binom.ppf(tail, num_examples, count / num_examples) / num_examples for tail in (0.025, 0.975)
    )
    return low, high


def _checked(
    chosen: Chosen, category: str | None, language: str | None, by: By, top: int, min_share: float | None
) -> tuple[int | None, int | None]:
    """The category's code and the language's place among the chosen ones."""
    if top < 1:
        raise InputError(f"top {top}: lists at least one neuron")
    if category is not None and category not in CATEGORIES:
        raise InputError(f"no category {category}; the categories are {', '.join(CATEGORIES)}")
    if by == "occupancy" and category is None:
        raise InputError("a list by occupancy needs a category: how often neurons are in which one?")
    if min_share is not None and not 0 <= min_share <= 1:
        raise InputError(f"min_share {min_share:g}: is a share of the examples, from 0 to 1")
    if min_share is not None and category is None:
        raise InputError("min_share needs a category: it is a share of the examples in it")
    if category == CATEGORIES[0] and language is not None:
        raise InputError(f"no language activates non-activated neurons; drop the language {language}")
    if language is None:
        return None if category is None else CATEGORIES.index(category), None
    index = language_indices(chosen.store, [language], 1)[0]
    if index not in chosen.language_index:
        raise InputError(f"language {language} is not among the chosen ones: {', '.join(chosen.languages)}")
    place = chosen.language_index.index(index)
    return None if category is None else CATEGORIES.index(category), place

"""Repeating behaviour: neurons that are in the same category in every example, or in most of them.

    from fastneurons.analysis.repeating import repeating, shares_repeating

    shares_repeating(occupancy, num_examples, [1.0])  # [1, N, 4]: share of neurons in a category in every example
    repeating(Selection().of(store))                  # an xarray.Dataset, with chance levels and intervals

A neuron repeats a category if it is in it in at least so many examples. By chance, if all neurons of a layer were
alike and each example drew their categories anew, a binomial share of them would.
"""

from collections.abc import Sequence
from math import ceil

import numpy as np
import xarray
from numpy.typing import NDArray
from scipy import stats

from fastneurons.analysis.bits import bit_blocks, occupancy, occupancy_of
from fastneurons.analysis.bootstrap import (
    REPLICATES,
    Estimate,
    Floats,
    bootstrap_generator,
    poisson_weights,
)
from fastneurons.analysis.checks import ContradictionError, check_shapes
from fastneurons.analysis.selection import Chosen
from fastneurons.analysis.words import NeuronCounter, in_parallel
from fastneurons.errors import InputError
from fastneurons.store import CATEGORIES

# "In at least so many of the examples."
AT_LEAST = tuple(percent / 100 for percent in range(50, 101, 5))
# The bootstrap draws groups of examples: their sums fit in memory, where those of single examples would not.
_GROUPS = 50
# Each bootstrap sample counts anew for every neuron in how many examples it is in each category: intervals take no more
# samples than this, however many are asked for.
_MOST_REPLICATES = 200
_REPLICATES_AT_ONCE = 10
# Neurons in the lists of those that keep and those that change their category.
TOP = 50


def shares_repeating(
    occupancy: NDArray[np.integer], num_examples: int, at_least: Sequence[float] = AT_LEAST
) -> Floats:
    """Share of a layer's neurons that are in a category in at least so many of the examples.

    Args:
        occupancy: Integers [N, I, 4], in how many examples each neuron was in each category.
        num_examples: E.
        at_least: Shares of the examples; 1 for every example.
    Returns:
        float64 [Q, N, 4]; NaN without examples.
    Raises:
        InputError: the shape is another, or there is a share outside 0 to 1.
        ContradictionError: a neuron's categories do not add up to the examples.
    """
    _check(occupancy, num_examples)
    least = _least(num_examples, at_least)
    found = np.stack([(occupancy >= number).mean(1) for number in least])
    return found if num_examples else np.full_like(found, np.nan)


def chance_of_repeating(average: Floats, num_examples: int, at_least: Sequence[float] = AT_LEAST) -> Floats:
    """Expected share of neurons in a category in at least so many examples, if all neurons of a layer were alike.

    Args:
        average: float64 [N, 4], average share of each category.
        num_examples: E.
        at_least: Shares of the examples.
    Returns:
        float64 [Q, N, 4]: the binomial distribution's upper tail.
    """
    least = np.array(_least(num_examples, at_least))[:, None, None]
    chance: Floats = stats.binom.sf(least - 1, num_examples, average)
    return chance if num_examples else np.full_like(chance, np.nan)


def category_changes(occupancy: NDArray[np.integer], num_examples: int) -> Floats:
    """How much each neuron changes its category: the chance that two different examples have it in two categories.

    Args:
        occupancy: Integers [N, I, 4].
        num_examples: E.
    Returns:
        float64 [N, I] from 0, always the same category, to about 0.75; NaN with fewer than two examples.
    Source: the unbiased Gini-Simpson index, Simpson 1949, Nature 163:688.
    """
    _check(occupancy, num_examples)
    if num_examples < 2:
        return np.full(occupancy.shape[:2], np.nan)
    counts = occupancy.astype(np.float64)
    changes: Floats = 1 - (counts * (counts - 1)).sum(-1) / (num_examples * (num_examples - 1))
    return changes


def repeating(
    chosen: Chosen,
    at_least: Sequence[float] = AT_LEAST,
    replicates: int = REPLICATES,
    seed: int | None = None,
    top: int = TOP,
) -> xarray.Dataset:
    """Neurons that repeat their category, those that change it most, and what chance would give.

    Args:
        chosen: Examples, languages and threshold of a store.
        at_least: In what share of the examples; 1 for every example.
        replicates: Bootstrap replicates; 0 for no intervals, and then bits are not read if the store has the sums.
        seed: Of the bootstrap and of what chance would give.
        top: Length of the lists of neurons.
    Returns:
        A dataset. By at_least, layer and category: `repeating`, the share of neurons, with `repeating_low` and
        `repeating_high`, a 95 % interval over examples (NaN if the store has no bits), and `repeating_chance`. By
        layer and category: `average`, the average share. By `keeper` and by `changer`, lists of neurons with their
        `*_layer`, `*_neuron`, `*_occupancy`; `keeper_category` and `keeper_share` tell which category a neuron keeps
        in what share of the examples, `changer_change` how much it changes (`category_changes`). The attributes
        `keepers_in_every_example` and `changers_by_chance` say how many neurons keep their category throughout and
        how many would change as much as the list's last by chance; `keepers_by_chance` is the former by chance.
    Raises:
        InputError: there are no examples, or the bits are needed and the store keeps none.
        StoreError: an array is damaged.
    """
    E = len(chosen)
    if not E:
        raise InputError(f"{chosen.store.path} has no example that was chosen and measured")
    header = chosen.store.header
    counts, groups = occupancy_and_groups(chosen, replicates)
    average = counts.mean(1) / E
    shares = shares_repeating(counts, E, at_least)
    low, high = repeating_intervals(groups, shares, at_least, replicates, seed)
    by = ("at_least", "layer", "category")
    variables = {
        "repeating": (by, shares),
        "repeating_low": (by, low),
        "repeating_high": (by, high),
        "repeating_chance": (by, chance_of_repeating(average, E, at_least)),
        "average": (("layer", "category"), average),
    }
    lists, attributes = _lists(counts, average, E, header.layers, top, seed)
    coordinates = {"at_least": list(at_least), "layer": header.layers, "category": list(CATEGORIES)}
    return xarray.Dataset(
        variables | lists, coordinates, {**chosen.attributes(), "neurons": header.neurons, **attributes}
    )


def _lists(
    counts: NDArray[np.int32],
    average: Floats,
    num_examples: int,
    layers: Sequence[int],
    top: int,
    seed: int | None,
) -> tuple[dict[str, object], dict[str, object]]:
    """Variables and attributes of neurons that keep their category and of those that change it."""
    I = counts.shape[1]  # noqa: E741
    most, changes = counts.max(-1), category_changes(counts, num_examples)
    variables: dict[str, object] = {}
    for name, score in (("keeper", most.astype(np.float64)), ("changer", changes)):
        flat = np.nan_to_num(score, nan=-1.0).ravel()
        order = np.argsort(-flat, kind="stable")[:top]
        layer, neuron = order // I, order % I
        listed = counts[layer, neuron]
        variables |= {
            f"{name}_layer": ((name,), np.asarray(layers)[layer]),
            f"{name}_neuron": ((name,), neuron),
            f"{name}_occupancy": ((name, "category"), listed),
        }
        if name == "keeper":
            variables["keeper_category"] = ((name,), np.array(CATEGORIES)[listed.argmax(-1)])
            variables["keeper_share"] = ((name,), listed.max(-1) / num_examples)
        else:
            variables["changer_change"] = ((name,), score[layer, neuron])
            last = score[layer[-1], neuron[-1]] if len(order) else np.nan
    attributes: dict[str, object] = {
        "keepers_in_every_example": int((most == num_examples).sum()),
        "keepers_by_chance": float(I * (average**num_examples).sum()),
        "changers_as_much": int((changes >= last).sum()),
        "changers_by_chance": _changing_by_chance(average, I, num_examples, last, seed),
    }
    return variables, attributes


def _changing_by_chance(
    average: Floats, neurons: int, num_examples: int, change: float, seed: int | None
) -> int:
    """How many neurons change as much, if each example drew their category anew from the layer's average shares."""
    rng = bootstrap_generator(seed)
    found = 0
    for shares in average:
        drawn = rng.multinomial(num_examples, shares / shares.sum(), size=neurons)
        found += int((category_changes(drawn[None], num_examples) >= change).sum())
    return found


# -- intervals ----------------------------------------------------------------------------------------------


def occupancy_and_groups(
    chosen: Chosen, replicates: int
) -> tuple[NDArray[np.int32], list[NDArray[np.uint16]] | None]:
    """Occupancy of the chosen examples, and that of groups of them.

    Returns:
        int32 [N, I, 4]; and for each layer uint16 [G, 4, I], None without replicates or bits.
    """
    if not replicates or not chosen.store.has_bits:
        return occupancy(chosen), None
    header, E = chosen.store.header, len(chosen)
    G = min(_GROUPS, E)
    if E // G >= 2**16 - 1:  # uint16: the groups of a layer are held for all layers
        G = -(-E // (2**16 - 2))
    N, I = len(header.layers), header.neurons  # noqa: E741
    counters = [NeuronCounter((3, N), I) for _ in range(G)]
    for block in bit_blocks(chosen, "intervals need it"):
        numbers = np.arange(block.rows.start, block.rows.stop)
        # Neighbours go to different groups: examples of one task or subject may lie next to each other.
        for group in np.unique(numbers % G):
            counters[group].add(block.planes[numbers % G == group])
    total = np.zeros((N, I, 4), np.int32)
    groups = [np.zeros((G, 4, I), np.uint16) for _ in range(N)]

    def unpack(layer: int) -> None:
        for group, counter in enumerate(counters):
            counts = occupancy_of(counter.counts(slice(None), layer), len(range(group, E, G)))
            total[layer] += counts
            groups[layer][group] = counts.T

    in_parallel(unpack, range(N))
    return total, groups


def repeating_intervals(
    groups: Sequence[NDArray[np.integer]] | None,
    shares: Floats,
    at_least: Sequence[float],
    replicates: int,
    seed: int | None = None,
) -> tuple[Floats, Floats]:
    """Ends of 95 % bootstrap intervals over examples for `shares_repeating`.

    A bootstrap sample has fewer different examples than the examples themselves, so that more neurons repeat in it:
    its shares are too high. Replicates are therefore shifted so that their mean is the share. They draw groups of
    examples, which are single examples if there are few.

    Args:
        groups: For each of the N layers, integers [G, 4, I], occupancy of groups of examples; None for no intervals.
        shares: float64 [Q, N, 4].
        at_least: The Q shares of the examples.
        replicates: R; more than 200 count as 200.
        seed: Of the draws.
    Returns:
        Two arrays in the shape of `shares`, from 0 to 1.
    """
    if groups is None or not replicates or len(groups[0]) < 2:
        return np.full_like(shares, np.nan), np.full_like(shares, np.nan)
    G, C, I = groups[0].shape  # noqa: E741
    R = min(replicates, _MOST_REPLICATES)
    weights = poisson_weights(bootstrap_generator(seed), G, R + R % 2)[:, :R].T
    weights = weights[weights.any(1)]  # a sample of nothing says nothing
    examples = weights @ groups[0][:, :, 0].sum(-1).astype(np.float32)  # [R]
    least = np.ceil(np.outer(examples, at_least) - 1e-6)  # [R, Q]
    drawn = np.empty((len(weights), len(at_least), len(groups), C))

    def draw(layer: int) -> None:
        flat = groups[layer].reshape(G, C * I).astype(np.float32)
        for first in range(0, len(weights), _REPLICATES_AT_ONCE):
            counts = (weights[first : first + _REPLICATES_AT_ONCE] @ flat).reshape(-1, C, I)
            for r, c, q in np.ndindex(len(counts), C, len(at_least)):
                number = np.count_nonzero(counts[r, c] >= np.float32(least[first + r, q]))
                drawn[first + r, q, layer, c] = number / I

    in_parallel(draw, range(len(groups)))
    shifted = Estimate.of(shares, shares + drawn - drawn.mean(0))
    # Of a share that seldom changes, more than 97.5 % of the replicates may lie on one side of their mean.
    low, high = np.fmin(shifted.low, shares), np.fmax(shifted.high, shares)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


# -- checks -------------------------------------------------------------------------------------------------


def _least(num_examples: int, at_least: Sequence[float]) -> list[int]:
    for share in at_least:
        if not 0 < share <= 1:
            raise InputError(f"{share:g} is not a share of the examples: it must be above 0 and at most 1")
    # 0.55 * 20 is 11.000000000000002
    return [ceil(round(share * num_examples, 6)) for share in at_least]


def _check(occupancy: NDArray[np.integer], num_examples: int) -> None:
    check_shapes({"C": len(CATEGORIES)}, occupancy=(occupancy, "NIC"))
    if (occupancy.sum(-1) != num_examples).any():
        raise ContradictionError(
            "occupancy", f"a neuron's categories do not add up to {num_examples} examples"
        )

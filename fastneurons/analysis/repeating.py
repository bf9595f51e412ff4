"""Repeating behaviour: neurons that are in the same category in every example, or in most of them.

    from fastneurons.analysis.repeating import repeating, shares_repeating

    shares_repeating(occupancy, num_examples, [1.0])  # [1, N, 4]: share of neurons in a category in every example
    repeating(Selection().of(store))                  # an xarray.Dataset, with chance levels and intervals

A neuron repeats a category if it is in it in at least so many examples. By chance, if all neurons of a layer were
alike and each example drew their categories anew, a binomial share of them would.
"""

from collections.abc import Sequence
from math import ceil
from typing import Protocol

import numpy as np
import xarray
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

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
from fastneurons.analysis.words import NeuronCounter, Words, in_parallel
from fastneurons.errors import InputError
from fastneurons.store import CATEGORIES

# "In at least so many of the examples."
AT_LEAST = tuple(percent / 100 for percent in range(50, 101, 5))
# The bootstrap draws groups of examples: their sums fit in memory, where those of single examples would not.
_GROUPS = 50
# Of planes, which wait until several can be added to a group at once: one by one, that takes four times as long.
_WAITING_BYTES = 2**26
# Each bootstrap sample counts anew for every neuron in how many examples it is in each category: intervals take no more
# samples than this, however many are asked for.
_MOST_REPLICATES = 200
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
    counts, groups = occupancy_and_groups(chosen, replicates, seed)
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


class Groups(Protocol):
    """Occupancy of groups of examples by layer: a list of arrays, or what puts them together when asked."""

    def __len__(self) -> int:
        """N layers."""

    def __getitem__(self, layer: int, /) -> NDArray[np.integer]:
        """Integers [G, 4, I]."""


class GroupSums:
    """Occupancy of random groups of examples, of the same size if that can be; memory does not grow with the examples.

    Groups are random, whatever the order of the examples, so that they differ as single examples make them differ:
    neighbours, which may be of one task or subject, in one group would make intervals too wide, and neighbours always
    in different groups would make them too narrow.

    Args:
        num_examples: E.
        num_layers: N.
        neurons: I, of a layer.
        seed: Of the groups.
    """

    def __init__(self, num_examples: int, num_layers: int, neurons: int, seed: int | None = None) -> None:
        G = min(_GROUPS, num_examples)
        rng = bootstrap_generator(seed).spawn(1)[0]  # not the draws of the bootstrap itself
        self.labels = rng.permutation(np.arange(num_examples) % G)
        self._sizes = np.bincount(self.labels, minlength=G)
        self._counters = [NeuronCounter((3, num_layers), neurons) for _ in range(G)]
        self._num_layers, self._neurons = num_layers, neurons
        self._waiting: list[Words] = []
        self._added = 0

    def add(self, planes: Words) -> None:
        """Add the next examples' `category_planes` [E, 3, N, W]."""
        self._waiting.append(planes)
        if sum(each.nbytes for each in self._waiting) >= _WAITING_BYTES:
            self.finish()

    def finish(self) -> None:
        """Count the examples that wait until several can go to the same group."""
        if self._waiting:
            planes, self._waiting = np.concatenate(self._waiting), []
            groups = self.labels[self._added : self._added + len(planes)]
            self._added += len(planes)
            for group in np.unique(groups):
                self._counters[group].add(planes[groups == group])

    def __len__(self) -> int:
        return self._num_layers

    def __getitem__(self, layer: int, /) -> NDArray[np.int32]:
        found = np.empty((len(self._counters), len(CATEGORIES), self._neurons), np.int32)
        for of_group, size, counter in zip(found, self._sizes, self._counters, strict=True):
            of_group[:] = occupancy_of(counter.counts(slice(None), layer), int(size)).T
        return found


def occupancy_and_groups(
    chosen: Chosen, replicates: int, seed: int | None = None
) -> tuple[NDArray[np.int32], Groups | None]:
    """Occupancy of the chosen examples, and that of groups of them.

    Args:
        replicates: Bootstrap replicates; 0 for no groups.
        seed: Of the groups.
    Returns:
        int32 [N, I, 4]; and the groups, None without replicates or bits.
    """
    if not replicates or not chosen.store.has_bits:
        return occupancy(chosen), None
    N, I = len(chosen.store.header.layers), chosen.store.header.neurons  # noqa: E741
    total, groups = NeuronCounter((3, N), I), GroupSums(len(chosen), N, I, seed)
    for block in bit_blocks(chosen, "intervals need it"):
        total.add(block.planes)
        groups.add(block.planes)
    groups.finish()
    return occupancy_of(total.counts(), len(chosen)), groups


def repeating_intervals(
    groups: Groups | None,
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
        groups: For each of the N layers, integers [G, 4, I], occupancy of groups of examples, which are of about the
            same size; None for no intervals.
        shares: float64 [Q, N, 4].
        at_least: The Q shares of the examples.
        replicates: R; more than 200 count as 200.
        seed: Of the draws.
    Returns:
        Two arrays in the shape of `shares`, from 0 to 1.
    """
    unknown = np.full_like(shares, np.nan)
    if groups is None or not replicates:
        return unknown, unknown.copy()
    first_layer = groups[0]
    G, C, I = first_layer.shape  # noqa: E741
    if G < 2:
        return unknown, unknown.copy()
    R = min(replicates, _MOST_REPLICATES)
    weights = poisson_weights(bootstrap_generator(seed), G, R + R % 2)[:, :R].T
    weights = weights[weights.any(1)]  # a sample of nothing says nothing
    sizes = first_layer[:, :, 0].sum(-1)  # [G], examples
    examples = weights @ sizes.astype(np.float32)  # [R]
    least = np.ceil(np.outer(examples, at_least) - 1e-6).astype(np.float32)  # [R, Q]
    drawn = np.zeros((len(weights), len(at_least), len(groups), C))
    ascending = np.argsort(at_least)

    def draw(layer: int) -> None:
        for c, of_category in enumerate(np.moveaxis(groups[layer], 1, 0)):  # [G, I]
            # Shares of a sample lie between those of its groups: most neurons reach the least of them in no sample.
            reached = of_category >= (min(at_least) - 1e-6) * sizes[:, None]
            counts = weights @ of_category[:, reached.any(0)].astype(np.float32)  # [R, at most I]
            for r, row in enumerate(counts):
                for q in ascending:
                    number = np.count_nonzero(row >= least[r, q])
                    if not number:  # nor is any neuron in the category in more of the examples
                        break
                    drawn[r, q, layer, c] = number / I

    # Layers are shared out among threads: those of BLAS on top of them more than double the time.
    with threadpool_limits(1, "blas"):
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

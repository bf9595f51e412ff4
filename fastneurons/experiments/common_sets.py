"""One set of neurons for all examples: those that are in a category in at least a given share of them.

How often a neuron is in each category comes from a store, or from reading the examples first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from fastneurons.arrays import CATEGORIES
from fastneurons.engine.conditions import Condition
from fastneurons.errors import InputError
from fastneurons.experiments.design import Deactivation
from fastneurons.neuron_sets.edits import Edit
from fastneurons.neuron_sets.model import ModelNeurons
from fastneurons.neuron_sets.sets import NeuronSet
from fastneurons.store import Store


@dataclass(frozen=True, eq=False)
class Occupancy:
    """How often neurons are in each category, and how much they contribute.

    Args:
        model: Whose neurons they are.
        examples: How many examples were read.
        count: int64 [N, I, 4], examples in which each neuron is in each category.
        contribution: float64 [N, I], mean contribution scores, each language counting the same; None if unknown.
    """

    model: ModelNeurons
    examples: int
    count: NDArray[np.int64]
    contribution: NDArray[np.float64] | None = None


def check_store(store: Store, deactivation: Deactivation, languages: Sequence[str]) -> None:
    """Check that a store says what a run needs of it, before the model is loaded.

    Raises:
        InputError: it is of another kind, of a corpus, of other languages, or without contribution scores that the
            ranking needs.
    """
    store.needs_kind("measure")
    header = store.header
    if header.is_corpus:
        raise InputError(f"--from {store.path}: is of a corpus: it counts tokens, and has no categories")
    if sorted(header.languages) != sorted(languages):
        raise InputError(
            f"--from {store.path}: its categories are over {','.join(header.languages)}, those of this run over "
            f"{','.join(languages)}; fastneurons recategorise --out makes a store of fewer languages"
        )
    if deactivation.rank == "contribution" and "neuron_contribution" not in store:
        raise InputError(
            f"--from {store.path}: has no contribution scores for --rank contribution; measure with --attribution"
        )
    if not store.measured.any():
        raise InputError(f"--from {store.path}: nothing was measured yet")


def occupancy_of_store(store: Store) -> Occupancy:
    """Read how often each neuron is in each category, at the store's first threshold.

    Raises:
        StoreError: an array is damaged.
    """
    header = store.header
    layers = tuple(header.layers)
    model = ModelNeurons(header.model, header.model_fingerprint, layers, (header.neurons,) * len(layers))
    count = np.zeros((*model.shape, len(CATEGORIES)), np.int64)
    for task in range(len(header.tasks)):
        count += store["occupancy"][task, 0]
    contribution = None
    if "neuron_contribution" in store:
        prompts = np.zeros(len(header.languages))
        for _, window in store.windows("present"):
            prompts += window["present"].sum(0)
        contribution = mean_contribution(store["neuron_contribution"][...], prompts)
    return Occupancy(model, int(store.measured.sum()), count, contribution)


def mean_contribution(total: NDArray[np.float64], prompts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over languages of the mean over prompts, float64 [N, I], from sums [L, N, I] over so many prompts [L]."""
    mean: NDArray[np.float64] = (total / np.maximum(prompts, 1)[:, None, None]).mean(0)
    return mean


def common_edits(
    occupancy: Occupancy,
    deactivation: Deactivation,
    conditions: Sequence[Condition],
    seed: int,
    model: ModelNeurons,
) -> tuple[Edit | None, ...]:
    """The edit of each condition, None for the intact model.

    Args:
        occupancy: Of the examples.
        deactivation: Which neurons are wanted of each category; with `min_share`.
        conditions: In the store's order.
        seed: For drawing a fraction.
        model: The one that is edited.
    Raises:
        InputError: no neuron is often enough in a category, or the occupancy is of another model.
    """
    problem = occupancy.model.why_not_of(model)
    if problem is not None:
        raise InputError(f"--from {deactivation.from_store}: is of another model: {problem}")
    names = {condition.category for condition in conditions if condition.category is not None}
    sets = {name: _set(occupancy, name, deactivation, seed) for name in names}

    def edit(condition: Condition) -> Edit | None:
        if condition.category is None:
            return None
        chosen = sets[condition.category]
        if condition.control is not None:
            chosen = chosen.random_like(condition.control)
        return Edit(chosen, scale=deactivation.scale, scope=deactivation.scope)

    return tuple(edit(condition) for condition in conditions)


def _set(occupancy: Occupancy, category: str, deactivation: Deactivation, seed: int) -> NeuronSet:
    share = deactivation.min_share
    assert share is not None
    member = occupancy.count[..., CATEGORIES.index(category)] >= ceil(round(share * occupancy.examples, 9))
    details = {"categories": [category], "min_share": share, "examples": occupancy.examples}
    chosen = NeuronSet.from_bits(occupancy.model, member, "categories", details)
    if deactivation.layers is not None:
        chosen = chosen.in_layers(deactivation.layers)
    if deactivation.rank == "contribution":
        assert occupancy.contribution is not None
        chosen = chosen.highest(deactivation.fraction, occupancy.contribution, "contribution")
    elif deactivation.fraction < 1:
        chosen = chosen.sample(deactivation.fraction, seed)
    if not len(chosen):
        where = "" if deactivation.layers is None else f" of layers {deactivation.layers}"
        raise InputError(
            f"--min-share {share:g}: no neuron{where} is {category} in so many of the {occupancy.examples:,} examples; "
            f"pass a lower one, or leave {category} out of --category"
        )
    return chosen

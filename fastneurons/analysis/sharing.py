"""Shares of neurons: by category, by language, by layer; means over examples with their uncertainty.

One pass over the store's counts, in memory that does not grow with it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import REPLICATES, Estimate, Floats, measured_blocks
from fastneurons.errors import InputError, StoreError
from fastneurons.store import CATEGORIES, Store


@dataclass(frozen=True)
class Shares:
    """Shares of neurons at one threshold, over the examples measured, or over those of one task.

    Args:
        threshold: A neuron is activated where its activation is above.
        task: The task; None for all.
        num_examples: Examples measured.
        languages: The L codes.
        layers: The N layer numbers.
        category: [N, 4], share of each layer's neurons in each category.
        category_overall: [4], likewise of all layers' neurons.
        activated: [L, N], share of each layer's neurons that each language activates.
        activated_overall: [L], likewise of all layers' neurons.
        near_threshold: Share of activations so near the threshold that rounding could turn them.
    """

    threshold: float
    task: str | None
    num_examples: int
    languages: tuple[str, ...]
    layers: tuple[int, ...]
    category: Estimate
    category_overall: Estimate
    activated: Floats
    activated_overall: Estimate
    near_threshold: float


def shares(store: Store, threshold: float | None = None, replicates: int = REPLICATES) -> Shares:
    """Shares of neurons over all examples measured.

    Args:
        store: A store, complete or not.
        threshold: One of the store's thresholds; its first for None.
        replicates: Bootstrap replicates; even.
    Raises:
        InputError: the store has no such threshold, or is of a corpus.
        StoreError: an array is damaged.
    """
    return _accumulate(store, threshold, replicates, by_task=False)[0].result(store, None)


def shares_by_task(
    store: Store, threshold: float | None = None, replicates: int = REPLICATES
) -> dict[str, Shares]:
    """`shares` of each of the store's tasks, by its name."""
    sums = _accumulate(store, threshold, replicates, by_task=True)
    return {task: sums[k].result(store, task) for k, task in enumerate(store.header.tasks)}


class _Sums:
    """Sums over examples, plain and for each replicate."""

    def __init__(self, store: Store, threshold_index: int, replicates: int) -> None:
        header = store.header
        L, N = len(header.languages), len(header.layers)
        self.threshold = header.thresholds[threshold_index]
        self.num_examples = 0
        self.category = np.zeros((N, len(CATEGORIES)))
        self.activated = np.zeros((L, N))
        self.present = np.zeros(L)
        self.near_threshold = 0.0
        # The same per replicate: examples, [N * 4] of categories, [L] of languages, [L] of their presence.
        self.replicated = np.zeros((replicates, 1 + N * len(CATEGORIES) + 2 * L))

    def add(
        self,
        category: Floats,  # [E, N, 4]
        activated: Floats,  # [E, L, N]
        near_threshold: float,
        present: NDArray[np.bool_],  # [E, L]
        weights: NDArray[np.float32],  # [E, R]
    ) -> None:
        E = len(category)
        self.num_examples += E
        self.category += category.sum(0)
        self.activated += activated.sum(0)
        self.present += present.sum(0)
        self.near_threshold += near_threshold
        columns = [np.ones((E, 1)), category.reshape(E, self.category.size), activated.mean(-1), present]
        self.replicated += weights.T.astype(np.float64) @ np.concatenate(columns, 1)

    def result(self, store: Store, task: str | None) -> Shares:
        N, C, L = *self.category.shape, len(self.present)
        examples, category, activated, present = np.split(self.replicated, np.cumsum([1, N * C, L]), 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            category = (category / examples).reshape(-1, N, C)
            mean = self.category / self.num_examples if self.num_examples else np.full((N, C), np.nan)
            by_language = self.activated / self.present[:, None]
            activations = float(self.present.sum()) * N * store.header.neurons
            return Shares(
                threshold=self.threshold,
                task=task,
                num_examples=self.num_examples,
                languages=tuple(store.header.languages),
                layers=tuple(store.header.layers),
                category=Estimate.of(mean, category),
                category_overall=Estimate.of(mean.mean(0), category.mean(1)),
                activated=by_language,
                activated_overall=Estimate.of(by_language.mean(1), activated / present),
                near_threshold=self.near_threshold / activations if activations else float("nan"),
            )


def _accumulate(store: Store, threshold: float | None, replicates: int, by_task: bool) -> list[_Sums]:
    """One pass over the counts."""
    if store.header.is_corpus:
        raise InputError(f"{store.path} is of a corpus: it counts tokens, and has no categories")
    t = store.threshold_index(threshold)
    I = store.header.neurons  # noqa: E741
    sums = [_Sums(store, t, replicates) for _ in (store.header.tasks if by_task else range(1))]
    names = ("task", "present", "category_count", "activated_count", "near_threshold_count")
    for examples, block, weights in measured_blocks(store, replicates, *names):
        count = block["category_count"][:, t]
        wrong = np.flatnonzero((count.sum(-1) != I).any(-1))
        if len(wrong):
            raise StoreError(
                f"{store.path}: array category_count is damaged: "
                f"the categories of example {examples[wrong[0]]} do not add up to {I} neurons"
            )
        category = count / I
        activated = block["activated_count"][:, t] / I
        near = block["near_threshold_count"][:, t].sum((1, 2), dtype=np.float64)
        present, task = block["present"], block["task"]
        for k, total in enumerate(sums):
            rows = task == k if by_task else slice(None)
            total.add(category[rows], activated[rows], float(near[rows].sum()), present[rows], weights[rows])
    return sums

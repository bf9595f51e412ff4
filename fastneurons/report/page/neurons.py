"""Single neurons for the page: counts of all, which ones are listed, and in which prompts those are activated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bits import bit_blocks, occupancy
from fastneurons.analysis.multiple import adjusted
from fastneurons.analysis.neurons import preference
from fastneurons.analysis.selection import Chosen
from fastneurons.analysis.words import NeuronCounter
from fastneurons.report.page.blocks import Block
from fastneurons.report.page.strips import NeuronCounts

# Listed neurons of each category, and of each language.
_OF_CATEGORY = 60
_OF_LANGUAGE = 30
# Largest q of a preference for a language that counts.
SIGNIFICANT = 0.05
_PATTERNS_BYTES = 400_000  # before compression; a folder has no limit
_NO_BITS = "which neurons each language activates is in the bits"


def neuron_counts(groups: Sequence[Chosen]) -> NeuronCounts:
    """Count every neuron's categories, and its activations by language if the store has bits.

    Args:
        groups: All examples, then those of each task if there are several.
    """
    everything, tasks = groups[0], groups[1:]
    header = everything.store.header
    language = None
    if everything.store.has_bits:
        shape = (len(everything.languages), len(header.layers))
        counters = [NeuronCounter(shape, header.neurons) for _ in tasks or groups]
        numbers = [group.task_index[0] for group in tasks]
        for block in bit_blocks(everything, _NO_BITS):
            task = everything.task[block.rows]
            for k, counter in enumerate(counters):
                rows = task == numbers[k] if numbers else slice(None)
                counter.add(block.words[rows])
        language = np.stack([counter.counts() for counter in counters])
        if tasks:
            language = np.concatenate([language.sum(0, keepdims=True, dtype=np.int32), language])
    return NeuronCounts(
        category=np.stack([occupancy(group) for group in groups]),
        language=language,
        examples=np.array([len(group) for group in groups]),
        present=np.stack([group.present.sum(0) for group in groups]),
    )


@dataclass(frozen=True)
class Listed:
    """Neurons that stand out: those most often in each category, and those that prefer each language most.

    Args:
        index: int64 [M], ascending, over layers and neurons.
        q: float64 [M], of each one's preference for its preferred language, corrected over all neurons (Benjamini
            and Hochberg); None if that cannot be tested.
        preferring: How many neurons of all prefer a language at q up to `SIGNIFICANT`; None likewise.
    """

    index: NDArray[np.int64]
    q: NDArray[np.float64] | None
    preferring: int | None


def listed_neurons(counts: NeuronCounts) -> Listed:
    """Choose the neurons to list; `fastneurons.analysis.neurons.preference` says which ones prefer a language."""
    assert counts.category is not None
    category = counts.category[0].reshape(-1, 4)
    chosen = [_most(category[:, c], _OF_CATEGORY) for c in (1, 2, 3)]
    E = int(counts.examples[0])
    if counts.language is None or (counts.present[0] != E).any():
        return Listed(np.unique(np.concatenate(chosen)), None, None)
    tests = preference(counts.language[0], counts.category[0], E)
    L = len(tests.p)
    q = adjusted(np.minimum(1, tests.p.min(0) * L)).ravel()  # of several languages, the best one
    share = np.nan_to_num(tests.share.reshape(L, -1))
    for k in range(L):
        chosen.append(_most(np.where(q <= SIGNIFICANT, share[k], 0), _OF_LANGUAGE))
    index = np.unique(np.concatenate(chosen))
    return Listed(index, q[index], int((q <= SIGNIFICANT).sum()))


def _most(values: NDArray[Any], number: int) -> NDArray[np.int64]:
    """Indices of the largest values; of equal ones, the first."""
    number = min(number, len(values))
    least = np.partition(values, -number)[-number]
    candidates = np.flatnonzero(values >= least)
    return candidates[np.argsort(-values[candidates], kind="stable")[:number]]


def listed_block(counts: NeuronCounts, neurons: Listed) -> Block:
    """Exact counts of the listed neurons: `layer`, `neuron`, `q` [M], `category` [G, M, 4], `language` [G, L, M]."""
    assert counts.category is not None
    G, _, I, _ = counts.category.shape  # noqa: E741
    listed = neurons.index
    arrays: dict[str, NDArray[Any]] = {
        "layer": (listed // I).astype(np.int32),
        "neuron": (listed % I).astype(np.int32),
        "category": counts.category.reshape(G, -1, 4)[:, listed],
        "examples": counts.examples.astype(np.int32),
        "present": counts.present.astype(np.int32),
    }
    if counts.language is not None:
        L = counts.language.shape[1]
        arrays["language"] = counts.language.reshape(G, L, -1)[:, :, listed].astype(np.int32)
    if neurons.q is not None:
        arrays["q"] = neurons.q.astype(np.float32)
    return Block({"preferring": neurons.preferring, "rate": SIGNIFICANT}, arrays)


def patterns_block(chosen: Chosen, listed: NDArray[np.int64], limited: bool, shown: int) -> Block | None:
    """In which prompts the listed neurons are activated: `bits` uint8 [M, L, ceil(E / 8)] of the first examples.

    Args:
        chosen: All examples.
        listed: Indices of the M neurons.
        limited: Whether to leave them out where they are large.
        shown: E, the examples that the page has.
    """
    L, I = len(chosen.languages), chosen.store.header.neurons  # noqa: E741
    if not chosen.store.has_bits or (limited and len(listed) * L * -(-shown // 8) > _PATTERNS_BYTES):
        return None
    layer, byte, bit = listed // I, listed % I // 8, (listed % I % 8).astype(np.uint8)
    rows = [
        block.bits[:, :, layer, byte] >> bit & 1
        for block in bit_blocks(chosen.subset(np.arange(shown)), _NO_BITS)
    ]
    bits = np.concatenate(rows).transpose(2, 1, 0)  # [M, L, E]
    return Block(arrays={"bits": np.packbits(bits, axis=-1, bitorder="little")})

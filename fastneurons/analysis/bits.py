"""Streaming a store's packed bits: blocks of examples, read ahead while the block before is counted.

    for block in bit_blocks(chosen, "recategorise needs it"):
        block.bits   # uint8 [E, L, N, B], of the chosen threshold and languages
        block.words  # the same as uint64 [E, L, N, W]; fastneurons.analysis.words counts them

Memory does not grow with the store: two or three blocks are held at a time. Counts by layer that many analyses need,
of any languages, are `category_count_blocks`; sums by neuron are `occupancy`.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.checks import ContradictionError
from fastneurons.analysis.selection import Chosen
from fastneurons.analysis.words import (
    NeuronCounter,
    Words,
    category_counts,
    category_planes,
    to_words,
)
from fastneurons.errors import StoreError

# Bytes to read at a time, all thresholds included: chunks of the store hold them together.
BLOCK_BYTES = 2**25
# Of counts: small arrays, of which many examples are read at a time.
_COUNT_EXAMPLES = 2**13


@dataclass(frozen=True, eq=False)
class BitBlock:
    """Bits of some consecutive examples of those chosen.

    Args:
        rows: Which of the chosen examples: a slice of `Chosen.examples`, `task` and `present`.
        bits: uint8 [E, L, N, B], at the chosen threshold, of the chosen languages in their order.
        present: bool [E, L], whether the example has a prompt in the language.
        neurons: I.
    """

    rows: slice
    bits: NDArray[np.uint8]
    present: NDArray[np.bool_]
    neurons: int

    @cached_property
    def words(self) -> Words:
        """uint64 [E, L, N, W]."""
        return to_words(self.bits, self.neurons)

    @cached_property
    def planes(self) -> Words:
        """uint64 [E, 3, N, W], of `category_planes`."""
        return category_planes(self.words, self.present)

    def __len__(self) -> int:
        return len(self.bits)


def bit_blocks(chosen: Chosen, purpose: str, block_bytes: int = BLOCK_BYTES) -> Iterator[BitBlock]:
    """The bits of the chosen examples, in order, in bounded memory.

    Args:
        purpose: For the message if the store has no bits: "recategorise needs it".
        block_bytes: About as many bytes are read at a time.
    Raises:
        InputError: the store keeps no bits.
        StoreError: the array is damaged.
    """
    one = slice(chosen.threshold_index, chosen.threshold_index + 1)
    for [block] in _blocks(chosen, one, purpose, block_bytes):
        yield block


def threshold_blocks(chosen: Chosen, purpose: str) -> Iterator[list[BitBlock]]:
    """`bit_blocks` at each threshold of the store, in their order; chunks hold all of them and are read once.

    Raises:
        InputError: the store keeps no bits.
        StoreError: the array is damaged.
    """
    yield from _blocks(chosen, slice(None), purpose, BLOCK_BYTES)


def _blocks(chosen: Chosen, thresholds: slice, purpose: str, block_bytes: int) -> Iterator[list[BitBlock]]:
    chosen.needs_bits(purpose)
    if not len(chosen):
        return
    with ThreadPoolExecutor(1, "fastneurons-read") as reader:
        ahead = None
        for first, end, rows in _pieces(chosen, block_bytes):
            now, ahead = ahead, reader.submit(_read, chosen, first, end, rows, thresholds)
            if now is not None:
                yield now.result()
        if ahead is not None:
            yield ahead.result()


def _pieces(chosen: Chosen, block_bytes: int) -> Iterator[tuple[int, int, slice]]:
    """Ranges of examples to read at once, and the chosen ones among them.

    Pieces have a length that divides a window, or is a multiple of one, if there is such a length: then no chunk of
    the store is read twice.
    """
    array = chosen.store["activated"]
    each = int(np.prod(array.shape[1:]))
    step = max(1, block_bytes // max(1, each))
    window = chosen.store.header.window
    step = step // window * window if step >= window else _near_divisor(window, step)
    bounds = np.searchsorted(chosen.examples, np.arange(0, len(array) + step, step))
    for number, (low, high) in enumerate(pairwise(bounds)):
        if low < high:
            rows = slice(int(low), int(high))
            picked = chosen.examples[rows]
            yield int(picked[0]), int(picked[-1]) + 1, rows
            assert picked[0] // step == number == picked[-1] // step


def _near_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` up to `limit`; `limit` itself if that would be less than half of it."""
    return next((each for each in range(limit, limit // 2, -1) if number % each == 0), limit)


def _read(chosen: Chosen, first: int, end: int, rows: slice, thresholds: slice) -> list[BitBlock]:
    """A block for each of the thresholds."""
    bits = chosen.store["activated"][first:end, thresholds]  # [E, S, L, N, B]
    examples = chosen.examples[rows] - first
    if len(examples) < len(bits):
        bits = bits[examples]
    if chosen.language_index != tuple(range(bits.shape[2])):
        bits = bits[:, :, list(chosen.language_index)]
    return [
        BitBlock(rows, bits[:, index], chosen.present[rows], chosen.store.header.neurons)
        for index in range(bits.shape[1])
    ]


def category_count_blocks(
    chosen: Chosen, purpose: str = "choosing some of its languages needs it"
) -> Iterator[tuple[slice, NDArray[np.int32]]]:
    """Neurons of each layer in each category over the chosen languages.

    Read from the store's counts if all of its languages are chosen, else counted from the bits.

    Yields:
        Which of the chosen examples, and int32 [E, N, 4].
    Raises:
        InputError: the bits are needed and the store keeps none.
        StoreError: an array is damaged.
    """
    neurons = chosen.store.header.neurons
    if not chosen.has_all_languages:
        for block in bit_blocks(chosen, purpose):
            yield block.rows, category_counts(block.planes, neurons)
        return
    array = chosen.store["category_count"]
    step = max(1, _COUNT_EXAMPLES // chosen.store.header.window) * chosen.store.header.window
    bounds = np.searchsorted(chosen.examples, np.arange(0, len(array) + step, step))
    for low, high in pairwise(bounds):
        if low == high:
            continue
        rows = slice(int(low), int(high))
        picked = chosen.examples[rows]
        first = int(picked[0])
        counts = array[first : int(picked[-1]) + 1, chosen.threshold_index][picked - first]
        _check_sums(chosen, picked, counts, neurons)
        yield rows, counts


def occupancy(
    chosen: Chosen, purpose: str = "choosing some of its languages or examples needs it"
) -> NDArray[np.int32]:
    """How often each neuron was in each category, over the chosen examples and languages.

    Read from the store's sums if whole tasks and all languages are chosen, else counted from the bits.

    Returns:
        int32 [N, I, 4].
    Raises:
        InputError: the bits are needed and the store keeps none.
        StoreError: an array is damaged.
    """
    header = chosen.store.header
    if chosen.has_stored_occupancy:
        tasks = [chosen.store["occupancy"][k, chosen.threshold_index] for k in chosen.task_index]
        stored: NDArray[np.int32] = np.sum(tasks, axis=0, dtype=np.int32)
        wrong = (stored.sum(-1) != len(chosen)).any()
        if wrong:
            raise StoreError(
                f"{chosen.store.path}: array occupancy is damaged: "
                f"its categories do not add up to the {len(chosen)} examples measured"
            )
        return stored
    counter = NeuronCounter((3, len(header.layers)), header.neurons)
    for block in bit_blocks(chosen, purpose):
        counter.add(block.planes)
    return occupancy_of(counter.counts(), len(chosen))


def occupancy_of(plane_counts: NDArray[np.int32], num_examples: int) -> NDArray[np.int32]:
    """int32 [N, I, 4], occupancy from how often each neuron was in each of `category_planes` [3, N, I]."""
    some, twice, every = plane_counts
    return np.stack([num_examples - some, some - twice, twice - every, every], -1)


def _check_sums(chosen: Chosen, examples: NDArray[np.int64], counts: NDArray[np.int32], neurons: int) -> None:
    wrong = np.flatnonzero((counts.sum(-1) != neurons).any(-1))
    if len(wrong):
        error = ContradictionError(
            "category_count",
            f"the categories of example {examples[wrong[0]]} do not add up to {neurons} neurons",
        )
        raise StoreError(f"{chosen.store.path}: array {error.array} is damaged: {error.reason}") from error

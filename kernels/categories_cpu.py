"""The contract of `categories.py` on the CPU: 32 neurons a word, layer by layer, on PyTorch's threads."""

import numpy as np
import torch
from fastneurons_kernels.categories import NUM_CATEGORIES, Categories, check, outputs
from fastneurons_kernels.codes import add_bits, popcount
from fastneurons_kernels.compiled import compiled
from fastneurons_kernels.reading import WORD_BITS
from fastneurons_kernels.threads import parts_of, pool, share_out


def categories_cpu(
    words: torch.Tensor,
    rows: torch.Tensor,
    num_neurons: int,
    *,
    occupancy: torch.Tensor | None = None,
    planes: bool = False,
) -> Categories:
    """The contract in one go. The memory it takes does not grow with E."""
    check(words, rows, num_neurons, occupancy)
    result = outputs(words, rows, planes)
    _, S, N, _ = words.shape
    _sort(
        pool(),
        parts_of(rows.numel() * S * N * num_neurons),
        words.numpy(),
        rows.numpy(),
        num_neurons,
        result.activated_count.numpy(),
        result.category_count.numpy(),
        (words.new_empty((0,) * 5) if result.planes is None else result.planes).numpy(),
        (words.new_empty((0,) * 4) if occupancy is None else occupancy).numpy(),
    )
    return result


@compiled
def _sort(pool, parts, words, rows, neurons, activated_count, category_count, planes, occupancy):  # type: ignore[no-untyped-def]
    """Compute all outputs; those not asked for are empty."""
    given = (words, rows, neurons, activated_count, category_count, planes, occupancy)
    share_out(pool, parts, _sort_part, given)


@compiled
def _sort_part(  # type: ignore[no-untyped-def]
    part, parts, words, rows, neurons, activated_count, category_count, planes, occupancy
):
    _, S, N, W = words.shape
    valid = np.full(W, 0xFFFFFFFF, np.uint32)  # the bits of neurons that exist
    if neurons % WORD_BITS:
        valid[W - 1] = (1 << neurons % WORD_BITS) - 1
    some, twice, every = np.empty(W, np.uint32), np.empty(W, np.uint32), np.empty(W, np.uint32)
    padded = W * WORD_BITS
    examples = np.empty(NUM_CATEGORIES * padded, np.int32)  # of each category and neuron
    for item in range(S * N * part // parts, S * N * (part + 1) // parts):
        s, n = item // N, item % N
        examples[:] = 0
        for e in range(len(rows)):
            some[:] = 0
            twice[:] = 0
            every[:] = valid
            for language in range(rows.shape[1]):
                if rows[e, language] >= 0:
                    activated_count[e, s, language, n] = _add_language(
                        words, rows[e, language], s, n, valid, some, twice, every
                    )
            for c in range(NUM_CATEGORIES):
                count = 0
                for w in range(W):
                    word = _of_category(c, some[w], twice[w], every[w], valid[w])
                    count += popcount(word)
                    if occupancy.size:
                        add_bits(examples, c * padded + w * WORD_BITS, word)
                    if planes.size:
                        planes[e, s, n, c, w] = word
                category_count[e, s, n, c] = count
        if occupancy.size:
            for i in range(neurons):
                for c in range(NUM_CATEGORIES):
                    occupancy[s, n, i, c] += examples[c * padded + i]


@compiled
def _add_language(words, row, s, n, valid, some, twice, every):  # type: ignore[no-untyped-def]
    """Add one language's bits; return how many are set."""
    count = 0
    for w in range(len(valid)):
        x = np.uint32(words[row, s, n, w]) & valid[w]
        count += popcount(np.uint32(x))
        twice[w] |= some[w] & x
        some[w] |= x
        every[w] &= x
    return count


@compiled
def _of_category(category, some, twice, every, valid):  # type: ignore[no-untyped-def]
    """The neurons of a word in a category, given those that any language, at least two, and all of them activate."""
    if category == 0:
        return np.uint32(~some & valid)
    if category == 1:
        return np.uint32(some & ~twice & ~every)
    if category == 2:
        return np.uint32(twice & ~every)
    return np.uint32(every)

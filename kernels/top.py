"""top_count: count by category the neurons with the largest scores.

In:    score     float32 [..., M] contiguous, none negative; a row whose first one is -inf has no scores
       category  uint8 [..., M] contiguous: that of each
       top_k     >= 1
Out:   count     int32 [..., 4]: of the k = min(top_k, M) largest scores of a row, of equal ones those that come
                 first, how many are of each category; each row sums to k, or to 0 where it has no scores
Rule:  NaN is larger than any other score.
Exact: integers, the same in any launch order.

How: a score that is not negative is ordered as its bits are, read as an integer; so the k-th largest is found by
bisection, each step counting the scores above one value. No sort, no scratch memory, and what is found is exact,
ties and all. `attribution.py` finds its candidates in the same way, with the functions of this file.

The Triton kernel has been compiled for sm_75 to sm_120 and gfx942 and run in Triton's interpreter; it has never
been run on a GPU.
"""

import numpy as np
import torch
import triton
import triton.language as tl
from fastneurons_kernels.categories import NUM_CATEGORIES
from fastneurons_kernels.compiled import compiled
from fastneurons_kernels.reading import layout


def top_count_reference(score: torch.Tensor, category: torch.Tensor, top_k: int) -> torch.Tensor:
    """The definition: a stable sort, row by row."""
    count = _output(score, category, top_k)
    for place in np.ndindex(*score.shape[:-1]):
        if score[place][0] != -torch.inf:
            first = score[place].sort(descending=True, stable=True).indices[:top_k]  # NaN is the largest
            count[place] = category[place][first].bincount(minlength=NUM_CATEGORIES)
    return count


_MAGNITUDE = tl.constexpr(0x7FFFFFFF)
_INFINITY = tl.constexpr(0x7F800000)


@triton.jit
def load_scores(m_ptr, norms_ptr, neuron, inside):  # type: ignore[no-untyped-def]
    """Scores and their keys: abs(m) * norm, or what m_ptr points to where there are no norms; 0 outside.

    A key is the score's bits, of any NaN the same ones: the largest.
    """
    score = tl.load(m_ptr + neuron, mask=inside, other=0.0).to(tl.float32)
    if norms_ptr is not None:
        score = tl.abs(score) * tl.load(norms_ptr + neuron, mask=inside, other=0.0)
    return score, tl.minimum(score.to(tl.int32, bitcast=True) & _MAGNITUDE, _INFINITY + 1)


@triton.jit  # type: ignore[untyped-decorator]
def bisect(m_ptr, norms_ptr, num_scores, K, high, I: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: E741
    """Find where the K largest keys begin: `low`, `high` and `num_above`, if all keys are below `high`.

    The largest are the `num_above` that reach the new `high`, and as many as are left of those that reach
    `low` only: these are all equal.
    """
    # More than K keys reach `low`, or all do; `num_above`, K at most, reach `high`.
    low = 0
    num_above = 0
    lane = tl.arange(0, BLOCK)
    while (num_above < K) & (high - low > 1):
        middle = low + (high - low) // 2
        reach = tl.zeros([BLOCK], tl.int32)
        for first in range(0, num_scores, BLOCK):
            neuron = first + lane
            _, key = load_scores(m_ptr, norms_ptr, neuron, neuron < I)
            reach += (key >= middle).to(tl.int32)
        count = tl.sum(reach, axis=0)  # without those past I, whose key is 0
        low = tl.where(count > K, middle, low)
        high = tl.where(count > K, high, middle)
        num_above = tl.where(count > K, num_above, count)
    return low, high, num_above


@triton.jit
def take(key, inside, low, high, num_equal, above_before, equal_before):  # type: ignore[no-untyped-def]
    """Mark the keys of a block that are among the largest; return their ranks and the two counts so far."""
    above = inside & (key >= high)
    equal = inside & (key >= low) & (key < high)
    both = above.to(tl.int32) + (equal.to(tl.int32) << 16)  # two counts in one
    before = tl.cumsum(both, axis=0) - both
    equal_before_it = equal_before + (before >> 16)
    taken = above | (equal & (equal_before_it < num_equal))
    place = above_before + (before & 0xFFFF) + tl.minimum(equal_before_it, num_equal)
    here = tl.sum(both, axis=0)
    return taken, place, above_before + (here & 0xFFFF), equal_before + (here >> 16)


@triton.jit  # type: ignore[untyped-decorator]
def _top_count_kernel(  # type: ignore[no-untyped-def]
    score_ptr, category_ptr, count_ptr, K, M: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    score_ptr += row * M
    category_ptr += row * M
    num_scores = tl.where(tl.load(score_ptr) == -float("inf"), 0, M)
    # If all are taken, there is nothing to search for.
    high = tl.where(num_scores > K, _INFINITY + 2, 0)
    low, high, num_above = bisect(score_ptr, None, num_scores, K, high, M, BLOCK)
    column = tl.arange(0, 4)
    count = tl.zeros([4], tl.int32)
    above_before = 0
    equal_before = 0
    lane = tl.arange(0, BLOCK)
    for first in range(0, num_scores, BLOCK):
        neuron = first + lane
        inside = neuron < M
        _, key = load_scores(score_ptr, None, neuron, inside)
        taken, _, above_before, equal_before = take(
            key, inside, low, high, K - num_above, above_before, equal_before
        )
        category = tl.load(category_ptr + neuron, mask=taken, other=0)
        for c in tl.static_range(4):
            count += tl.where(column == c, tl.sum((taken & (category == c)).to(tl.int32), axis=0), 0)
    tl.store(count_ptr + row * 4 + column, count)


# Not tuned. Eight scores a thread: a round of the search is two 16-byte loads.
_BLOCK = 1024
_NUM_WARPS = 4


def top_count_triton(score: torch.Tensor, category: torch.Tensor, top_k: int) -> torch.Tensor:
    """The contract in one launch."""
    count = _output(score, category, top_k)
    if score.numel():
        M = score.shape[-1]
        _top_count_kernel[(score.numel() // M,)](
            score, category, count, min(top_k, M), M=M, BLOCK=_BLOCK, num_warps=_NUM_WARPS
        )
    return count


def top_count_cpu(score: torch.Tensor, category: torch.Tensor, top_k: int) -> torch.Tensor:
    """The contract on one thread."""
    count = _output(score, category, top_k)
    if score.numel():
        M = score.shape[-1]
        _count(
            score.numpy().reshape(-1, M),
            category.numpy().reshape(-1, M),
            min(top_k, M),
            count.numpy().reshape(-1, NUM_CATEGORIES),
        )
    return count


@compiled
def _count(score, category, k, count):  # type: ignore[no-untyped-def]
    num_rows, num_scores = score.shape
    key = np.empty(num_scores, np.int32)
    chosen = np.empty(k, np.int64)
    for row in range(num_rows):
        if score[row, 0] != -np.inf:
            if k == num_scores:
                for i in range(num_scores):
                    count[row, category[row, i]] += 1
            else:
                keys(score[row], key)
                largest(key, chosen)
                for i in chosen:
                    count[row, category[row, i]] += 1


@compiled
def keys(score, key):  # type: ignore[no-untyped-def]
    """The bits of scores; every NaN has the same ones, the largest."""
    bits = score.view(np.int32)
    for i in range(len(bits)):
        key[i] = min(bits[i] & np.int32(0x7FFFFFFF), np.int32(0x7F800001))


@compiled
def largest(key, chosen):  # type: ignore[no-untyped-def]
    """Indices of the k largest keys (none is negative), in ascending order; of equal keys the first."""
    k = len(chosen)
    # As in `bisect` above.
    low, high, num_above = np.int32(0), np.int32(0), np.int32(0)
    for i in range(len(key)):
        high = max(high, np.int32(key[i] + 1))  # several at a time, which key.max() is not
    while num_above < k and high - low > 1:
        middle = np.int32(low + (high - low) // 2)
        count = np.int32(0)
        for i in range(len(key)):
            count = np.int32(count + (key[i] >= middle))
        if count > k:
            low = middle
        else:
            high, num_above = middle, count
    num_equal = k - num_above
    found = 0
    for i in range(len(key)):
        if key[i] >= high or (key[i] >= low and num_equal > 0):
            num_equal -= key[i] < high
            chosen[found] = i
            found += 1


def top_count(score: torch.Tensor, category: torch.Tensor, top_k: int) -> torch.Tensor:
    """`top_count_cpu` or `top_count_triton`, by the device of `score`."""
    implementation = top_count_cpu if score.device.type == "cpu" else top_count_triton
    return implementation(score, category, top_k)


def _output(score: torch.Tensor, category: torch.Tensor, top_k: int) -> torch.Tensor:
    for name, tensor, dtype in (("score", score, torch.float32), ("category", category, torch.uint8)):
        if tensor.dtype != dtype or tensor.shape != score.shape or not tensor.is_contiguous():
            raise ValueError(f"{name} must be contiguous {dtype} {list(score.shape)}, got {layout(tensor)}")
    if top_k < 1:
        raise ValueError(f"top_k must be 1 or more, got {top_k}")
    return torch.zeros((*score.shape[:-1], NUM_CATEGORIES), dtype=torch.int32, device=score.device)

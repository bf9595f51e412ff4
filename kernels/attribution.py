"""attribution: compute how much each category's neurons contribute, for the languages of finished examples.

In:    coefficients      bf16, fp16 or fp32 [R, N, I], last stride 1: the coefficients m of a row read
       rows              int32 [E, L] on the host: the row of each example and language; -1: it lacks that one
       planes            int32 [E, N, 4, W], W = ceil(I / 32), last stride 1: which neurons are in each category,
                         bits as `categories` gives them; each neuron in exactly one
       norms             float32 [N, I], last stride 1: norms of the value vectors, >= 0
       projections       float32 [A, N, I], last stride 1: v . e of A answer tokens
       answers           int32 [E, L] on the host: which of the A each example and language has; -1: none
       top_k             >= 1
Out:   contribution_max, contribution_min, contribution_sum, effective_max, effective_min, effective_sum
                         float32 [E, L, N, 4]: of the scores of each category's neurons; -inf, +inf and 0 where
                         it has none, where the language is missing and, of effective scores, without an answer.
                         So results of parts of the neurons are put together by max, min and sum
       top_score         float32 [E, L, N, k], k = min(top_k, I): the largest contribution scores, of equal ones
                         those of the lowest neurons; in the order of the neurons; -inf where it is missing
       top_category      uint8 [E, L, N, k]: the categories of those neurons
Rule:  contribution = abs(float32(m)) * norm, effective = float32(m) * projection, both rounded to float32. A
       NaN score makes max, min and sum of its category NaN, and is larger than any other in the top.
Exact: all but the sums; one that is finite errs by no more than 1e-6 of the sum of the absolute values.

How: floats are ordered as their bits are, read as integers, but for the sign of negative ones. So maxima and
minima that keep NaN are those of integers, and the largest scores are found as `top.py` says; there too is what
counts those of a layer that several ranks hold parts of.

The Triton kernel has been compiled for sm_75 to sm_120 and gfx942 and run in Triton's interpreter; it has never
been run on a GPU.
"""

from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from fastneurons_kernels.categories import NUM_CATEGORIES
from fastneurons_kernels.reading import WORD_BITS, expect, layout, num_words
from fastneurons_kernels.top import bisect, load_scores, take


class Contributions(NamedTuple):
    """The outputs of the contract above."""

    contribution_max: torch.Tensor
    contribution_min: torch.Tensor
    contribution_sum: torch.Tensor
    effective_max: torch.Tensor
    effective_min: torch.Tensor
    effective_sum: torch.Tensor
    top_score: torch.Tensor
    top_category: torch.Tensor


def contributions_reference(
    coefficients: torch.Tensor,
    rows: torch.Tensor,
    planes: torch.Tensor,
    norms: torch.Tensor,
    projections: torch.Tensor,
    answers: torch.Tensor,
    top_k: int,
) -> Contributions:
    """The definition: the scores of one layer at a time, those of each category, and a stable sort."""
    result = outputs(coefficients, rows, planes, norms, projections, answers, top_k)
    bit = torch.arange(WORD_BITS, device=planes.device)
    for e, language in np.ndindex(*rows.shape):
        row, answer = int(rows[e, language]), int(answers[e, language])
        for n in range(coefficients.shape[1]) if row >= 0 else ():
            m = coefficients[row, n].float()
            category = (planes[e, n][..., None] >> bit & 1).flatten(-2)[:, : len(m)].argmax(0)  # [I]
            place = (e, language, n)
            contribution = m.abs() * norms[n]
            _fill(result[0:3], place, contribution, category)
            if answer >= 0:
                _fill(result[3:6], place, m * projections[answer, n], category)
            by_score = contribution.sort(descending=True, stable=True).indices  # NaN is the largest
            top = by_score[: result.top_score.shape[-1]].sort().values
            result.top_score[place] = contribution[top]
            result.top_category[place] = category[top].to(torch.uint8)
    return result


def _fill(
    out: tuple[torch.Tensor, ...], place: tuple[int, int, int], score: torch.Tensor, category: torch.Tensor
) -> None:
    """Max, min and sum of each category's scores; torch's propagate NaN."""
    for c in range(NUM_CATEGORIES):
        mine = score[category == c]
        if len(mine):
            for tensor, value in zip(out, (mine.max(), mine.min(), mine.double().sum()), strict=True):
                tensor[(*place, c)] = value


# The bits of a float as an integer that is ordered as floats are: of a negative one all but the sign turned over.
_MAGNITUDE = tl.constexpr(0x7FFFFFFF)
_INFINITY = tl.constexpr(0x7F800000)
_MINUS_INFINITY = tl.constexpr(-0x7F800001)


@triton.jit
def _ordered(bits):  # type: ignore[no-untyped-def]
    """Turns a float's bits into an integer ordered as floats are, and back."""
    return bits ^ ((bits >> 31) & _MAGNITUDE)


@triton.jit
def _add(largest, smallest, total, score, category):  # type: ignore[no-untyped-def]
    """Add eight neighbouring scores to each lane's ordered max and min, and sum, of each category: [LANES, 4].

    NaN is beyond both infinities, so that it comes out as max and as min.
    """
    bits = score.to(tl.int32, bitcast=True)
    is_nan = (bits & _MAGNITUDE) > _INFINITY
    above = tl.where(is_nan, _INFINITY + 1, _ordered(bits))
    below = tl.where(is_nan, _MINUS_INFINITY - 1, _ordered(bits))
    column = tl.arange(0, 4)[None, :]
    # Two dimensions only: a third would send all scores through shared memory.
    for c in tl.static_range(4):
        largest_here = tl.max(tl.where(category == c, above, _MINUS_INFINITY), axis=1)[:, None]
        smallest_here = tl.min(tl.where(category == c, below, _INFINITY), axis=1)[:, None]
        total_here = tl.sum(tl.where(category == c, score, 0.0), axis=1)[:, None]
        largest = tl.where(column == c, tl.maximum(largest, largest_here), largest)
        smallest = tl.where(column == c, tl.minimum(smallest, smallest_here), smallest)
        total = tl.where(column == c, total + total_here, total)
    return largest, smallest, total


@triton.jit
def _store_extremes(max_ptr, min_ptr, sum_ptr, largest, smallest, total):  # type: ignore[no-untyped-def]
    """Combine the lanes and store one value per category."""
    category = tl.arange(0, 4)
    largest, smallest = tl.max(largest, axis=0), tl.min(smallest, axis=0)
    max_value = _ordered(largest).to(tl.float32, bitcast=True)
    min_value = _ordered(smallest).to(tl.float32, bitcast=True)
    tl.store(max_ptr + category, tl.where(largest > _INFINITY, float("nan"), max_value))
    tl.store(min_ptr + category, tl.where(smallest < _MINUS_INFINITY, float("nan"), min_value))
    tl.store(sum_ptr + category, tl.sum(total, axis=0))


@triton.jit
def _category(planes_ptr, stride_plane, byte, mask):  # type: ignore[no-untyped-def]
    """The two bits of the categories of the neurons of a byte: eight neurons' low ones, eight neurons' high ones."""
    specific = tl.load(planes_ptr + stride_plane + byte, mask=mask, other=0).to(tl.int32)
    partial = tl.load(planes_ptr + stride_plane * 2 + byte, mask=mask, other=0).to(tl.int32)
    every = tl.load(planes_ptr + stride_plane * 3 + byte, mask=mask, other=0).to(tl.int32)
    return specific | every, partial | every


@triton.jit  # type: ignore[untyped-decorator]
def _attribution_kernel(  # type: ignore[no-untyped-def]
    m_ptr,
    rows_ptr,
    planes_ptr,  # as bytes
    norms_ptr,
    projections_ptr,
    answers_ptr,
    contribution_max_ptr,
    contribution_min_ptr,
    contribution_sum_ptr,
    effective_max_ptr,
    effective_min_ptr,
    effective_sum_ptr,
    top_score_ptr,
    top_category_ptr,
    L,
    N,
    stride_row,
    stride_layer,
    stride_example,
    stride_planes,
    stride_plane,
    stride_norms,
    stride_answer,
    stride_projections,
    K,
    I: tl.constexpr,  # noqa: E741
    BLOCK: tl.constexpr,  # neurons
):
    place = tl.program_id(0).to(tl.int64)  # of example, language and layer
    layer = place % N
    row = tl.load(rows_ptr + place // N).to(tl.int64)
    answer = tl.load(answers_ptr + place // N).to(tl.int64)
    num_neurons = tl.where(row >= 0, I, 0)  # of a missing language no loop has a round
    num_effective = tl.where(answer >= 0, I, 0)
    m_ptr += row * stride_row + layer * stride_layer
    planes_ptr += place // N // L * stride_example + layer * stride_planes
    norms_ptr += layer * stride_norms
    projections_ptr += answer * stride_answer + layer * stride_projections

    LANES: tl.constexpr = BLOCK // 8  # each takes eight neighbouring neurons
    contribution_max = tl.full([LANES, 4], _MINUS_INFINITY, tl.int32)
    contribution_min = tl.full([LANES, 4], _INFINITY, tl.int32)
    contribution_sum = tl.zeros([LANES, 4], tl.float32)
    effective_max = contribution_max
    effective_min = contribution_min
    effective_sum = contribution_sum
    lane = tl.arange(0, LANES)
    bit = tl.arange(0, 8)
    for first in range(0, num_neurons, BLOCK):
        neuron = first + lane[:, None] * 8 + bit[None, :]
        inside = neuron < I
        m = tl.load(m_ptr + neuron, mask=inside, other=0.0).to(tl.float32)
        norm = tl.load(norms_ptr + neuron, mask=inside, other=0.0)
        projection = tl.load(projections_ptr + neuron, mask=neuron < num_effective, other=0.0)
        low, high = _category(planes_ptr, stride_plane, first // 8 + lane, first + lane * 8 < I)
        category = ((low[:, None] >> bit[None, :]) & 1) + ((high[:, None] >> bit[None, :]) & 1) * 2
        contribution_max, contribution_min, contribution_sum = _add(
            contribution_max,
            contribution_min,
            contribution_sum,
            tl.abs(m) * norm,
            tl.where(inside, category, 4),  # of no category
        )
        effective_max, effective_min, effective_sum = _add(
            effective_max,
            effective_min,
            effective_sum,
            m * projection,
            tl.where(neuron < num_effective, category, 4),
        )
    _store_extremes(
        contribution_max_ptr + place * 4,
        contribution_min_ptr + place * 4,
        contribution_sum_ptr + place * 4,
        contribution_max,
        contribution_min,
        contribution_sum,
    )
    _store_extremes(
        effective_max_ptr + place * 4,
        effective_min_ptr + place * 4,
        effective_sum_ptr + place * 4,
        effective_max,
        effective_min,
        effective_sum,
    )

    high_key = tl.max(tl.max(contribution_max, axis=1), axis=0) + 1
    low_key, high_key, num_above = bisect(m_ptr, norms_ptr, num_neurons, K, high_key, I, BLOCK)
    above_before = 0
    equal_before = 0
    top_score_ptr += place * K
    top_category_ptr += place * K
    lane = tl.arange(0, BLOCK)
    for first in range(0, num_neurons, BLOCK):
        neuron = first + lane
        contribution, key = load_scores(m_ptr, norms_ptr, neuron, neuron < I)
        taken, at, above_before, equal_before = take(
            key,
            neuron < I,
            low_key,
            high_key,
            K - num_above,
            above_before,
            equal_before,
        )
        low, high = _category(planes_ptr, stride_plane, neuron // 8, taken)
        category = ((low >> (neuron % 8)) & 1) + ((high >> (neuron % 8)) & 1) * 2
        tl.store(top_score_ptr + at, contribution, mask=taken)
        tl.store(top_category_ptr + at, category.to(tl.uint8), mask=taken)


# Not tuned. A thread's eight neurons are one 16-byte load of m in bf16 and fp16; its maxima,
# minima and sums stay in registers until the end. With Triton 3.7.1 that takes 140 registers on sm_90 (bf16):
# three programs an SM (benchmarks/kernels_static.py).
_BLOCK = 1024
_NUM_WARPS = 4


def contributions_triton(
    coefficients: torch.Tensor,
    rows: torch.Tensor,
    planes: torch.Tensor,
    norms: torch.Tensor,
    projections: torch.Tensor,
    answers: torch.Tensor,
    top_k: int,
) -> Contributions:
    """The contract in one launch, without scratch memory."""
    result = outputs(coefficients, rows, planes, norms, projections, answers, top_k)
    device = coefficients.device
    _, N, I = coefficients.shape  # noqa: E741
    E, L = rows.shape
    if E * L * N * I == 0:
        return result
    as_bytes = planes.view(torch.uint8)
    _attribution_kernel[(E * L * N,)](
        coefficients,
        rows.to(device, non_blocking=True).contiguous(),
        as_bytes,
        norms,
        projections,
        answers.to(device, non_blocking=True).contiguous(),
        *result,
        L,
        N,
        *coefficients.stride()[:2],
        *as_bytes.stride()[:3],
        norms.stride(0),
        *projections.stride()[:2],
        result.top_score.shape[-1],
        I=I,
        BLOCK=_BLOCK,
        num_warps=_NUM_WARPS,
        enable_fp_fusion=False,  # a product is rounded before it is added
    )
    return result


def contributions(
    coefficients: torch.Tensor,
    rows: torch.Tensor,
    planes: torch.Tensor,
    norms: torch.Tensor,
    projections: torch.Tensor,
    answers: torch.Tensor,
    top_k: int,
) -> Contributions:
    """`contributions_cpu` or `contributions_triton`, by the device of `coefficients`."""
    from fastneurons_kernels.attribution_cpu import contributions_cpu  # it needs what stands here

    implementation = contributions_cpu if coefficients.device.type == "cpu" else contributions_triton
    return implementation(coefficients, rows, planes, norms, projections, answers, top_k)


def outputs(
    coefficients: torch.Tensor,
    rows: torch.Tensor,
    planes: torch.Tensor,
    norms: torch.Tensor,
    projections: torch.Tensor,
    answers: torch.Tensor,
    top_k: int,
) -> Contributions:
    """Check the arguments, and fill the outputs with the values that a missing language keeps.

    Raises:
        ValueError: they do not; the message names the argument. Values on a device are not looked at.
    """
    floats = (torch.bfloat16, torch.float16, torch.float32)
    if coefficients.dim() != 3 or coefficients.dtype not in floats:
        raise ValueError(f"coefficients must be bf16, fp16 or fp32 [R, N, I], got {layout(coefficients)}")
    R, N, I = coefficients.shape  # noqa: E741
    A, E = projections.shape[0], rows.shape[0]
    expect("coefficients", coefficients, coefficients.dtype, (R, N, I))
    expect("planes", planes, torch.int32, (E, N, NUM_CATEGORIES, num_words(I)))
    expect("norms", norms, torch.float32, (N, I))
    expect("projections", projections, torch.float32, (A, N, I))
    for name, index, size in (("rows", rows, R), ("answers", answers, A)):
        if (
            index.dtype != torch.int32
            or index.dim() != 2
            or index.shape != rows.shape
            or index.device.type != "cpu"
        ):
            raise ValueError(
                f"{name} must be int32 [E, L] on the host, got {layout(index)} on {index.device}"
            )
        if index.numel() and int(index.max()) >= size:
            raise ValueError(f"{name} go up to {int(index.max())}, but there are {size}")
    if top_k < 1:
        raise ValueError(f"top_k must be 1 or more, got {top_k}")
    place = (*rows.shape, N)
    k = min(top_k, I)
    starts = (-torch.inf, torch.inf, 0.0)
    return Contributions._make(
        [
            *(_full(coefficients.device, (*place, NUM_CATEGORIES), start) for start in starts + starts),
            _full(coefficients.device, (*place, k), -torch.inf),
            _full(coefficients.device, (*place, k), 0, torch.uint8),
        ]
    )


def _full(
    device: torch.device, shape: tuple[int, ...], value: float, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """torch.full, but on this thread alone: see `contributions_cpu`."""
    tensor = torch.empty(shape, dtype=dtype, device=device)
    if device.type == "cpu":
        tensor.numpy().fill(value)
        return tensor
    return tensor.fill_(value)

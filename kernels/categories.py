"""categories: count from packed bits in how many of an example's languages each neuron is activated.

In:    words            int32 [R, S, N, W], W = ceil(I / 32), last stride 1: neuron i is bit i % 32 of word
                        i // 32; bits past I are ignored
       rows             int32 [E, L]: the row of `words` of each example and language; -1: it lacks that one
       num_neurons      I
       occupancy        int32 [S, N, I, 4] contiguous, or None: ADDED to, over the E examples
Out:   activated_count  int32 [E, S, L, N]: neurons activated; 0 for a missing language
       category_count   int32 [E, S, N, 4]: neurons non-activated (activated in 0 languages), specific (1),
                        partial-shared (2 or more), all-shared (all that are present); each row sums to I
       planes           int32 [E, S, N, 4, W] or None: the same as bits, one plane each; bits past I are 0
Rule:  an example has two present languages or more, else ValueError: with one, specific and all-shared are
       the same set. Rows on a device are not looked at, which would wait for it: pass them on the host. (The
       kernel takes an only language's neurons as all-shared, and all as non-activated where there is none.)
Exact: integers, the same in any launch order.

How: over an example's languages, `twice |= any & x; any |= x; all &= x`, 32 neurons at a time. Then
all-shared is `all`, partial-shared `twice & ~all`, specific `any & ~twice`, non-activated `~any`.

The Triton kernel has been compiled for sm_75 to sm_120 and gfx942 and run in Triton's interpreter; it has never
been run on a GPU.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from fastneurons_kernels.reading import WORD_BITS, num_words

NUM_CATEGORIES = 4


class Categories(NamedTuple):
    """The outputs of the contract above; `occupancy` was added to in place."""

    activated_count: torch.Tensor
    category_count: torch.Tensor
    planes: torch.Tensor | None


def categories_reference(
    words: torch.Tensor,
    rows: torch.Tensor,
    num_neurons: int,
    *,
    occupancy: torch.Tensor | None = None,
    planes: bool = False,
) -> Categories:
    """The definition: unpack, add up over the languages, sort by the sum."""
    check(words, rows, num_neurons, occupancy)
    result = outputs(words, rows, planes)
    bit = torch.arange(WORD_BITS, device=words.device)
    for e, example in enumerate(rows.tolist()):
        languages = torch.zeros((*words.shape[1:3], num_neurons), dtype=torch.int32, device=words.device)
        for language, row in enumerate(example):
            if row >= 0:
                activated = (words[row][..., None] >> bit & 1).flatten(-2)[..., :num_neurons]  # [S, N, I]
                result.activated_count[e, :, language] = activated.sum(-1)
                languages += activated
        present = sum(row >= 0 for row in example)
        none, one, every = languages == 0, languages == 1, languages == present
        category = torch.stack([none, one, ~(none | one | every), every], dim=-1)  # [S, N, I, 4]
        result.category_count[e] = category.sum(-2)
        if occupancy is not None:
            occupancy += category
        if result.planes is not None:
            shape = (*words.shape[1:3], words.shape[3] * WORD_BITS, 4)
            bits = torch.zeros(shape, dtype=torch.int64, device=words.device)
            bits[:, :, :num_neurons] = category
            by_word = bits.transpose(-1, -2).reshape(*result.planes.shape[1:], WORD_BITS)  # [S, N, 4, W, 32]
            result.planes[e] = (by_word << bit).sum(-1).to(torch.int32)
    return result


@triton.jit
def _popcount(x):  # type: ignore[no-untyped-def]
    """Bits set in each word of an int32 tensor. LLVM knows the idiom: it comes out as one `popc.b32`."""
    x = x.to(tl.uint32, bitcast=True)
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    return ((x * 0x01010101) >> 24).to(tl.int32)


@triton.jit(  # type: ignore[untyped-decorator]
    do_not_specialize=("E", "N", "stride_row", "stride_s", "stride_layer")
)
def _categories_kernel(  # type: ignore[no-untyped-def]
    words_ptr,
    rows_ptr,
    activated_count_ptr,
    category_count_ptr,
    occupancy_ptr,  # or None
    planes_ptr,  # or None
    E,
    N,
    stride_row,
    stride_s,
    stride_layer,
    S: tl.constexpr,
    L: tl.constexpr,
    L_PADDED: tl.constexpr,  # the power of two not below L
    UNROLL: tl.constexpr,  # languages
    I: tl.constexpr,  # noqa: E741
    BLOCK: tl.constexpr,  # words
):
    s = tl.program_id(0) // N
    layer = tl.program_id(0) % N
    word = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    W: tl.constexpr = (I + 31) // 32
    num_valid = tl.minimum(tl.maximum(I - word * 32, 0), 32)
    valid = tl.where(num_valid == 32, -1, (1 << (num_valid & 31)) - 1)  # the bits of neurons that exist
    neurons_here = tl.sum(num_valid, axis=0)

    words_ptr += s.to(tl.int64) * stride_s + layer.to(tl.int64) * stride_layer
    language = tl.arange(0, L_PADDED)
    activated_count_ptr += s * (L * N) + layer + language * N
    category = tl.arange(0, 4)
    category_count_ptr += tl.program_id(0) * 4 + category
    if planes_ptr is not None:
        planes_ptr += tl.program_id(0).to(tl.int64) * (4 * W) + word
    # Bits along the first dimension, so that a thread's counters are those of the words it holds anyway.
    bit = tl.arange(0, 32)[:, None]
    specific_total = tl.zeros([32, BLOCK], tl.int32)
    partial_total = tl.zeros([32, BLOCK], tl.int32)
    all_total = tl.zeros([32, BLOCK], tl.int32)

    for _ in range(E):
        any_ = tl.zeros([BLOCK], tl.int32)
        twice = tl.zeros([BLOCK], tl.int32)
        all_ = tl.full([BLOCK], -1, tl.int32)
        counts = tl.zeros([L_PADDED], tl.int32)
        # The counts leave the loop in one go, so that no atomic stands between the loads of UNROLL languages.
        for first in tl.range(0, L, UNROLL):
            for k in tl.static_range(UNROLL):
                row = tl.load(rows_ptr + first + k, mask=first + k < L, other=-1)
                x_ptr = words_ptr + row.to(tl.int64) * stride_row + word
                x = tl.load(x_ptr, mask=word < tl.where(row >= 0, W, 0), other=0) & valid
                counts = tl.where(language == first + k, tl.sum(_popcount(x), axis=0), counts)
                twice |= any_ & x
                any_ |= x
                all_ &= tl.where(row >= 0, x, -1)
        all_ &= any_
        specific = any_ & ~(twice | all_)
        partial = twice & ~all_

        # Integer atomics, since the tiles of a row share these few counts: sums are exact in any order, and
        # partial sums would take a buffer and a second kernel.
        tl.atomic_add(activated_count_ptr, counts, mask=language < L, sem="relaxed")
        num_specific = tl.sum(_popcount(specific), axis=0)
        num_partial = tl.sum(_popcount(partial), axis=0)
        num_all = tl.sum(_popcount(all_), axis=0)
        num_none = neurons_here - num_specific - num_partial - num_all
        by_category = tl.where(category == 1, num_specific, tl.where(category == 2, num_partial, num_all))
        by_category = tl.where(category == 0, num_none, by_category)
        tl.atomic_add(category_count_ptr, by_category, sem="relaxed")

        if occupancy_ptr is not None:
            specific_total += (specific[None, :] >> bit) & 1
            partial_total += (partial[None, :] >> bit) & 1
            all_total += (all_[None, :] >> bit) & 1
        if planes_ptr is not None:
            inside = word < W
            tl.store(planes_ptr, ~any_ & valid, mask=inside)
            tl.store(planes_ptr + W, specific, mask=inside)
            tl.store(planes_ptr + 2 * W, partial, mask=inside)
            tl.store(planes_ptr + 3 * W, all_, mask=inside)
            planes_ptr += N * (S * 4 * W)
        rows_ptr += L
        activated_count_ptr += N * (S * L)
        category_count_ptr += N * (S * 4)

    if occupancy_ptr is not None:
        # No other program has these neurons, so no atomics: a neuron's four categories (16 bytes) at once.
        none_total = E - specific_total - partial_total - all_total
        even_odd = tl.join(tl.join(none_total, partial_total), tl.join(specific_total, all_total))
        total = tl.reshape(even_odd, [32, BLOCK, 4])
        neuron = word[None, :] * 32 + bit
        at = (
            occupancy_ptr
            + (tl.program_id(0).to(tl.int64) * I + neuron[:, :, None]) * 4
            + category[None, None, :]
        )
        real = tl.broadcast_to((neuron < I)[:, :, None], [32, BLOCK, 4])
        tl.store(at, tl.load(at, mask=real, other=0) + total, mask=real)


# Not tuned. One warp and 16 words: two lanes share a word and each counts half of its
# neurons, in 3 * 16 registers; nothing crosses shared memory. At L = 10 that takes 127 registers on sm_90;
# 32 words take 253 and leave half as many programs to hide latency with (benchmarks/kernels_static.py).
_BLOCK_WORDS = 16
# More languages go in rounds of 8 at most: with Triton 3.7.1, 16 at once spill on sm_80, sm_89 and sm_90, and 17 in
# rounds of 16 on sm_86 and sm_120.
_AT_ONCE = 10
_IN_ROUNDS = 8
_NUM_WARPS = 1


def categories_triton(
    words: torch.Tensor,
    rows: torch.Tensor,
    num_neurons: int,
    *,
    occupancy: torch.Tensor | None = None,
    planes: bool = False,
) -> Categories:
    """The contract in one launch. Compiled once per I, L, S and outputs; not for a new E, N or stride."""
    check(words, rows, num_neurons, occupancy)
    result = outputs(words, rows, planes)
    E, L = rows.shape
    _, S, N, W = words.shape
    if E == 0 or S * N * W == 0:
        return result
    _categories_kernel[(S * N, triton.cdiv(W, _BLOCK_WORDS))](
        words,
        rows.to(words.device, non_blocking=True).contiguous(),
        result.activated_count,
        result.category_count,
        occupancy,
        result.planes,
        E,
        N,
        *words.stride()[:3],
        S=S,
        L=L,
        L_PADDED=triton.next_power_of_2(L),
        UNROLL=L if L <= _AT_ONCE else triton.cdiv(L, triton.cdiv(L, _IN_ROUNDS)),
        I=num_neurons,
        BLOCK=_BLOCK_WORDS,
        num_warps=_NUM_WARPS,
    )
    return result


def categories(
    words: torch.Tensor,
    rows: torch.Tensor,
    num_neurons: int,
    *,
    occupancy: torch.Tensor | None = None,
    planes: bool = False,
) -> Categories:
    """`categories_cpu` or `categories_triton`, by the device of `words`."""
    from fastneurons_kernels.categories_cpu import categories_cpu  # it needs what stands here

    implementation = categories_cpu if words.device.type == "cpu" else categories_triton
    return implementation(words, rows, num_neurons, occupancy=occupancy, planes=planes)


def outputs(words: torch.Tensor, rows: torch.Tensor, planes: bool) -> Categories:
    """Outputs, zeroed: a missing language keeps its 0, and the kernel adds to the counts."""
    E, L = rows.shape
    _, S, N, W = words.shape
    return Categories(
        words.new_zeros((E, S, L, N)),
        words.new_zeros((E, S, N, NUM_CATEGORIES)),
        words.new_empty((E, S, N, NUM_CATEGORIES, W)) if planes else None,
    )


def check(words: torch.Tensor, rows: torch.Tensor, num_neurons: int, occupancy: torch.Tensor | None) -> None:
    """Raise ValueError unless the arguments fit the contract, as far as the host can see them."""
    W = num_words(num_neurons)
    if words.dtype != torch.int32 or words.dim() != 4 or words.shape[3] != W:
        raise ValueError(f"words must be int32 [R, S, N, {W}], got {words.dtype} {list(words.shape)}")
    if words.stride(3) != 1 and W > 1:
        raise ValueError(f"words must have last stride 1, got strides {words.stride()}")
    if rows.dtype != torch.int32 or rows.dim() != 2:
        raise ValueError(f"rows must be int32 [E, L], got {rows.dtype} {list(rows.shape)}")
    if occupancy is not None:
        shape = (*words.shape[1:3], num_neurons, NUM_CATEGORIES)
        if occupancy.dtype != torch.int32 or occupancy.shape != shape or not occupancy.is_contiguous():
            raise ValueError(f"occupancy must be contiguous int32 {list(shape)}, got {list(occupancy.shape)}")
    if rows.device.type != "cpu" or rows.shape[0] == 0:
        return
    present = (rows >= 0).sum(1)
    example = int(present.argmin())
    if present[example] < 2:
        raise ValueError(
            f"example {example} has {int(present[example])} of {rows.shape[1]} languages; categories need 2: "
            "with one, specific and all-shared are the same set"
        )
    if int(rows.max()) >= words.shape[0]:
        raise ValueError(f"rows go up to {int(rows.max())}, but words has {words.shape[0]}")

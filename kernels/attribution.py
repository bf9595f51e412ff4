"""attribution: how much each category's neurons contribute, for the languages of finished examples.

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

How: a score that is not negative is ordered as its bits are, read as an integer. So maxima that keep NaN are
those of integers, and the k-th largest is found by bisection, each step counting the scores above one value:
no sort, no scratch memory, and what it finds is exact, ties and all.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import torch
from fastneurons_kernels.categories import NUM_CATEGORIES
from fastneurons_kernels.reading import WORD_BITS, expect, layout, num_words


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
    result = _outputs(coefficients, rows, planes, norms, projections, answers, top_k)
    bit = torch.arange(WORD_BITS, device=planes.device)
    for e, language in np.ndindex(*rows.shape):
        row, answer = int(rows[e, language]), int(answers[e, language])
        for n in range(coefficients.shape[1]) if row >= 0 else ():
            m = coefficients[row, n].float()
            category = (planes[e, n][..., None] >> bit & 1).flatten(-2)[:, : len(m)].argmax(0)  # [I]
            place = (e, language, n)
            contribution = m.abs() * norms[n]
            _extremes(result[0:3], place, contribution, category)
            if answer >= 0:
                _extremes(result[3:6], place, m * projections[answer, n], category)
            by_score = contribution.sort(descending=True, stable=True).indices  # NaN is the largest
            top = by_score[: result.top_score.shape[-1]].sort().values
            result.top_score[place] = contribution[top]
            result.top_category[place] = category[top].to(torch.uint8)
    return result


def _extremes(
    out: tuple[torch.Tensor, ...], place: tuple[int, int, int], score: torch.Tensor, category: torch.Tensor
) -> None:
    """Max, min and sum of each category's scores; torch's propagate NaN."""
    for c in range(NUM_CATEGORIES):
        mine = score[category == c]
        if len(mine):
            for tensor, value in zip(out, (mine.max(), mine.min(), mine.double().sum()), strict=True):
                tensor[(*place, c)] = value


# The bits of a float as an integer that is ordered as floats are: those of a negative one but for the sign are
# turned over, and back by doing it again.
_MAGNITUDE = 0x7FFFFFFF
_INFINITY = 0x7F800000
_MINUS_INFINITY = -_INFINITY - 1
_NAN_ABOVE = _INFINITY + 1  # for a maximum
_NAN_BELOW = _MINUS_INFINITY - 1  # for a minimum


def contributions_cpu(
    coefficients: torch.Tensor,
    rows: torch.Tensor,
    planes: torch.Tensor,
    norms: torch.Tensor,
    projections: torch.Tensor,
    answers: torch.Tensor,
    top_k: int,
) -> Contributions:
    """The contract on one thread. No torch operation on the way: it would wake the threads that vLLM has bound."""
    result = _outputs(coefficients, rows, planes, norms, projections, answers, top_k)
    I = coefficients.shape[2]  # noqa: E741
    floats = coefficients.dtype == torch.float32
    codes = (coefficients if floats else coefficients.view(torch.int16)).numpy()
    bits = planes.numpy()
    out = [tensor.numpy() for tensor in result]
    for e in range(len(rows)):
        category = _categories(bits[e], I)
        for language, (row, answer) in enumerate(zip(rows[e].tolist(), answers[e].tolist(), strict=True)):
            if row < 0:
                continue
            m = _float32(codes[row], coefficients.dtype)
            _reduce(
                m,
                category,
                norms.numpy(),
                projections[answer].numpy() if answer >= 0 else m[:, :0],
                *(tensor[e, language] for tensor in out),
            )
    return result


def _categories(planes: npt.NDArray[np.int32], num_neurons: int) -> npt.NDArray[np.uint8]:
    """The category of each neuron, [N, I], from its bit planes [N, 4, W]."""

    def bits(words: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
        return np.unpackbits(words.view(np.uint8), axis=-1, count=num_neurons, bitorder="little")

    return bits(planes[:, 1] | planes[:, 3]) + 2 * bits(planes[:, 2] | planes[:, 3])


def _float32(codes: npt.NDArray[np.generic], dtype: torch.dtype) -> npt.NDArray[np.float32]:
    """Values of [N, I], which numpy has no bf16 for."""
    if dtype == torch.bfloat16:
        return (codes.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return codes.view(np.float16 if dtype == torch.float16 else np.float32).astype(np.float32, copy=False)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _reduce(  # type: ignore[no-untyped-def]
    m,  # float32 [N, I]
    category,  # uint8 [N, I]
    norms,  # float32 [N, I]
    projection,  # float32 [N, I], or [N, 0]: no answer
    contribution_max,  # float32 [N, 4], as the next five
    contribution_min,
    contribution_sum,
    effective_max,
    effective_min,
    effective_sum,
    top_score,  # float32 [N, k]
    top_category,  # uint8 [N, k]
):
    """All outputs of one example and language."""
    num_layers, num_neurons = m.shape
    score = np.empty(num_neurons, np.float32)
    above = np.empty(num_neurons, np.int32)
    below = np.empty(num_neurons, np.int32)
    for n in range(num_layers):
        if projection.shape[1]:
            for i in range(num_neurons):
                score[i] = m[n, i] * projection[n, i]
            _keys(score, above, below)
            _extremes_of_keys(
                score, above, below, category[n], effective_max[n], effective_min[n], effective_sum[n]
            )
        for i in range(num_neurons):
            score[i] = abs(m[n, i]) * norms[n, i]
        _keys(score, above, below)
        _extremes_of_keys(
            score, above, below, category[n], contribution_max[n], contribution_min[n], contribution_sum[n]
        )
        _top(score, above, category[n], top_score[n], top_category[n])


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _keys(score, above, below):  # type: ignore[no-untyped-def]
    """Keys to compare for a maximum and for a minimum: NaN wins both."""
    bits = score.view(np.int32)
    for i in range(len(bits)):
        magnitude = bits[i] & np.int32(_MAGNITUDE)
        key = bits[i] ^ ((bits[i] >> np.int32(31)) & np.int32(_MAGNITUDE))
        above[i] = np.int32(_NAN_ABOVE) if magnitude > _INFINITY else key
        below[i] = np.int32(_NAN_BELOW) if magnitude > _INFINITY else key


# Additions may change places, so that several are done at a time; NaN and infinity stay what they are.
@numba.njit(nogil=True, cache=True, fastmath={"reassoc"})  # type: ignore[untyped-decorator]
def _extremes_of_keys(score, above, below, category, out_max, out_min, out_sum):  # type: ignore[no-untyped-def]
    """Max, min and sum of each category's scores."""
    for c in range(NUM_CATEGORIES):
        largest, smallest, total = np.int32(_MINUS_INFINITY), np.int32(_INFINITY), 0.0
        for i in range(len(score)):
            inside = category[i] == c
            largest = max(largest, above[i] if inside else np.int32(_MINUS_INFINITY))
            smallest = min(smallest, below[i] if inside else np.int32(_INFINITY))
            total += np.float64(score[i]) if inside else 0.0
        out_max[c] = _value(largest)
        out_min[c] = _value(smallest)
        out_sum[c] = total


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _value(key):  # type: ignore[no-untyped-def]
    """The float of a key."""
    key = np.int32(key)
    if key > _INFINITY or key < _MINUS_INFINITY:
        return np.float32(np.nan)
    return np.int32(key ^ ((key >> np.int32(31)) & np.int32(_MAGNITUDE))).view(np.float32)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _top(score, key, category, top_score, top_category):  # type: ignore[no-untyped-def]
    """The k neurons with the largest keys, none of which is negative."""
    k = len(top_score)
    # More than k keys reach `low`, or all do; `num_above`, k at most, reach `high`.
    low, high, num_above = np.int32(0), np.int32(_NAN_ABOVE + 1), 0
    while num_above < k and high - low > 1:
        middle = np.int32(low + (high - low) // 2)
        count = np.int32(0)
        for i in range(len(key)):
            count += np.int32(key[i] >= middle)
        if count > k:
            low = middle
        else:
            high, num_above = middle, count
    num_equal = k - num_above  # of those in between, which are equal
    found = 0
    for i in range(len(key)):
        if key[i] >= high or (key[i] >= low and num_equal > 0):
            num_equal -= key[i] < high
            top_score[found] = score[i]
            top_category[found] = category[i]
            found += 1


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
    return contributions_cpu(coefficients, rows, planes, norms, projections, answers, top_k)


def _outputs(
    coefficients: torch.Tensor,
    rows: torch.Tensor,
    planes: torch.Tensor,
    norms: torch.Tensor,
    projections: torch.Tensor,
    answers: torch.Tensor,
    top_k: int,
) -> Contributions:
    """What a missing language keeps, once the arguments are seen to fit each other.

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
    ends = [norms.new_full((*place, NUM_CATEGORIES), start) for start in (-torch.inf, torch.inf, 0.0)]
    k = min(top_k, I)
    return Contributions(
        *ends,
        *(end.clone() for end in ends),
        norms.new_full((*place, k), -torch.inf),
        planes.new_zeros((*place, k), dtype=torch.uint8),
    )

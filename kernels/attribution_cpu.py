"""The contract of `attribution.py` on the CPU: one thread, a layer of one example and language at a time.

No torch operation on the way: it would share out what is larger than a few rows, and to wake another thread
where vLLM has bound them takes longer than all of this (10 ms).
"""

import numpy as np
import numpy.typing as npt
import torch
from fastneurons_kernels.attribution import Contributions, outputs
from fastneurons_kernels.categories import NUM_CATEGORIES
from fastneurons_kernels.compiled import compiled
from fastneurons_kernels.top import keys, largest


def contributions_cpu(
    coefficients: torch.Tensor,
    rows: torch.Tensor,
    planes: torch.Tensor,
    norms: torch.Tensor,
    projections: torch.Tensor,
    answers: torch.Tensor,
    top_k: int,
) -> Contributions:
    """The contract on one thread."""
    result = outputs(coefficients, rows, planes, norms, projections, answers, top_k)
    _, N, I = coefficients.shape  # noqa: E741
    codes = coefficients.view(torch.int32 if coefficients.dtype == torch.float32 else torch.int16).numpy()
    bits, norm, projection = planes.numpy(), norms.numpy(), projections.numpy()
    out = [tensor.numpy() for tensor in result]
    m = np.empty((N, I), np.float32)
    no_answer = np.empty((N, 0), np.float32)
    for e in range(len(rows)):
        category = _categories(bits[e], I)
        for language, (row, answer) in enumerate(zip(rows[e].tolist(), answers[e].tolist(), strict=True)):
            if row >= 0:
                _to_float32(codes[row], coefficients.dtype, m)
                _reduce(
                    m,
                    category,
                    norm,
                    projection[answer] if answer >= 0 else no_answer,
                    *(array[e, language] for array in out),
                )
    return result


def _categories(planes: npt.NDArray[np.int32], num_neurons: int) -> npt.NDArray[np.uint8]:
    """The category of each neuron, [N, I], from its bit planes [N, 4, W]."""

    def bits(words: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
        return np.unpackbits(words.view(np.uint8), axis=-1, count=num_neurons, bitorder="little")

    return bits(planes[:, 1] | planes[:, 3]) + 2 * bits(planes[:, 2] | planes[:, 3])


def _to_float32(
    codes: npt.NDArray[np.signedinteger], dtype: torch.dtype, out: npt.NDArray[np.float32]
) -> None:
    """The values of a row's codes, both [N, I]."""
    if dtype == torch.bfloat16:
        np.left_shift(codes.view(np.uint16), np.uint32(16), out=out.view(np.uint32))
    elif dtype == torch.float16:
        np.take(_FP16, codes.view(np.uint16), out=out, mode="clip")  # "raise" would fill a copy first
    else:
        out[...] = codes.view(np.float32)


# The value of each code: numpy's own conversion takes longer than all the rest, 4 ns a neuron.
_FP16 = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


@compiled
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
    key = np.empty(num_neurons, np.int32)
    chosen = np.empty(top_score.shape[1], np.int64)
    for n in range(num_layers):
        if projection.shape[1]:
            for i in range(num_neurons):
                score[i] = m[n, i] * projection[n, i]
            _by_category(score, category[n], effective_max[n], effective_min[n], effective_sum[n])
        for i in range(num_neurons):
            score[i] = abs(m[n, i]) * norms[n, i]
        _by_category(score, category[n], contribution_max[n], contribution_min[n], contribution_sum[n])
        keys(score, key)
        largest(key, chosen)
        for place, i in enumerate(chosen):
            top_score[n, place] = score[i]
            top_category[n, place] = category[n, i]


@compiled
def _by_category(score, category, out_max, out_min, out_sum):  # type: ignore[no-untyped-def]
    """Max, min and sum of each category's scores."""
    # Four of each by turns, so that a neuron does not wait for the one before it: 1.1 ns for 3.1 where most
    # are of one category. A vectorised pass for each category takes 1.5.
    largest = np.full(4 * NUM_CATEGORIES, -np.inf, np.float32)
    smallest = np.full(4 * NUM_CATEGORIES, np.inf, np.float32)
    total = np.zeros(4 * NUM_CATEGORIES, np.float64)
    for i in range(len(score)):
        at = (i & 3) * NUM_CATEGORIES + category[i]
        x = score[i]
        total[at] += x
        largest[at] = x if x > largest[at] else largest[at]
        smallest[at] = x if x < smallest[at] else smallest[at]
    for c in range(NUM_CATEGORIES):
        out_max[c] = largest[c::NUM_CATEGORIES].max()
        out_min[c] = smallest[c::NUM_CATEGORIES].min()
        out_sum[c] = total[c::NUM_CATEGORIES].sum()
        if np.isnan(out_sum[c]):  # of a NaN, which no comparison has seen, or of infinities of both signs
            for i in range(len(score)):
                if category[i] == c and np.isnan(score[i]):
                    out_max[c] = out_min[c] = np.nan

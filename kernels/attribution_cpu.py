"""The contract of `attribution.py` on the CPU: layer by layer of each example and language, on PyTorch's threads.

No torch operation on the way: its own sharing out, of what is larger than a few rows, takes longer than a layer here.
"""

import numpy as np
import numpy.typing as npt
import torch
from fastneurons_kernels.attribution import Contributions, outputs
from fastneurons_kernels.categories import NUM_CATEGORIES
from fastneurons_kernels.codes import bits_of, float32_of
from fastneurons_kernels.compiled import compiled
from fastneurons_kernels.threads import parts_of, pool, share_out
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
    """The contract, an example at a time."""
    result = outputs(coefficients, rows, planes, norms, projections, answers, top_k)
    _, N, I = coefficients.shape  # noqa: E741
    bits = bits_of(coefficients)
    parts = parts_of(_READINGS * rows.shape[1] * N * I)
    out = [tensor.numpy() for tensor in result]
    for e in range(len(rows)):
        _reduce(
            pool(),
            parts,
            bits,
            coefficients.dtype == torch.float16,
            rows[e].numpy(),
            answers[e].numpy(),
            _categories(planes[e].numpy(), I),
            norms.numpy(),
            projections.numpy(),
            *(array[e] for array in out),
        )
    return result


# Passes over the scores: a neuron costs about 4 ns here, and 0.1 ns in `activation_cpu.py`.
_READINGS = 40


def _categories(planes: npt.NDArray[np.int32], num_neurons: int) -> npt.NDArray[np.uint8]:
    """The category of each neuron, [N, I], from its bit planes [N, 4, W]."""

    def bits(words: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
        return np.unpackbits(words.view(np.uint8), axis=-1, count=num_neurons, bitorder="little")

    return bits(planes[:, 1] | planes[:, 3]) + 2 * bits(planes[:, 2] | planes[:, 3])


@compiled
def _reduce(  # type: ignore[no-untyped-def]
    pool,
    parts,
    bits,  # of coefficients, [R, N, I]
    is_half,  # whether they are fp16
    rows,  # int32 [L]
    answers,  # int32 [L]
    category,  # uint8 [N, I]
    norms,  # float32 [N, I]
    projections,  # float32 [A, N, I]
    contribution_max,  # float32 [L, N, 4], as the next five
    contribution_min,
    contribution_sum,
    effective_max,
    effective_min,
    effective_sum,
    top_score,  # float32 [L, N, k]
    top_category,  # uint8 [L, N, k]
):
    """All outputs of one example."""
    share_out(
        pool,
        parts,
        _reduce_part,
        (
            bits, is_half, rows, answers, category, norms, projections,
            contribution_max, contribution_min, contribution_sum, effective_max, effective_min, effective_sum,
            top_score, top_category,
        ),
    )  # fmt: skip


@compiled
def _reduce_part(  # type: ignore[no-untyped-def]
    part, parts, bits, is_half, rows, answers, category, norms, projections,
    contribution_max, contribution_min, contribution_sum, effective_max, effective_min, effective_sum,
    top_score, top_category,
):  # fmt: skip
    _, num_layers, num_neurons = bits.shape
    m = np.empty(num_neurons, np.float32)
    score = np.empty(num_neurons, np.float32)
    key = np.empty(num_neurons, np.int32)
    chosen = np.empty(top_score.shape[2], np.int64)
    items = len(rows) * num_layers
    for item in range(items * part // parts, items * (part + 1) // parts):
        language, n = item // num_layers, item % num_layers
        row, answer = rows[language], answers[language]
        if row < 0:
            continue
        for i in range(num_neurons):
            m[i] = float32_of(bits[row, n, i], is_half)
        at = (language, n)
        if answer >= 0:
            for i in range(num_neurons):
                score[i] = m[i] * projections[answer, n, i]
            _by_category(score, category[n], effective_max[at], effective_min[at], effective_sum[at])
        for i in range(num_neurons):
            score[i] = abs(m[i]) * norms[n, i]
        _by_category(score, category[n], contribution_max[at], contribution_min[at], contribution_sum[at])
        keys(score, key)
        largest(key, chosen)
        for place, i in enumerate(chosen):
            top_score[language, n, place] = score[i]
            top_category[language, n, place] = category[n, i]


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

"""projection: multiply value vectors with unembedding rows, v . e.

In:    rows     [A, H]: unembedding rows e, rounded to the vectors' dtype
       vectors  bf16, fp16 or fp32 [I, H], any strides: value vectors v, on the same device as rows
Out:   out      float32 [A, I]: their products
Exact: a product of two bf16 or fp16 numbers is; sums are in float32, their order is free.

On CUDA the tensor cores multiply bf16 and fp16 as they are and add up in float32. CPU backends have no such
product, so numbers are converted to float32 there, some neurons at a time.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

# Rows of a layer converted to float32 at once: 64 MB at most for the largest models.
_NEURONS_AT_ONCE = 2048


def projection_reference(rows: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """The definition, in float64."""
    return (rows.to(vectors.dtype).double() @ vectors.double().T).float()


def projection(rows: torch.Tensor, vectors: torch.Tensor, out: torch.Tensor) -> None:
    """The contract. `out` may be strided: one layer's part of a buffer."""
    e = rows.to(vectors.dtype)
    if len(e) == 0:
        return
    if vectors.is_cuda and vectors.dtype != torch.float32:
        out.copy_(torch.mm(e, vectors.T, out_dtype=torch.float32))
        return
    e = e.float()
    for first in range(0, len(vectors), _NEURONS_AT_ONCE):
        some = slice(first, first + _NEURONS_AT_ONCE)
        with _exact_bfloat16(vectors):
            out[:, some] = e @ vectors[some].float().T


@contextlib.contextmanager
def _exact_bfloat16(vectors: torch.Tensor) -> Iterator[None]:
    """Within it, CPUs that multiply bfloat16 do so with float32 numbers that are bfloat16 anyway.

    Their products are exact and their sums in float32, as without it: only the time is another.
    """
    if vectors.device.type != "cpu" or vectors.dtype != torch.bfloat16:
        yield
        return
    matmul: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before

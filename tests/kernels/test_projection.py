"""v . e on this machine's GPU, or else its CPU, against float64."""

import pytest
import torch
from fastneurons_kernels.projection import projection, projection_reference

from tests.kernels.conftest import ON_GPU

DEVICE = "cuda" if ON_GPU else "cpu"


@pytest.mark.parametrize("transposed", [False, True], ids=["as [I, H]", "a view of [H, I]"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("answers", "neurons", "hidden"), [(0, 40, 8), (1, 1, 1), (7, 2500, 96), (33, 100, 129)]
)
def test_products_are_those_of_float64(answers, neurons, hidden, dtype, transposed):
    g = torch.Generator().manual_seed(neurons)
    vectors = torch.randn((hidden, neurons), generator=g).to(dtype).T
    if not transposed:
        vectors = vectors.contiguous()
    rows = torch.randn((answers, hidden), generator=g)
    buffer = torch.full((answers, 3, neurons), 7.0, device=DEVICE)
    projection(rows.to(DEVICE), vectors.to(DEVICE), buffer[:, 1])
    found = buffer.cpu()
    want = projection_reference(rows, vectors)
    # Of sums in float32, in any order; rounded to bf16 or fp16 on the way, they would err a hundred times as much.
    scale = (rows.to(dtype).double().abs() @ vectors.double().abs().T).float()
    assert ((found[:, 1] - want).abs() <= 1e-6 * scale).all()
    assert (found[:, 0] == 7).all() and (found[:, 2] == 7).all()

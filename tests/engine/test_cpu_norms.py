"""The one-kernel RMS normalisation against vLLM's composed one, and when it is chosen."""

from types import SimpleNamespace

import pytest
import torch

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="vLLM for GPUs has another kernel")


def config(norms, enforce_eager=True):
    chosen = SimpleNamespace(rms_norm=list(norms), fused_add_rms_norm=list(norms))
    return SimpleNamespace(
        model_config=SimpleNamespace(enforce_eager=enforce_eager),
        kernel_config=SimpleNamespace(ir_op_priority=chosen),
    )


def test_it_is_chosen_unless_compiled_or_something_else_is():
    from fastneurons.engine.cpu_norms import prefer_one_kernel

    for given, norms in (
        (config(["native"]), ["fastneurons_cpu", "native"]),
        (config(["native"], enforce_eager=False), ["native"]),
        (config(["other", "native"]), ["other", "native"]),
    ):
        prefer_one_kernel(given)
        assert given.kernel_config.ir_op_priority.rms_norm == norms
        assert given.kernel_config.ir_op_priority.fused_add_rms_norm == norms


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 576), (37, 576), (5, 16)], ids=str)
def test_it_gives_what_the_composed_one_gives(dtype, shape):
    from vllm import ir

    from fastneurons.engine import cpu_norms  # noqa: F401 - registers it

    generator = torch.Generator().manual_seed(0)
    x, residual = (torch.randn(shape, generator=generator).to(dtype) * 3 for _ in range(2))
    weight = (torch.rand(shape[1], generator=generator) + 0.5).to(dtype)
    # The composed one rounds after the norm and after the weight.
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 2**-6, "atol": 1e-3}
    implementations = ir.ops.rms_norm.impls
    assert implementations["fastneurons_cpu"].supports_args(x, weight, 1e-5)
    found = implementations["fastneurons_cpu"].impl_fn(x, weight, 1e-5)
    torch.testing.assert_close(found, implementations["native"].impl_fn(x, weight, 1e-5), **close)

    implementations = ir.ops.fused_add_rms_norm.impls
    expected = implementations["native"].impl_fn(x.clone(), residual.clone(), weight, 1e-5)
    found = implementations["fastneurons_cpu"].impl_fn(x.clone(), residual.clone(), weight, 1e-5)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **close)


def test_what_it_cannot_take_is_left_to_the_composed_one():
    from vllm import ir

    from fastneurons.engine import cpu_norms  # noqa: F401

    x, weight = torch.zeros(4, 64), torch.ones(64)
    fits = ir.ops.rms_norm.impls["fastneurons_cpu"].supports_args
    assert fits(x, weight, 1e-5)
    assert not fits(torch.zeros(4, 128)[:, :64], weight, 1e-5)  # a view of queries, keys and values
    assert not fits(torch.zeros(4, 2, 64), weight, 1e-5)
    assert not fits(torch.zeros(4, 100), torch.ones(100), 1e-5)
    assert not fits(x, None, 1e-5)
    assert not fits(x, weight.bfloat16(), 1e-5)
    assert not fits(x, weight, 1e-5, 32)

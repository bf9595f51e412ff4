"""The one-kernel RMS normalisation against the exact result, and when it is chosen."""

import platform
from pathlib import Path
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


DTYPES = {torch.float32: 23, torch.float16: 10, torch.bfloat16: 7}  # bits of a fraction


def last_place(values, fraction):
    """The unit in the last place at numbers of float64 that are in the normal range."""
    return torch.exp2(torch.floor(torch.log2(values.abs().clamp_min(2.0**-14))) - fraction)


def bounds(columns, fraction, cut_off):
    """Least and greatest error away from zero, in units in the last place, as cpu_norms.py promises it."""
    computed = (columns / 32 + 7) * 2.0 ** (fraction - 23)
    if fraction == 23:
        return -computed, computed
    return (-1 - computed, computed) if cut_off else (-0.5 - computed, 0.5 + computed)


def within(found, exact, dtype, cut_off):
    fraction = DTYPES[dtype]
    away = torch.where(exact < 0, -1.0, 1.0)
    errors = (found.double() - exact) * away / last_place(exact, fraction)
    least, greatest = bounds(exact.shape[1], fraction, cut_off)
    return bool(((errors >= least) & (errors <= greatest)).all())


def norm(x, squares_of, weight, epsilon):
    return (
        x.double() / (squares_of.double().square().mean(-1, keepdim=True) + epsilon).sqrt() * weight.double()
    )


@pytest.mark.parametrize("epsilon", [1e-5, 0.5])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 576), (37, 576), (5, 16), (3, 8192)], ids=str)
def test_it_is_as_near_to_the_exact_result_as_it_promises(dtype, shape, epsilon):
    from vllm import ir

    from fastneurons.engine import cpu_norms

    cut_off = dtype == torch.bfloat16 and not cpu_norms.rounds_to_nearest()
    generator = torch.Generator().manual_seed(0)
    x, residual = (torch.randn(shape, generator=generator).to(dtype) * 3 for _ in range(2))
    weight = (torch.rand(shape[1], generator=generator) + 0.5).to(dtype)
    x[0, :3] = torch.tensor([0.0, 100.0, -50.0])

    found = ir.ops.rms_norm.impls["fastneurons_cpu"].impl_fn(x, weight, epsilon)
    assert within(found, norm(x, x, weight, epsilon), dtype, cut_off)

    sums = x.float() + residual.float()  # exact but for float32's own rounding
    found, stored = ir.ops.fused_add_rms_norm.impls["fastneurons_cpu"].impl_fn(
        x.clone(), residual.clone(), weight, epsilon
    )
    if cut_off:
        low_bits_off = (sums.view(torch.int32) & ~0xFFFF).view(torch.float32)
        assert torch.equal(stored.float(), low_bits_off)
    else:
        assert torch.equal(stored, sums.to(dtype))
    assert within(found, norm(stored, sums, weight, epsilon), dtype, cut_off)
    # What is nearly right is outside of the bounds.
    if epsilon == 0.5:
        wrong = [
            norm(stored, sums, weight, 0),
            norm(stored, sums, weight.roll(1), epsilon),
            norm(stored, x, weight, epsilon),
            norm(stored, sums[:, :-8] if shape[1] == 16 else sums * 1.02, weight, epsilon),
        ]
        for number, exact in enumerate(wrong):
            assert not within(found, exact, dtype, cut_off), number


def test_it_takes_bfloat16_only_where_it_rounds_to_the_nearest():
    from vllm import ir

    from fastneurons.engine import cpu_norms

    flags = Path("/proc/cpuinfo").read_text()
    if platform.machine() == "x86_64" and "avx512_bf16" not in flags:
        assert not cpu_norms.rounds_to_nearest()
    x, weight = torch.zeros(4, 64), torch.ones(64)
    for dtype, takes in ((torch.float32, True), (torch.bfloat16, cpu_norms.rounds_to_nearest())):
        args = (x.to(dtype), weight.to(dtype), 1e-5)
        assert ir.ops.rms_norm.impls["fastneurons_cpu"].supports_args(*args) == takes
        args = (x.to(dtype), x.to(dtype), weight.to(dtype), 1e-5)
        assert ir.ops.fused_add_rms_norm.impls["fastneurons_cpu"].supports_args(*args) == takes


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

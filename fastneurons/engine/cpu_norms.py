"""Use vLLM's own RMS normalisation kernel on CPUs, which its CPU build contains but does not choose.

By itself vLLM composes it there of eight operations of PyTorch's, each through memory: a fifth of an eager step on two
cores with AMX. On GPUs vLLM takes its counterpart.

The kernel computes in float32 and rounds once, where the composed one rounds after the norm and after the weight. With
W columns, and u the distance from the result to the next number of float32, it gives:

- the norm: x / sqrt(mean(x^2) + epsilon) * weight, within W / 32 + 7 u of it in float32: W / 16 additions into each of
  16 sums, four more that join them, and what divides, takes roots and multiplies;
- with a residual: the sum of both, rounded, as the new residual; and that, divided by the root of the mean square of
  the sums *before* they were rounded, times the weight, within the same.

In float16, and in bfloat16 on CPUs with AVX512_BF16, results are rounded to the nearest: within half a unit in the last
place of the above. Without AVX512_BF16 (AVX2, earlier AVX-512) the kernel cuts off the low bits: up to one unit in
bfloat16's last place towards zero, at each addition to the residual, which shrinks it from layer to layer. The composed
one, which rounds to the nearest, stays there.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from vllm import ir
from vllm.platforms import current_platform

_PROVIDER = "fastneurons_cpu"
_VECTOR = 16  # the kernel takes whole vectors only

current_platform.import_kernels()


def prefer_one_kernel(config: Any) -> None:
    """Have an engine's configuration choose it, before what is chosen by itself.

    Not where the model is compiled: what the compiler fuses is faster yet.
    """
    if config.model_config.enforce_eager:
        priority = config.kernel_config.ir_op_priority
        for name in ("rms_norm", "fused_add_rms_norm"):
            chosen: list[str] = getattr(priority, name)
            if chosen == ["native"]:
                setattr(priority, name, [_PROVIDER, *chosen])


@cache
def rounds_to_nearest() -> bool:
    """Whether the kernel rounds bfloat16 to nearest on this CPU, not towards zero: tried out, since builds differ."""
    x, weight = torch.ones(2, 1, _VECTOR, dtype=torch.bfloat16)
    residual = torch.full_like(
        x, 1.5 * 2**-8
    )  # the sum is three quarters of the way from 1 to the next number
    torch.ops._C.fused_add_rms_norm(x, residual, weight[0], 1e-5)
    return bool((residual > 1).all())


def _fits(x: Tensor, weight: Tensor | None, variance_size: int | None) -> bool:
    return (
        variance_size is None
        and weight is not None
        and weight.dtype == x.dtype
        and x.dim() == 2
        and x.shape[1] % _VECTOR == 0
        and x.is_contiguous()
        and (x.dtype != torch.bfloat16 or rounds_to_nearest())
    )


def _norm_fits(x: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None) -> bool:
    return _fits(x, weight, variance_size)


def _add_norm_fits(
    x: Tensor, x_residual: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None
) -> bool:
    return _fits(x, weight, variance_size) and x_residual.is_contiguous()


_there = current_platform.is_cpu() and hasattr(torch.ops._C, "rms_norm")


@ir.ops.rms_norm.register_impl(_PROVIDER, supports_args=_norm_fits, supported=_there)  # type: ignore[untyped-decorator]
def _rms_norm(x: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None) -> Tensor:
    out = torch.empty_like(x)
    torch.ops._C.rms_norm(out, x, weight, epsilon)
    return out


@ir.ops.fused_add_rms_norm.register_impl(  # type: ignore[untyped-decorator]
    _PROVIDER, supports_args=_add_norm_fits, supported=_there, inplace=True
)
def _fused_add_rms_norm(
    x: Tensor, x_residual: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None
) -> tuple[Tensor, Tensor]:
    torch.ops._C.fused_add_rms_norm(x, x_residual, weight, epsilon)
    return x, x_residual

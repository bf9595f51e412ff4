"""RMS normalisation in one kernel on CPUs: vLLM's own, which its build for CPUs has and does not choose.

By itself vLLM composes it there of eight operations of PyTorch's, each through memory: a fifth of an eager step on two
cores with AMX. The kernel rounds once where those round twice; on GPUs vLLM takes its counterpart.
"""

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


def _fits(x: Tensor, weight: Tensor | None, variance_size: int | None) -> bool:
    return (
        variance_size is None
        and weight is not None
        and weight.dtype == x.dtype
        and x.dim() == 2
        and x.shape[1] % _VECTOR == 0
        and x.is_contiguous()
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

"""The activation functions of vLLM's dense decoder models, in PyTorch and in Triton.

`FUNCTIONS` is the table, by name, of the PyTorch forms, which are the definitions; `activate` is the Triton
form, which branches on the name at compile time. Both take and give float32; the caller rounds.

What each name serves (`vllm/model_executor/layers/activation.py`, torch.nn):

    silu        SiluAndMul, nn.SiLU ("swish")
    gelu        GELU, GeluAndMul("none"), nn.GELU ("geglu")
    gelu_tanh   GELUTanh, GeluAndMul("tanh"), NewGELU ("gelu_new", "gelu_pytorch_tanh")
    gelu_fast   FastGELU: gelu_tanh with its constant cut after ten digits
    quick_gelu  QuickGELU
    relu        nn.ReLU
    relu2       ReLUSquaredActivation
    fatrelu     FatreluAndMul; parameter: the cut
    xielu       XIELU (arXiv:2411.13010); parameters as they enter the formula, after the softplus of the
                stored weights: alpha_p = softplus(w_p), alpha_n = beta + softplus(w_n), beta, eps. vLLM's
                Python fallback rounds to bf16 after each step; here the result alone is rounded, as for
                every other function

Left out, because what they compute is not act(gate) * up, and a kernel with this contract would be wrong for
them: SwigluOAIAndMul and SiluAndMulWithClamp (both clamp gate and up, and may add 1 to up), SwigluStepAndMul
and SituAndMul (both bound up as well), GeluAndMulSparse (keeps the gates above a cut taken from the mean and
deviation of the whole row). MulAndSilu has its gate in the second half. Sigmoid and tanh are in vLLM's table
for pooling heads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
import triton
import triton.language as tl

MAX_PARAMETERS = 4


@dataclass(frozen=True)
class ActivationFunction:
    """One activation function: its name, its definition, and the names of its scalar parameters."""

    name: str
    definition: Callable[..., torch.Tensor]
    parameters: tuple[str, ...] = ()

    def __call__(self, x: torch.Tensor, parameters: Sequence[float] = ()) -> torch.Tensor:
        """The function of float32 `x`, in float32."""
        return self.definition(x, *parameters)

    def padded(self, parameters: Sequence[float]) -> tuple[float, ...]:
        """`parameters`, filled up to the number that `activate` takes.

        Raises:
            ValueError: not as many as the function has.
        """
        if len(parameters) != len(self.parameters):
            names = ", ".join(self.parameters) or "none"
            raise ValueError(f"{self.name} takes these parameters: {names}; got {len(parameters)} values")
        return tuple(map(float, parameters)) + (0.0,) * (MAX_PARAMETERS - len(parameters))


def _gelu(x: torch.Tensor) -> torch.Tensor:
    # Past 10 this is x to the last place; PyTorch's loops for AVX-512 give infinity from 3e38 on, and NaN for infinity.
    return torch.where(x > 10, x, F.gelu(x))


def _gelu_fast(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1 + torch.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x)))


def _xielu(x: torch.Tensor, alpha_p: float, alpha_n: float, beta: float, eps: float) -> torch.Tensor:
    positive = alpha_p * x * x + beta * x
    negative = (torch.expm1(x.clamp(max=eps)) - x) * alpha_n + beta * x
    return torch.where(x > 0, positive, negative)


FUNCTIONS = {
    function.name: function
    for function in (
        ActivationFunction("silu", F.silu),
        ActivationFunction("gelu", _gelu),
        ActivationFunction("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")),
        ActivationFunction("gelu_fast", _gelu_fast),
        ActivationFunction("quick_gelu", lambda x: x * torch.sigmoid(1.702 * x)),
        ActivationFunction("relu", F.relu),
        ActivationFunction("relu2", lambda x: F.relu(x).square()),
        ActivationFunction("fatrelu", lambda x, cut: F.threshold(x, cut, 0.0), ("threshold",)),
        ActivationFunction("xielu", _xielu, ("alpha_p", "alpha_n", "beta", "eps")),
    )
}


def get_function(name: str) -> ActivationFunction:
    """The entry of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    try:
        return FUNCTIONS[name]
    except KeyError:
        raise ValueError(f"unknown activation function {name!r}; known: {', '.join(FUNCTIONS)}") from None


@triton.jit
def _expm1(x):  # type: ignore[no-untyped-def]
    """exp(x) - 1 for x <= 0 or tiny; near 0 by its series, where the difference would cancel."""
    series = 1.0 + x * (1 / 9)
    series = 1.0 + x * (1 / 8) * series
    series = 1.0 + x * (1 / 7) * series
    series = 1.0 + x * (1 / 6) * series
    series = 1.0 + x * (1 / 5) * series
    series = 1.0 + x * (1 / 4) * series
    series = 1.0 + x * (1 / 3) * series
    series = 1.0 + x * (1 / 2) * series
    return tl.where(x > -0.5, x * series, tl.exp(x) - 1.0)


@triton.jit  # type: ignore[untyped-decorator]
def activate(x, p0, p1, p2, p3, FUNCTION: tl.constexpr):  # type: ignore[no-untyped-def]
    """The function named FUNCTION of float32 x, in float32; p0 .. p3 are its parameters in the table's order.

    The tanh forms of GELU are written with the logistic function: (1 + tanh(z)) / 2 is 1 / (1 + exp(-2z)),
    and Triton has no tanh of its own. Comparisons instead of tl.maximum, so that a NaN comes through.
    """
    if FUNCTION == "silu":
        y = x / (1.0 + tl.exp(-x))
    elif FUNCTION == "gelu":
        y = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    elif FUNCTION == "gelu_tanh":
        y = x / (1.0 + tl.exp(-1.5957691216057308 * (x + 0.044715 * x * x * x)))
    elif FUNCTION == "gelu_fast":
        y = x / (1.0 + tl.exp(-1.5957691216 * x * (1.0 + 0.044715 * x * x)))
    elif FUNCTION == "quick_gelu":
        y = x / (1.0 + tl.exp(-1.702 * x))
    elif FUNCTION == "relu":
        y = tl.where(x <= 0.0, 0.0, x)
    elif FUNCTION == "relu2":
        y = tl.where(x <= 0.0, 0.0, x * x)
    elif FUNCTION == "fatrelu":
        y = tl.where(x <= p0, 0.0, x)
    else:
        tl.static_assert(FUNCTION == "xielu", "no such activation function")
        negative = (_expm1(tl.minimum(x, p3)) - x) * p1 + p2 * x
        y = tl.where(x > 0.0, p0 * x * x + p2 * x, negative)
    return y

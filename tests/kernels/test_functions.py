"""The two forms of each activation function against float64, and the table against vLLM's modules."""

import math

import pytest
import torch
import triton
import triton.language as tl
from fastneurons_kernels.activation_triton import activation_triton as launch_activation
from fastneurons_kernels.functions import FUNCTIONS, get_function
from triton.runtime.interpreter import InterpretedFunction

from tests.kernels.conftest import ON_GPU, launched

activation_triton = launched(launch_activation)

PARAMETERS = {"fatrelu": (0.25,), "xielu": (0.8, 1.3, 0.5, -1e-6)}
# In parts of the value and of the gate: 1 + erf and 1 + tanh keep only their own rounding of the 1.
RELATIVE, OF_GATE = 2e-6, 2e-7


def exact(name, x):
    x = x.double()
    tanh_argument = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    alpha_p, alpha_n, beta, eps = PARAMETERS["xielu"]
    return {
        "silu": lambda: x / (1 + torch.exp(-x)),
        "gelu": lambda: 0.5 * x * torch.special.erfc(-x / math.sqrt(2)),
        "gelu_tanh": lambda: x / (1 + torch.exp(-2 * tanh_argument)),
        "gelu_fast": lambda: x / (1 + torch.exp(-2 * tanh_argument)),
        "quick_gelu": lambda: x / (1 + torch.exp(-1.702 * x)),
        "relu": lambda: x.clamp(min=0),
        "relu2": lambda: x.clamp(min=0) ** 2,
        "fatrelu": lambda: torch.where(x > PARAMETERS["fatrelu"][0], x, 0),
        "xielu": lambda: torch.where(
            x > 0, alpha_p * x * x + beta * x, (torch.expm1(x.clamp(max=eps)) - x) * alpha_n + beta * x
        ),
    }[name]()


def gates():
    magnitude = torch.logspace(-9, 1.5, 500)
    return torch.cat([-magnitude, torch.zeros(1), magnitude, torch.linspace(-12, 12, 1001)])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_both_forms_agree_with_float64(name, runnable):
    x = gates()
    parameters = PARAMETERS.get(name, ())
    kernel = activation_triton(x[None], function=name, gated=False, parameters=parameters)[0]
    definition = get_function(name)(x, parameters)
    want = exact(name, x)
    bound = RELATIVE * want.abs() + OF_GATE * x.double().abs()
    if name == "xielu":
        bound = bound * 4  # the difference of two numbers of the gate's size, times alpha_n
    for got in (kernel, definition):
        assert ((got.double() - want).abs() <= bound).all(), (got - want).abs().max()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_infinities_and_nan_are_those_of_the_definition(name, runnable):
    x = torch.tensor([math.inf, -math.inf, math.nan, 3e38, -3e38, 0.0, -0.0])
    parameters = PARAMETERS.get(name, ())
    kernel = activation_triton(x[None], function=name, gated=False, parameters=parameters)[0]
    torch.testing.assert_close(kernel, get_function(name)(x, parameters), rtol=1e-6, atol=0, equal_nan=True)


def test_the_table_is_what_vllm_computes():
    modules = pytest.importorskip("vllm.model_executor.layers.activation")
    x = gates()
    native = {
        "gelu_tanh": modules.NewGELU,
        "gelu_fast": modules.FastGELU,
        "quick_gelu": modules.QuickGELU,
        "relu2": modules.ReLUSquaredActivation,
    }
    for name, module in native.items():
        want = module.forward_native(None, x)
        torch.testing.assert_close(get_function(name)(x), want, rtol=1e-5, atol=1e-6, msg=name)
    module = torch.nn.Module()
    softplus = torch.nn.functional.softplus
    module.alpha_p, module.alpha_n = torch.tensor([0.2]), torch.tensor([-0.1])
    module.beta, module.eps = torch.tensor(0.5), torch.tensor(-1e-6)
    want = modules.XIELU._xielu_python(module, x)
    parameters = (softplus(module.alpha_p).item(), 0.5 + softplus(module.alpha_n).item(), 0.5, -1e-6)
    torch.testing.assert_close(get_function("xielu")(x, parameters), want, rtol=1e-5, atol=1e-6)


def test_an_unknown_function_and_wrong_parameters_are_refused():
    with pytest.raises(ValueError, match=r"unknown activation function 'swish'; known: silu, "):
        get_function("swish")
    with pytest.raises(ValueError, match=r"fatrelu takes these parameters: threshold; got 0 values"):
        get_function("fatrelu").padded(())


@triton.jit  # type: ignore[untyped-decorator]
def _round_trip(x_ptr, out_ptr, T: tl.constexpr):
    at = tl.arange(0, T)
    tl.store(out_ptr + at, tl.load(x_ptr + at).to(tl.bfloat16))


def test_bf16_is_rounded_to_nearest(runnable):
    x = torch.randn(1024) * torch.exp2(torch.randint(-130, 120, (1024,)).float())
    x[:4] = torch.tensor([math.inf, math.nan, 1 + 2**-8, 1 + 3 * 2**-8])  # the last two are ties
    out = torch.empty(1024, dtype=torch.bfloat16)
    if ON_GPU:
        on_gpu = out.cuda()
        _round_trip[(1,)](x.cuda(), on_gpu, 1024)
        out.copy_(on_gpu)
    else:
        InterpretedFunction(_round_trip.fn)[(1,)](x, out, 1024)
    torch.testing.assert_close(out, x.bfloat16(), rtol=0, atol=0, equal_nan=True)

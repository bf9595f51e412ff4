"""Runs the Triton kernels in Triton's interpreter, whatever has been imported before and by whom."""

import mmap
import os

import numpy as np
import pytest
import torch
import triton.experimental.gluon  # noqa: F401  # wraps Triton's own functions, so before they are swapped
import triton.language as tl
import triton.runtime.interpreter as interpreter
from fastneurons_kernels import activation, attribution, categories, functions, top
from hypothesis import HealthCheck, settings
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

# Few and the same on every run: an interpreted launch takes milliseconds a program.
settings.register_profile(
    "kernels",
    max_examples=int(os.environ.get("KERNEL_EXAMPLES", "20")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


_MAP_NORESERVE = 0x4000  # Linux; the name came with Python 3.13


def far_apart(dtype, shape):
    """A zero tensor whose first stride is 2**30 elements, in memory that exists where it is touched.

    It starts 2**31 elements into it, so that an offset that wrapped around reads zeros, and no foreign memory.
    """
    stride = 1 << 30
    size = (2 + shape[0]) * stride * dtype.itemsize
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
    inner = torch.empty(shape[1:]).stride()
    return torch.frombuffer(memory, dtype=dtype).as_strided(shape, (stride, *inner), 2 * stride)


def _round_bf16(data, input_dtype, output_dtype, rounding_mode, convert=interpreter._convert_float):
    """bf16 conversions as the hardware does them, `cvt.rn.bf16.f32`: to nearest, ties to even.

    The interpreter of Triton 3.9 cuts the last 16 bits off instead, and gets subnormals wrong.
    """
    if (input_dtype, output_dtype) == (tl.float32, tl.bfloat16):
        return (
            torch.from_numpy(np.ascontiguousarray(data)).bfloat16().view(torch.int16).numpy().view(np.uint16)
        )
    if (input_dtype, output_dtype) == (tl.bfloat16, tl.float32):
        return (data.astype(np.uint32) << 16).view(np.float32)
    return convert(data, input_dtype, output_dtype, rounding_mode)


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Waking a second one takes longer than these small tensors: with both cores busy, six times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def interpreted():
    """Within it, `activation_triton` and `categories_triton` are interpreted, on CPU tensors.

    TRITON_INTERPRET=1 is read when a function is decorated; other tests of this process may have
    imported Triton and the kernels before. So what was decorated for a GPU is swapped here, Triton's
    own library included, and swapped back afterwards.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in (tl, tl.standard, functions, activation, categories, attribution, top):
            for name, value in list(vars(module).items()):
                if isinstance(value, JITFunction):
                    patch.setattr(module, name, InterpretedFunction(value.fn))
        patch.setattr(interpreter, "_convert_float", _round_bf16)
        with np.errstate(all="ignore"):  # numpy warns of overflow and NaN, which are inputs here
            yield

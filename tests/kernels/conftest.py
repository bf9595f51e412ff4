"""Runs the Triton kernels on the GPU where there is one, and else in Triton's interpreter.

The tests make tensors on the host and compare them there, with references that run on the CPU. `launched` gives a
launcher that copies its arguments to the GPU, and what was written back.
"""

import functools
import inspect
import mmap
import os
import runpy
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import triton.experimental.gluon  # noqa: F401  # wraps Triton's own functions, so before they are swapped
import triton.language as tl
import triton.runtime.interpreter as interpreter
from hypothesis import HealthCheck, settings
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "from_checkout.py"))

from fastneurons_kernels import activation_triton, attribution, categories, functions, histogram, top  # noqa: E402

# Few and the same on every run: an interpreted launch takes milliseconds a program.
settings.register_profile(
    "kernels",
    max_examples=int(os.environ.get("KERNEL_EXAMPLES", "20")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

ON_GPU = torch.cuda.is_available()


def launched(launcher: Callable[..., Any]) -> Callable[..., Any]:
    """A launcher that takes tensors on the host, launches on the GPU, and leaves what was written on the host.

    Whole storages travel, each once, so that strides and what lies around a view are the same there; `rows` and
    `answers`, which contracts want on the host, stay. Without a GPU: the launcher itself, for the interpreter.
    """
    if not ON_GPU:
        return launcher
    signature = inspect.signature(launcher)

    @functools.wraps(launcher)
    def launch(*args: Any, **kwargs: Any) -> Any:
        wholes: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if name not in ("rows", "answers"):
                bound.arguments[name] = _to_gpu(value, wholes)
        result = launcher(*bound.args, **bound.kwargs)
        for host, device in wholes.values():
            host.copy_(device)
        return _to_host(result)

    return launch


def _to_gpu(value: Any, wholes: dict[int, tuple[torch.Tensor, torch.Tensor]]) -> Any:
    if is_dataclass(value):
        return replace(value, **{f.name: _to_gpu(getattr(value, f.name), wholes) for f in fields(value)})
    if not isinstance(value, torch.Tensor) or value.is_cuda:
        return value
    storage = value.untyped_storage()
    if storage.data_ptr() not in wholes:
        host = torch.empty(0, dtype=torch.uint8).set_(storage)
        wholes[storage.data_ptr()] = host, host.cuda()
    device = wholes[storage.data_ptr()][1].untyped_storage()
    return torch.empty(0, dtype=value.dtype, device="cuda").set_(
        device, value.storage_offset(), value.shape, value.stride()
    )


def _to_host(result: Any) -> Any:
    if isinstance(result, tuple):
        return type(result)(*map(_to_host, result))
    return result.cpu() if isinstance(result, torch.Tensor) else result


_MAP_NORESERVE = 0x4000  # Linux; the name came with Python 3.13


def far_apart(dtype, shape):
    """A zero tensor whose first stride is 2**30 elements, on the GPU where there is one.

    It starts 2**31 elements into its memory, so that an offset that wrapped around reads zeros, and no foreign memory.
    On the host that memory exists where it is touched.
    """
    stride = 1 << 30
    elements = (2 + shape[0]) * stride
    inner = torch.empty(shape[1:]).stride()
    if ON_GPU:
        torch.cuda.empty_cache()
        if torch.cuda.mem_get_info()[0] < elements * dtype.itemsize:
            pytest.skip(f"needs {elements * dtype.itemsize / 2**30:.0f} GiB of free GPU memory")
        memory = torch.zeros(elements, dtype=dtype, device="cuda")
        return memory.as_strided(shape, (stride, *inner), 2 * stride)
    size = elements * dtype.itemsize
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
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
def runnable():
    """Within it, the Triton kernels run: on the GPU where there is one, else interpreted, on CPU tensors.

    TRITON_INTERPRET=1 is read when a function is decorated; other tests of this process may have
    imported Triton and the kernels before. So what was decorated for a GPU is swapped here, Triton's
    own library included, and swapped back afterwards.
    """
    if ON_GPU:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for module in (
            tl,
            tl.standard,
            functions,
            histogram,
            activation_triton,
            categories,
            attribution,
            top,
        ):
            for name, value in list(vars(module).items()):
                if isinstance(value, JITFunction):
                    patch.setattr(module, name, InterpretedFunction(value.fn))
        patch.setattr(interpreter, "_convert_float", _round_bf16)
        with np.errstate(all="ignore"):  # numpy warns of overflow and NaN, which are inputs here
            yield

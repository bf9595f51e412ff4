"""What vLLM does at the start and end of every engine, done once in a process: tests start hundreds of engines."""

import atexit
import functools
import gc
from typing import Any


@functools.cache
def prepare() -> None:
    """Make engines of this process start and end quickly; imports vLLM."""
    from vllm.model_executor.models import registry
    from vllm.platforms import current_platform

    # Each worker looks through all that is imported for kernels that the CPU has in another form.
    platform: Any = type(current_platform)
    platform.register_triton_kernel_overrides()
    platform.register_triton_kernel_overrides = classmethod(lambda cls: None)
    # A new process looks at the class of a model that is new to the cache, so as not to begin CUDA here.
    registry._run_in_subprocess = lambda function: function()
    # Engines collect garbage when they start and end. They freeze what there is, and unfreeze it: with all imports.
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # or nanobind would report leaks
    for name in ("freeze", "unfreeze"):
        setattr(gc, name, _nothing)


def _nothing() -> None:
    pass

"""What vLLM does at the start and end of every engine, done once in a process: tests start hundreds of engines."""

import atexit
import functools
import gc
from typing import Any


@functools.cache
def prepare() -> None:
    """Import what an engine's start imports of vLLM; make engines of this process start and end quickly."""
    import compressed_tensors  # noqa: F401 - vLLM looks for its quantization when a model is loaded
    from vllm.engine import arg_utils  # noqa: F401 - most of what is imported
    from vllm.model_executor.models import registry
    from vllm.platforms import current_platform
    from vllm.v1.engine import core_client  # noqa: F401
    from vllm.v1.worker import cpu_model_runner, cpu_worker  # noqa: F401

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
        setattr(gc, name, nothing)


def nothing() -> None:
    """Do nothing, in the place of what is done once."""

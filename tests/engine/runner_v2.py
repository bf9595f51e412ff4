"""A script: measure on the CPU as on a GPU, with vLLM's second model runner and the Triton kernels.

See test_runner_v2.py.
"""

import json
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np


def use_second_runner() -> None:
    """Let vLLM find a Triton backend for the CPU while it looks for one, and only then."""
    import triton

    backends: dict[str, Any] = triton.backends.backends
    backends["cpu"] = SimpleNamespace(driver=SimpleNamespace(is_active=lambda: True))
    import vllm.triton_utils

    del backends["cpu"]
    assert vllm.triton_utils.HAS_TRITON


def use_triton_kernels() -> None:
    """The patched op's GPU path, on CPU tensors: the fused kernel and the one for categories, interpreted."""
    from fastneurons_kernels.categories import categories_triton

    from fastneurons.engine import observer

    observer.uses_fused_kernel = lambda device: True
    observer.categories = categories_triton


def main(request: dict[str, Any]) -> None:
    use_second_runner()
    use_triton_kernels()
    from fastneurons.data.example import Example
    from fastneurons.engine.session import Session
    from tests.engine.support import LANGUAGES, measure, tiny_options

    rows = [Example(name, prompts) for name, prompts in request["rows"]]
    with Session(request["model"], LANGUAGES, options=tiny_options()) as session:
        worker = session.core.worker
        runner = type(worker.model_runner)
        measured = measure(session, rows)
    np.savez(request["out"], **measured, runner=f"{runner.__module__}.{runner.__qualname__}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

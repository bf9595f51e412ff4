"""Imported once, by the server that `forked.py` forks processes from: vLLM, and a way for engines to fork their own."""

import multiprocessing
from multiprocessing import forkserver
from typing import Any

import fastneurons_kernels.categories_cpu  # noqa: F401
import torch  # noqa: F401
from numba.core.registry import cpu_target
from vllm.utils import system_utils
from vllm.v1.engine import utils as engine_utils
from vllm.v1.executor import multiproc_executor

import fastneurons.bench.child
import fastneurons.engine.cpu_worker
import fastneurons.engine.executor
import fastneurons.engine.scheduler
import fastneurons.engine.session
import fastneurons.experiments.measure
from tests.engine import quick_starts


def _forks() -> Any:
    return multiprocessing.get_context("fork")


def _of_this_server() -> Any:
    """The context that `forked.py` has, in a process of the server's, which would otherwise start its own."""
    forkserver._forkserver.ensure_running = quick_starts.nothing
    return multiprocessing.get_context("forkserver")


# A benchmark's contenders, and on CPUs the processes of an engine, are spawned: they would import everything anew.
fastneurons.bench.child._context = _of_this_server
for module in (system_utils, engine_utils, multiproc_executor):
    setattr(module, "get_mp_context", _forks)  # noqa: B010 - mypy takes no assignment to a function
for numba in (cpu_target.typing_context, cpu_target.target_context):
    numba.refresh()  # of what a compiled kernel may call, before the first is loaded
quick_starts.prepare()

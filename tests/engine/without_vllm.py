"""Call functions where vLLM was never imported: its Transformers backend changes the classes that it takes from there.

All in one process, as importing torch and Transformers takes seconds.
"""

import atexit
import functools
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def called(function: Callable[..., T], *arguments: object) -> T:
    """Call a module's function there; return what it returns, or raise what it raised."""
    return _process().submit(function, *arguments).result()


@functools.cache
def _process() -> ProcessPoolExecutor:
    process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    atexit.register(process.shutdown, cancel_futures=True)
    return process

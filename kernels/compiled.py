"""numba, for the inner loops of the CPU's implementations."""

import atexit
import os
import shutil
import tempfile
from typing import Any

import numba
from llvmlite.binding import ffi
from numba.core import caching, config

# The object that stands for numba's LLVM library takes any name for a function of it, `__dict__` too. vLLM looks
# through the attributes of all modules for kernels when an engine starts, and fails on what it finds there.
getattr(ffi.lib, "_fntab", {})["__dict__"] = {}


def _has_cache_place() -> bool:
    """Whether numba finds a folder for what it compiles: beside this file, or in a home."""
    locators = caching.CacheImpl._locator_classes
    return any(locator.from_function(_has_cache_place, __file__) is not None for locator in locators)


def _give_cache_place() -> None:
    """Have numba keep what it compiles in a private folder that ends with the process.

    Without any place it refuses to compile at all, as for an account without a home that runs a package of root's.
    """
    folder = tempfile.mkdtemp(prefix="fastneurons-numba-")
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    config.CACHE_DIR = folder


if not config.CACHE_DIR and not _has_cache_place():
    _give_cache_place()

# For a decorator: machine code, kept on disk, which runs outside Python's lock on the thread that calls it. What is
# kept knows of changes in its own file alone: after others in what it calls, remove `__pycache__`.
compiled: Any = numba.njit(nogil=True, cache=True)

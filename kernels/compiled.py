"""Compile the inner loops of the CPU implementations with numba."""

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
    """Whether numba finds a folder for compiled code: next to this file, or in the home folder."""
    locators = caching.CacheImpl._locator_classes
    return any(locator.from_function(_has_cache_place, __file__) is not None for locator in locators)


def _give_cache_place() -> None:
    """Have numba keep compiled code in a private folder that is removed when the process ends.

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

# Arguments for numba's decorator: machine code, cached on disk, runs on the calling thread without Python's lock. The
# cache notices changes in a function's own file only: after changing a file that it calls, remove `__pycache__`.
compiled: Any = numba.njit(nogil=True, cache=True)

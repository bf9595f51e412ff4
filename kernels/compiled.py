"""numba, for the inner loops of the CPU's implementations."""

from typing import Any

import numba
from llvmlite.binding import ffi

# The object that stands for numba's LLVM library takes any name for a function of it, `__dict__` too. vLLM looks
# through the attributes of all modules for kernels when an engine starts, and fails on what it finds there.
getattr(ffi.lib, "_fntab", {})["__dict__"] = {}

# For a decorator: machine code, kept on disk, which runs outside Python's lock on the thread that calls it. What is
# kept knows of changes in its own file alone: after others in what it calls, remove `__pycache__`.
compiled: Any = numba.njit(nogil=True, cache=True)

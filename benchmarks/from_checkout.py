"""Lets `fastneurons_kernels` be imported from this checkout where fastneurons is not installed.

On a GPU machine that has torch, Triton and numba and nothing else of ours, the kernels' tests and rates run from the
repository's root as they are:

    python -m pytest tests/kernels --confcutdir tests/kernels -p no:cacheprovider
    python benchmarks/kernel_rate.py
"""

import importlib.util
import sys
import types
from pathlib import Path

if importlib.util.find_spec("fastneurons_kernels") is None:
    package = types.ModuleType("fastneurons_kernels")
    package.__path__ = [str(Path(__file__).resolve().parents[1] / "kernels")]
    sys.modules["fastneurons_kernels"] = package

"""Measure how a multilingual LLM shares its feed-forward neurons among languages, at engine speed.

    import fastneurons

    store = fastneurons.run("Qwen/Qwen3-8B", "facts.jsonl", ["en", "de", "zh"], "run.zarr")
    store = fastneurons.open("run.zarr")

Importing this package loads neither torch nor vLLM.
"""

from typing import TYPE_CHECKING, Any

from fastneurons.errors import EngineError, FastneuronsError, InputError, StoreError, TrainingError

if TYPE_CHECKING:
    from fastneurons.api import (
        align,
        deactivate,
        findings,
        generate,
        merge,
        open,
        perplexity,
        run,
        verify,
        write_report,
    )
    from fastneurons.data import Example, Skipped
    from fastneurons.data.options import DataOptions

__version__ = "0.1.0"
__all__ = [
    "DataOptions",
    "EngineError",
    "Example",
    "FastneuronsError",
    "InputError",
    "Skipped",
    "StoreError",
    "TrainingError",
    "__version__",
    "align",
    "deactivate",
    "findings",
    "generate",
    "merge",
    "open",
    "perplexity",
    "run",
    "verify",
    "write_report",
]

_FUNCTIONS = (
    "align", "deactivate", "findings", "generate", "merge", "open", "perplexity", "run", "verify", "write_report",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        from fastneurons import api

        return getattr(api, name)
    if name in ("Example", "Skipped"):
        from fastneurons import data

        return getattr(data, name)
    if name == "DataOptions":
        from fastneurons.data.options import DataOptions

        return DataOptions
    raise AttributeError(f"module 'fastneurons' has no attribute {name!r}")

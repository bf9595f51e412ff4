"""The Python interface: the commands as functions."""

from fastneurons.api.arguments import engine_options
from fastneurons.api.jobs import deactivate, generate, perplexity, run
from fastneurons.api.stores import findings, merge, open, verify, write_report
from fastneurons.api.training import align

__all__ = [
    "align",
    "deactivate",
    "engine_options",
    "findings",
    "generate",
    "merge",
    "open",
    "perplexity",
    "run",
    "verify",
    "write_report",
]

"""The Python interface: the commands as functions."""

from fastneurons.api.arguments import engine_options
from fastneurons.api.jobs import deactivate, run
from fastneurons.api.stores import findings, merge, open, verify, write_report
from fastneurons.api.training import align
from fastneurons.api.under_edits import generate, perplexity

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

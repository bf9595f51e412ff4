"""Entries that a request of ours carries to the scheduler and to the workers, in the `extra_args` of its parameters.

Integers and lists of them only, since they cross processes as msgpack. A request may have any of them.
"""

from collections.abc import Mapping
from typing import Any

# The row of the workers' buffers that its activations are read into.
ROW_KEY = "fastneurons_row"
# The tokens to read, in order: first, end, first, end, ... Without it the last token, where the position is "last".
SPANS_KEY = "fastneurons_spans"
# The edit that changes its neurons: an index into the workers' bank.
EDIT_KEY = "fastneurons_edit"
# The tokens to judge: [place, first, end], the log-probability of token `first + n` goes to `place + n` of the
# workers' buffer. The last one need not be sent with the others, as nothing follows it: [place, first, end, token].
SCORED_KEY = "fastneurons_scored"
# True if its next tokens are wanted; else vLLM makes up the one that it must have.
SAMPLED_KEY = "fastneurons_sampled"

_KEYS = frozenset((ROW_KEY, SPANS_KEY, EDIT_KEY, SCORED_KEY, SAMPLED_KEY))


def is_ours(extra: Mapping[str, Any]) -> bool:
    """Whether a request with these entries is one of ours; vLLM warms up with requests of its own."""
    return not _KEYS.isdisjoint(extra)


def first_needed(extra: Mapping[str, Any]) -> int | None:
    """The first token that must be computed, not taken from the prefix cache; None for the last one alone."""
    needed = []
    if spans := extra.get(SPANS_KEY):
        needed.append(int(spans[0]))
    if scored := extra.get(SCORED_KEY):
        needed.append(int(scored[1]) - 1)
    return min(needed, default=None)

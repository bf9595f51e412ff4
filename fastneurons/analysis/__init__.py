"""Analyses of a store, from numpy and the store alone.

The functions listed here read a store. The modules `sharing`, `contribution` and `corpus` have the same analyses as
functions of plain arrays. The analyses behind the commands of findings are functions of the modules that have their
names: `fastneurons.analysis.categories.categories`. They are not imported here, as scipy and xarray take a second.
"""

from fastneurons.analysis.bootstrap import Estimate
from fastneurons.analysis.last_tokens import LastTokens, largest_groups
from fastneurons.analysis.stores import (
    Attribution,
    Shares,
    TokenShares,
    activation_probability,
    attribution,
    last_tokens,
    shares,
    shares_and_by_task,
    shares_by_task,
    token_shares,
)

__all__ = [
    "Attribution",
    "Estimate",
    "LastTokens",
    "Shares",
    "TokenShares",
    "activation_probability",
    "attribution",
    "largest_groups",
    "last_tokens",
    "shares",
    "shares_and_by_task",
    "shares_by_task",
    "token_shares",
]

"""What a store tells, from numpy and the store alone."""

from fastneurons.analysis.bootstrap import Estimate
from fastneurons.analysis.contribution import Attribution, attribution
from fastneurons.analysis.corpus import TokenShares, activation_probability, token_shares
from fastneurons.analysis.last_tokens import LastTokens, largest_groups, last_tokens
from fastneurons.analysis.sharing import Shares, shares, shares_by_task

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
    "shares_by_task",
    "token_shares",
]

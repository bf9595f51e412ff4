"""What a store tells, from numpy and the store alone."""

from fastneurons.analysis.sharing import Estimate, Shares, shares, shares_by_task

__all__ = ["Estimate", "Shares", "shares", "shares_by_task"]

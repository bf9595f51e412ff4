"""Comparisons of every two runs of a page."""

from collections.abc import Sequence

from fastneurons.report.page.blocks import Block
from fastneurons.store import Store


def comparison_blocks(stores: Sequence[Store], threshold: float | None) -> dict[str, Block]:
    """Differences between runs by "0-1", the places of both; a comparison that is impossible says why."""
    return {}

"""Threshold study: categories by layer for every threshold of a store, from the same examples.

from fastneurons.analysis.thresholds import thresholds

thresholds(Selection().of(store)).share.sel(threshold=0.5, layer=3)
"""

from dataclasses import replace

import xarray

from fastneurons.analysis.bits import category_count_blocks, threshold_blocks
from fastneurons.analysis.bootstrap import REPLICATES
from fastneurons.analysis.categories import SpreadSums, spread_dataset
from fastneurons.analysis.selection import Chosen
from fastneurons.analysis.words import category_counts


def thresholds(chosen: Chosen, replicates: int = REPLICATES, seed: int | None = None) -> xarray.Dataset:
    """Shares of neurons by category, layer and threshold.

    Args:
        chosen: Examples and languages of a store; its threshold does not matter.
        replicates: Bootstrap replicates; 0 for no intervals.
        seed: Of the bootstrap.
    Returns:
        The dataset of `fastneurons.analysis.categories.categories`, with dimension threshold in place of task.
    Raises:
        InputError: some of the store's languages are chosen, and it keeps no bits.
        StoreError: an array is damaged.
    """
    header = chosen.store.header
    sums = [SpreadSums(len(header.layers), header.neurons, replicates, seed) for _ in header.thresholds]
    if chosen.has_all_languages:
        for index, each in enumerate(sums):
            for _, counts in category_count_blocks(replace(chosen, threshold_index=index)):
                each.add(counts)
    else:
        for blocks in threshold_blocks(chosen, "choosing some of its languages needs it"):
            for each, block in zip(sums, blocks, strict=True):
                each.add(category_counts(block.planes, header.neurons))
    found = [each.spread() for each in sums]
    attributes = {**chosen.attributes(), "neurons": header.neurons}
    del attributes["threshold"]
    return spread_dataset(found, ("threshold", header.thresholds), header.layers, attributes)

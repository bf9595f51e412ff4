"""Threshold study: categories by layer for every threshold of a store, from the same examples.

from fastneurons.analysis.thresholds import thresholds

thresholds(Selection().of(store)).share.sel(threshold=0.5, layer=3)
"""

from dataclasses import replace

import xarray

from fastneurons.analysis.bits import category_count_blocks
from fastneurons.analysis.bootstrap import REPLICATES
from fastneurons.analysis.categories import SpreadSums, spread_dataset
from fastneurons.analysis.selection import Chosen


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
    found = []
    for index in range(len(header.thresholds)):
        sums = SpreadSums(len(header.layers), header.neurons, replicates, seed)
        for _, counts in category_count_blocks(replace(chosen, threshold_index=index)):
            sums.add(counts)
        found.append(sums.spread())
    attributes = {**chosen.attributes(), "neurons": header.neurons}
    del attributes["threshold"]
    return spread_dataset(found, ("threshold", header.thresholds), header.layers, attributes)

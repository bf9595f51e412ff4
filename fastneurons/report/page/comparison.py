"""Comparisons of every two runs of a page: paired differences, or the reason why there are none."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from fastneurons.analysis.compare import compare, matched
from fastneurons.analysis.selection import Selection
from fastneurons.errors import InputError
from fastneurons.report.page.blocks import Block
from fastneurons.store import Store
from fastneurons.visible import visible

_LONGEST_REASON = 400
_LISTED = 50


def comparison_blocks(stores: Sequence[Store], threshold: float | None) -> dict[str, Block]:
    """Differences between runs by "0-1", the places of both; the second less the first.

    Raises:
        StoreError: an array is damaged.
    """
    places = combinations(range(len(stores)), 2)
    return {f"{i}-{j}": _comparison(stores[i], stores[j], threshold) for i, j in places}


def _comparison(first: Store, second: Store, threshold: float | None) -> Block:
    """`difference` [3, N, 4] and `overall` [3, 4] (mean, low, high); neurons that changed category most."""
    try:
        one, two = matched(first, second, Selection(threshold=threshold))
    except InputError as error:
        return Block({"reason": visible(str(error), limit=_LONGEST_REASON)})
    found = compare(one, two, top=_LISTED)
    ends = ("", "_low", "_high")
    arrays = {
        "difference": np.stack([found[f"difference{end}"].values for end in ends]).astype(np.float32),
        "overall": np.stack([found[f"overall_difference{end}"].values for end in ends]).astype(np.float32),
    }
    meta = {"examples": int(found.attrs["examples"]), "p": _number(found.attrs["p_no_difference"])}
    if "changed_layer" in found:
        arrays["changed_neuron"] = found["changed_neuron"].values.astype(np.int32)
        layers = list(found["layer"].values)
        arrays["changed_layer"] = np.array([layers.index(n) for n in found["changed_layer"].values], np.int32)
        arrays["changed_examples"] = found["changed_examples"].values.astype(np.int32)
        meta |= {
            "identical": bool(found.attrs["identical"]),
            "significant": int(found.attrs["neurons_significant"]),
            "neurons": int(first.header.neurons * len(first.header.layers)),
        }
    return Block(meta, arrays)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

"""Which languages share neurons, for the page: overlaps of pairs, trees and sets of languages, by group of examples."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.language_sharing import language_sharing
from fastneurons.analysis.overlap import tree
from fastneurons.analysis.selection import Chosen

if TYPE_CHECKING:
    import xarray

# By pair, from `language_sharing`; under the same name with `_by_layer` before an ending, by layer as well.
_BY_PAIR = {
    "jaccard": ("jaccard", "jaccard_by_layer"),
    "jaccard_low": ("jaccard_low", "jaccard_by_layer_low"),
    "jaccard_high": ("jaccard_high", "jaccard_by_layer_high"),
    "chance": ("chance", "chance_by_layer"),
    "unpaired": ("unpaired", "unpaired_by_layer"),
}


def overlap_arrays(groups: Sequence[Chosen]) -> tuple[dict[str, NDArray[Any]], "xarray.Dataset"] | None:
    """Overlaps of every group of examples, layer by layer and, last, over all layers.

    Args:
        groups: All examples, then those of each task if there are several.
    Returns:
        The arrays, and the labelled result of the first group. Each of the names of `_BY_PAIR` is [G, N + 1, P],
        `linkage` [G, N + 1, L - 1, 4], `leaves` [G, N + 1, L]; with at most 12 languages, `set_members` uint8
        [M, L] and `set_share` [G, N + 1, M], of every set but the empty one. None if no example has all languages.
    """
    found: list[xarray.Dataset | None] = [
        language_sharing(group, permutations=0) if group.present.all(1).any() else None for group in groups
    ]
    first = found[0]
    if first is None:
        return None
    L = len(groups[0].languages)
    arrays: dict[str, NDArray[Any]] = {
        name: np.stack([_by_layer_and_all(each, first, *sources) for each in found])
        for name, sources in _BY_PAIR.items()
    }
    trees = [[tree(jaccard) for jaccard in group] for group in arrays["jaccard"]]
    arrays["linkage"] = np.array([[linkage for linkage, _ in group] for group in trees], np.float32)
    arrays["leaves"] = np.array([[leaves for _, leaves in group] for group in trees], np.uint8)
    assert arrays["linkage"].shape[2:] == (L - 1, 4)
    if "set" in first.coords:
        arrays |= _set_arrays(found, groups[0].languages, len(first.layer))
    return arrays, first


def _by_layer_and_all(
    found: "xarray.Dataset | None", like: "xarray.Dataset", overall: str, by_layer: str
) -> NDArray[np.float32]:
    """float32 [N + 1, P]; NaN for a group without examples."""
    if found is None:
        return np.full((len(like.layer) + 1, len(like.pair)), np.nan, np.float32)
    rows: NDArray[np.float32] = np.concatenate(
        [found[by_layer].transpose("layer", "pair").values, found[overall].values[None]]
    ).astype(np.float32)
    return rows


def _set_arrays(
    found: Sequence["xarray.Dataset | None"], languages: Sequence[str], num_layers: int
) -> dict[str, NDArray[Any]]:
    """The largest sets of all groups; a share of 0 where a set is not among a group's largest."""
    names = list(
        dict.fromkeys(str(name) for each in found if each is not None for name in each["set"].values if name)
    )
    members = np.array([[code in name.split("+") for code in languages] for name in names], np.uint8)
    share = np.zeros((len(found), num_layers + 1, len(names)), np.float32)
    place = {name: index for index, name in enumerate(names)}
    for g, each in enumerate(found):
        if each is None:
            continue
        for m, name in enumerate(map(str, each["set"].values)):
            if name:
                share[g, :-1, place[name]] = each["set_share_by_layer"].values[m]
                share[g, -1, place[name]] = each["set_share"].values[m]
    return {"set_members": members.reshape(len(names), len(languages)), "set_share": share}

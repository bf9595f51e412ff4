"""What the page shows of a deactivation: changes of answers by category and language, of all tasks and of each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.report.deactivation import Deactivation
from fastneurons.report.deactivation_tables import DIFFERENCES, SCORES

if TYPE_CHECKING:
    import xarray


def deactivation_meta(found: Deactivation) -> dict[str, Any]:
    """What was edited: the categories in their order on the arrays' last axis, and how."""
    return {
        "categories": found.categories,
        "controls": int(found.result.attrs["controls"]),
        "operation": found.operation,
        "has_accuracy": found.has_accuracy,
        "matches_greedily": found.matches_greedily,
    }


def deactivation_arrays(found: Deactivation) -> dict[str, NDArray[np.float32]]:
    """Changes by group (all tasks, then each): SCORE_DIFFERENCE [G, 3, L + 1, K], mean, low and high, of each language
    and then of all; SCORE_intact [G, 3, L + 1]; and `neurons` and `overlap` [G, K]."""
    groups = [found.result, *found.by_task.values()]
    arrays: dict[str, NDArray[np.float32]] = {}
    for score in SCORES:
        for difference in DIFFERENCES:
            arrays[f"{score}_{difference}"] = _stacked(groups, f"{score}_{difference}")
        intact = [group.sel(condition="intact") for group in groups]
        arrays[f"{score}_intact"] = _stacked(intact, score)
    arrays["neurons"] = np.stack([group["neurons"].sum("layer").values for group in groups]).astype(
        np.float32
    )
    arrays["overlap"] = np.stack([group["overlap"].values for group in groups]).astype(np.float32)
    return arrays


def _stacked(groups: "Sequence[xarray.Dataset]", name: str) -> NDArray[np.float32]:
    ends = ("", "_low", "_high")
    return np.stack(
        [
            np.stack(
                [
                    np.concatenate([group[f"{name}{end}"].values, group[f"overall_{name}{end}"].values[None]])
                    for end in ends
                ]
            )
            for group in groups
        ]
    ).astype(np.float32)

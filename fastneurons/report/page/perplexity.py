"""What the page shows of perplexities: the matrix of edits by languages, of all tasks and of each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.report.perplexity import Perplexities, windows_line


def perplexity_meta(found: Perplexities) -> dict[str, Any]:
    """How texts were cut, and the judged tokens of each language by group (all tasks, then each)."""
    groups = [found.result, *found.by_task.values()]
    return {
        "windows": windows_line(found.header),
        "tokens": [[int(n) for n in group["tokens"].values] for group in groups],
    }


def perplexity_arrays(found: Perplexities) -> dict[str, NDArray[np.float32]]:
    """`perplexity` and `change` by group (all tasks, then each), [G, 3, L, C]: mean, low and high."""
    groups = [found.result, *found.by_task.values()]
    with np.errstate(over="ignore"):  # a perplexity may be larger than float32 can hold
        return {
            name: np.stack(
                [
                    np.stack([group[f"{name}{end}"].values for end in ("", "_low", "_high")])
                    for group in groups
                ]
            ).astype(np.float32)
            for name in ("perplexity", "change")
        }

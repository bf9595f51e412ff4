"""A window: consecutive examples with all that the store keeps of them, as the engine's side hands them over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.store import schema


@dataclass(frozen=True)
class Window:
    """E consecutive examples, from index `first` on: the unit of commit.

    Arrays are those of the store of the same name, for these examples; its fill value where a row was
    skipped, and None where the run has no such array.

    Args:
        attribution: The eight arrays of `schema.ATTRIBUTION` by name.
        occupancy: Over the measured ones of these examples alone; likewise `activation_count` and
            `corpus_tokens`.
        skipped: What to write to `skipped.jsonl`: index, id, where and reason of each skipped row.
    """

    first: int
    example_id: list[str]
    digest: NDArray[np.uint64]  # [E]; 0 for a row that the source skipped
    task: NDArray[np.int32]  # [E]
    outcome: NDArray[np.uint8]  # [E], a schema.Outcome
    token_count: NDArray[np.int32]  # [E, L]
    present: NDArray[np.bool_]  # [E, L]
    activated: NDArray[np.uint8] | None = None  # [E, S, L, N, B]
    activated_count: NDArray[np.int32] | None = None  # [E, S, L, N]
    category_count: NDArray[np.int32] | None = None  # [E, S, N, 4]
    near_threshold_count: NDArray[np.int32] | None = None  # [E, S, L, N]
    occupancy: NDArray[np.int32] | None = None  # [K, S, N, I, 4]
    attribution: Mapping[str, NDArray[np.float32]] | None = None  # each [E, L, N, 4]
    coefficient: NDArray[np.float16] | None = None  # [E, L, N, I]
    activation_count: NDArray[np.int64] | None = None  # [S, L, N, I]
    corpus_tokens: NDArray[np.int64] | None = None  # [L]
    skipped: Sequence[Mapping[str, Any]] = field(default=())

    def __len__(self) -> int:
        return len(self.example_id)

    def array(self, name: str) -> Any:
        """What goes into the store's array of that name; None where nothing was given."""
        if name in schema.ATTRIBUTION:
            return (self.attribution or {}).get(name)
        return getattr(self, name)

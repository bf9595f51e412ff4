"""A window: consecutive examples with everything that the store keeps of them, as the engine's side passes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastneurons.arrays import Arrays


@dataclass(frozen=True)
class Window:
    """E consecutive examples, from index `first` on: the unit of commit.

    Args:
        arrays: Those of the store by their names: for growing arrays an entry an example, fill values where a row was
            skipped; sums over the measured ones of these examples alone.
        skipped: What to write to `skipped.jsonl`: index, id, where and reason of each skipped row.
    """

    first: int
    arrays: Arrays
    skipped: Sequence[Mapping[str, Any]] = ()

    def __len__(self) -> int:
        return len(self.arrays["example_id"])

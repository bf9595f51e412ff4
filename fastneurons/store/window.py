"""A window: consecutive examples with everything that the store keeps of them, as the engine's side passes them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fastneurons.arrays import FOLDS, Arrays
from fastneurons.shards import Shard
from fastneurons.store.schema import ArraySpec, Header

# Parts of a sum, by index of its `summed_by`.
Parts = Mapping[int, NDArray[Any]]


@dataclass(frozen=True)
class Window:
    """E consecutive examples, from index `first` on: the unit of commit.

    Args:
        arrays: Those of the store by their names: for growing arrays an entry an example, fill values where an example
            was skipped; sums over the measured ones of these examples alone.
        skipped: What to write to `skipped.jsonl`: index, id, where and reason of each skipped example.
    """

    first: int
    arrays: Arrays
    skipped: Sequence[Mapping[str, Any]] = ()

    def __len__(self) -> int:
        return len(self.arrays["example_id"])


def values_of(window: Window, spec: ArraySpec, header: Header) -> NDArray[Any]:
    """A window's values of an array, of the shape that the store gives it."""
    values = window.arrays[spec.name]
    expected = spec.shape(header, len(window))
    assert values.shape == expected, f"{spec.name}: {values.shape}, should be {expected}"
    return values


def parts_of_sums(window: Window, specs: Iterable[ArraySpec], header: Header) -> dict[str, Parts]:
    """What a window adds to a store's sums, by name.

    Its counts go to one fold, by the window's number in the whole corpus, unless it has counts by folds itself.
    """
    number = window.first // header.window
    if header.shard is not None:
        number = Shard.parse(header.shard).whole_window(number)
    parts: dict[str, Parts] = {}
    for spec in specs:
        if spec.folds_of and spec.name not in window.arrays:
            parts[spec.name] = {number % FOLDS: window.arrays[spec.folds_of]}
        else:
            parts[spec.name] = dict(spec.parts(values_of(window, spec, header)))
    return parts

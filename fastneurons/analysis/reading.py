"""Share code between readers of a store: examples that have all languages, and estimates as labelled variables."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import Estimate, poisson_weights
from fastneurons.analysis.selection import Chosen
from fastneurons.errors import InputError


def complete_examples(chosen: Chosen, purpose: str) -> Chosen:
    """The chosen examples that have a prompt in every chosen language, of a store with bits.

    Args:
        purpose: For the message if the store has no bits: "sharing needs it".
    Raises:
        InputError: the store has no bits, or there is no such example.
    """
    chosen.needs_bits(purpose)
    complete = chosen if chosen.is_complete else chosen.subset(np.asarray(chosen.present.all(1)))
    if not len(complete):
        raise InputError(f"{chosen.store.path}: none of the chosen examples has all of the chosen languages")
    return complete


def example_blocks(chosen: Chosen, *names: str) -> Iterator[tuple[slice, dict[str, NDArray[Any]]]]:
    """Arrays of the chosen examples, in order, in bounded memory.

    Args:
        names: Arrays whose first axis is the example.
    Yields:
        Which of the chosen examples, and their part of each array by name.
    """
    for first, window in chosen.store.windows(*names):
        end = first + len(window[names[0]])
        low, high = np.searchsorted(chosen.examples, [first, end])
        if low < high:
            picked = chosen.examples[low:high] - first
            yield slice(int(low), int(high)), {name: window[name][picked] for name in names}


def drawn_weights(rng: np.random.Generator, num_examples: int, replicates: int) -> NDArray[np.float32]:
    """`poisson_weights` [E, R] for any number of replicates, that do not depend on blocks if it is odd either."""
    return poisson_weights(rng, num_examples, replicates + replicates % 2)[:, :replicates]


def add_estimate(found: xarray.Dataset, name: str, dims: tuple[str, ...], estimate: Estimate) -> None:
    """Add an estimate's mean under a name, and its interval under that with `_low` and `_high`."""
    found[name] = dims, estimate.mean
    found[f"{name}_low"], found[f"{name}_high"] = (dims, estimate.low), (dims, estimate.high)

"""Read for lists and profiles of neurons: counts of all neurons, bits of some, contributions."""

import numpy as np
import xarray
from numpy.typing import NDArray

from fastneurons.analysis.bits import bit_blocks, occupancy, occupancy_of
from fastneurons.analysis.bootstrap import Estimate, Floats
from fastneurons.analysis.neurons import NeuronRates
from fastneurons.analysis.reading import add_estimate
from fastneurons.analysis.selection import Chosen
from fastneurons.analysis.words import NeuronCounter
from fastneurons.errors import InputError, StoreError

CONTRIBUTION = "neuron_contribution"
PURPOSE = "neurons needs it"


def count_neurons(complete: Chosen) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Count activations and categories of all neurons, over examples that have all chosen languages.

    Returns:
        int32 [L, N, I], examples in which each language activates each neuron; and int32 [N, I, 4], examples in which
        each neuron is in each category.
    Raises:
        InputError: the store has no bits.
        StoreError: an array is damaged.
    """
    header = complete.store.header
    N = len(header.layers)
    activated = NeuronCounter((len(complete.languages), N), header.neurons)
    planes = NeuronCounter((3, N), header.neurons)
    for block in bit_blocks(complete, PURPOSE):
        activated.add(block.words)
        planes.add(block.planes)
    return activated.counts(), occupancy_of(planes.counts(), len(complete))


def count_members(complete: Chosen, category: int, language: int | None) -> NDArray[np.int32]:
    """Count how often each neuron is in a category, over examples that have all chosen languages.

    Args:
        category: Its code.
        language: Count only examples in which this one, of the chosen languages, activates the neuron; None for any.
    Returns:
        int32 [N, I].
    Raises:
        As `count_neurons`.
    """
    if language is None or category in (0, 3):
        count: NDArray[np.int32] = occupancy(complete, PURPOSE)[..., category]
        return count
    header = complete.store.header
    counter = NeuronCounter((len(header.layers),), header.neurons)
    for block in bit_blocks(complete, PURPOSE):
        _, twice, every = np.moveaxis(block.planes, 1, 0)
        counter.add(block.words[:, language] & (~twice if category == 1 else twice & ~every))
    return counter.counts()


def picked_bits(
    bits: NDArray[np.uint8], layer: NDArray[np.intp], neuron: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """bool [E, L, K] of some neurons, from uint8 [E, L, N, B]."""
    picked: NDArray[np.bool_] = (bits[:, :, layer, neuron // 8] >> (neuron % 8).astype(np.uint8) & 1) == 1
    return picked


def mean_contributions(chosen: Chosen, needed: bool) -> Floats | None:
    """Mean contribution score of each neuron, float64 [L, N, I], over the prompts of each chosen language.

    The store holds sums over all its examples; so there is none for some of them, unless it is needed.

    Raises:
        InputError: it is needed, and the store has none, or only some of its examples are chosen.
        StoreError: the array is damaged.
    """
    store = chosen.store
    if CONTRIBUTION not in store:
        if needed:
            raise InputError(
                f"{store.path} does not say what each neuron contributes; measure with --attribution, "
                "with this version of fastneurons or a later one"
            )
        return None
    prompts = np.zeros(len(store.header.languages), np.int64)
    measured = 0
    for _, block in store.windows("outcome", "present"):
        rows = block["outcome"] == 1
        measured += int(rows.sum())
        prompts += block["present"][rows].sum(0)
    if len(chosen) < measured:
        if needed:
            raise InputError(
                f"{store.path} holds contributions summed over all of its {measured} examples, not over the "
                f"{len(chosen)} chosen"
            )
        return None
    sums = store[CONTRIBUTION][:][list(chosen.language_index)].astype(np.float64)
    if not (np.isfinite(sums) & (sums >= 0)).all():
        raise StoreError(
            f"{store.path}: array {CONTRIBUTION} is damaged: it has values that are no sums of scores"
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = sums / prompts[list(chosen.language_index), None, None]
    return mean


def add_rates(found: xarray.Dataset, rates: NeuronRates, single: bool = False) -> None:
    """Add rates of listed neurons to a result [entry, ...], or of a single neuron without that dimension."""
    named: list[tuple[str, Estimate, tuple[str, ...]]] = [
        ("activation_rate", rates.rate, ("entry", "language")),
        ("activation_share", rates.share, ("entry", "language")),
        ("category_share", rates.category, ("entry", "category")),
        ("entropy", rates.entropy, ("entry",)),
    ]
    for name, estimate, dims in named:
        if single:
            of_one = Estimate(estimate.mean[0], estimate.low[0], estimate.high[0])
            add_estimate(found, name, dims[1:], of_one)
        else:
            add_estimate(found, name, dims, estimate)

"""Profile of a single neuron: its activations in each example and language, next to its layer's mean.

from fastneurons.analysis.neuron_life import neuron_life
from fastneurons.analysis.reading import complete_examples, drawn_weights
from fastneurons.analysis.selection import Selection

neuron_life(Selection().of(store), layer=12, neuron=345)
"""

import numpy as np
import xarray

from fastneurons.analysis.bits import bit_blocks
from fastneurons.analysis.bootstrap import REPLICATES, bootstrap_generator
from fastneurons.analysis.multiple import adjusted
from fastneurons.analysis.neuron_reading import (
    PURPOSE,
    add_rates,
    mean_contributions,
    picked_bits,
)
from fastneurons.analysis.neurons import NeuronSums, categories_of, preference
from fastneurons.analysis.reading import complete_examples, drawn_weights
from fastneurons.analysis.selection import Chosen
from fastneurons.analysis.words import count_bits
from fastneurons.errors import InputError
from fastneurons.store import CATEGORIES


def neuron_life(
    chosen: Chosen, layer: int, neuron: int, resamples: int = REPLICATES, seed: int | None = None
) -> xarray.Dataset:
    """The activations of one neuron, example by example, next to its layer's mean.

    Args:
        chosen: Which examples, languages and threshold; examples that lack one of the languages are left out.
        layer: A layer's number, as the store has it.
        neuron: Its index in the layer.
        resamples, seed: Bootstrap resamples of the examples; 0 for no intervals. The seed is None for the
            one that all analyses share.
    Returns:
        `activated` bool [example, language] and `category_code` [example], with coordinates `example` (ids), `index`
        and `task`; `activation_rate`, `activation_share`, `category_share` and `entropy` with intervals;
        `layer_activation_rate` [language] and `layer_category_share` [category], means over the layer's neurons; `p`
        and `q` [language] of its preference for each language; `contribution` [language] where the store has it.
    Raises:
        InputError: the store has no such neuron, or lacks bits.
        StoreError: an array is damaged.
    """
    header = chosen.store.header
    if layer not in header.layers:
        raise InputError(f"{chosen.store.path} has no layer {layer}; it has {_ranges(header.layers)}")
    if not 0 <= neuron < header.neurons:
        raise InputError(
            f"{chosen.store.path} has no neuron {layer}:{neuron}; a layer's are 0 to {header.neurons - 1}"
        )
    n = header.layers.index(layer)
    complete = complete_examples(chosen, PURPOSE)
    scores = mean_contributions(chosen, needed=False)
    E, L = len(complete), len(chosen.languages)
    activated = np.zeros((E, L), np.bool_)
    layer_activated, layer_category = np.zeros(L), np.zeros(4)
    sums = NeuronSums(1, L, resamples)
    rng = bootstrap_generator(seed)
    for block in bit_blocks(complete, PURPOSE):
        own = picked_bits(block.bits, np.array([n]), np.array([neuron]))  # [E, L, 1]
        activated[block.rows] = own[..., 0]
        sums.add(own, drawn_weights(rng, len(block), resamples))
        layer_activated += count_bits(block.words[:, :, n]).sum(0)
        some, twice, every = count_bits(block.planes[:, :, n]).sum(0)
        layer_category += [len(block) * header.neurons - some, some - twice, twice - every, every]
    codes = categories_of(activated[..., None])[:, 0]
    ids = chosen.store["example_id"][:][complete.examples]
    found = xarray.Dataset(
        coords={
            "example": ids.astype(object),
            "index": ("example", complete.examples),
            "task": ("example", [header.tasks[k] for k in complete.task]),
            "language": list(chosen.languages),
            "category": list(CATEGORIES),
        },
        attrs=chosen.attributes() | {"layer": layer, "neuron": neuron, "compared_examples": E},
    )
    found["activated"] = ("example", "language"), activated
    found["category_code"] = "example", codes
    add_rates(found, sums.rates(), single=True)
    found["layer_activation_rate"] = "language", layer_activated / (E * header.neurons)
    found["layer_category_share"] = "category", layer_category / (E * header.neurons)
    occupancy = np.bincount(codes, minlength=4)[None, None]
    p = preference(activated.sum(0)[:, None, None], occupancy, E).p[:, 0, 0]
    found["p"], found["q"] = ("language", p), ("language", adjusted(p))
    if scores is not None:
        found["contribution"] = "language", scores[:, n, neuron]
    return found


def _ranges(numbers: list[int]) -> str:
    """`0 to 31`, or the numbers themselves where some are missing."""
    if len(numbers) > 1 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(str(number) for number in numbers)

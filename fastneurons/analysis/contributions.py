"""How much each category contributes in a store, by layer and language, next to its share of all neurons.

    from fastneurons.analysis.contributions import contributions
    from fastneurons.analysis.selection import Selection

    contributions(Selection().of(store)).sum_gain

The functions of plain arrays are in `contribution`.
"""

from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import REPLICATES, Floats, bootstrap_generator
from fastneurons.analysis.checks import ContradictionError
from fastneurons.analysis.contribution import ContributionSums
from fastneurons.analysis.reading import add_estimate, drawn_weights, example_blocks
from fastneurons.analysis.selection import Chosen
from fastneurons.errors import InputError, StoreError
from fastneurons.store import ATTRIBUTION, CATEGORIES

# Beside the store's arrays: each category's share of the layer's neurons, its share of the layer's summed contribution
# scores, and what the shares of contribution have beyond the share of neurons.
DERIVED = ("neuron_share", "sum_share", "top_gain", "sum_gain")


def contributions(chosen: Chosen, resamples: int = REPLICATES, seed: int | None = None) -> xarray.Dataset:
    """Means over prompts and layers of each category's contribution, next to its share of all neurons.

    The categories are those over all languages of the run, whichever languages are chosen: choosing languages chooses
    the prompts whose contributions count.

    Args:
        chosen: Which examples and languages, at the store's first threshold.
        resamples: Bootstrap resamples of the examples; 0 for no intervals.
        seed: None for the seed that all analyses share.
    Returns:
        By `category`, for each array of `fastneurons.store.ATTRIBUTION` and each of `DERIVED`: the mean over all
        prompts and layers under the array's name, and further means `_by_layer` [layer, category], `_by_language`
        [language, category] and `_by_language_and_layer` [language, layer, category]. All but the last have `_low` and
        `_high` next to them. `sum_share` is a category's share of a layer's summed contribution scores, `top_gain`
        is `contribution_share` less `neuron_share`, and `sum_gain` is `sum_share` less `neuron_share`.
    Raises:
        InputError: the run had no attribution, or the threshold is another one.
        StoreError: an array is damaged.
    """
    store, header = chosen.store, chosen.store.header
    if header.top_k is None:
        raise InputError(f"{store.path} has no attribution; measure with --attribution")
    if chosen.threshold_index:
        raise InputError(
            f"{store.path} has attribution for its first threshold, {header.thresholds[0]:g}, "
            f"not for {chosen.threshold:g}"
        )
    names = (*ATTRIBUTION, *DERIVED)
    L, N = len(chosen.languages), len(header.layers)
    sums = ContributionSums(names, L, N, len(CATEGORIES), resamples)
    rng = bootstrap_generator(seed)
    languages = list(chosen.language_index)
    for rows, block in example_blocks(chosen, "category_count", *ATTRIBUTION):
        present = chosen.present[rows]
        values = {name: block[name][:, languages] for name in ATTRIBUTION}
        neuron_share = block["category_count"][:, 0] / header.neurons  # [E, N, 4]
        values |= derived(values, neuron_share, present)
        weights = drawn_weights(rng, len(present), resamples)
        try:
            sums.add(values, weights, present, chosen.examples[rows])
        except ContradictionError as error:
            raise StoreError(f"{store.path}: array {error.array} is damaged: {error.reason}") from error
    means = sums.means()
    found = xarray.Dataset(
        coords={
            "category": list(CATEGORIES),
            "layer": list(header.layers),
            "language": list(chosen.languages),
        },
        attrs=chosen.attributes() | {"top_k": header.top_k, "categories_over": list(header.languages)},
    )
    for name in names:
        add_estimate(found, name, ("category",), means.overall[name])
        add_estimate(found, f"{name}_by_layer", ("layer", "category"), means.by_layer[name])
        add_estimate(found, f"{name}_by_language", ("language", "category"), means.by_language[name])
        dims = ("language", "layer", "category")
        found[f"{name}_by_language_and_layer"] = dims, means.by_language_and_layer[name]
    return found


def derived(
    values: dict[str, NDArray[Any]], neuron_share: Floats, present: NDArray[np.bool_]
) -> dict[str, Floats]:
    """The arrays of `DERIVED`, each float64 [E, L, N, 4]; NaN where there is no prompt.

    Args:
        values: The store's arrays by name; `contribution_share` and `contribution_sum`, float [E, L, N, 4].
        neuron_share: float64 [E, N, 4], share of each layer's neurons in each category.
        present: bool [E, L], whether there is a prompt.
    """
    there = present[:, :, None, None]
    neurons = np.where(there, neuron_share[:, None], np.nan)
    # A category without neurons has no scores (NaN), and so contributes nothing.
    of_category = np.nan_to_num(values["contribution_sum"].astype(np.float64), nan=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        sum_share = np.where(there, of_category / of_category.sum(-1, keepdims=True), np.nan)
    return {
        "neuron_share": neurons,
        "sum_share": sum_share,
        "top_gain": values["contribution_share"] - neurons,
        "sum_gain": sum_share - neurons,
    }

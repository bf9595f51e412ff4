"""Neurons that nothing activates: no token of any prompt, or none of a corpus.

    from fastneurons.analysis.inactive import inactive

    inactive(Selection().of(store))       # of a run with --position any
    inactive_in_corpus(store, ("en",))    # of a run with --position corpus

That no example activates a neuron does not show that none can: with E examples, a neuron that a share of up to
1 - 0.05 ** (1 / E) of them activates stays silent with a probability of 5 % or more.
"""

from collections.abc import Sequence

import numpy as np
import xarray
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import REPLICATES
from fastneurons.analysis.repeating import (
    chance_of_repeating,
    occupancy_and_groups,
    repeating_intervals,
    shares_repeating,
)
from fastneurons.analysis.selection import Chosen, language_indices
from fastneurons.errors import InputError
from fastneurons.store import CATEGORIES, Store

_NON_ACTIVATED = CATEGORIES.index("non-activated")
_EVERY = (1.0,)


def inactive(chosen: Chosen, replicates: int = REPLICATES, seed: int | None = None) -> xarray.Dataset:
    """Neurons that no token activates in any example and language.

    Args:
        chosen: Examples, languages and threshold of a store at position `any`.
        replicates: Bootstrap replicates; 0 for no intervals.
        seed: Of the bootstrap.
    Returns:
        A dataset. By layer: `inactive`, the share of neurons, `inactive_low` and `inactive_high`, a 95 % interval
        over examples (NaN if the store has no bits), `inactive_chance`, the share expected if all neurons of the
        layer were alike, and `inactive_count`. By `found`: the `layer_number` and `neuron` of each of them. The
        attribute `activation_bound` is the largest share of examples that may activate a neuron and still leave it
        on this list with a probability of 5 %.
    Raises:
        InputError: the store was read at single tokens, there are no examples, or bits are needed and there are none.
        StoreError: an array is damaged.
    """
    store, E = chosen.store, len(chosen)
    if store.header.position != "any":
        raise InputError(
            f"{store.path} was read at position {store.header.position}, which does not say what other tokens "
            "activate; measure with --position any or corpus"
        )
    if not E:
        raise InputError(f"{store.path} has no example that was chosen and measured")
    counts, groups = occupancy_and_groups(chosen, replicates, seed)
    shares = shares_repeating(counts, E, _EVERY)
    low, high = repeating_intervals(groups, shares, _EVERY, replicates, seed)
    chance = chance_of_repeating(counts.mean(1) / E, E, _EVERY)
    c = _NON_ACTIVATED
    return _dataset(
        counts[..., c] == E,
        store.header.layers,
        {
            "inactive_low": low[0, :, c],
            "inactive_high": high[0, :, c],
            "inactive_chance": chance[0, :, c],
        },
        {
            **chosen.attributes(),
            "neurons": store.header.neurons,
            "activation_bound": 1 - 0.05 ** (1 / E),
        },
    )


def inactive_in_corpus(
    store: Store, languages: Sequence[str] = (), threshold: float | None = None
) -> xarray.Dataset:
    """Neurons that no token of a corpus activates in any of some languages.

    Args:
        store: A store of a corpus, complete or not.
        languages: Codes; empty for all.
        threshold: One of the store's; None for its first.
    Returns:
        The dataset of `inactive`; there are no examples to take intervals over, so these are NaN. `activation_bound`
        is of tokens.
    Raises:
        InputError: the store is of no corpus, or has no such language or threshold, or no tokens.
        StoreError: an array is damaged.
    """
    header = store.header
    store.needs_kind("measure")
    if not header.is_corpus:
        raise InputError(f"{store.path} is not of a corpus")
    chosen, t = language_indices(store, languages, at_least=1), store.threshold_index(threshold)
    tokens = store["corpus_tokens"][...][chosen]
    if not tokens.sum():
        raise InputError(f"{store.path} has no tokens in {', '.join(header.languages[k] for k in chosen)}")
    counts = np.zeros((len(header.layers), header.neurons), np.int64)
    for k in chosen:
        counts += store["activation_count"][t, k]
    probability = counts.mean(1) / tokens.sum()
    nothing = np.full(len(header.layers), np.nan)
    return _dataset(
        counts == 0,
        header.layers,
        {
            "inactive_low": nothing,
            "inactive_high": nothing,
            "inactive_chance": (1 - probability) ** float(tokens.sum()),
        },
        {
            "store": store.path,
            "complete": int(store.is_complete),
            "model": header.model,
            "position": header.position,
            "signal": header.signal,
            "threshold": header.thresholds[t],
            "languages": [header.languages[k] for k in chosen],
            "tokens": int(tokens.sum()),
            "neurons": header.neurons,
            "activation_bound": 1 - 0.05 ** (1 / float(tokens.sum())),
        },
    )


def _dataset(
    silent: NDArray[np.bool_],
    layers: Sequence[int],
    by_layer: dict[str, NDArray[np.float64]],
    attributes: dict[str, object],
) -> xarray.Dataset:
    layer, neuron = np.nonzero(silent)
    variables = {
        "inactive": silent.mean(1),
        **by_layer,
        "inactive_count": silent.sum(1),
    }
    return xarray.Dataset(
        {name: (("layer",), values) for name, values in variables.items()}
        | {"layer_number": (("found",), np.asarray(layers)[layer]), "neuron": (("found",), neuron)},
        {"layer": list(layers)},
        attributes,
    )

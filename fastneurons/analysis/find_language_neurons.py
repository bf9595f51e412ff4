"""Language neurons of a store: sets by language with their overlaps and their stability, labelled.

from fastneurons.analysis.find_language_neurons import language_neurons, sets_of

found = language_neurons(store, method="lape")
found.layer_count.sel(set="de")      # by layer
sets_of(store, found)["de"]          # a fastneurons.neuron_sets.NeuronSet
"""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations

import numpy as np
import xarray
from numpy.typing import NDArray

from fastneurons.analysis.average_precision import best_detectors
from fastneurons.analysis.bootstrap import Estimate
from fastneurons.analysis.corpus_counts import CorpusCounts
from fastneurons.analysis.language_neuron_stability import Stability, affordable, jaccard, stability
from fastneurons.analysis.language_neurons import AVERAGE_PRECISION, METHODS, TITLES, LanguageNeurons
from fastneurons.analysis.lape import Rates
from fastneurons.analysis.multiple import adjusted, two_sided
from fastneurons.analysis.reading import add_estimate
from fastneurons.analysis.store_sets import model_neurons
from fastneurons.analysis.stores import damage_named
from fastneurons.errors import InputError, printable
from fastneurons.neuron_sets import NeuronSet
from fastneurons.store import Store


def language_neurons(
    store: Store,
    method: str = "lape",
    languages: Sequence[str] = (),
    threshold: float | None = None,
    rates: Rates | None = None,
    resamples: int | None = None,
    seed: int | None = None,
) -> xarray.Dataset:
    """Find the neurons of each language in the counts of a corpus.

    Args:
        store: A store of a corpus, complete or not.
        method: One of `TITLES`.
        languages: Codes; empty for all. Those without tokens are left out, and named in `without_tokens`.
        threshold: One of the store's; None for its first.
        rates: LAPE's options; other methods use those that they name.
        resamples: Bootstrap replicates over parts of the corpus; 0 for none. None for 200, or fewer if the counts are
            so many that it would take long.
        seed: Of the draws.
    Returns:
        A dataset. By `set` (languages, and what else the method tells apart): `count` of neurons, and by layer
        `layer_count`, both with bootstrap intervals over parts of the corpus (`_low` and `_high`); `agreement`,
        `agreement_chance`, `again` and `stable` as in `Stability`. By `pair` of sets: `common` neurons, `common_chance`
        if each layer's were drawn at random, `jaccard`, `jaccard_chance`, `p` two-sided and `q`, corrected over the
        pairs. By `entry`, each member of a set: `set_name`, `layer_number`, `neuron_number`, and `score` if the method
        has one. `member`, bool by set, layer and neuron. `corpus_tokens` by language. Attributes: the options, what the
        method found, `chosen` neurons and `chosen_by_chance`. If nothing is known of stability, `no_stability` says
        why, and its variables are NaN.
    Raises:
        InputError: the store is of no corpus, or has no such language or threshold, an option is wrong, or fewer than
            two languages have tokens.
        StoreError: an array is damaged.
    """
    if method not in TITLES:
        raise InputError(f"no method {method}; there are {', '.join(TITLES)}")
    rates = rates or Rates()
    counts = CorpusCounts.of(store, languages, threshold)
    stable, why_not = None, _why_no_stability(counts, method, resamples)
    with damage_named(store):
        if method == AVERAGE_PRECISION:
            whole = best_detectors(counts.histograms(), counts.languages, rates.top_rate)
        else:
            finder = METHODS[method](counts.languages, rates)
            whole = finder.find(counts.whole(), counts.tokens)
            if why_not is None:
                folds = counts.folds
                stable = stability(folds, finder, whole, affordable(folds, resamples), seed)
    found = xarray.Dataset(
        {
            "member": (("set", "layer", "neuron"), whole.member),
            "corpus_tokens": (("language",), counts.tokens),
        },
        {"set": list(whole.sets), "layer": list(store.header.layers), "language": list(counts.languages)},
        counts.attributes()
        | {"method": method, **asdict(rates), **whole.details, "chosen": whole.chosen}
        | {"exclusive": int(whole.exclusive)}
        | {
            "chosen_by_chance": stable.by_chance if stable else float("nan"),
            "replicates": stable.replicates if stable else 0,
            "divisions": stable.divisions if stable else 0,
            "no_stability": why_not or "",
        },
    )
    _add_entries(found, whole)
    _add_sizes(found, whole, stable)
    _add_overlaps(found, whole)
    return found


def sets_of(store: Store, found: xarray.Dataset) -> dict[str, NeuronSet]:
    """The sets that `language_neurons` found, by name; their histories say how."""
    among = model_neurons(store)
    kept = ("store", "signal", "threshold", "languages", "tokens", "method", "top_rate", "filter_rate",
            "activation_bar_ratio")  # fmt: skip
    details = {name: found.attrs[name] for name in kept} | {"store": printable(found.attrs["store"])}
    return {
        str(name): NeuronSet.from_bits(
            among, found["member"].values[k], "language neurons", {"set": str(name), **details}
        )
        for k, name in enumerate(found["set"].values)
    }


def _why_no_stability(counts: CorpusCounts, method: str, resamples: int | None) -> str | None:
    """Why a corpus does not tell how stable its neurons are; None if it does."""
    if resamples == 0:
        return "none was asked for"
    if method == AVERAGE_PRECISION:
        return "histograms are not kept by parts of the corpus"
    if not counts.has_folds:
        return "the store has no counts by parts of the corpus"
    folds = counts.folds
    if folds.fewest < 2:
        few = counts.languages[int(np.argmin([len(own) for own in folds.parts]))]
        return (
            f"all texts in {few} are in one part of the corpus; run --window makes more parts if it is smaller than "
            f"{counts.store.header.window}"
        )
    return None


def _add_entries(found: xarray.Dataset, whole: LanguageNeurons) -> None:
    place, row, neuron = np.nonzero(whole.member)
    found["set_name"] = "entry", np.array(whole.sets, np.object_)[place]
    found["layer_number"] = "entry", found["layer"].values[row]
    found["neuron_number"] = "entry", neuron
    if whole.score is not None:
        found["score"] = (
            "entry",
            whole.score[row, neuron] if whole.score.ndim == 2 else whole.score[whole.member],
        )


def _add_sizes(found: xarray.Dataset, whole: LanguageNeurons, stable: Stability | None) -> None:
    G, N, _ = whole.member.shape
    count, layer_count = whole.member.sum((1, 2)), whole.member.sum(2)
    nothing, by_layer = np.full(G, np.nan), np.full((G, N), np.nan)
    size = stable.size if stable else Estimate(count.astype(np.float64), nothing, nothing)
    layer_size = stable.layer_size if stable else Estimate(layer_count.astype(np.float64), by_layer, by_layer)
    add_estimate(found, "count", ("set",), Estimate(count, size.low, size.high))
    add_estimate(
        found, "layer_count", ("set", "layer"), Estimate(layer_count, layer_size.low, layer_size.high)
    )
    for name in ("agreement", "agreement_chance", "again", "stable"):
        found[name] = "set", getattr(stable, name) if stable else nothing


def _add_overlaps(found: xarray.Dataset, whole: LanguageNeurons) -> None:
    """Neurons that two sets have in common, beside what chance gives: hypergeometric in each layer."""
    names, neurons = whole.sets, whole.member.shape[2]
    pairs = list(combinations(range(len(names)), 2))
    sizes = whole.member.sum(2)  # [G, N]
    one, other = (sizes[[pair[side] for pair in pairs]] for side in (0, 1))  # [P, N]
    common = np.array([(whole.member[i] & whole.member[j]).sum(1) for i, j in pairs]).reshape(one.shape)
    mean = one * other / neurons
    variance = mean * (neurons - one) * (neurons - other) / (neurons * max(1, neurons - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (common - mean).sum(1) / np.sqrt(variance.sum(1))
    p = two_sided(z)
    found.coords["pair"] = [f"{names[i]}/{names[j]}" for i, j in pairs]
    found.coords["first"] = "pair", [names[i] for i, _ in pairs]
    found.coords["second"] = "pair", [names[j] for _, j in pairs]
    values: dict[str, NDArray[np.number]] = {
        "common": common.sum(1),
        "common_chance": mean.sum(1),
        "jaccard": jaccard(common, one, other),
        "jaccard_chance": jaccard(mean, one, other),
        "p": p,
        "q": adjusted(p),
    }
    for name, array in values.items():
        found[name] = "pair", array

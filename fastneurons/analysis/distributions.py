"""How neurons' signals are distributed over the tokens of each language, from a corpus with histograms.

    found = distributions(open_store("corpus.zarr"), ("en", "de"))
    edit = mean_edit(store, neurons, "en")  # sets these neurons to their means over English

A neuron's **overlap** of two languages is the overlapping coefficient of its two histograms, the sum over bins of the
smaller share of tokens. How far a neuron sets a language apart is told by the overlap of its histogram in the language
with the mean of its histograms in the other languages: the smaller, the further. This follows the idea of language
neurons by distribution overlap (DLN, arXiv 2609.10993), which compares whole distributions where LAPE compares their
shares above a threshold. The definition here is this module's own: that work may weigh bins or languages otherwise.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import Floats
from fastneurons.analysis.checks import ContradictionError
from fastneurons.analysis.histograms import (
    check_totals,
    moments,
    overlap,
    overlap_by_chance,
    quantiles,
    shares_of,
)
from fastneurons.analysis.selection import language_indices
from fastneurons.analysis.store_sets import model_neurons
from fastneurons.arrays import SIGN_CASES
from fastneurons.errors import InputError, StoreError
from fastneurons.neuron_sets import Edit, NeuronSet
from fastneurons.neuron_sets.edits import Site
from fastneurons.store import Store

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
HISTOGRAM = "histogram"
TOP = 10


def distributions(
    store: Store, languages: Sequence[str] = (), top: int = TOP, levels: Sequence[float] = LEVELS
) -> xarray.Dataset:
    """Distributions by language and layer, and each language's neurons that are set apart most.

    Args:
        store: A store of a corpus with histograms, complete or not.
        languages: Codes; empty for all.
        top: K neurons to list for each language.
        levels: Q levels of quantiles.
    Returns:
        A dataset, of all of a layer's neurons together:
        `mean`, `deviation` [language, layer]: mean and standard deviation of the signal over tokens and neurons;
        `quantile` [language, layer, level];
        `overlap` [language, other, layer]: overlap of two languages, mean over neurons, and `overlap_chance`, likewise,
        what it would be for two samples of one distribution;
        `others_overlap` [language, layer]: overlap of a language with the mean of the others, mean over neurons, and
        `others_overlap_chance`;
        `sign_share` [language, layer, case]: share of tokens, mean over neurons; of a gated model.
        Of the listed neurons, those with the smallest overlap with the others, `top_layer`, `top_neuron`,
        `top_overlap`, `top_mean` (in the language) and `top_others_mean` (mean of the others' means)
        [language, rank]; none for a single language.
    Raises:
        InputError: the store has no histograms, or no such language, or no tokens in one.
        StoreError: an array is damaged.
    """
    chosen = _languages_with_tokens(store, languages)
    header, tokens = store.header, store["corpus_tokens"][...]
    L, N, Q = len(chosen), len(header.layers), len(levels)
    numbers: dict[str, NDArray[np.float64]] = {
        "mean": np.zeros((L, N)),
        "deviation": np.zeros((L, N)),
        "quantile": np.zeros((L, N, Q)),
        "overlap": np.ones((L, L, N)),
        "overlap_chance": np.ones((L, L, N)),
        "others_overlap": np.full((L, N), np.nan),
        "others_overlap_chance": np.full((L, N), np.nan),
    }
    best = [_Lowest(top if L > 1 else 0) for _ in chosen]
    for n, shares, counts in _layers(store, chosen):
        edges = store["bin_edge"][n]
        for a in range(L):
            numbers["quantile"][a, n] = quantiles(counts[a].sum(0), edges, levels)
            for b in range(a):
                pair = shares[a], shares[b]
                numbers["overlap"][[a, b], [b, a], n] = overlap(*pair).mean()
                chance = overlap_by_chance(*pair, tokens[chosen[a]], tokens[chosen[b]]).mean()
                numbers["overlap_chance"][[a, b], [b, a], n] = chance
        means, squares = (
            np.stack([store[name][k, n] for k in chosen]) for name in ("signal_sum", "signal_square_sum")
        )
        numbers["mean"][:, n], numbers["deviation"][:, n] = moments(
            means.sum(1), squares.sum(1), tokens[list(chosen)] * header.neurons
        )
        if L > 1:
            by_neuron, _ = moments(means, squares, tokens[list(chosen)])
            for a, others in enumerate(_others(shares)):
                found = overlap(shares[a], others)
                numbers["others_overlap"][a, n] = found.mean()
                # The others' tokens count at equal weight for each language.
                effective = (L - 1) ** 2 / sum(1 / tokens[k] for b, k in enumerate(chosen) if b != a)
                numbers["others_overlap_chance"][a, n] = overlap_by_chance(
                    shares[a], others, tokens[chosen[a]], effective
                ).mean()
                rest = (by_neuron.sum(0) - by_neuron[a]) / (L - 1)
                best[a].add(found, header.layers[n], by_neuron[a], rest)
    made = _dataset(store, chosen, levels, numbers, best)
    if "sign_count" in store:
        made["sign_share"] = ("language", "layer", "case"), _sign_shares(store, chosen)
        made = made.assign_coords(case=list(SIGN_CASES))
    return made


def neuron_moments(store: Store, language: str) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each neuron's signal over the tokens of a language: two float64 [N, I].

    Raises:
        InputError: the store has no histograms, or no such language, or no tokens in it.
        StoreError: an array is damaged.
    """
    [k] = _languages_with_tokens(store, (language,))
    one = slice(k, k + 1)
    mean, deviation = moments(
        store["signal_sum"][one], store["signal_square_sum"][one], store["corpus_tokens"][one]
    )
    _check_finite(store, mean, deviation)
    return mean[0], deviation[0]


def neuron_quantiles(store: Store, language: str, levels: Sequence[float] = LEVELS) -> Floats:
    """Quantiles of each neuron's signal over a language's tokens: float64 [N, I, Q]. Raises as `neuron_moments`."""
    [k] = _languages_with_tokens(store, (language,))
    return np.stack(
        [
            quantiles(_counts(store, k, n), store["bin_edge"][n], levels)
            for n in range(len(store.header.layers))
        ]
    )


def mean_edit(store: Store, neurons: NeuronSet, language: str | None = None) -> Edit:
    """An edit that sets neurons to the mean of their signal.

    Args:
        store: A store of a corpus with histograms.
        neurons: Which; of the store's model.
        language: Over the tokens of which language; None for the mean of all languages' means.
    Returns:
        An edit at the site of the run's signal, for all tokens.
    Raises:
        InputError: the store has no histograms, or no such language, or no tokens in it; or the set is empty, or of
            another model.
        StoreError: an array is damaged.
    """
    own = model_neurons(store)
    problem = neurons.among.why_apart(own)
    if problem is not None:
        raise InputError(f"the set of neurons and {store.path} are of different models: {problem}")
    chosen = _languages_with_tokens(store, () if language is None else (language,))
    codes = [store.header.languages[k] for k in chosen]
    value = np.mean([neuron_moments(store, code)[0] for code in codes], axis=0)
    site: Site = "product" if store.header.signal == "product" else "gate"
    return Edit(neurons, site=site, scale=0.0, value=value.astype(np.float32))


class _Lowest:
    """The neurons with the lowest overlaps of one language, of all layers: the first of equal ones."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.found: list[tuple[float, int, int, float, float]] = []

    def add(self, values: Floats, layer: int, mean: Floats, others: Floats) -> None:
        """Add a layer's neurons: overlaps, and means in the language and in the others, float64 [I]."""
        order = np.argsort(values, kind="stable")[: self._number]
        self.found += [(float(values[i]), layer, int(i), float(mean[i]), float(others[i])) for i in order]
        self.found = sorted(self.found)[: self._number]


def _others(shares: Floats) -> Iterator[Floats]:
    """For each language, the mean distribution of the others: float32 [I, B]."""
    total = shares.sum(0)
    for own in shares:
        yield np.maximum(total - own, 0) / (len(shares) - 1)


def _layers(store: Store, chosen: Sequence[int]) -> Iterator[tuple[int, Floats, NDArray[np.int64]]]:
    """Each layer's index, its shares float32 [L, I, B] and its counts int64 [L, I, B], a layer at a time."""
    for n in range(len(store.header.layers)):
        counts = np.stack([_counts(store, k, n) for k in chosen])
        yield n, shares_of(counts), counts


def _counts(store: Store, language: int, layer: int) -> NDArray[np.int64]:
    """int64 [I, B], checked."""
    counts: NDArray[np.int64] = store[HISTOGRAM][language, layer]
    _check(store, counts, HISTOGRAM, language)
    return counts


def _check(store: Store, counts: NDArray[np.int64], name: str, language: int) -> None:
    try:
        check_totals(counts, int(store["corpus_tokens"][language]), name, store.header.languages[language])
    except ContradictionError as error:
        raise StoreError(f"{store.path}: array {error.array} is damaged: {error.reason}") from error


def _check_finite(store: Store, *arrays: Floats) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise StoreError(f"{store.path}: array signal_sum is damaged: it has values that are no sums")


def _sign_shares(store: Store, chosen: Sequence[int]) -> Floats:
    """float64 [L, N, 4], mean over neurons."""
    found = np.zeros((len(chosen), len(store.header.layers), len(SIGN_CASES)))
    for a, k in enumerate(chosen):
        for n in range(found.shape[1]):
            counts = store["sign_count"][k, n]
            _check(store, counts, "sign_count", k)
            found[a, n] = shares_of(counts).mean(0, dtype=np.float64)
    return found


def _languages_with_tokens(store: Store, languages: Sequence[str]) -> list[int]:
    if HISTOGRAM not in store:
        raise InputError(f"{store.path} has no histograms; measure with --position corpus --histogram 64")
    chosen = list(language_indices(store, languages, at_least=1))
    tokens = store["corpus_tokens"][...]
    empty = [store.header.languages[k] for k in chosen if not tokens[k]]
    if empty and languages:
        raise InputError(f"{store.path} has no tokens in {', '.join(empty)}")
    chosen = [k for k in chosen if tokens[k]]
    if not chosen:
        raise InputError(f"{store.path} has no tokens in any language")
    return chosen


def _dataset(
    store: Store,
    chosen: Sequence[int],
    levels: Sequence[float],
    numbers: dict[str, NDArray[np.float64]],
    best: Sequence[_Lowest],
) -> xarray.Dataset:
    header = store.header
    _check_finite(store, numbers["mean"], numbers["deviation"])
    codes = [header.languages[k] for k in chosen]
    dims = {
        "quantile": ("language", "layer", "level"),
        "overlap": ("language", "other", "layer"),
        "overlap_chance": ("language", "other", "layer"),
    }
    variables: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {
        name: (dims.get(name, ("language", "layer")), values) for name, values in numbers.items()
    }
    listed = np.array([each.found for each in best]).reshape(len(chosen), -1, 5)
    variables["tokens"] = ("language",), store["corpus_tokens"][...][list(chosen)]
    for column, name in enumerate(("top_overlap", "top_layer", "top_neuron", "top_mean", "top_others_mean")):
        values = listed[..., column]
        as_index = name in ("top_layer", "top_neuron")
        variables[name] = ("language", "rank"), values.astype(np.int64) if as_index else values
    return xarray.Dataset(
        variables,
        {
            "language": codes,
            "other": codes,
            "layer": list(header.layers),
            "level": list(levels),
            "rank": np.arange(1, listed.shape[1] + 1),
        },
        {
            "store": store.path,
            "complete": int(store.is_complete),
            "model": header.model,
            "position": header.position,
            "signal": header.signal,
            "languages": codes,
            "tokens": int(store["corpus_tokens"][...][list(chosen)].sum()),
            "neurons": header.neurons,
            "bins": header.bins,
        },
    )

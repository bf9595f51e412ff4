"""Two runs over the same examples: what differs in each category and layer, and which neurons changed.

    from fastneurons.analysis.compare import compare, matched

    compare(*matched(open_store("a.zarr"), open_store("b.zarr"), Selection()))  # an xarray.Dataset

Examples are paired by their ids, so that what they have in common does not blur the difference. Two tests go with it:
whether the runs differ at all (signs of the pairs' differences flipped at random, over all layers and categories at
once), and which neurons changed (a sign test for each, corrected by Benjamini and Hochberg).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray
from scipy import stats

from fastneurons.analysis.bits import bit_blocks, category_count_blocks, occupancy_of
from fastneurons.analysis.bootstrap import REPLICATES, Estimate, Floats, WeightedMeans, bootstrap_generator
from fastneurons.analysis.checks import check_shapes
from fastneurons.analysis.multiple import adjusted
from fastneurons.analysis.selection import Chosen, Selection
from fastneurons.analysis.words import NeuronCounter, category_masks, count_bits
from fastneurons.errors import InputError
from fastneurons.store import CATEGORIES, Store

# Neurons in the list of those that changed most.
TOP = 50
# False discovery rate of that list.
RATE = 0.05
_IDS_AT_ONCE = 2**14


@dataclass(frozen=True)
class PairedDifference:
    """Differences of shares, second less first, over paired examples.

    Args:
        num_examples: E.
        difference: [N, 4], mean over examples, with its 95 % bootstrap interval.
        overall: [4], likewise of all layers' neurons.
        p: Probability of a difference as large in any layer and category, if the two runs were exchangeable in each
            example; 1 where nothing differs, NaN without replicates.
    """

    num_examples: int
    difference: Estimate
    overall: Estimate
    p: float


def paired_difference(
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    neurons: tuple[int, int],
    replicates: int = REPLICATES,
    seed: int | None = None,
) -> PairedDifference:
    """Differences of category shares between two runs over the same examples.

    Args:
        first: Integers [E, N, 4], neurons of each layer in each category.
        second: Likewise; the same examples in the same order.
        neurons: I of each run.
        replicates: Bootstrap replicates and flips of signs; 0 for neither.
        seed: Of both.
    Raises:
        InputError: the shapes differ.
    """
    check_shapes({"C": len(CATEGORIES)}, first=(first, "ENC"), second=(second, "ENC"))
    check_shapes({}, first=(first, "ENC"), second=(second, "ENC"))
    sums = DifferenceSums(first.shape[1], neurons, replicates, seed)
    sums.add(first, second)
    return sums.difference()


class DifferenceSums:
    """Sums over paired examples from which `PairedDifference` follows; their size does not depend on E."""

    def __init__(
        self,
        num_layers: int,
        neurons: tuple[int, int],
        replicates: int = REPLICATES,
        seed: int | None = None,
    ) -> None:
        shape = (num_layers, len(CATEGORIES))
        self._neurons = neurons
        self._means = WeightedMeans(shape, replicates, seed)
        self._rng = bootstrap_generator(None if seed is None else seed + 1)
        self._squares = np.zeros(shape)
        self._flipped = np.zeros((replicates, num_layers * len(CATEGORIES)))

    def add(self, first: NDArray[np.integer], second: NDArray[np.integer]) -> None:
        """Add a block of paired examples, integers [E, N, 4] each."""
        difference = second / self._neurons[1] - first / self._neurons[0]
        self._means.add(difference)
        self._squares += (difference**2).sum(0)
        if len(self._flipped):
            signs = self._rng.integers(0, 2, (len(difference), len(self._flipped)), np.int8) * 2.0 - 1.0
            self._flipped += signs.T @ difference.reshape(len(difference), -1)

    def difference(self) -> PairedDifference:
        """Differences over all examples added so far."""
        mean, replicated = self._means.replicates()
        return PairedDifference(
            self._means.num_examples,
            Estimate.of(mean, replicated),
            Estimate.of(mean.mean(0), replicated.mean(1)),
            self._p(mean),
        )

    def _p(self, mean: Floats) -> float:
        """Largest standardised difference against that of flipped signs, the observed one counted among them."""
        E = self._means.num_examples
        if not len(self._flipped) or not E:
            return float("nan")
        differs = self._squares > 0
        if not differs.any():
            return 1.0
        # Flipping signs changes no square: the scale is the same for all, and makes layers comparable.
        scale = np.sqrt(self._squares[differs])
        observed = (abs(mean[differs]) * E / scale).max()
        flipped = (abs(self._flipped.reshape(-1, *mean.shape)[:, differs]) / scale).max(1)
        return float((1 + (flipped >= observed * (1 - 1e-12)).sum()) / (1 + len(flipped)))


def changed_neurons(
    first: NDArray[np.integer], second: NDArray[np.integer], agreeing: NDArray[np.integer], num_examples: int
) -> Floats:
    """Test each neuron for a change of its category.

    For each category, the examples in which the neuron is in it in one run and not in the other are counted; without
    a change, each is as likely to be the first run's as the second's. The smallest of the four probabilities counts
    four times (Bonferroni).

    Args:
        first: Integers [..., 4], in how many examples the neuron was in each category.
        second: Likewise, in the other run.
        agreeing: Integers [..., 4], in how many it was in the category in both.
        num_examples: E.
    Returns:
        float64 [...], two-sided probabilities, exact but for the correction; 1 where nothing differs.
    Source: the sign test; McNemar 1947, Psychometrika 12:153, in its exact form.
    """
    assert (agreeing <= np.minimum(first, second)).all()
    gone, come = first - agreeing, second - agreeing
    # Most neurons share their pair of numbers with many others.
    pairs, index = np.unique(gone.astype(np.int64) * (num_examples + 1) + come, return_inverse=True)
    low, high = np.divmod(pairs, num_examples + 1)
    p = np.minimum(1, 2 * stats.binom.cdf(np.minimum(low, high), low + high, 0.5))
    smallest: Floats = p[index].reshape(gone.shape).min(-1)
    return np.minimum(1, len(CATEGORIES) * smallest)


# -- from stores --------------------------------------------------------------------------------------------


def matched(first: Store, second: Store, selection: Selection) -> tuple[Chosen, Chosen]:
    """The examples that two stores have in common, in the order of the first one's axis where both agree on it.

    Raises:
        InputError: the stores cannot be compared: one clear line says why.
        StoreError: an array is damaged.
    """
    a, b = first.header, second.header
    for store in (first, second):
        store.needs_kind("measure")
        if store.header.is_corpus:
            raise InputError(
                f"{store.path} is of a corpus: it counts tokens, and has no categories to compare"
            )
    for name, what in (("position", "tokens were read at"), ("signal", "the signal is")):
        has, other = getattr(a, name), getattr(b, name)
        if has != other:
            raise InputError(
                f"{first.path} and {second.path} cannot be compared: {what} {has} in one and {other} in the other"
            )
    if len(a.layers) != len(b.layers):
        raise InputError(
            f"{first.path} and {second.path} cannot be compared layer by layer: "
            f"they have {len(a.layers)} and {len(b.layers)} layers"
        )
    if not selection.languages and set(a.languages) != set(b.languages):
        common = [code for code in a.languages if code in b.languages]
        advice = (
            f"choose from those that both have: --languages {','.join(common)}"
            if len(common) >= selection.at_least
            else "they have fewer than two in common"
        )
        raise InputError(
            f"{first.path} has {', '.join(a.languages)} and {second.path} has {', '.join(b.languages)}, "
            f"and shares compare only over the same languages; {advice}"
        )
    if selection.threshold is None and a.thresholds[0] != b.thresholds[0]:
        both = [f"{t:g}" for t in a.thresholds if t in b.thresholds]
        raise InputError(
            f"{first.path} and {second.path} begin with different thresholds; "
            + (f"pass --threshold {' or '.join(both)}" if both else "they have no threshold in common")
        )
    one = replace(selection, languages=selection.languages or a.languages).of(first)
    # Tasks of the other store may have other names: "two tasks on the same examples".
    tasks = [name for name in selection.tasks if name in b.tasks]
    two = replace(selection, languages=one.languages, tasks=tasks).of(second)
    return _paired(one, two)


def _paired(one: Chosen, two: Chosen) -> tuple[Chosen, Chosen]:
    ids = [_ids(each) for each in (one, two)]
    for each, names in zip((one, two), ids, strict=True):
        if len(set(names)) < len(names):
            raise InputError(
                f"{each.store.path} has examples with the same id, which cannot be paired; choose one --task"
            )
    where = {name: number for number, name in enumerate(ids[1])}
    pairs = [(number, where[name]) for number, name in enumerate(ids[0]) if name in where]
    rows, others = np.array(pairs, np.int64).reshape(-1, 2).T
    same = (one.present[rows] == two.present[others]).all(1)
    rows, others = rows[same], others[same]
    if not len(rows):
        raise InputError(
            f"{one.store.path} and {two.store.path} cannot be compared: no example that was measured in both has "
            "the same id and languages"
        )
    if (np.diff(others) < 0).any():
        raise InputError(
            f"{one.store.path} and {two.store.path} have the same examples in another order, in which their bits "
            "cannot be read side by side; measure both from the same file"
        )
    return one.subset(rows), two.subset(others)


def _ids(chosen: Chosen) -> list[str]:
    array = chosen.store["example_id"]
    names: list[str] = []
    for first in range(0, len(array), _IDS_AT_ONCE):
        names += (str(name) for name in array[first : first + _IDS_AT_ONCE])
    return [names[number] for number in chosen.examples]


def compare(
    one: Chosen,
    two: Chosen,
    replicates: int = REPLICATES,
    seed: int | None = None,
    top: int = TOP,
) -> xarray.Dataset:
    """Paired differences between two stores, second less first.

    Args:
        one, two: The same examples of two stores, from `matched`.
        replicates: Bootstrap replicates and flips of signs; 0 for neither.
        seed: Of both.
        top: Length of the list of neurons.
    Returns:
        A dataset. By layer and category: `first`, `second`, the shares of neurons; `difference` with its 95 %
        bootstrap interval over examples, `difference_low` and `_high`; `overall_*` likewise of all layers' neurons.
        The layers are those of the first store. If both stores keep bits of as many neurons, by `changed`: the
        neurons that changed category most, `changed_layer`, `changed_neuron`, `changed_first` and `changed_second`
        (how often in each category), `changed_examples` (in how many examples its category differs), `changed_p` and
        `changed_q` (Benjamini-Hochberg, over all neurons). Attributes: `p_no_difference`; `identical`, whether no bit
        differs, `bits_different` and `bits`; `neurons_significant` at the false discovery rate `rate`,
        `neurons_below_rate` without correction, and `neurons_by_chance`, how many of these chance would give at most;
        `texts_different`, examples whose texts are not the same.
    Raises:
        InputError: some of the languages are chosen, and a store keeps no bits.
        StoreError: an array is damaged.
    """
    a, b = one.store.header, two.store.header
    sums = DifferenceSums(len(a.layers), (a.neurons, b.neurons), replicates, seed)
    shares = [WeightedMeans((len(a.layers), len(CATEGORIES)), 0) for _ in range(2)]
    counts = (((block,) for _, block in category_count_blocks(each)) for each in (one, two))
    for (first,), (second,) in _aligned(*counts):
        sums.add(first, second)
        shares[0].add(first / a.neurons)
        shares[1].add(second / b.neurons)
    found = sums.difference()
    by = ("layer", "category")
    variables: dict[str, object] = {}
    for name, means in zip(("first", "second"), shares, strict=True):
        mean = means.estimate().mean
        variables |= {name: (by, mean), f"overall_{name}": (("category",), mean.mean(0))}
    for prefix, dims, each in (("", by, found.difference), ("overall_", ("category",), found.overall)):
        for suffix, values in (("", each.mean), ("_low", each.low), ("_high", each.high)):
            variables[f"{prefix}difference{suffix}"] = (dims, values)
    attributes: dict[str, object] = {
        "first_store": one.store.path,
        "second_store": two.store.path,
        "first_model": a.model,
        "second_model": b.model,
        "languages": list(one.languages),
        "threshold": one.threshold,
        "position": a.position,
        "signal": a.signal,
        "examples": len(one),
        "texts_different": _texts_different(one, two),
        "same_model": int(a.model_fingerprint is not None and a.model_fingerprint == b.model_fingerprint),
        "p_no_difference": found.p,
    }
    if one.store.has_bits and two.store.has_bits and a.neurons == b.neurons:
        more, also = _neurons(one, two, top)
        variables |= more
        attributes |= also
    return xarray.Dataset(variables, {"layer": a.layers, "category": list(CATEGORIES)}, attributes)


def _neurons(one: Chosen, two: Chosen, top: int) -> tuple[dict[str, object], dict[str, object]]:
    header, E = one.store.header, len(one)
    N, I = len(header.layers), header.neurons  # noqa: E741
    counters = [NeuronCounter((3, N), I) for _ in range(2)]
    agreeing = NeuronCounter((len(CATEGORIES), N), I)
    different = total = 0
    for (words, planes, present), (other_words, other_planes, _) in _aligned(_bits(one), _bits(two)):
        counters[0].add(planes)
        counters[1].add(other_planes)
        agreeing.add(category_masks(planes) & category_masks(other_planes))
        different += int(count_bits(words ^ other_words).sum(dtype=np.int64))
        total += int(present.sum()) * N * I
    first, second = (occupancy_of(counter.counts(), E) for counter in counters)
    both = np.moveaxis(agreeing.counts(), 0, -1)  # [N, I, 4]
    p = changed_neurons(first, second, both, E).ravel()
    q = adjusted(p)
    changed = E - both.sum(-1).ravel()
    # By their evidence, and among equals by how often they differ.
    order = np.lexsort((-changed, p))[:top]
    order = order[changed[order] > 0]
    layer, neuron = order // I, order % I
    dims = ("changed",)
    variables: dict[str, object] = {
        "changed_layer": (dims, np.asarray(header.layers)[layer]),
        "changed_neuron": (dims, neuron),
        "changed_first": (("changed", "category"), first[layer, neuron]),
        "changed_second": (("changed", "category"), second[layer, neuron]),
        "changed_examples": (dims, changed[order]),
        "changed_p": (dims, p[order]),
        "changed_q": (dims, q[order]),
    }
    return variables, {
        "neurons": N * I,
        "rate": RATE,
        "neurons_significant": int((q <= RATE).sum()),
        "neurons_below_rate": int((p <= RATE).sum()),
        "neurons_by_chance": RATE * N * I,
        "identical": int(different == 0),
        "bits_different": different,
        "bits": total,
    }


def _bits(chosen: Chosen) -> Iterator[tuple[NDArray[Any], ...]]:
    for block in bit_blocks(chosen, "compare needs it"):
        yield block.words, block.planes, block.present


def _aligned(
    one: Iterator[tuple[NDArray[Any], ...]], two: Iterator[tuple[NDArray[Any], ...]]
) -> Iterator[tuple[tuple[NDArray[Any], ...], tuple[NDArray[Any], ...]]]:
    """Blocks of two stores' examples, cut so that both have the same examples at a time."""
    left: tuple[NDArray[Any], ...] | None = None
    right: tuple[NDArray[Any], ...] | None = None
    while True:
        left = next(one, None) if left is None or not len(left[0]) else left
        right = next(two, None) if right is None or not len(right[0]) else right
        if left is None or right is None:
            assert left is None and right is None, "both have the same examples"
            return
        length = min(len(left[0]), len(right[0]))
        yield tuple(each[:length] for each in left), tuple(each[:length] for each in right)
        left, right = (tuple(each[length:] for each in side) for side in (left, right))


def _texts_different(one: Chosen, two: Chosen) -> int:
    """How many pairs have other texts; -1 if a store does not say, or was measured in other languages."""
    if any("digest" not in each.store for each in (one, two)):
        return -1
    if one.store.header.languages != two.store.header.languages:
        return -1
    first, second = (each.store["digest"][...][each.examples] for each in (one, two))
    if not (first.all() and second.all()):
        return -1
    return int((first != second).sum())

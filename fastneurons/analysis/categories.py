"""Share of each category by layer, and how much it differs between examples.

    from fastneurons.analysis.categories import categories, spread

    spread(category_count, neurons=14336).share.mean       # [N, 4], of int [E, N, 4]
    categories(Selection(languages=("en", "de")).of(store))  # an xarray.Dataset by task, layer and category

`SpreadSums` does the same block by block: percentiles over examples are exact, from a histogram of the counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import xarray
from numpy.typing import NDArray

from fastneurons.analysis.bits import category_count_blocks
from fastneurons.analysis.bootstrap import REPLICATES, Estimate, Floats, WeightedMeans
from fastneurons.analysis.checks import check_shapes
from fastneurons.analysis.selection import Chosen
from fastneurons.errors import InputError
from fastneurons.store import CATEGORIES

# Label of all tasks together, where there are several.
ALL_TASKS = "all tasks"
# Ends of the band that holds nine tenths of the examples.
BAND = (5.0, 95.0)


@dataclass(frozen=True)
class CategorySpread:
    """Shares of neurons by category, over examples; NaN where there is no example.

    Args:
        num_examples: E.
        share: [N, 4], mean over examples, with its 95 % bootstrap interval.
        overall: [4], likewise of all layers' neurons.
        band: float64 [4, N, 4]: least, 5th percentile, 95th percentile and most over examples.
        overall_band: float64 [4, 4], likewise of all layers' neurons.
    """

    num_examples: int
    share: Estimate
    overall: Estimate
    band: Floats
    overall_band: Floats


def spread(
    category_count: NDArray[np.integer], neurons: int, replicates: int = REPLICATES, seed: int | None = None
) -> CategorySpread:
    """Shares of neurons by category over all examples of an array.

    Args:
        category_count: Integers [E, N, 4], neurons of each layer in each category.
        neurons: I, of a layer.
        replicates: Bootstrap replicates; 0 for no intervals.
        seed: Of the bootstrap.
    Raises:
        InputError: the shape is another.
    """
    check_shapes({"C": len(CATEGORIES)}, category_count=(category_count, "ENC"))
    sums = SpreadSums(category_count.shape[1], neurons, replicates, seed)
    sums.add(category_count)
    return sums.spread()


class SpreadSums:
    """Sums and histograms over examples from which `CategorySpread` follows; their size does not depend on E.

    Args:
        num_layers: N.
        neurons: I, of a layer.
        replicates: Bootstrap replicates; 0 for no intervals.
        seed: Of the bootstrap.
    """

    def __init__(
        self, num_layers: int, neurons: int, replicates: int = REPLICATES, seed: int | None = None
    ) -> None:
        C = len(CATEGORIES)
        self._neurons = neurons
        self._means = WeightedMeans((num_layers, C), replicates, seed)
        # Examples by their number of neurons, from 0 to all of them.
        self._layer = np.zeros((num_layers, C, neurons + 1), np.int64)
        self._overall = np.zeros((C, num_layers * neurons + 1), np.int64)

    def add(self, category_count: NDArray[np.integer]) -> None:
        """Add a block of examples, integers [E, N, 4]."""
        self._means.add(category_count / self._neurons)
        for histogram, counts in ((self._layer, category_count), (self._overall, category_count.sum(1))):
            size = histogram.shape[-1]
            rows = np.arange(histogram.size // size).reshape(histogram.shape[:-1])
            flat = (rows * size + counts).ravel()
            histogram += np.bincount(flat, minlength=histogram.size).reshape(histogram.shape)

    def spread(self) -> CategorySpread:
        """Shares over all examples added so far."""
        mean, replicated = self._means.replicates()
        N = self._layer.shape[0]
        return CategorySpread(
            num_examples=self._means.num_examples,
            share=Estimate.of(mean, replicated),
            overall=Estimate.of(mean.mean(0), replicated.mean(1)),
            band=_band(self._layer) / self._neurons,
            overall_band=_band(self._overall) / (N * self._neurons),
        )


def _band(histogram: NDArray[np.int64]) -> Floats:
    """float64 [4, ...]: least, 5th, 95th percentile and most, from numbers of examples by value [..., V]."""
    cumulative = histogram.cumsum(-1)
    return np.stack([_percentile(cumulative, q) for q in (0.0, *BAND, 100.0)])


def _percentile(cumulative: NDArray[np.int64], q: float) -> Floats:
    """Percentile with linear interpolation, as `numpy.percentile` has it by default."""
    number = int(cumulative.reshape(-1, cumulative.shape[-1])[0, -1])
    if not number:
        return np.full(cumulative.shape[:-1], np.nan)
    rank = q / 100 * (number - 1)
    low, high = ((cumulative > index).argmax(-1) for index in (floor(rank), ceil(rank)))
    value: Floats = low + (high - low) * (rank - floor(rank))
    return value


# -- from a store -------------------------------------------------------------------------------------------


def categories(chosen: Chosen, replicates: int = REPLICATES, seed: int | None = None) -> xarray.Dataset:
    """Shares of neurons by category, task and layer.

    Args:
        chosen: Examples, languages and threshold of a store.
        replicates: Bootstrap replicates; 0 for no intervals.
        seed: Of the bootstrap.
    Returns:
        A dataset with dimensions task, layer and category. `share` is the mean over examples, from `share_low` to
        `share_high` its 95 % bootstrap interval; `least`, `p5`, `p95` and `most` tell how examples differ. Their
        names with `overall_` in front are of all layers' neurons; `examples` counts the examples of each task. Where
        there are several tasks, the last one is "all tasks".
    Raises:
        InputError: some of the store's languages are chosen, and it keeps no bits.
        StoreError: an array is damaged.
    """
    header = chosen.store.header
    names = list(chosen.tasks)
    if not names:
        raise InputError(f"{chosen.store.path} has no tasks")
    sums = [SpreadSums(len(header.layers), header.neurons, replicates, seed) for _ in names]
    total = SpreadSums(len(header.layers), header.neurons, replicates, seed) if len(names) > 1 else None
    for rows, counts in category_count_blocks(chosen):
        if total is not None:
            total.add(counts)
        for index, each in zip(chosen.task_index, sums, strict=True):
            of_task = counts[chosen.task[rows] == index]
            if len(of_task):
                each.add(of_task)
    found = [each.spread() for each in (*sums, *([] if total is None else [total]))]
    return spread_dataset(
        found,
        ("task", [*names, *([] if total is None else [ALL_TASKS])]),
        header.layers,
        {**chosen.attributes(), "neurons": header.neurons},
    )


def spread_dataset(
    found: Sequence[CategorySpread],
    group: tuple[str, Sequence[object]],
    layers: Sequence[int],
    attributes: dict[str, object],
) -> xarray.Dataset:
    """Label spreads of several groups of examples, such as tasks or thresholds.

    Args:
        group: Name and labels of the dimension along which the groups lie.
    """
    dim, labels = group
    variables: dict[str, object] = {}
    by_layer = (dim, "layer", "category")
    for prefix, dims, estimates, bands in (
        ("", by_layer, [each.share for each in found], [each.band for each in found]),
        (
            "overall_",
            (dim, "category"),
            [each.overall for each in found],
            [each.overall_band for each in found],
        ),
    ):
        for suffix, part in (("", "mean"), ("_low", "low"), ("_high", "high")):
            variables[f"{prefix}share{suffix}"] = (
                dims,
                np.stack([getattr(each, part) for each in estimates]),
            )
        for k, name in enumerate(("least", "p5", "p95", "most")):
            variables[f"{prefix}{name}"] = (dims, np.stack([each[k] for each in bands]))
    variables["examples"] = ((dim,), np.array([each.num_examples for each in found]))
    coordinates = {dim: list(labels), "layer": list(layers), "category": list(CATEGORIES)}
    return xarray.Dataset(variables, coordinates, attributes)


def side_by_side(found: Sequence[xarray.Dataset]) -> xarray.Dataset:
    """Put the categories of several stores next to each other.

    Args:
        found: Results of `categories`.
    Returns:
        The same variables with dimensions run, layer and category: one run for each task of each store. Coordinates
        along `run` are `store`, `model`, `task`, `threshold` and `num_languages`. Layers that a store lacks are NaN
        there. The attribute `same_languages` says whether all stores' shares are over the same languages.
    """
    parts, coordinates = [], []
    for each in found:
        for k, task in enumerate(each.task.values):
            if str(task) == ALL_TASKS and k:
                continue
            parts.append(each.isel(task=k).drop_vars("task").drop_attrs())
            coordinates.append(
                {
                    "store": each.attrs["store"],
                    "model": each.attrs["model"],
                    "task": str(task),
                    "threshold": each.attrs["threshold"],
                    "num_languages": len(each.attrs["languages"]),
                }
            )
    joined = xarray.concat(parts, dim="run", join="outer", data_vars="all", coords="minimal")
    joined = joined.assign_coords(
        {name: ("run", [each[name] for each in coordinates]) for name in coordinates[0]}
    )
    same = len({frozenset(each.attrs["languages"]) for each in found}) == 1
    return joined.assign_attrs(same_languages=int(same))

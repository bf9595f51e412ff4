"""Categories over some of a store's languages, from the bits: shown, or written as a store of its own.

    from fastneurons.analysis.recategorise import by_number_of_languages, write_subset

    chosen = Selection(languages=("en", "de", "fr")).of(store)
    by_number_of_languages(chosen)        # an xarray.Dataset: how categories change with the number of languages
    write_subset(chosen, "three.zarr")    # a store like the one that a run in these languages would have made

The more languages, the fewer neurons are shared by all of them, so that shares compare only at equal numbers of
languages. `categories_of_subsets` gives their mean over all subsets of each size, exactly and without going through
the subsets: of a neuron that k of L languages activate, hypergeometric shares of the subsets have it in each category.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from math import comb
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xarray
from numpy.typing import NDArray

import fastneurons
from fastneurons.analysis.bits import BitBlock, bit_blocks, occupancy_of
from fastneurons.analysis.bootstrap import REPLICATES, Floats, WeightedMeans
from fastneurons.analysis.selection import Chosen
from fastneurons.analysis.words import (
    NeuronCounter,
    category_counts,
    count_bits,
    language_number_counts,
)
from fastneurons.arrays import ARRAYS, Array
from fastneurons.errors import InputError
from fastneurons.store import CATEGORIES, RECATEGORISED_FROM, Outcome, StoreWriter, Window, check_output


def categories_of_subsets(number_counts: NDArray[np.integer]) -> Floats:
    """Mean number of neurons in each category over all subsets of the languages, by the subsets' size.

    Args:
        number_counts: Integers [..., L + 1]; entry k counts the neurons that exactly k of the L languages activate.
    Returns:
        float64 [L - 1, ..., 4], for subsets of 2 to L languages.
    Source: the hypergeometric distribution: of all subsets of m languages, comb(k, j) * comb(L - k, m - j) have j of
        the k that activate the neuron.
    """
    L = number_counts.shape[-1] - 1
    return np.stack([number_counts @ _membership(L, m) for m in range(2, L + 1)])


def _membership(num_languages: int, size: int) -> Floats:
    """float64 [L + 1, 4]: in what share of the subsets of a size a neuron that k languages activate has a category."""
    L = num_languages
    found = np.zeros((L + 1, len(CATEGORIES)))
    for k in range(L + 1):
        for j in range(max(0, size - (L - k)), min(k, size) + 1):
            category = {0: 0, 1: 1, size: 3}.get(j, 2)
            found[k, category] += comb(k, j) * comb(L - k, size - j) / comb(L, size)
    return found


def by_number_of_languages(
    chosen: Chosen, replicates: int = REPLICATES, seed: int | None = None
) -> xarray.Dataset:
    """Shares of neurons by category for subsets of the chosen languages, by the subsets' size.

    Args:
        chosen: Examples, languages and threshold of a store. Examples that lack a chosen language are left out.
        replicates: Bootstrap replicates; 0 for no intervals.
        seed: Of the bootstrap.
    Returns:
        A dataset: `subset_share` by `size` (2 to L languages), layer and category, the mean over all subsets of that
        size and over examples, with its 95 % bootstrap interval over examples, `subset_share_low` and `_high`;
        `overall_subset_share` likewise of all layers' neurons. The attribute `complete_examples` counts the examples.
    Raises:
        InputError: the store keeps no bits.
        StoreError: the bits are damaged.
    """
    header = chosen.store.header
    complete = chosen.subset(np.flatnonzero(chosen.present.all(1)))
    L, N = len(chosen.languages), len(header.layers)
    sums = WeightedMeans((L - 1, N, len(CATEGORIES)), replicates, seed)
    overall = WeightedMeans((L - 1, len(CATEGORIES)), replicates, seed)
    for block in bit_blocks(complete, "subsets of the languages need it"):
        counts = categories_of_subsets(
            language_number_counts(block.words, header.neurons)
        )  # [L - 1, E, N, 4]
        share = counts.swapaxes(0, 1) / header.neurons
        sums.add(share)
        overall.add(share.mean(2))
    variables: dict[str, Any] = {}
    for prefix, dims, means in (
        ("", ("size", "layer", "category"), sums),
        ("overall_", ("size", "category"), overall),
    ):
        found = means.estimate()
        for suffix, values in (("", found.mean), ("_low", found.low), ("_high", found.high)):
            variables[f"{prefix}subset_share{suffix}"] = (dims, values)
    return xarray.Dataset(
        variables,
        {"size": list(range(2, L + 1)), "layer": header.layers, "category": list(CATEGORIES)},
        {**chosen.attributes(), "neurons": header.neurons, "complete_examples": len(complete)},
    )


# -- a store of its own -------------------------------------------------------------------------------------


def write_subset(chosen: Chosen, out: str, overwrite: bool = False) -> None:
    """Write the chosen examples, languages and threshold as a store of their own.

    It holds what a run in these languages alone would have measured, but for attribution, and for rows that were
    skipped, which are left out. Digests of the texts, over all languages of an example, are kept if all are chosen.

    Args:
        out: A local path or an fsspec URL.
        overwrite: Whether to replace a store that is there.
    Raises:
        InputError: the store keeps no bits, nothing is chosen, or something else is at `out`.
        StoreError: the bits are damaged, or the store cannot be written.
    """
    source = chosen.store.header
    chosen.needs_bits("recategorise needs it")
    if not len(chosen):
        raise InputError(f"{chosen.store.path} has no example that was chosen and measured")
    if _same_place(out, chosen.store.path):
        raise InputError(f"{out} is the store to read from; pass another --out")
    check_output(out, overwrite=overwrite)
    header = msgspec.structs.replace(
        source,
        version=fastneurons.__version__,
        languages=list(chosen.languages),
        thresholds=[chosen.threshold],
        tasks=list(chosen.tasks),
        top_k=None,
        config={**source.config, RECATEGORISED_FROM: chosen.store.path},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        status="running",
    )
    with StoreWriter.create(out, header, overwrite=overwrite) as writer:
        for window in _windows(chosen, header.window):
            writer.commit(window)
        writer.finish()


def _same_place(one: str, other: str) -> bool:
    if "://" in one or "://" in other:
        return one.rstrip("/") == other.rstrip("/")
    return Path(one).resolve() == Path(other).resolve()


def _windows(chosen: Chosen, length: int) -> Iterator[Window]:
    """Windows of the new store, each full but for the last."""
    waiting: list[dict[str, NDArray[Any]]] = []
    first = number = 0
    for block in bit_blocks(chosen, "recategorise needs it"):
        arrays = _block_arrays(chosen, block)
        at = 0
        while at < len(block):
            part = slice(at, min(at + length - number, len(block)))
            waiting.append({name: array[part] for name, array in arrays.items()})
            number += part.stop - part.start
            at = part.stop
            if number == length:
                yield _window(chosen, first, waiting)
                first, number, waiting = first + number, 0, []
    if waiting:
        yield _window(chosen, first, waiting)


def _window(chosen: Chosen, first: int, parts: list[dict[str, NDArray[Any]]]) -> Window:
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    planes, task = arrays.pop("planes"), arrays["task"]
    neurons, N = chosen.store.header.neurons, len(chosen.store.header.layers)
    occupancy = np.zeros((len(chosen.tasks), 1, N, neurons, len(CATEGORIES)), np.int32)
    for k in np.unique(task):
        counter = NeuronCounter((3, N), neurons)
        counter.add(planes[task == k])
        occupancy[k, 0] = occupancy_of(counter.counts(), int((task == k).sum()))
    return Window(first, {**arrays, "occupancy": occupancy})


def _block_arrays(chosen: Chosen, block: BitBlock) -> dict[str, NDArray[Any]]:
    """A block's growing arrays as the new store has them, and the planes [E, 3, N, W] of its categories."""
    store = chosen.store
    examples = chosen.examples[block.rows]
    first, end = int(examples[0]), int(examples[-1]) + 1
    arrays: dict[str, NDArray[Any]] = {}
    for spec in ARRAYS:
        if spec.grows and _is_copied(spec, chosen):
            if spec.name in store:
                values = store[spec.name][first:end][examples - first]
                arrays[spec.name] = _selected(spec, values, chosen)
            else:
                shape = (
                    len(examples),
                    *(len(chosen.languages) for dim in spec.dims[1:] if dim == "language"),
                )
                arrays[spec.name] = np.full(shape, spec.fill, _dtype(spec))
    if not chosen.has_all_languages and "digest" in arrays:
        arrays["digest"] = np.zeros_like(arrays["digest"])
    return arrays | {
        "task": np.searchsorted(chosen.task_index, chosen.task[block.rows]).astype(np.int32),
        "outcome": np.full(len(examples), Outcome.MEASURED, np.uint8),
        "activated": block.bits[:, None],
        "activated_count": count_bits(block.words)[:, None],
        "category_count": category_counts(block.planes, block.neurons)[:, None],
        "planes": block.planes,
    }


_COMPUTED = {"task", "outcome", "activated", "activated_count", "category_count"}


def _is_copied(spec: Array, chosen: Chosen) -> bool:
    if spec.name in _COMPUTED or (spec.optional and spec.name not in chosen.store):
        return False
    header = chosen.store.header
    return (
        spec.runs in {"all", "comparing", "prompting"}
        or (spec.runs == "last" and header.position == "last")
        or (spec.runs in {"scoring", "judging"} and bool(header.measures))
    )


def _selected(spec: Array, values: NDArray[Any], chosen: Chosen) -> NDArray[Any]:
    for axis, dim in enumerate(spec.dims):
        if dim == "language":
            values = values.take(list(chosen.language_index), axis)
        elif dim == "threshold":
            values = values.take([chosen.threshold_index], axis)
    return values


def _dtype(spec: Array) -> Any:
    return np.dtypes.StringDType() if spec.dtype == "string" else spec.dtype

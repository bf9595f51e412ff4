"""A worker's buffers for readings: which there are, and how many examples in flight a memory budget holds."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from fastneurons_kernels.bins import FEWEST_BINS
from fastneurons_kernels.reading import near_parts, num_words
from torch import Tensor

from fastneurons.engine.discovery import Site
from fastneurons.engine.edit_bank import EditBank, bank_bytes
from fastneurons.engine.observation import ObservationSpec
from fastneurons.engine.values import ValueVectors

Shapes = dict[str, tuple[tuple[int, ...], torch.dtype]]

# Buffers of distributions, by the kernel's names for them.
DISTRIBUTION = {"bin_counts": "counts", "sums": "sums", "signs": "signs"}


class TooLargeError(Exception):
    """The memory budget does not hold the least that must be in flight at once."""


def neurons_of(sites: Sequence[Site]) -> int:
    """I: neurons of each of a rank's layers; 0 for a rank that has none."""
    return sites[0].neurons if sites else 0


def row_shapes(spec: ObservationSpec, sites: Sequence[Site], dtype: torch.dtype) -> Shapes:
    """Shape and dtype of each buffer by name, for one row.

    Neurons innermost and layers next, as the store has them: what is copied out is contiguous.
    """
    neurons = neurons_of(sites)
    S, N = len(spec.thresholds), len(sites)
    W, P = num_words(neurons), near_parts(neurons)
    if spec.is_corpus:
        corpus: Shapes = {"counts": ((S, N, neurons), torch.int32)}
        if spec.bins is not None:
            corpus["bin_counts"] = ((N, neurons, spec.bins), torch.int32)
            corpus["sums"] = ((N, 4, neurons), torch.float64)
            if sites and sites[0].kind.gated:
                corpus["signs"] = ((N, 4, neurons), torch.int32)
        return corpus
    shapes: Shapes = {"words": ((S, N, W), torch.int32)}
    if spec.position == "last":
        shapes["near"] = ((S, N, P), torch.int32)
    else:
        shapes["edges"] = ((S, N, 2, W), torch.int32)
    if spec.attribution:
        shapes["coefficients"] = ((N, neurons), dtype)
    return shapes


def make_bank(
    spec: ObservationSpec,
    sites: Sequence[Site],
    device: torch.device,
    max_rows: int,
    gather: Callable[[Tensor], Tensor] | None,
) -> EditBank | None:
    """The bank of edits; None if the engine edits nothing.

    Args:
        max_rows: The most rows a forward pass can have, padding included.
        gather: As of `Observer`.
    Raises:
        TooLargeError: the memory budget does not hold it.
    """
    if not spec.edits:
        return None
    needed = bank_bytes(spec.edits, spec.edit_values, len(sites), neurons_of(sites), max_rows)
    if needed > spec.memory_bytes:
        raise TooLargeError(
            f"{spec.edits} edits, {spec.edit_values} of them with values, take {needed / 2**20:,.1f} MiB of each "
            f"device, more than --observe-memory {spec.memory_bytes / 2**30:g} (GiB)"
        )
    return EditBank(spec.edits, spec.edit_values, sites, device, max_rows, gather)


def slots_that_fit(
    spec: ObservationSpec,
    sites: Sequence[Site],
    dtype: torch.dtype,
    max_rows: int,
    values: ValueVectors | None,
    bank: EditBank | None,
) -> int:
    """How many examples in flight the memory budget holds, besides value vectors and edits; of a corpus, 2 windows.

    Args:
        max_rows: The most rows a forward pass can have, padding included.
    Raises:
        TooLargeError: it does not hold two.
    """
    row = sum(int(np.prod(shape)) * kind.itemsize for shape, kind in row_shapes(spec, sites, dtype).values())
    slot = row * spec.languages
    fixed = 2 * 4 * max_rows + sum(part.bytes for part in (values, bank) if part is not None)
    needed = fixed + 2 * slot
    if needed > spec.memory_bytes:
        what = "two windows of counts" if spec.is_corpus else "two examples in flight"
        others = ", value vectors" if values else ""
        others += f", {spec.edits} edits" if spec.edits else ""
        others += "" if spec.bins is None else f", {spec.bins} bins"
        raise TooLargeError(
            f"{what} take {needed / 2**20:,.1f} MiB of each device ({spec.languages} languages, "
            f"{len(spec.thresholds)} thresholds{others}), more than --observe-memory "
            f"{spec.memory_bytes / 2**30:g}: give {np.ceil(100 * needed / 2**30) / 100:g} or more (GiB)"
            f"{_bins_that_fit(spec, sites, needed)}"
        )
    return 2 if spec.is_corpus else min(spec.most_slots, (spec.memory_bytes - fixed) // max(1, slot))


def _bins_that_fit(spec: ObservationSpec, sites: Sequence[Site], needed: int) -> str:
    """Say how many bins the budget holds, if any."""
    if spec.bins is None:
        return ""
    of_a_bin = 2 * spec.languages * len(sites) * neurons_of(sites) * 4
    fitting = spec.bins - -(-(needed - spec.memory_bytes) // of_a_bin)
    return f"; --histogram {fitting} fits" if fitting >= FEWEST_BINS else "; without --histogram it fits"


def allocate(
    spec: ObservationSpec, shapes: Shapes, num_slots: int, device: torch.device
) -> dict[str, Tensor]:
    """The buffers by name, of a row for each language of each slot."""
    rows = num_slots * spec.languages
    return {
        name: torch.zeros((rows, *shape), dtype=dtype, device=device)
        for name, (shape, dtype) in shapes.items()
    }

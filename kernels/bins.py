"""Edges of a histogram's bins, the table that sorts numbers into them, and the rounding of sums: see `histogram.py`.

Without torch, as whoever chooses edges has no need of it.
"""

import itertools
import math

import numpy as np
import numpy.typing as npt

FEWEST_BINS, MOST_BINS = 16, 256  # with fewer, a sample tells too little; a table's entry has eight bits
NUM_CELLS = 1 << 16  # patterns of a float32's upper 16 bits

# Bits of a value that go to each of a sum's two parts. What is left of 53 is for the number of values: 2**21 of the
# largest size, and at least 2**23 of remainders.
_BITS_OF_PARTS = (32, 30)
_CODE_OF_INFINITY = 0x7F80


def cells_of(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Numbers' codes without their lower 16 bits: int64 in [-2**15, 2**15), ordered as the numbers are."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, bits ^ 0x7FFFFFFF, bits) >> 16


def edges_at(cells: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """The smallest number of each cell: float32 in the shape of the cells."""
    codes = np.asarray(cells, np.int64) << 16
    return np.where(codes < 0, codes ^ 0x7FFFFFFF, codes).astype(np.int32).view(np.float32)


def snapped(edges: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """The nearest allowed edges at or above numbers; just above 0 for 0."""
    with np.errstate(over="ignore"):
        given = np.asarray(edges, np.float64).astype(np.float32)
    cells = cells_of(given)
    cells += edges_at(cells) < given
    cells[cells == 0] = 1
    return edges_at(np.clip(cells, -_CODE_OF_INFINITY, _CODE_OF_INFINITY))


def tables(edges: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The table of each layer: uint8 [N, 65536], from its edges, float32 [N, B - 1].

    Raises:
        ValueError: edges do not ascend, or are not such as `snapped` gives.
    """
    cells = cells_of(edges)
    if (np.diff(cells) <= 0).any():
        raise ValueError("edges must ascend")
    if not np.array_equal(edges_at(cells), edges) or (cells == 0).any():
        raise ValueError("edges must be the smallest numbers with their upper 16 bits, and not 0")
    pattern = np.arange(NUM_CELLS)
    cell = np.where(pattern < 1 << 15, pattern, (pattern ^ 0x7FFF) - NUM_CELLS)
    return np.stack([np.searchsorted(each, cell, side="right") for each in cells]).astype(np.uint8)


def anchors(largest: float) -> npt.NDArray[np.float64]:
    """The anchors for values of about this size, at most: float64 [4], for x coarse and fine, then for x * x.

    Each value is rounded to 2**-62 of the next larger power of two. Sums of a million values of this size are exact,
    and of more that are smaller; beyond, float64 rounds.
    """
    exponent = math.frexp(largest)[1] if 0 < largest < math.inf else 0
    found = []
    for top in (exponent, 2 * exponent):
        for bits in itertools.accumulate(_BITS_OF_PARTS):
            found.append(math.ldexp(1.5, 52 + top - bits))
    return np.array(found)

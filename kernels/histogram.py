"""histogram: over the rows that are read into a target, how each neuron's signal is distributed.

Part of the reading at position "corpus" (`activation.py`): the same launch counts activated tokens and fills these.

In:    x          float32 [I] for each row that is read: the signal, whatever dtype it was rounded to before
       table      uint8 [65536], the bin of every float32 by the upper 16 bits of its pattern; of one layer
       anchors    float64 [4], of one layer; see `bins.anchors`
Out:   counts     int32 [R, I, B]: 1 is added to a neuron's bin for each row
       sums       float64 [R, 4, I]: sum of x in two parts, coarse and fine, then sum of x * x likewise
       signs      int32 [R, 4, I] or None; of gated models: rows with gate > 0 and up > 0, gate > 0 and up <= 0,
                  gate <= 0 and up > 0, gate <= 0 and up <= 0, in this order; NaN is not above 0
Rule:  An edge is a float32 whose code (its bits as a signed integer, all but the sign inverted where that is set) is a
       multiple of 2**16, but not 0: all numbers with the same upper 16 bits then lie on one side of it. The bin of x
       is the number of edges e with x >= e. NaN lies in the first or the last bin, by its sign.
       A part of a sum is rounded to a multiple of a power of two before it is added: `(x + a) - a` for an anchor a of
       1.5 * 2**52 times that power. So the parts are exact in any order, and equal on every device.
Exact: everything, given the signal, as long as the parts of a sum stay below 2**53 times their power of two. Beyond,
       sums are rounded as any float64 sum is.

The Triton part has been compiled and run in Triton's interpreter; it has never been run on a GPU.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from fastneurons_kernels.bins import FEWEST_BINS, MOST_BINS, NUM_CELLS
from fastneurons_kernels.reading import expect


@dataclass(frozen=True, eq=False)
class Distribution:
    """One layer's view of the buffers that hold distributions; see the contract for the arguments."""

    counts: torch.Tensor
    sums: torch.Tensor
    table: torch.Tensor
    anchors: torch.Tensor
    signs: torch.Tensor | None = None

    @property
    def num_bins(self) -> int:
        """B."""
        return self.counts.shape[-1]

    def check(self, num_neurons: int, gated: bool = True) -> None:
        """Check that the buffers fit I neurons, and the model.

        Raises:
            ValueError: they do not; the message names the argument.
        """
        rows = self.counts.shape[0]
        expect("distribution.counts", self.counts, torch.int32, (rows, num_neurons, self.num_bins))
        expect("distribution.sums", self.sums, torch.float64, (rows, 4, num_neurons))
        expect("distribution.table", self.table, torch.uint8, (NUM_CELLS,))
        expect("distribution.anchors", self.anchors, torch.float64, (4,))
        if self.signs is not None:
            if not gated:
                raise ValueError("distribution.signs are those of gate and up, and there is no gate")
            expect("distribution.signs", self.signs, torch.int32, (rows, 4, num_neurons))
        for name in ("counts", "sums", "signs"):
            tensor = getattr(self, name)
            if tensor is not None and rows and not tensor[0].is_contiguous():
                raise ValueError(f"distribution.{name} must have each row's numbers next to each other")
        if not FEWEST_BINS <= self.num_bins <= MOST_BINS:
            raise ValueError(
                f"distribution.counts has {self.num_bins} bins: must be from {FEWEST_BINS} to {MOST_BINS}"
            )


def add_reference(to: Distribution, target: int, signal: torch.Tensor, x: torch.Tensor) -> None:
    """The definition, for one row: its signal float32 [I], and x as in the contract of `activation.py`."""
    cell = (signal.contiguous().view(torch.int32) >> 16) & (NUM_CELLS - 1)
    to.counts[target, torch.arange(len(signal)), to.table[cell].long()] += 1
    a = to.anchors
    for part, number in ((0, signal.double()), (2, signal.double() ** 2)):
        coarse = (number + a[part]) - a[part]
        to.sums[target, part] += coarse
        to.sums[target, part + 1] += ((number - coarse) + a[part + 1]) - a[part + 1]
    if to.signs is not None:
        gate, up = x[: len(signal)] > 0, x[len(signal) :] > 0
        to.signs[target] += torch.stack([gate & up, gate & ~up, ~gate & up, ~gate & ~up])


@triton.jit  # type: ignore[untyped-decorator]
def count_bin(signal, counts_ptr, table_ptr, column, inside, BINS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Add 1 to the bin of each neuron's signal, float32; `counts_ptr` is the target's row."""
    cell = (signal.to(tl.int32, bitcast=True) >> 16) & 0xFFFF
    number = tl.load(table_ptr + cell).to(tl.int64)
    tl.atomic_add(counts_ptr + column.to(tl.int64) * BINS + number, 1, mask=inside, sem="relaxed")


@triton.jit
def two_parts(number, anchor_ptr):  # type: ignore[no-untyped-def]
    """A float64's coarse and fine part."""
    anchor = tl.load(anchor_ptr)
    coarse = (number + anchor) - anchor
    anchor = tl.load(anchor_ptr + 1)
    return coarse, ((number - coarse) + anchor) - anchor


@triton.jit
def sign_case(gate, up):  # type: ignore[no-untyped-def]
    """0 to 3, in the order of `signs`."""
    return tl.where(gate > 0, 0, 2) + tl.where(up > 0, 0, 1)


@triton.jit  # type: ignore[untyped-decorator]
def flush_sums(  # type: ignore[no-untyped-def]
    coarse,
    fine,
    coarse_of_squares,
    fine_of_squares,
    sums_ptr,
    column,
    inside,
    I: tl.constexpr,  # noqa: E741
):
    """Add a program's sums to the target's row."""
    tl.atomic_add(sums_ptr + column, coarse, mask=inside, sem="relaxed")
    tl.atomic_add(sums_ptr + I + column, fine, mask=inside, sem="relaxed")
    tl.atomic_add(sums_ptr + 2 * I + column, coarse_of_squares, mask=inside, sem="relaxed")
    tl.atomic_add(sums_ptr + 3 * I + column, fine_of_squares, mask=inside, sem="relaxed")


@triton.jit  # type: ignore[untyped-decorator]
def flush_signs(  # type: ignore[no-untyped-def]
    signs,
    signs_ptr,
    column,
    inside,
    I: tl.constexpr,  # noqa: E741
    BITS: tl.constexpr,
):
    """Add a program's sign cases, BITS bits each, to the target's row."""
    for case in tl.static_range(4):
        count = (signs >> (BITS * case)) & ((1 << BITS) - 1)
        tl.atomic_add(signs_ptr + case * I + column, count, mask=inside & (count != 0), sem="relaxed")

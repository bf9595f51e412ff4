"""The contract of `histogram.py` on the CPU.

The signal is evaluated by the definition of the activation function, a few rows at a time, so that it is still in the
cache when it is sorted into bins. Each thread takes some neurons of all these rows: their bins stay in its cache, and
no two threads write to the same place.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from fastneurons_kernels.codes import bits_of, in_range
from fastneurons_kernels.compiled import compiled
from fastneurons_kernels.functions import get_function
from fastneurons_kernels.histogram import Distribution
from fastneurons_kernels.threads import parts_of, pool, share_out

# Numbers whose signal is evaluated at once: 1 MiB in float32.
_AT_ONCE = 1 << 18
# Neurons of a part of the work: with 64 bins, their counts take 64 KiB.
_NEURONS_OF_A_PART = 256


class DistributionReader:
    """One layer's distributions.

    Args:
        distribution: Buffers.
        num_neurons: I.
        of_product: Whether the signal is the coefficient, which is given.
        dtype: Of x.
        function: As in the contract of `activation.py`, and likewise the rest.
    Raises:
        ValueError: they do not fit together.
    """

    def __init__(
        self,
        distribution: Distribution,
        num_neurons: int,
        of_product: bool,
        dtype: torch.dtype,
        *,
        function: str,
        gated: bool,
        parameters: Sequence[float] = (),
    ) -> None:
        distribution.check(num_neurons, gated)
        self._neurons, self._of_product = num_neurons, of_product
        self._function, self._parameters = get_function(function), parameters
        self._counts, self._sums = distribution.counts.numpy(), distribution.sums.numpy()
        # Filled anew by whoever chooses edges, so read at each call.
        self._table, self._anchors = distribution.table.numpy(), distribution.anchors.numpy()
        self._signs = None if distribution.signs is None else distribution.signs.numpy()
        # The patterns of numbers above 0: from that of the smallest one on, as many as infinity's says.
        infinity = bits_of(torch.tensor([torch.inf], dtype=dtype))
        self._positive = np.array([1, infinity[0]], np.dtype(f"uint{8 * infinity.itemsize}"))
        self._rows_at_once = max(1, _AT_ONCE // num_neurons)

    def __call__(
        self,
        x: torch.Tensor,
        product: torch.Tensor | None,
        rows: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int32],
    ) -> None:
        """Read rows of x [T, I] or [T, 2I], each into its target; the product [T, I] is needed if it is the signal."""
        order = np.argsort(rows, kind="stable")
        rows, targets = rows[order], targets[order]
        for first in range(0, int(rows[-1]) + 1, self._rows_at_once):
            begin, end = np.searchsorted(rows, [first, first + self._rows_at_once])
            if begin == end:
                continue
            here, to = rows[begin:end] - first, targets[begin:end]
            span = slice(first, first + int(here[-1]) + 1)
            signal = self._signal(x[span], None if product is None else product[span])
            parts = parts_of(len(here) * self._neurons)
            parts = 1 if parts == 1 else max(parts, -(-self._neurons // _NEURONS_OF_A_PART))
            values = signal.numpy()
            _add(
                pool(), parts, values, values.view(np.uint16), here, to, self._neurons, self._table, self._anchors,
                self._counts, self._sums,
            )  # fmt: skip
            if self._signs is not None:
                codes = bits_of(x[span]).view(self._positive.dtype)
                _add_signs(pool(), parts, codes, here, to, self._neurons, self._positive, self._signs)

    def _signal(self, x: torch.Tensor, product: torch.Tensor | None) -> torch.Tensor:
        """The signal of some rows, contiguous float32 [T, I], as it is after rounding to x's dtype."""
        if self._of_product:
            assert product is not None
            return product.float().contiguous()
        a = self._function(x[:, : self._neurons].float(), self._parameters)
        return a if a.dtype == x.dtype else a.to(x.dtype).float()


@compiled
def _add(  # type: ignore[no-untyped-def]
    pool, parts, values, halves, rows, targets, neurons, table, anchors, counts, sums
):
    """Sort rows into bins, and add them up."""
    share_out(pool, parts, _add_part, (values, halves, rows, targets, neurons, table, anchors, counts, sums))


@compiled
def _add_part(  # type: ignore[no-untyped-def]
    part, parts, values, halves, rows, targets, neurons, table, anchors, counts, sums
):
    first, end = neurons * part // parts, neurons * (part + 1) // parts
    found = np.empty((4, end - first))
    a, b, c, d = anchors[0], anchors[1], anchors[2], anchors[3]
    k = 0
    while k < len(rows):
        target = targets[k]
        found[:] = 0
        while k + 1 < len(rows) and targets[k] == target and targets[k + 1] == target:
            _add_two_rows(values, rows[k], rows[k + 1], first, end, a, b, c, d, found)
            _count_bins(halves, rows[k], table, counts, target, first, end)
            _count_bins(halves, rows[k + 1], table, counts, target, first, end)
            k += 2
        if k < len(rows) and targets[k] == target:
            _add_row(values, rows[k], first, end, a, b, c, d, found)
            _count_bins(halves, rows[k], table, counts, target, first, end)
            k += 1
        for s in range(4):
            for i in range(first, end):
                sums[target, s, i] += found[s, i - first]


@compiled
def _add_row(values, row, first, end, a, b, c, d, found):  # type: ignore[no-untyped-def]
    for i in range(end - first):
        number = np.float64(values[row, first + i])
        coarse = (number + a) - a
        found[0, i] += coarse
        found[1, i] += ((number - coarse) + b) - b
        square = number * number
        coarse = (square + c) - c
        found[2, i] += coarse
        found[3, i] += ((square - coarse) + d) - d


# Two rows at once: LLVM then uses vectors, and sums are read and written half as often; four times as fast.
@compiled
def _add_two_rows(values, row, other, first, end, a, b, c, d, found):  # type: ignore[no-untyped-def]
    for i in range(end - first):
        number, more = np.float64(values[row, first + i]), np.float64(values[other, first + i])
        coarse, more_coarse = (number + a) - a, (more + a) - a
        found[0, i] += coarse + more_coarse
        found[1, i] += (((number - coarse) + b) - b) + (((more - more_coarse) + b) - b)
        square, more_square = number * number, more * more
        coarse, more_coarse = (square + c) - c, (more_square + c) - c
        found[2, i] += coarse + more_coarse
        found[3, i] += (((square - coarse) + d) - d) + (((more_square - more_coarse) + d) - d)


@compiled
def _count_bins(halves, row, table, counts, target, first, end):  # type: ignore[no-untyped-def]
    for i in range(first, end):
        counts[target, i, table[halves[row, 2 * i + 1]]] += 1


@compiled
def _add_signs(pool, parts, codes, rows, targets, neurons, ends, signs):  # type: ignore[no-untyped-def]
    """Count the sign cases of gate and up."""
    share_out(pool, parts, _add_signs_part, (codes, rows, targets, neurons, ends, signs))


@compiled
def _add_signs_part(part, parts, codes, rows, targets, neurons, ends, signs):  # type: ignore[no-untyped-def]
    first, end = neurons * part // parts, neurons * (part + 1) // parts
    found = np.empty((3, end - first), np.int32)
    k = 0
    while k < len(rows):
        target, begin = targets[k], k
        found[:] = 0
        while k + 1 < len(rows) and targets[k] == target and targets[k + 1] == target:
            _sign_two_rows(codes, rows[k], rows[k + 1], neurons, first, end, ends, found)
            k += 2
        if k < len(rows) and targets[k] == target:
            _sign_row(codes, rows[k], neurons, first, end, ends, found)
            k += 1
        for i in range(first, end):
            gate, up, both = found[0, i - first], found[1, i - first], found[2, i - first]
            signs[target, 0, i] += both
            signs[target, 1, i] += gate - both
            signs[target, 2, i] += up - both
            signs[target, 3, i] += (k - begin) - gate - up + both


@compiled
def _sign_row(codes, row, neurons, first, end, ends, found):  # type: ignore[no-untyped-def]
    smallest, infinity = ends[0], ends[1]
    for i in range(end - first):
        gate = np.int32(in_range(codes[row, first + i], smallest, infinity))
        up = np.int32(in_range(codes[row, neurons + first + i], smallest, infinity))
        found[0, i] = np.int32(found[0, i] + gate)
        found[1, i] = np.int32(found[1, i] + up)
        found[2, i] = np.int32(found[2, i] + (gate & up))


@compiled
def _sign_two_rows(codes, row, other, neurons, first, end, ends, found):  # type: ignore[no-untyped-def]
    smallest, infinity = ends[0], ends[1]
    for i in range(end - first):
        gate = np.int32(in_range(codes[row, first + i], smallest, infinity))
        up = np.int32(in_range(codes[row, neurons + first + i], smallest, infinity))
        more_gate = np.int32(in_range(codes[other, first + i], smallest, infinity))
        more_up = np.int32(in_range(codes[other, neurons + first + i], smallest, infinity))
        found[0, i] = np.int32(found[0, i] + gate + more_gate)
        found[1, i] = np.int32(found[1, i] + up + more_up)
        found[2, i] = np.int32(found[2, i] + (gate & up) + (more_gate & more_up))

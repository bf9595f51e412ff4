"""The contract of `histogram.py` on the CPU.

The signal is evaluated by the definition of the activation function, a few rows at a time, so that it is still in the
cache when it is sorted into bins. Each thread takes some neurons of all these rows: their bins stay in its cache, and
no two threads write to the same place.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from fastneurons_kernels.codes import bits_in_range, bits_of, in_range
from fastneurons_kernels.compiled import compiled
from fastneurons_kernels.functions import get_function
from fastneurons_kernels.histogram import Distribution
from fastneurons_kernels.reading import WORD_BITS
from fastneurons_kernels.threads import parts_of, pool, share_out

# Numbers whose signal is evaluated at once: 512 KiB in float32.
_AT_ONCE = 1 << 17
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
        """Read rows of x [T, I] or [T, 2I], each into its target; the product [T, I] is needed if it is the signal.

        Rows of one target should follow each other: its bins are then fetched into the cache once.
        """
        # With a gap behind each row, PyTorch evaluates it by itself. Without, the last numbers of all rows would be
        # evaluated without vector instructions, which may round differently: a value would depend on its neighbours.
        gate = torch.empty(self._rows_at_once, self._neurons + 1, dtype=torch.float32)[:, : self._neurons]
        for first in range(0, len(rows), self._rows_at_once):
            here, to = rows[first : first + self._rows_at_once], targets[first : first + self._rows_at_once]
            values = self._signal(x, product, here, gate).numpy()
            parts = max(parts_of(values.size), -(-self._neurons // _NEURONS_OF_A_PART))
            _add(
                pool(), parts, values, values.view(np.uint16), to, self._neurons, self._table, self._anchors,
                self._counts, self._sums,
            )  # fmt: skip
        if self._signs is not None:
            stride = x.stride(0)
            whole = x.as_strided(((len(x) - 1) * stride + x.shape[1],), (1,))
            codes = bits_of(whole).view(self._positive.dtype)
            parts = parts_of(len(rows) * self._neurons)
            _add_signs(
                pool(), parts, codes, stride, rows, targets, self._neurons, self._positive, self._signs
            )

    def _signal(
        self, x: torch.Tensor, product: torch.Tensor | None, rows: npt.NDArray[np.int64], gate: torch.Tensor
    ) -> torch.Tensor:
        """The signal of some rows, contiguous float32 [rows, I], as it is after rounding to x's dtype.

        `gate`, float32 with at least as many rows, is overwritten.
        """
        follow_each_other = (np.diff(rows) == 1).all()
        some = slice(int(rows[0]), int(rows[-1]) + 1) if follow_each_other else torch.from_numpy(rows)
        if self._of_product:
            assert product is not None
            return product[some].float().contiguous()
        given = gate[: len(rows)].copy_(x[:, : self._neurons][some])
        a = self._function(given, self._parameters).contiguous()
        return a if a.dtype == x.dtype else a.to(x.dtype).float()


@compiled
def _add(  # type: ignore[no-untyped-def]
    pool, parts, values, halves, targets, neurons, table, anchors, counts, sums
):
    """Sort rows into bins, and add them up."""
    share_out(pool, parts, _add_part, (values, halves, targets, neurons, table, anchors, counts, sums))


@compiled
def _add_part(  # type: ignore[no-untyped-def]
    part, parts, values, halves, targets, neurons, table, anchors, counts, sums
):
    first, end = np.uintp(neurons * part // parts), np.uintp(neurons * (part + 1) // parts)
    found = np.empty((4, end - first))
    a, b, c, d = anchors[0], anchors[1], anchors[2], anchors[3]
    k = 0
    while k < len(targets):
        target = targets[k]
        found[:] = 0
        while k + 1 < len(targets) and targets[k] == target and targets[k + 1] == target:
            _add_two_rows(values, k, k + 1, first, end, a, b, c, d, found)
            _count_bins(halves, k, table, counts, target, first, end)
            _count_bins(halves, k + 1, table, counts, target, first, end)
            k += 2
        if k < len(targets) and targets[k] == target:
            _add_row(values, k, first, end, a, b, c, d, found)
            _count_bins(halves, k, table, counts, target, first, end)
            k += 1
        for s in range(4):
            for i in range(end - first):
                sums[target, s, first + i] += found[s, i]


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


# Two rows at once, so that sums are read and written half as often. Indices are unsigned: of a signed one, numba asks
# whether it counts from the end, and LLVM then uses no vectors, which takes four times as long.
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
        counts[target, i, table[halves[row, np.uintp(2) * i + np.uintp(1)]]] += 1


@compiled
def _add_signs(pool, parts, codes, stride, rows, targets, neurons, ends, signs):  # type: ignore[no-untyped-def]
    """Count the sign cases of gate and up; `codes` is all of x, of which rows lie `stride` apart."""
    share_out(pool, parts, _add_signs_part, (codes, stride, rows, targets, neurons, ends, signs))


@compiled
def _add_signs_part(  # type: ignore[no-untyped-def]
    part, parts, codes, stride, rows, targets, neurons, ends, signs
):
    words = neurons // WORD_BITS
    first, end = words * part // parts, words * (part + 1) // parts
    k = 0
    while k < len(rows):
        number = 1
        while number < _ROWS_OF_A_WORD and k + number < len(rows) and targets[k + number] == targets[k]:
            number += 1
        for w in range(first, end):
            _sign_word(codes, stride, rows, k, number, neurons, w * WORD_BITS, ends, signs, targets[k])
        k += number
    if part == parts - 1:
        for k in range(len(rows)):
            for i in range(words * WORD_BITS, neurons):
                gate = in_range(codes[rows[k] * stride + i], ends[0], ends[1])
                up = in_range(codes[rows[k] * stride + neurons + i], ends[0], ends[1])
                signs[targets[k], (0 if gate else 2) + (0 if up else 1), i] += 1


# Rows that four bits count.
_ROWS_OF_A_WORD = 15


@compiled
def _sign_word(  # type: ignore[no-untyped-def]
    codes, stride, rows, k, number, neurons, i, ends, signs, target
):
    """Count for 32 neurons at once: bit b of four words is a neuron's number of rows in binary.

    Three numbers: rows with gate above 0, with up above 0, and with both.
    """
    zero = np.uint32(0)
    a0, a1, a2, a3 = zero, zero, zero, zero
    b0, b1, b2, b3 = zero, zero, zero, zero
    c0, c1, c2, c3 = zero, zero, zero, zero
    for r in range(k, k + number):
        at = rows[r] * stride + i
        gate = bits_in_range(codes, at, ends[0], ends[1])
        up = bits_in_range(codes, at + neurons, ends[0], ends[1])
        a0, a1, a2, a3 = _one_more(a0, a1, a2, a3, gate)
        b0, b1, b2, b3 = _one_more(b0, b1, b2, b3, up)
        c0, c1, c2, c3 = _one_more(c0, c1, c2, c3, np.uint32(gate & up))
    i = np.uintp(i)
    for b in range(np.uintp(WORD_BITS)):
        gates, ups, both = _at(a0, a1, a2, a3, b), _at(b0, b1, b2, b3, b), _at(c0, c1, c2, c3, b)
        signs[target, 0, i + b] += both
        signs[target, 1, i + b] += gates - both
        signs[target, 2, i + b] += ups - both
        signs[target, 3, i + b] += number - gates - ups + both


@compiled
def _one_more(n0, n1, n2, n3, bits):  # type: ignore[no-untyped-def]
    """Add 1 to the numbers whose bit is set."""
    carry = np.uint32(n0 & bits)
    more = np.uint32(n1 & carry)
    most = np.uint32(n2 & more)
    return np.uint32(n0 ^ bits), np.uint32(n1 ^ carry), np.uint32(n2 ^ more), np.uint32(n3 ^ most)


@compiled
def _at(n0, n1, n2, n3, b):  # type: ignore[no-untyped-def]
    """The number at bit b."""
    shift = np.uint32(b)
    low = ((n0 >> shift) & 1) + 2 * ((n1 >> shift) & 1)
    return np.int32(low + 4 * ((n2 >> shift) & 1) + 8 * ((n3 >> shift) & 1))

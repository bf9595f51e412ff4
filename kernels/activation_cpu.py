"""The contract of `activation.py` on the CPU, by comparing bit patterns: no activation is evaluated.

A gate's code is held against the ranges that `thresholds.py` has found, 32 neurons to a word at once (`codes.py`).
Position "any" keeps the largest and the smallest code of each neuron over a prompt's tokens, which decide every
threshold at once; "corpus" adds up comparisons. The inner loops are numba's, which writes them with vector
instructions, on the threads that PyTorch has (`threads.py`). What they take is the reading of memory: on two cores,
0.07 ns a neuron of a row.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from fastneurons_kernels.codes import bits_in_range, bits_of, code_of, in_range, popcount
from fastneurons_kernels.compiled import compiled
from fastneurons_kernels.editing import Editing
from fastneurons_kernels.editing_cpu import Editor, RowsToEdit
from fastneurons_kernels.functions import get_function
from fastneurons_kernels.histogram_cpu import DistributionReader
from fastneurons_kernels.reading import ABOVE, BLOCK_NEURONS, REACHED, WORD_BITS, Reading, check_input, layout
from fastneurons_kernels.threads import lock, parts_of, pool, share_out, unlock
from fastneurons_kernels.thresholds import IDENTITY, code_ranges


class RowsToRead(NamedTuple):
    """The rows of a step to read, in order.

    Args:
        rows: int64 [M], of x.
        targets: int32 [M], where each is read into.
        end: Rows that x must have.
    """

    rows: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int32]
    end: int

    @classmethod
    def of(cls, targets: npt.NDArray[np.int32], reading: Reading) -> "RowsToRead":
        """Rows whose target, of the step's T, is not -1.

        Raises:
            IndexError: a target is not a row of the outputs.
        """
        rows = np.flatnonzero(targets >= 0)
        to = targets[rows]
        end = int(rows[-1]) + 1 if rows.size else 0
        if rows.size and to.max() >= reading.num_rows:
            raise IndexError(f"target {to.max()}, but there are {reading.num_rows} rows to read into")
        if reading.position == "corpus":
            # By targets, so that each part of the rows has few.
            rows = rows[np.argsort(to, kind="stable")]
            to = targets[rows]
        return cls(rows, to, end)


class Reader:
    """One layer's reading, next to the model's own activation module.

    Everything that stays the same for all steps is looked up once: after a layer's products nothing of Python's is
    left in the cache, and a lookup that takes 20 microseconds by itself takes 200 there.

    Args:
        reading: Buffers to read into, and thresholds; its targets are ignored.
        dtype: Of x.
        num_neurons: I.
        function: As in the contract, and likewise the rest.
    Raises:
        ValueError: they do not fit together.
    """

    def __init__(
        self,
        reading: Reading,
        dtype: torch.dtype,
        num_neurons: int,
        *,
        function: str,
        gated: bool,
        parameters: Sequence[float] = (),
    ) -> None:
        if sys.byteorder != "little":
            raise NotImplementedError("words are read as bytes: the machine must be little-endian")
        reading.check(dtype, 0, num_neurons)
        self._like = (dtype, 2 * num_neurons if gated else num_neurons)
        self._neurons = num_neurons
        self._of_product = reading.signal == "product" and gated
        key = (IDENTITY, ()) if self._of_product else (function, tuple(map(float, parameters)))
        self._tests, *self._ends = code_ranges(*key, dtype, tuple(reading.thresholds.tolist()))
        self._outputs = {
            name: tensor.numpy()
            for name in ("words", "near", "edges", "counts")
            if (tensor := getattr(reading, name)) is not None
        }
        self._coefficients = None if reading.coefficients is None else bits_of(reading.coefficients)
        self._distribution: DistributionReader | None = None
        if reading.distribution is not None:
            self._distribution = DistributionReader(
                reading.distribution,
                num_neurons,
                self._of_product,
                dtype,
                function=function,
                gated=gated,
                parameters=parameters,
            )

    def __call__(self, x: torch.Tensor, product: torch.Tensor | None, which: RowsToRead) -> None:
        """Read.

        Args:
            x: As in the contract.
            product: [T, I], output of the model's activation module: the coefficients. Needed if they are compared
                with the thresholds, or kept.
            which: Rows of x.
        Raises:
            ValueError: x is of another kind, or there is no product where it is needed.
        """
        rows, targets, end = which
        if not rows.size:
            return
        if (x.dtype, x.shape[1]) != self._like or len(x) < end:
            raise ValueError(f"x must be {self._like[0]} [{end} or more, {self._like[1]}], got {layout(x)}")
        if product is None and (self._of_product or self._coefficients is not None):
            raise ValueError("coefficients are to be read, but no product is given")
        source = product if self._of_product and product is not None else x
        threads = (pool(), parts_of(rows.size * self._neurons))
        given = (bits_of(source.contiguous()), rows, targets, self._neurons, self._tests)
        if "counts" in self._outputs:
            _count(*threads, *given, self._outputs["counts"])
            if self._distribution is not None:
                self._distribution(x, product, rows, targets)
        elif "edges" in self._outputs:
            _join(*threads, *given, *self._ends, self._outputs["words"], self._outputs["edges"])
        else:
            _pack(*threads, *given, self._outputs["words"], self._outputs["near"])
        if self._coefficients is not None and product is not None:
            _keep(*threads, bits_of(product.contiguous()), rows, targets, self._coefficients)


def activation_cpu(
    x: torch.Tensor,
    reading: Reading | None = None,
    editing: Editing | None = None,
    *,
    function: str,
    gated: bool,
    parameters: Sequence[float] = (),
    calls: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """The whole contract on the CPU."""
    num_rows, num_neurons = check_input(x, function, gated, parameters, out)
    if calls is not None and num_rows:
        calls += 1
    a = get_function(function)(x[:, :num_neurons].float(), parameters).to(x.dtype)
    # A product of two bf16 or fp16 numbers fits float32: torch rounds it once, as the contract does.
    product = torch.mul(a, x[:, num_neurons:]) if gated else a
    if reading is not None:
        reading.check(x.dtype, num_rows, num_neurons)
        read = Reader(reading, x.dtype, num_neurons, function=function, gated=gated, parameters=parameters)
        read(x, product, RowsToRead.of(reading.targets[:num_rows].numpy(), reading))
    if editing is not None:
        editing.check(num_rows, num_neurons)
        edit = Editor(editing, x.dtype, num_neurons, function=function, gated=gated, parameters=parameters)
        edit(x, product, RowsToEdit.of(editing.rows[:num_rows].numpy(), len(editing.masks)))
    return product if out is None else out.copy_(product)


# Axes of `CodeRanges.ranges` [S, 3, 2, 2]: threshold, side, right or left, first code and number of codes.
_ACTIVATED, _REACHED, _ABOVE = 0, 1, 2

_WORDS_PER_COUNT = BLOCK_NEURONS // WORD_BITS


# Inner loops take whole arrays and indices. A view would count as one more user of its array, for all threads
# at the same address: with six thresholds that took as long as everything else.


@compiled
def _order(bits, row, neurons, codes):  # type: ignore[no-untyped-def]
    for i in range(neurons):
        codes[i] = code_of(bits[row, i])


@compiled
def _word(to_right, to_left, w, tests, s, side):  # type: ignore[no-untyped-def]
    """Test which of the 32 codes from word w on lie in the right range, and which in the left."""
    right = bits_in_range(to_right, w * WORD_BITS, tests[s, side, 0, 0], tests[s, side, 0, 1])
    return right | bits_in_range(to_left, w * WORD_BITS, tests[s, side, 1, 0], tests[s, side, 1, 1])


@compiled
def _pack(pool, parts, bits, rows, targets, neurons, tests, words, near):  # type: ignore[no-untyped-def]
    """Position "last": each row's bits and counts overwrite the buffers'."""
    share_out(pool, parts, _pack_part, (bits, rows, targets, neurons, tests, words, near))


@compiled
def _pack_part(part, parts, bits, rows, targets, neurons, tests, words, near):  # type: ignore[no-untyped-def]
    # The last word's rest is of no number: a NaN's code is in no range.
    codes = np.full(words.shape[2] * WORD_BITS, np.iinfo(bits.dtype).max, bits.dtype)
    unsigned = codes.view(tests.dtype)
    for k in range(len(rows) * part // parts, len(rows) * (part + 1) // parts):
        target = targets[k]
        _order(bits, rows[k], neurons, codes)
        for s in range(len(tests)):
            for part_of_layer in range(near.shape[2]):
                near[target, s, part_of_layer] = 0
            for w in range(words.shape[2]):
                words[target, s, w] = _word(unsigned, unsigned, w, tests, s, _ACTIVATED)
                reached = _word(unsigned, unsigned, w, tests, s, _REACHED)
                is_near = reached & ~_word(unsigned, unsigned, w, tests, s, _ABOVE)
                near[target, s, w // _WORDS_PER_COUNT] += popcount(np.uint32(is_near))


@compiled
def _keep(pool, parts, bits, rows, targets, coefficients):  # type: ignore[no-untyped-def]
    """Copy rows of coefficients to their targets."""
    share_out(pool, parts, _keep_part, (bits, rows, targets, coefficients))


@compiled
def _keep_part(part, parts, bits, rows, targets, coefficients):  # type: ignore[no-untyped-def]
    for k in range(len(rows) * part // parts, len(rows) * (part + 1) // parts):
        coefficients[targets[k]] = bits[rows[k]]


@compiled
def _join(  # type: ignore[no-untyped-def]
    pool, parts, bits, rows, targets, neurons, tests, lowest, infinity, words, edges
):
    """Position "any": a range to the right, or left, holds one of a prompt's codes if it holds the extreme one."""
    share_out(pool, parts, _join_part, (bits, rows, targets, neurons, tests, lowest, infinity, words, edges))


@compiled
def _join_part(  # type: ignore[no-untyped-def]
    part, parts, bits, rows, targets, neurons, tests, lowest, infinity, words, edges
):
    least, most = np.iinfo(bits.dtype).min, np.iinfo(bits.dtype).max
    largest = np.empty(words.shape[2] * WORD_BITS, bits.dtype)
    smallest = np.empty(words.shape[2] * WORD_BITS, bits.dtype)
    to_right, to_left = largest.view(tests.dtype), smallest.view(tests.dtype)
    beyond = np.array([infinity + 1, most - infinity, least, lowest - least]).astype(tests.dtype)
    # A prompt's rows belong to one part: the one that holds the first of them.
    k, end = len(rows) * part // parts, len(rows) * (part + 1) // parts
    while 0 < k < end and targets[k] == targets[k - 1]:
        k += 1
    while k < end:
        first, target = k, targets[k]
        largest[:] = least
        smallest[:] = most
        while k < len(rows) and targets[k] == target:
            _extend(bits, rows[k], neurons, largest, smallest)
            k += 1
        stray = np.uint32(0)
        for w in range(words.shape[2]):
            stray |= bits_in_range(to_right, w * WORD_BITS, beyond[0], beyond[1])
            stray |= bits_in_range(to_left, w * WORD_BITS, beyond[2], beyond[3])
        if stray:  # NaNs are among them, or gates whose activation is one
            largest[:] = least
            smallest[:] = most
            for again in range(first, k):
                _extend_by_numbers(bits, rows[again], neurons, lowest, infinity, largest, smallest)
        for s in range(len(tests)):
            for w in range(words.shape[2]):
                words[target, s, w] |= _word(to_right, to_left, w, tests, s, _ACTIVATED)
                edges[target, s, REACHED, w] |= _word(to_right, to_left, w, tests, s, _REACHED)
                edges[target, s, ABOVE, w] |= _word(to_right, to_left, w, tests, s, _ABOVE)


@compiled
def _extend(bits, row, neurons, largest, smallest):  # type: ignore[no-untyped-def]
    for i in range(neurons):
        code = code_of(bits[row, i])
        largest[i] = max(largest[i], code)
        smallest[i] = min(smallest[i], code)


@compiled
def _extend_by_numbers(bits, row, neurons, lowest, infinity, largest, smallest):  # type: ignore[no-untyped-def]
    for i in range(neurons):
        code = code_of(bits[row, i])
        if lowest <= code <= infinity:
            largest[i] = max(largest[i], code)
            smallest[i] = min(smallest[i], code)


@compiled
def _count(pool, parts, bits, rows, targets, neurons, tests, counts):  # type: ignore[no-untyped-def]
    """Position "corpus": comparisons, added up over rows of one language before they go to its counts."""
    share_out(pool, parts, _count_part, (bits, rows, targets, neurons, tests, counts, np.zeros(1, np.int64)))


@compiled
def _count_part(part, parts, bits, rows, targets, neurons, tests, counts, flag):  # type: ignore[no-untyped-def]
    codes = np.empty(neurons, bits.dtype)
    unsigned = codes.view(tests.dtype)
    sums = np.empty((len(tests), neurons), np.uint16)
    k, end = len(rows) * part // parts, len(rows) * (part + 1) // parts
    while k < end:
        target = targets[k]
        sums[:] = 0
        enough = min(end, k + np.iinfo(np.uint16).max)
        while k < enough and targets[k] == target:
            _order(bits, rows[k], neurons, codes)
            for s in range(len(tests)):
                for side in range(2):
                    if tests[s, _ACTIVATED, side, 1]:
                        _add(unsigned, tests[s, _ACTIVATED, side, 0], tests[s, _ACTIVATED, side, 1], sums, s)
            k += 1
        lock(flag)  # another part may have rows of the same target
        for s in range(len(tests)):
            for i in range(neurons):
                counts[target, s, i] += sums[s, i]
        unlock(flag)


@compiled
def _add(codes, first, count, sums, s):  # type: ignore[no-untyped-def]
    for i in range(len(codes)):
        sums[s, i] += in_range(codes[i], first, count)

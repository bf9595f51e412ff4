"""The contract of `activation.py` on the CPU: one thread, no activation evaluated, nothing unpacked.

A gate is held against the bounds that `thresholds.py` has found. Position "any" keeps the largest and the
smallest gate of each neuron over a prompt's tokens, which decide every threshold at once; "corpus" adds up
comparisons. The inner loops are numba's, which writes them with vector instructions. All stay on the thread they are
called on: to wake another takes longer than most of what is done here (22 ms a layer were seen with both cores
busy, against 3 ms so).
"""

import sys
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from fastneurons_kernels.compiled import compiled
from fastneurons_kernels.functions import get_function
from fastneurons_kernels.reading import BLOCK_NEURONS, Reading, check_input
from fastneurons_kernels.thresholds import IDENTITY, sides

# at::internal::GRAIN_SIZE: torch shares out what is larger among threads.
_INLINE_ELEMENTS = 32768
_WIDENED = 1 << 17  # bf16 numbers at once: 512 KiB of float32

_Floats = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int64]
_Targets = npt.NDArray[np.int32]


def observe_cpu(
    x: torch.Tensor,
    product: torch.Tensor | None,
    reading: Reading,
    *,
    function: str,
    gated: bool,
    parameters: Sequence[float] = (),
) -> None:
    """Read what the contract reads, beside the model's own activation.

    Args:
        x: As in the contract.
        product: [T, I], what the model's activation module made of it: the coefficients. Needed where they are
            held against the thresholds, or kept.
        reading: What is read, and where it goes.
        function: As in the contract, and likewise the rest.
    """
    num_rows, num_neurons = check_input(x, function, gated, parameters)
    reading.check(x.dtype, num_rows, num_neurons)
    targets = reading.targets[:num_rows].numpy()
    rows = np.flatnonzero(targets >= 0)
    if rows.size == 0:
        return
    if targets.max() >= reading.num_rows:
        raise IndexError(f"target {targets.max()}, but there are {reading.num_rows} rows to read into")
    if sys.byteorder != "little":
        raise NotImplementedError(
            "bits are packed as bytes and read as words: the machine must be little-endian"
        )
    of_product = reading.signal == "product" and gated
    if product is None and (of_product or reading.coefficients is not None):
        raise ValueError("coefficients are to be read, but no product is given")
    source = product if of_product and product is not None else x
    key = (IDENTITY, ()) if of_product else (function, tuple(map(float, parameters)))
    found = [sides(*key, x.dtype, threshold) for threshold in reading.thresholds.tolist()]
    bounds = np.array([side[:3] for side in found], np.float32).reshape(-1, 3, 2)
    lowest = np.float32(found[0].lowest if found else -np.inf)
    for piece in _pieces(source, rows, targets[rows], num_neurons):
        if reading.counts is not None:
            _count(*piece, num_neurons, bounds, lowest, reading.counts.numpy())
        elif reading.words is not None and reading.edges is not None:
            _join(*piece, num_neurons, bounds, lowest, _bytes(reading.words), _bytes(reading.edges))
        elif reading.words is not None and reading.near is not None:
            _pack(*piece, num_neurons, bounds, lowest, _bytes(reading.words), reading.near.numpy())
    if reading.coefficients is not None and product is not None:
        _codes(reading.coefficients)[targets[rows]] = _codes(product)[rows]


def activation_cpu(
    x: torch.Tensor,
    reading: Reading | None = None,
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
        observe_cpu(x, product, reading, function=function, gated=gated, parameters=parameters)
    return product if out is None else out.copy_(product)


def _pieces(
    source: torch.Tensor, rows: _Ints, targets: _Targets, num_neurons: int
) -> Iterator[tuple[_Floats, _Ints, _Targets]]:
    """A float32 array with rows of `source`, which of its rows these are, and their targets.

    fp32 comes as it is; 16-bit numbers are widened some rows at a time, to stay in the cache.
    """
    source = source.contiguous()
    if source.dtype == torch.float32:
        yield source.numpy(), rows, targets
        return
    at_once = max(1, (_INLINE_ELEMENTS if source.dtype == torch.float16 else _WIDENED) // max(1, num_neurons))
    for start in range(0, rows.size, at_once):
        some = rows[start : start + at_once]
        if source.dtype == torch.float16:
            wide = source[:, :num_neurons].index_select(0, torch.from_numpy(some)).float().numpy()
        else:
            wide = np.empty((some.size, num_neurons), np.float32)
            _widen(_codes(source).view(np.uint16), some, wide.view(np.uint32))
        yield wide, np.arange(some.size), targets[start : start + at_once]


def _bytes(words: torch.Tensor) -> npt.NDArray[np.uint8]:
    return words.numpy().view(np.uint8)


def _codes(values: torch.Tensor) -> npt.NDArray[np.integer]:
    """The numbers' bits, to be copied: numpy has no bf16."""
    return values.view(torch.int16 if values.element_size() == 2 else torch.int32).numpy()


# bounds [S, 3, 2]: of a threshold, Sides.activated, .reached and .above, each `rising` and `falling`.
_ACTIVATED, _REACHED, _ABOVE = 0, 1, 2


@compiled
def _inside(value, rising, falling, lowest):  # type: ignore[no-untyped-def]
    return (value >= rising) | ((value <= falling) & (value >= lowest))


@compiled
def _widen(codes, rows, wide):  # type: ignore[no-untyped-def]
    """bf16 is the upper half of float32."""
    for k in range(len(rows)):
        row = rows[k]
        for i in range(wide.shape[1]):
            wide[k, i] = np.uint32(codes[row, i]) << np.uint32(16)


# Eight bytes of 0 or 1, times this: their bits stand side by side in the highest byte.
_GATHER_BITS = np.uint64(0x0102040810204080)
_HIGHEST_BYTE = np.uint64(56)


@compiled
def _packed(flags, at):  # type: ignore[no-untyped-def]
    return np.uint8((flags[at] * _GATHER_BITS) >> _HIGHEST_BYTE)


@compiled
def _pack(x, rows, targets, neurons, bounds, lowest, packed, near):  # type: ignore[no-untyped-def]
    """Position "last": each row's bits and counts take the place of what was there."""
    num_bytes = packed.shape[2]
    flags = np.zeros(8 * num_bytes, np.uint8)
    by_eight = flags.view(np.uint64)
    for k in range(len(rows)):
        row, target = rows[k], targets[k]
        for s in range(len(bounds)):
            # Numbers of their own: of what is loaded, a store might have changed it.
            rising, falling = bounds[s, _ACTIVATED, 0], bounds[s, _ACTIVATED, 1]
            for i in range(neurons):
                flags[i] = _inside(x[row, i], rising, falling, lowest)
            for b in range(num_bytes):
                packed[target, s, b] = _packed(by_eight, b)
            rising, falling = bounds[s, _REACHED, 0], bounds[s, _REACHED, 1]
            too_high, too_low = bounds[s, _ABOVE, 0], bounds[s, _ABOVE, 1]
            for i in range(neurons):
                value = x[row, i]
                reached = _inside(value, rising, falling, lowest)
                flags[i] = reached & ~_inside(value, too_high, too_low, lowest)
            for part in range(near.shape[2]):
                count = 0
                for i in range(part * BLOCK_NEURONS, min((part + 1) * BLOCK_NEURONS, neurons)):
                    count += flags[i]
                near[target, s, part] = count


@compiled
def _join(x, rows, targets, neurons, bounds, lowest, packed, edges):  # type: ignore[no-untyped-def]
    """Position "any": a set of one or two intervals holds one of a prompt's gates if it holds an extreme one."""
    largest, smallest = np.empty(neurons, np.float32), np.empty(neurons, np.float32)
    flags = np.zeros(8 * packed.shape[2], np.uint8)
    k = 0
    while k < len(rows):
        target = targets[k]
        largest[:] = -np.inf
        smallest[:] = np.inf
        while k < len(rows) and targets[k] == target:
            row = rows[k]
            for i in range(neurons):
                value = x[row, i]
                largest[i] = value if value > largest[i] else largest[i]
                smallest[i] = value if (value < smallest[i]) & (value >= lowest) else smallest[i]
            k += 1
        for s in range(len(bounds)):
            _or_bits(largest, smallest, bounds[s, _ACTIVATED], flags, packed[target, s])
            _or_bits(largest, smallest, bounds[s, _REACHED], flags, edges[target, s, 0])
            _or_bits(largest, smallest, bounds[s, _ABOVE], flags, edges[target, s, 1])


@compiled
def _or_bits(largest, smallest, bounds, flags, packed):  # type: ignore[no-untyped-def]
    rising, falling = bounds[0], bounds[1]
    for i in range(len(largest)):
        flags[i] = (largest[i] >= rising) | (smallest[i] <= falling)
    by_eight = flags.view(np.uint64)
    for b in range(len(packed)):
        packed[b] |= _packed(by_eight, b)


@compiled
def _count(x, rows, targets, neurons, bounds, lowest, counts):  # type: ignore[no-untyped-def]
    """Position "corpus": comparisons, added up over rows of one language before they go to its counts."""
    sums = np.empty((len(bounds), neurons), np.int32)
    k = 0
    while k < len(rows):
        target = targets[k]
        sums[:] = 0
        while k < len(rows) and targets[k] == target:
            row = rows[k]
            for s in range(len(bounds)):
                rising, falling = bounds[s, _ACTIVATED, 0], bounds[s, _ACTIVATED, 1]
                if falling == falling:
                    for i in range(neurons):
                        sums[s, i] += _inside(x[row, i], rising, falling, lowest)
                else:
                    for i in range(neurons):
                        sums[s, i] += x[row, i] >= rising
            k += 1
        for s in range(len(bounds)):
            for i in range(neurons):
                counts[target, s, i] += sums[s, i]

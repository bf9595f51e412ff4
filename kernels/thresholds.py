"""Find the gates whose activation is above a threshold, so that none needs to be evaluated.

Every activation function of `functions.py` falls at most once, and rises from there on: silu and the GELUs from
their minimum, relu from 0. So the gates whose activation exceeds a bound are `x >= rising`, and, where the bound
lies below what the function tends to on the left, also `lowest <= x <= falling`. Both ends are searched for among
the floating-point numbers themselves, asking the definition in PyTorch with its rounding. After that a neuron costs a
comparison or two in place of an exponential, and bf16, slow on many CPUs, is never computed with: comparisons are of
codes, integers that lie as the numbers do.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from fastneurons_kernels.functions import get_function
from fastneurons_kernels.reading import NEAR_MARGIN

IDENTITY = "identity"  # for values compared with the threshold as they are

_Values = npt.NDArray[np.float32]
_Codes = npt.NDArray[np.int64]

# Codes between the points of the first, coarse search for the minimum of a function of fp32.
_COARSE = 1 << 15

# Codes evaluated at once. torch's vector loops evaluate a row; a single number goes through another loop, which may
# differ in the last place. And for gelu torch wakes a thread at each call, which took 9 ms with both cores busy.
_AT_ONCE = 4096


class Bounds(NamedTuple):
    """{x: x >= rising or lowest <= x <= falling}; NaN where there is no such x."""

    rising: float
    falling: float


class Sides(NamedTuple):
    """The gates on each side of a threshold t, by their activation a.

    Args:
        activated: a > t.
        reached: a - t >= -NEAR_MARGIN.
        above: a - t > NEAR_MARGIN.
        lowest: The lowest gate whose activation is not NaN: -inf, or the lowest finite number where that gives NaN.
    """

    activated: Bounds
    reached: Bounds
    above: Bounds
    lowest: float


@functools.lru_cache(maxsize=256)
def sides(function: str, parameters: tuple[float, ...], dtype: torch.dtype, threshold: float) -> Sides:
    """The gates of `dtype` on each side of a threshold; see `Sides`.

    Args:
        function: A name of `functions.FUNCTIONS`, or IDENTITY.
        parameters: The function's.
        dtype: bf16, fp16 or fp32: of the gate, and what its activation is rounded to.
        threshold: As float32 has it.
    """
    curve = _curve(function, parameters, dtype)
    margin, t = np.float32(NEAR_MARGIN), np.float32(threshold)
    return Sides(
        curve.bounds(lambda a: a > t),
        curve.bounds(lambda a: a - t >= -margin),
        curve.bounds(lambda a: a - t > margin),
        curve.value(curve.lowest),
    )


class CodeRanges(NamedTuple):
    """The same for codes: a number's bits as a signed integer, all but the sign inverted where that is set.

    Args:
        ranges: uint16 or uint32 [S, 3, 2, 2], as wide as the dtype; of S thresholds, `Sides.activated`, `.reached` and
            `.above`: a range of codes towards the right, and one towards the left that shares none with it; of each
            its first code and how many there are, both modulo the dtype. No code of a NaN is in any.
        lowest: The code of `Sides.lowest`.
        infinity: The code of +inf. Codes of NaNs lie beyond it, and below that of -inf.
    """

    ranges: npt.NDArray[np.unsignedinteger]
    lowest: int
    infinity: int


@functools.lru_cache(maxsize=256)
def code_ranges(
    function: str, parameters: tuple[float, ...], dtype: torch.dtype, thresholds: tuple[float, ...]
) -> CodeRanges:
    """The codes on each side of some thresholds; arguments as those of `sides`."""
    curve = _curve(function, parameters, dtype)
    infinity, lowest = _code(np.inf, dtype), _code(curve.value(curve.lowest), dtype)
    bits = 8 * dtype.itemsize
    ranges = np.zeros((len(thresholds), 3, 2, 2), np.dtype(f"uint{bits}"))
    for of_threshold, threshold in zip(ranges, thresholds, strict=True):
        found = sides(function, parameters, dtype, threshold)
        for right_and_left, bounds in zip(of_threshold, found[:3], strict=True):
            # -0 equals 0, and lies below it.
            first = infinity + 1 if np.isnan(bounds.rising) else _code(bounds.rising or -0.0, dtype)
            last = lowest - 1 if np.isnan(bounds.falling) else _code(bounds.falling or 0.0, dtype)
            last = min(last, first - 1)
            right_and_left[:] = np.array([[first, infinity + 1 - first], [lowest, last + 1 - lowest]]) % (
                1 << bits
            )
    ranges.setflags(write=False)
    return CodeRanges(ranges, lowest, infinity)


def _code(value: float, dtype: torch.dtype) -> int:
    """Index of a number among all of the dtype: -1 for -0, 0 for 0, 1 for the next larger one."""
    bits = torch.int16 if dtype.itemsize == 2 else torch.int32
    code = int(torch.tensor(value, dtype=dtype).view(bits))
    return code if code >= 0 else code ^ torch.iinfo(bits).max


@functools.lru_cache(maxsize=32)
def _curve(function: str, parameters: tuple[float, ...], dtype: torch.dtype) -> "_Curve":
    return _Curve(function, parameters, dtype)


class _Curve:
    """A function over all numbers of a dtype, each known by a code: 0 for 0, 1 for the next larger one, ..."""

    def __init__(self, function: str, parameters: tuple[float, ...], dtype: torch.dtype) -> None:
        definition = (lambda x, _: x) if function == IDENTITY else get_function(function)
        self._of: Callable[[torch.Tensor], torch.Tensor] = lambda x: definition(x, parameters)
        self._dtype = dtype
        self._bits = torch.int16 if dtype.itemsize == 2 else torch.int32
        [infinity] = torch.tensor([torch.inf], dtype=dtype).view(self._bits).tolist()
        self._infinity = int(infinity)
        lowest = _first(lambda codes: ~np.isnan(self(codes)), -self._infinity, 0)
        assert lowest is not None, f"{function}{parameters} has no activation at 0"
        self.lowest = lowest
        self.minimum = self._minimum()

    def __call__(self, codes: _Codes) -> _Values:
        """The function at these codes, rounded to the dtype."""
        return self._of(self._numbers(codes).float()).to(self._dtype).float().numpy()

    def value(self, code: int) -> float:
        """The number with that code."""
        return float(self._numbers(np.array([code])).float())

    def bounds(self, holds: Callable[[_Values], npt.NDArray[np.bool_]]) -> Bounds:
        """Bounds of the gates whose activation meets a condition; if one activation meets it, all larger ones must."""
        with np.errstate(invalid="ignore", over="ignore"):  # infinities less infinite thresholds
            rising = _first(lambda codes: holds(self(codes)), self.minimum, self._infinity)
            falling = _first(lambda codes: holds(self(-codes)), -self.minimum, -self.lowest)
        return Bounds(
            np.nan if rising is None else self.value(rising),
            np.nan if falling is None else self.value(-falling),
        )

    def _numbers(self, codes: _Codes) -> torch.Tensor:
        sign = 1 << (8 * self._dtype.itemsize - 1)
        bits = np.where(codes < 0, -codes - sign, codes)
        return torch.from_numpy(bits).to(self._bits).view(self._dtype)

    def _minimum(self) -> int:
        """The code from which the function rises; the last one where it is flat."""
        step = _COARSE if self._dtype.itemsize == 4 else 1
        around = self._last_minimum(np.arange(self.lowest, 1, step, dtype=np.int64))
        if step == 1:
            return around
        near = np.arange(max(self.lowest, around - step), min(0, around + step) + 1, dtype=np.int64)
        return self._last_minimum(near)

    def _last_minimum(self, codes: _Codes) -> int:
        a = self(codes)
        return int(codes[np.flatnonzero(a == np.nanmin(a))[-1]])


def _first(holds: Callable[[_Codes], npt.NDArray[np.bool_]], low: int, high: int) -> int | None:
    """The first of low .. high at which a monotone condition holds; None if it holds nowhere."""
    while True:
        step = max(1, -(-(high - low) // (_AT_ONCE - 1)))
        codes = np.minimum(low + step * np.arange(_AT_ONCE), high)
        found = np.flatnonzero(holds(codes))
        if not found.size:
            return None
        if step == 1:
            return int(codes[found[0]])
        low, high = int(codes[max(found[0] - 1, 0)]), int(codes[found[0]])

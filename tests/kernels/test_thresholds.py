"""The bounds on gates against the definitions: every 16-bit number, and float32 numbers on both sides of each bound."""

import math

import numpy as np
import pytest
import torch
from fastneurons_kernels.functions import FUNCTIONS
from fastneurons_kernels.reading import NEAR_MARGIN
from fastneurons_kernels.thresholds import IDENTITY, code_ranges, sides

# The last xielu has gates below -1e38 that it gives no number for: inf - inf.
PARAMETERS = {
    "fatrelu": ((0.25,), (-0.3,), (0.0,)),
    "xielu": ((0.8, 1.3, 0.5, -1e-6), (0.2, 0.55, 0.5, -1e-6), (2.0, 4.0, 1.5, -1e-6)),
}
CURVES = [(name, values) for name in (*FUNCTIONS, IDENTITY) for values in PARAMETERS.get(name, ((),))]
THRESHOLDS = (-1.0, -0.2, -0.1, -0.05, -1e-3, -0.0, 0.0, 5e-4, 1e-3, 0.1, 0.2, 0.5, 7.0, math.inf, -math.inf)
MARGIN = np.float32(NEAR_MARGIN)

every_curve = pytest.mark.parametrize(("function", "parameters"), CURVES, ids=str)


def activation_of(x, function, parameters):
    """Rounded to x's dtype, as float32 in numpy."""
    a = x if function == IDENTITY else FUNCTIONS[function](x.float(), parameters).to(x.dtype)
    return a.float().numpy()


def found_and_wanted(x, a, found, threshold):
    """By predicate: where the bounds put the gates, where their activations belong, and the activation it hangs on."""
    gate, t = x.float().numpy(), np.float32(threshold)
    with np.errstate(invalid="ignore", over="ignore"):
        wanted = (a > t, a - t >= -MARGIN, a - t > MARGIN)
    for bounds, want, edge in zip(found[:3], wanted, (t, t - MARGIN, t + MARGIN), strict=True):
        inside = (gate >= bounds.rising) | ((gate <= bounds.falling) & (gate >= found.lowest))
        yield inside, want, edge


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@every_curve
def test_every_16_bit_gate_is_told(function, parameters, dtype):
    x = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(dtype)
    a = activation_of(x, function, parameters)
    occurring = np.unique(a[np.isfinite(a)])
    for threshold in (*THRESHOLDS, *occurring[:: max(1, len(occurring) // 12)].tolist(), occurring[-1]):
        found = sides(function, parameters, dtype, float(threshold))
        for inside, want, _ in found_and_wanted(x, a, found, threshold):
            assert np.array_equal(inside, want), (threshold, x[inside != want][:5], found)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@every_curve
def test_ranges_of_codes_are_the_bounds(function, parameters, dtype):
    """Of each 16-bit number, NaNs too: one range at most has its code, and one has where the bounds have the number."""
    x = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16)
    bits, gate = x.numpy(), x.view(dtype).float().numpy()
    codes = np.where(bits < 0, bits ^ 0x7FFF, bits).astype(np.uint16)
    # As numbers lie, so do codes.
    numbers = ~np.isnan(gate)
    in_order = gate[numbers][np.argsort(codes[numbers].astype(np.int16), kind="stable")]
    assert (np.diff(in_order[np.isfinite(in_order)]) >= 0).all()
    found = code_ranges(function, parameters, dtype, THRESHOLDS)
    for threshold, of_threshold in zip(THRESHOLDS, found.ranges, strict=True):
        wanted = sides(function, parameters, dtype, threshold)
        for right_and_left, bounds in zip(of_threshold, wanted[:3], strict=True):
            inside = [(codes - first).astype(np.uint16) < count for first, count in right_and_left]
            want = (gate >= bounds.rising) | ((gate <= bounds.falling) & (gate >= wanted.lowest))
            assert not (inside[0] & inside[1]).any()
            assert np.array_equal(inside[0] | inside[1], want), (threshold, bounds, right_and_left)
    assert found.infinity == codes[gate == np.inf].astype(np.int16).item()
    assert found.lowest == codes[gate == np.float32(wanted.lowest)].astype(np.int16).item()


@every_curve
def test_float32_gates_are_told_but_for_their_last_places(function, parameters):
    """2,000 numbers on each side of every bound, and any others."""
    random = np.random.default_rng(0).integers(0, 1 << 32, 50_000, dtype=np.uint64)
    for threshold in (-0.2, -0.05, 0.0, 0.1, 0.5):
        found = sides(function, parameters, torch.float32, threshold)
        bounds = np.array([*found.activated, *found.reached, *found.above, found.lowest], np.float32)
        centers = bounds[np.isfinite(bounds)].view(np.uint32).astype(np.int64)
        beside = np.clip(centers[:, None] + np.arange(-2000, 2001), 0, (1 << 32) - 1)
        codes = np.concatenate([random, beside.ravel().astype(np.uint64)]).astype(np.uint32)
        x = torch.from_numpy(codes.view(np.float32).copy())
        a = activation_of(x, function, parameters)
        for inside, want, edge in found_and_wanted(x, a, found, threshold):
            # As float32 goes, the definitions themselves rise and fall in their last places: PyTorch's gelu with
            # AVX-512 by up to 1.1e-6 around -3.4, that of a double beside it.
            wrong = a[inside != want]
            assert (np.abs(wrong - edge) <= 1.5e-6 * (1 + abs(edge))).all(), (threshold, wrong, found)


def test_bounds_by_hand():
    relu = sides("relu", (), torch.float32, 0.0)
    assert relu.activated.rising == np.nextafter(np.float32(0), np.float32(1))
    assert math.isnan(relu.activated.falling)
    assert relu.above.rising == np.nextafter(MARGIN, np.float32(1))
    # relu(x) - 0 >= -0.001 for every x: from 0 on it rises, up to 0 it is flat.
    assert relu.reached == (0.0, 0.0)
    assert relu.lowest == -math.inf
    silu = sides("silu", (), torch.float32, 0.0)
    assert silu.lowest == np.finfo(np.float32).min  # silu(-inf) is NaN
    # Its minimum is -0.2785 at -1.2785: it exceeds -0.2 left of one gate and right of another.
    falling, rising = (sides("silu", (), torch.float32, -0.2).activated[i] for i in (1, 0))
    for gate in (falling, rising):
        assert gate / (1 + math.exp(-gate)) == pytest.approx(-0.2, abs=1e-6)
    assert falling < -1.2785 < rising
    nowhere = sides("silu", (), torch.bfloat16, math.inf).activated
    assert math.isnan(nowhere.rising) and math.isnan(nowhere.falling)

"""The activation kernel and its CPU counterpart against the reference.

What hangs on the last place of an exponential is kept apart: `a` itself may differ from the reference by
MAX_STEPS representable numbers, in MAX_DIFFERING of the values; everything after `a` has no tolerance.
"""

import math

import numpy as np
import pytest
import torch
from fastneurons_kernels.activation import (
    NEAR_MARGIN,
    activation,
    activation_cpu,
    activation_reference,
    activation_triton,
    near_parts,
    num_words,
    observe_cpu,
)
from fastneurons_kernels.functions import FUNCTIONS
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.conftest import far_apart

PARAMETERS = {"fatrelu": (0.25,), "xielu": (0.8, 1.3, 0.5, -1e-6)}
EXACT_FUNCTIONS = ("relu", "relu2", "fatrelu")
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
SENTINEL = 0x5A5A5A5A
MAX_STEPS = {torch.bfloat16: 1, torch.float16: 1, torch.float32: 16}
MAX_DIFFERING = {torch.bfloat16: 0.002, torch.float16: 0.01, torch.float32: 1.0}
IMPLEMENTATIONS = {"triton": activation_triton, "cpu": activation_cpu}


def make_x(seed, rows, columns, dtype, extra_stride=0, special=True):
    """Random gates, some of them special; a strided view when extra_stride is given."""
    generator = torch.Generator().manual_seed(seed)
    store = torch.randn((rows, columns + extra_stride), generator=generator) * 2
    if special and store.numel():
        values = torch.tensor(
            [math.nan, math.inf, -math.inf, 0.0, -0.0, 0.25, 1e-3, -1e-3, 65000.0, -65000.0]
        )
        flat = store.view(-1)
        at = torch.randint(0, flat.numel(), (max(1, flat.numel() // 8),), generator=generator)
        flat[at] = values[torch.randint(0, len(values), (len(at),), generator=generator)]
    return store.to(dtype)[:, :columns]


def make_observation(seed, rows, neurons, thresholds, targeted, spare_rows=2, layers=3):
    """Targets, and sentinel-filled outputs that are a layer's view of one buffer for all layers."""
    generator = torch.Generator().manual_seed(seed)
    num_targeted = round(targeted * rows)
    num_outputs = num_targeted + spare_rows
    targets = torch.full((rows + 3,), -1, dtype=torch.int32)  # longer than T: a buffer for the largest batch
    targets[rows:] = 0  # behind T: must not be read
    at = torch.randperm(rows, generator=generator)[:num_targeted]
    targets[at] = torch.randperm(num_outputs, generator=generator)[:num_targeted].int()
    S = len(thresholds)
    return {
        "targets": targets,
        "thresholds": torch.tensor(thresholds, dtype=torch.float32),
        "words": torch.full((num_outputs, S, layers, num_words(neurons)), SENTINEL, dtype=torch.int32)[
            :, :, 1
        ],
        "near": torch.full((num_outputs, S, layers, near_parts(neurons)), SENTINEL, dtype=torch.int32)[
            :, :, 1
        ],
        "calls": torch.zeros(1, dtype=torch.int64),
    }


def clone(observation):
    """With the same strides, and the whole buffer behind `words` and `near`."""
    out = {name: tensor.clone() for name, tensor in observation.items()}
    for name in ("words", "near"):
        base = observation[name]._base.clone()
        out[name] = base[:, :, 1]
    return out


def steps_between(a, b):
    """How many representable numbers lie between, element by element; equal infinities and NaNs are 0."""
    integer = {2: torch.int16, 4: torch.int32}[a.element_size()]

    def ordered(x):
        code = (x + 0.0).view(integer).long()  # + 0.0: -0 is 0
        return torch.where(code < 0, -(code & torch.iinfo(integer).max), code)

    same = (a == b) | (a.isnan() & b.isnan())
    return torch.where(same, 0, (ordered(a) - ordered(b)).abs())


def assert_activations_close(function, a, want):
    steps = steps_between(a, want)
    if function in EXACT_FUNCTIONS:
        assert not steps.any()
        return
    # Far below 0, where 1 + erf leaves next to nothing, the size of the gate counts, not that of the result.
    tiny = (a.float() - want.float()).abs() <= 1e-6
    assert (tiny | (steps <= MAX_STEPS[a.dtype])).all(), steps.max()
    assert ((steps > 0) & ~tiny).sum() <= max(1, MAX_DIFFERING[a.dtype] * steps.numel())


def pack(activated):
    """int32 words of a bool [I], by numpy."""
    packed = np.packbits(activated.numpy(), bitorder="little")
    return torch.from_numpy(np.pad(packed, (0, -len(packed) % 4)).view(np.int32))


def assert_observed(observation, before, a):
    """The bits and counts are those of the activations `a` [T, I], and nothing else has been written."""
    written = set()
    for row, target in enumerate(observation["targets"][: a.shape[0]].tolist()):
        if target < 0:
            continue
        written.add(target)
        for s, threshold in enumerate(observation["thresholds"]):
            value = a[row].float()
            assert torch.equal(observation["words"][target, s], pack(value > threshold))
            near = (value - threshold).abs() <= NEAR_MARGIN
            assert observation["near"][target, s].tolist() == [int(p.sum()) for p in near.split(1024)]
    for name in ("words", "near"):
        buffer, old = observation[name]._base, before[name]._base
        assert torch.equal(buffer[:, :, [0, 2]], old[:, :, [0, 2]]), "another layer's rows"
        untouched = [r for r in range(len(buffer)) if r not in written]
        assert torch.equal(buffer[untouched], old[untouched]), "rows that are no target"


thresholds = st.lists(st.sampled_from([0.0, 0.25, -0.1, 1.0, -1e-3, 5e-4, 65000.0]), min_size=1, max_size=3)
shapes = st.tuples(
    st.sampled_from([0, 1, 2, 5]),  # T
    st.sampled_from([1, 7, 8, 31, 32, 33, 96, 100, 1000, 1024, 1025, 1056, 2050]),  # I
)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@given(
    seed=st.integers(0, 1000),
    shape=shapes,
    function=st.sampled_from(list(FUNCTIONS)),
    gated=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    extra_stride=st.sampled_from([0, 8, 5]),
    thresholds=thresholds,
    targeted=st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(settings.get_profile("kernels"), max_examples=60)
def test_equals_the_reference(
    implementation, interpreted, seed, shape, function, gated, dtype, extra_stride, thresholds, targeted
):
    rows, neurons = shape
    parameters = PARAMETERS.get(function, ())
    x = make_x(seed, rows, neurons * (1 + gated), dtype, extra_stride)
    before = make_observation(seed, rows, neurons, thresholds, targeted)
    got, want = clone(before), clone(before)
    arguments = {"function": function, "gated": gated, "parameters": parameters}
    out = IMPLEMENTATIONS[implementation](x, **arguments, **got)
    want_out = activation_reference(x, **arguments, **want)
    assert torch.equal(got["calls"], want["calls"])
    if function in EXACT_FUNCTIONS:
        assert not steps_between(out, want_out).any()
        assert torch.equal(got["words"], want["words"])
        assert torch.equal(got["near"], want["near"])
    # By its own a, which alone may differ: plain, that is the output; gated, the output for an `up` of ones.
    # In the same strides: torch's erf differs by tens of float32 numbers between its vector and scalar loops.
    ones, up = x._base.clone()[:, : x.shape[1]], x[:, neurons:].float()
    if gated:
        ones[:, neurons:] = 1
    a = IMPLEMENTATIONS[implementation](ones, **arguments)
    want_a = activation_reference(ones, **arguments)
    assert a.dtype == out.dtype == dtype
    assert_activations_close(function, a, want_a)
    assert not steps_between(out, (a.float() * up).to(dtype) if gated else a).any()
    assert_observed(got, before, a)
    assert_observed(want, before, want_a)


@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.sampled_from([0, 1, 63]), st.sampled_from([1, 9, 32, 100, 1025, 1536])),
    function=st.sampled_from(list(FUNCTIONS)),
    gated=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    extra_stride=st.sampled_from([0, 8, 5]),
    thresholds=thresholds,
    targeted=st.sampled_from([0.0, 0.1, 1.0]),
)
@settings(settings.get_profile("kernels"), max_examples=60)
def test_the_cpu_observer_equals_the_reference_and_leaves_its_input(
    seed, shape, function, gated, dtype, extra_stride, thresholds, targeted
):
    rows, neurons = shape
    x = make_x(seed, rows, neurons * (1 + gated), dtype, extra_stride)
    kept = x.clone()
    before = make_observation(seed, rows, neurons, thresholds, targeted)
    got, want = clone(before), clone(before)
    arguments = {"function": function, "gated": gated, "parameters": PARAMETERS.get(function, ())}
    observe_cpu(x, **arguments, **got)
    activation_reference(x, **arguments, **want)
    for name in ("words", "near", "calls"):
        assert torch.equal(got[name], want[name]), name
    assert torch.equal(x.nan_to_num(1), kept.nan_to_num(1))
    assert torch.equal(got["words"]._base[:, :, [0, 2]], before["words"]._base[:, :, [0, 2]])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_cpu_observer_knows_every_16_bit_gate(function, dtype):
    """All 65,536 patterns, or as many float32 numbers, at thresholds on and beside values that occur."""
    codes = torch.arange(1 << 16, dtype=torch.int32)
    x = codes.to(torch.int16).view(dtype) if dtype.itemsize == 2 else (codes << 16).view(torch.float32)
    parameters = PARAMETERS.get(function, ())
    a = FUNCTIONS[function](x.float(), parameters).to(dtype).float()
    occurring = a[a.isfinite()][::9973].tolist()
    before = make_observation(0, 1, 1 << 16, [0.0, -0.0, -0.05, 0.7, math.inf, -math.inf, *occurring], 1.0)
    got, want = clone(before), clone(before)
    arguments = {"function": function, "gated": False, "parameters": parameters}
    observe_cpu(x[None], **arguments, **got)
    activation_reference(x[None], **arguments, **want)
    assert torch.equal(got["words"], want["words"])
    assert torch.equal(got["near"], want["near"])


@pytest.mark.parametrize("implementation", [activation_reference, activation_triton, activation_cpu])
def test_bits_by_hand(implementation, interpreted):
    gate = torch.tensor([[0.0, 1.0, -1.0, math.inf, math.nan, 2.0, 0.0005, -math.inf, 3.0]])
    up = torch.full((1, 9), 2.0)
    words = torch.full((2, 2, 1), SENTINEL, dtype=torch.int32)
    near = torch.full((2, 2, 1), SENTINEL, dtype=torch.int32)
    out = implementation(
        torch.cat([gate, up], 1),
        torch.tensor([1], dtype=torch.int32),
        function="relu",
        gated=True,
        thresholds=torch.tensor([0.0, 2.0]),
        words=words,
        near=near,
    )
    # More than 0: 1, +inf, 2, 0.0005, 3. More than 2: +inf, 3; equal is not more.
    assert words[1].flatten().tolist() == [0b101101010, 0b100001000]
    assert near[1].flatten().tolist() == [4, 1]  # of 0: 0, -1, 0.0005, -inf, which relu makes 0; of 2: itself
    assert (words[0] == SENTINEL).all() and (near[0] == SENTINEL).all()
    want = torch.tensor([[0.0, 2, 0, math.inf, math.nan, 4, 0.001, 0, 6]])
    torch.testing.assert_close(out, want, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("implementation", [activation_triton, activation_cpu])
def test_the_product_is_of_the_rounded_activation(implementation, interpreted):
    """silu(1) is 0.73106, in bf16 0.73047; times 9, in bf16, that is 6.5625, and 6.59375 in one go."""
    x = torch.tensor([[1.0, 9.0]], dtype=torch.bfloat16)
    assert implementation(x, function="silu", gated=True).item() == 6.5625


@pytest.mark.parametrize("implementation", [activation_triton, activation_cpu])
def test_calls_are_counted_once_a_launch(implementation, interpreted):
    observation = make_observation(0, 3, 2050, [0.0], 1.0)
    x = make_x(0, 3, 2050, torch.float32)
    for _ in range(3):
        implementation(x, function="relu", gated=False, **observation)
    implementation(x[:0], function="relu", gated=False, **observation)
    assert observation["calls"].item() == 3


def test_offsets_past_two_to_the_31(interpreted):
    words, near = far_apart(torch.int32, (3, 1, 2)), far_apart(torch.int32, (3, 1, 1))
    x = far_apart(torch.float16, (4, 40))
    x[:] = torch.arange(-20, 20).half()
    activation_triton(
        x,
        torch.tensor([-1, -1, -1, 2], dtype=torch.int32),
        function="relu",
        gated=False,
        thresholds=torch.zeros(1),
        words=words,
        near=near,
    )
    assert torch.equal(words[2, 0], pack(torch.arange(-20, 20) > 0))
    assert near[2].item() == 21


def test_wrong_arguments_are_named():
    x = torch.zeros(2, 64)
    good = make_observation(0, 2, 32, [0.0], 1.0)
    cases = {
        "x must be": (x.t(), good),
        "even number of columns": (x[:, :63], good),
        "targets must be": (x, {**good, "targets": good["targets"].long()}),
        "targets come with": (x, {**good, "words": None}),
        "thresholds must be": (x, {**good, "thresholds": torch.zeros(1, dtype=torch.float64)}),
        "words must be": (x, {**good, "words": torch.zeros(2, 1, 2, dtype=torch.int32)}),
        "near must be": (x, {**good, "near": torch.zeros(2, 2, 1, dtype=torch.int32)}),
        "out must be": (x, {**good, "out": torch.zeros(2, 64)}),
    }
    for message, (tensor, arguments) in cases.items():
        with pytest.raises(ValueError, match=message):
            activation(tensor, function="silu", gated=True, **arguments)

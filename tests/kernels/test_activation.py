"""The activation kernels and their CPU counterpart against the reference.

What hangs on the last place of an exponential is kept apart: `a` itself may differ from the reference by
MAX_STEPS representable numbers, in MAX_DIFFERING of the values; everything after `a` has no tolerance.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fastneurons_kernels.activation import activation_reference
from fastneurons_kernels.activation_cpu import Reader, RowsToRead, activation_cpu
from fastneurons_kernels.activation_triton import activation_triton as launch_activation
from fastneurons_kernels.functions import FUNCTIONS
from fastneurons_kernels.reading import NEAR_MARGIN, Reading, near_parts, near_threshold_count, num_words
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.conftest import far_apart, launched

activation_triton = launched(launch_activation)
PARAMETERS = {"fatrelu": (0.25,), "xielu": (0.8, 1.3, 0.5, -1e-6)}
EXACT_FUNCTIONS = ("relu", "relu2", "fatrelu")
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
POSITIONS = ("last", "any", "corpus")
OUTPUTS = ("words", "near", "edges", "counts", "coefficients")
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


def make_targets(generator, position, rows, num_outputs, targeted):
    """Each row's own target, for position "last"; else runs of rows with the same, some of them read twice or not."""
    targets = torch.full((rows + 3,), -1, dtype=torch.int32)  # longer than T: a buffer for the largest batch
    targets[rows:] = 0  # behind T: must not be read
    own = torch.randperm(num_outputs, generator=generator).int()
    if position == "last":
        at = torch.randperm(rows, generator=generator)[: round(targeted * rows)]
        targets[at] = own[: len(at)]
        return targets
    row, run = 0, 0
    while row < rows:
        length = int(torch.randint(1, 20, (1,), generator=generator))
        if torch.rand(1, generator=generator) < targeted:
            targets[row : min(row + length, rows)] = own[run % num_outputs]
        row, run = row + length, run + 1
    return targets


def make_reading(
    seed, rows, neurons, thresholds, targeted, position="last", signal="gate", dtype=torch.float32, layers=3,
    coefficients=False,
):  # fmt: skip
    """Sentinel-filled outputs that are a layer's view of one buffer for all layers."""
    generator = torch.Generator().manual_seed(seed)
    R, S, W = rows + 2, len(thresholds), num_words(neurons)
    shapes = {
        "last": {"words": (S, layers, W), "near": (S, layers, near_parts(neurons))},
        "any": {"words": (S, layers, W), "edges": (S, layers, 2, W)},
        "corpus": {"counts": (S, layers, neurons)},
    }[position]
    buffers = {
        name: torch.full((R, *shape), SENTINEL, dtype=torch.int32)[:, :, 1] for name, shape in shapes.items()
    }
    if position == "any":
        for buffer in buffers.values():
            buffer.zero_()
            buffer[:, :, ..., 0] = 5 << 8  # what earlier calls have found of a prompt stays
    if coefficients and position == "last":
        buffers["coefficients"] = torch.full((R, layers, neurons), 7.0, dtype=dtype)[:, 1]
    return Reading(
        targets=make_targets(generator, position, rows, R, targeted),
        thresholds=torch.tensor(thresholds, dtype=torch.float32),
        signal=signal,
        **buffers,
    )


def buffers_of(reading):
    """The outputs that there are, by name."""
    return {name: tensor for name in OUTPUTS if (tensor := getattr(reading, name)) is not None}


def clone(reading):
    """With the same strides, and the whole buffers behind the outputs."""
    cloned = {
        name: tensor._base.clone().as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
        for name, tensor in buffers_of(reading).items()
    }
    return replace(reading, **cloned)


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
    # Of few values, chance alone makes more of them differ than the share: four standard deviations of their number.
    expected = MAX_DIFFERING[a.dtype] * steps.numel()
    assert ((steps > 0) & ~tiny).sum() <= max(1, expected + 4 * expected**0.5)


def pack(activated):
    """int32 words of a bool [I], by numpy."""
    packed = np.packbits(activated.numpy(), bitorder="little")
    return torch.from_numpy(np.pad(packed, (0, -len(packed) % 4)).view(np.int32))


def assert_observed(reading, before, a, product):
    """What was read is that of the activations `a` and coefficients `product` [T, I]; nothing else is written."""
    expected = {name: tensor.clone() for name, tensor in buffers_of(before).items()}
    signal = (product if reading.signal == "product" else a).float()
    for row, target in enumerate(reading.targets[: len(a)].tolist()):
        if target < 0:
            continue
        if "coefficients" in expected:
            expected["coefficients"][target] = product[row]
        for s, threshold in enumerate(reading.thresholds):
            activated, difference = signal[row] > threshold, signal[row] - threshold
            if reading.position == "corpus":
                expected["counts"][target, s] += activated
            elif reading.position == "any":
                expected["words"][target, s] |= pack(activated)
                expected["edges"][target, s, 0] |= pack(difference >= -NEAR_MARGIN)
                expected["edges"][target, s, 1] |= pack(difference > NEAR_MARGIN)
            else:
                expected["words"][target, s] = pack(activated)
                near = (difference.abs() <= NEAR_MARGIN).split(1024)
                expected["near"][target, s] = torch.tensor([int(part.sum()) for part in near])
    for name, tensor in buffers_of(reading).items():
        assert_same(tensor, expected[name], name)
        # Other layers' rows: all of the buffer but this layer's view.
        whole, old = tensor._base.clone(), getattr(before, name)._base.clone()
        for buffer in (whole, old):
            buffer.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).zero_()
        assert_same(whole, old, f"{name} of another layer")


def assert_same(found, expected, name):
    assert torch.equal(found.nan_to_num(1), expected.nan_to_num(1)), name
    assert torch.equal(found.isnan(), expected.isnan()), name


threshold_lists = st.one_of(
    st.lists(st.sampled_from([0.0, 0.25, -0.1, 1.0, -1e-3, 1e-3, 5e-4, 65000.0]), min_size=1, max_size=3),
    st.just([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, -0.2, 1.0]),  # more than a program takes
)
shapes = st.tuples(
    st.sampled_from([0, 1, 2, 5, 40]),  # T
    st.sampled_from([1, 7, 8, 31, 32, 33, 96, 100, 1000, 1024, 1025, 1056, 2050]),  # I
)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@given(
    seed=st.integers(0, 1000),
    shape=shapes,
    function=st.sampled_from(list(FUNCTIONS)),
    gated=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    extra_stride=st.sampled_from([0, 8, 5]),
    thresholds=threshold_lists,
    targeted=st.sampled_from([0.0, 0.5, 1.0]),
    signal=st.sampled_from(["gate", "product"]),
    coefficients=st.booleans(),
)
@settings(settings.get_profile("kernels"), max_examples=40)
def test_equals_the_reference(
    implementation, runnable, position, seed, shape, function, gated, dtype, extra_stride, thresholds, targeted,
    signal, coefficients,
):  # fmt: skip
    rows, neurons = shape
    parameters = PARAMETERS.get(function, ())
    x = make_x(seed, rows, neurons * (1 + gated), dtype, extra_stride)
    before = make_reading(
        seed, rows, neurons, thresholds, targeted, position, signal, dtype, coefficients=coefficients
    )
    got, want = clone(before), clone(before)
    arguments = {"function": function, "gated": gated, "parameters": parameters}
    calls, want_calls = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    out = IMPLEMENTATIONS[implementation](x, got, **arguments, calls=calls)
    want_out = activation_reference(x, want, **arguments, calls=want_calls)
    assert torch.equal(calls, want_calls)
    if function in EXACT_FUNCTIONS:
        assert not steps_between(out, want_out).any()
        for name, tensor in buffers_of(got).items():
            assert_same(tensor, getattr(want, name), name)
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
    assert_observed(got, before, a, out)
    assert_observed(want, before, want_a, want_out)


@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.sampled_from([0, 1, 63]), st.sampled_from([1, 9, 32, 100, 1025, 1536])),
    function=st.sampled_from(list(FUNCTIONS)),
    gated=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    extra_stride=st.sampled_from([0, 8, 5]),
    thresholds=threshold_lists,
    targeted=st.sampled_from([0.0, 0.1, 1.0]),
    position=st.sampled_from(POSITIONS),
    signal=st.sampled_from(["gate", "product"]),
)
@settings(settings.get_profile("kernels"), max_examples=80)
def test_the_cpu_observer_leaves_its_input_and_reads_the_models_own_product(
    seed, shape, function, gated, dtype, extra_stride, thresholds, targeted, position, signal
):
    rows, neurons = shape
    x = make_x(seed, rows, neurons * (1 + gated), dtype, extra_stride)
    kept = x.clone()
    before = make_reading(
        seed, rows, neurons, thresholds, targeted, position, signal, dtype, coefficients=True
    )
    got, want = clone(before), clone(before)
    arguments = {"function": function, "gated": gated, "parameters": PARAMETERS.get(function, ())}
    product = activation_reference(x, want, **arguments)
    Reader(got, dtype, neurons, **arguments)(x, product, RowsToRead.of(got.targets[:rows].numpy(), got))
    for name, tensor in buffers_of(got).items():
        assert_same(tensor, getattr(want, name), name)
    assert torch.equal(x.nan_to_num(1), kept.nan_to_num(1))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("position", ["any", "corpus"])
def test_a_prompt_in_several_calls_is_read_as_in_one(implementation, position, runnable):
    x = make_x(5, 45, 200, torch.float32)
    before = make_reading(5, 45, 100, [0.0, 0.5], 1.0, position)
    whole, parts = clone(before), clone(before)
    arguments = {"function": "silu", "gated": True}
    IMPLEMENTATIONS[implementation](x, whole, **arguments)
    for start, end in [(0, 1), (1, 18), (18, 20), (20, 45)]:
        some = replace(parts, targets=before.targets[start:end].clone())
        IMPLEMENTATIONS[implementation](x[start:end], some, **arguments)
    for name, tensor in buffers_of(whole).items():
        assert_same(tensor, getattr(parts, name), name)


def test_near_counts_are_of_neurons_that_are_nowhere_clearly_above():
    # Of four neurons: only near; near and clearly above; below; near in another token.
    x = torch.tensor([[0.0, 5e-4, -1.0, -0.5], [-1.0, 2.0, -2.0, 9e-4]])
    reading = make_reading(0, 2, 4, [0.0], 0.0, "any", layers=2)
    for buffer in buffers_of(reading).values():
        buffer.zero_()
    reading.targets[:2] = 1
    # A value that is held as it is: relu leaves what lies above 0, and what is not comes to 0, which is near.
    activation_reference(x, reading, function="fatrelu", gated=False, parameters=(-10.0,))
    assert near_threshold_count(reading.edges)[1].tolist() == [2]
    assert reading.words[1].flatten().tolist() == [0b1010]


@pytest.mark.parametrize("implementation", [activation_reference, activation_triton, activation_cpu])
def test_bits_by_hand(implementation, runnable):
    gate = torch.tensor([[0.0, 1.0, -1.0, math.inf, math.nan, 2.0, 0.0005, -math.inf, 3.0]])
    up = torch.full((1, 9), 2.0)
    words = torch.full((2, 2, 1), SENTINEL, dtype=torch.int32)
    near = torch.full((2, 2, 1), SENTINEL, dtype=torch.int32)
    reading = Reading(torch.tensor([1], dtype=torch.int32), torch.tensor([0.0, 2.0]), words=words, near=near)
    out = implementation(torch.cat([gate, up], 1), reading, function="relu", gated=True)
    # More than 0: 1, +inf, 2, 0.0005, 3. More than 2: +inf, 3; equal is not more.
    assert words[1].flatten().tolist() == [0b101101010, 0b100001000]
    assert near[1].flatten().tolist() == [4, 1]  # of 0: 0, -1, 0.0005, -inf, which relu makes 0; of 2: itself
    assert (words[0] == SENTINEL).all() and (near[0] == SENTINEL).all()
    want = torch.tensor([[0.0, 2, 0, math.inf, math.nan, 4, 0.001, 0, 6]])
    torch.testing.assert_close(out, want, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("implementation", [activation_reference, activation_triton, activation_cpu])
def test_counts_by_hand(implementation, runnable):
    x = torch.tensor([[1.0, -1.0], [2.0, 3.0], [1.0, 0.0], [-5.0, 1.0], [1.0, 1.0]])
    counts = torch.full((3, 1, 2), 10, dtype=torch.int32)
    targets = torch.tensor([2, 2, -1, 0, 2], dtype=torch.int32)
    implementation(x, Reading(targets, torch.zeros(1), counts=counts), function="relu", gated=False)
    assert counts.flatten(1).tolist() == [[10, 11], [10, 10], [13, 12]]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS.values())
def test_counts_of_rows_that_all_activate(implementation, runnable):
    """What is added up for a threshold is as large as it can be, and stays out of its neighbours' bits."""
    counts = torch.zeros((1, 8, 40), dtype=torch.int32)
    reading = Reading(torch.zeros(50, dtype=torch.int32), torch.tensor([0.5, 9.0] * 4), counts=counts)
    implementation(torch.ones(50, 40), reading, function="relu", gated=False)
    assert (counts[:, 0::2] == 50).all() and (counts[:, 1::2] == 0).all()


@pytest.mark.parametrize("implementation", [activation_reference, *IMPLEMENTATIONS.values()])
def test_a_margin_away_is_near_and_not_clearly_above(implementation, runnable):
    words, edges = torch.zeros((1, 2, 1), dtype=torch.int32), torch.zeros((1, 2, 2, 1), dtype=torch.int32)
    thresholds = torch.tensor([NEAR_MARGIN, -NEAR_MARGIN])
    reading = Reading(torch.zeros(1, dtype=torch.int32), thresholds, words=words, edges=edges)
    implementation(torch.zeros(1, 3), reading, function="relu", gated=False)
    assert words.flatten().tolist() == [0, 0b111]
    assert edges.flatten().tolist() == [0b111, 0, 0b111, 0]
    assert near_threshold_count(edges).tolist() == [[3, 3]]


@pytest.mark.parametrize("implementation", [activation_triton, activation_cpu])
def test_the_product_is_of_the_rounded_activation(implementation, runnable):
    """silu(1) is 0.73106, in bf16 0.73047; times 9, in bf16, that is 6.5625, and 6.59375 in one go."""
    x = torch.tensor([[1.0, 9.0]], dtype=torch.bfloat16)
    assert implementation(x, function="silu", gated=True).item() == 6.5625


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("implementation", [activation_triton, activation_cpu])
def test_calls_are_counted_once_a_launch(implementation, position, runnable):
    reading = make_reading(0, 5, 2050, [0.0], 1.0, position)
    x, calls = make_x(0, 5, 2050, torch.float32), torch.zeros(1, dtype=torch.int64)
    for _ in range(3):
        implementation(x, reading, function="relu", gated=False, calls=calls)
    implementation(x[:0], reading, function="relu", gated=False, calls=calls)
    assert calls.item() == 3


@pytest.mark.parametrize("position", POSITIONS)
def test_offsets_past_two_to_the_31(position, runnable):
    x = far_apart(torch.float16, (4, 40))
    x[:] = torch.arange(-20, 20).half()
    buffers = {
        "last": {"words": (3, 1, 2), "near": (3, 1, 1)},
        "any": {"words": (3, 1, 2), "edges": (3, 1, 2, 2)},
        "corpus": {"counts": (3, 1, 40)},
    }[position]
    reading = Reading(
        torch.tensor([-1, -1, -1, 2], dtype=torch.int32),
        torch.zeros(1),
        **{name: far_apart(torch.int32, shape) for name, shape in buffers.items()},
    )
    activation_triton(x, reading, function="relu", gated=False)
    activated = torch.arange(-20, 20) > 0
    if position == "corpus":
        assert torch.equal(reading.counts[2, 0].cpu(), activated.int())
    else:
        assert torch.equal(reading.words[2, 0].cpu(), pack(activated))
    if position == "last":
        assert reading.near[2].item() == 21


def test_wrong_arguments_are_named():
    x, floats = torch.zeros(2, 64), torch.zeros(2, 32)
    good = make_reading(0, 2, 32, [0.0], 1.0)
    counts = torch.zeros(2, 1, 32, dtype=torch.int32)
    cases = {
        "x must be": (x.t(), good, {}),
        "even number of columns": (x[:, :63], good, {}),
        "targets must be": (x, replace(good, targets=good.targets.long()), {}),
        "outputs are words and near": (x, replace(good, words=None), {}),
        "got counts and near and words": (x, replace(good, counts=counts), {}),
        "thresholds must be": (x, replace(good, thresholds=torch.zeros(1, dtype=torch.float64)), {}),
        "words must be": (x, replace(good, words=torch.zeros(2, 1, 2, dtype=torch.int32)), {}),
        "near must be": (x, replace(good, near=torch.zeros(2, 2, 1, dtype=torch.int32)), {}),
        "counts must be": (x, replace(good, words=None, near=None, counts=counts[:, :, :31]), {}),
        "coefficients must be": (x, replace(good, coefficients=floats.half()), {}),
        "coefficients are those": (
            x,
            replace(good, words=None, near=None, counts=counts, coefficients=floats),
            {},
        ),
        "signal must be": (x, replace(good, signal="up"), {}),
        "out must be": (x, good, {"out": torch.zeros(2, 64)}),
    }
    for message, (tensor, reading, more) in cases.items():
        for implementation in (activation_reference, activation_triton, activation_cpu):
            with pytest.raises(ValueError, match=message):
                implementation(tensor, reading, function="silu", gated=True, **more)
    with pytest.raises(IndexError, match="target 4, but there are 4 rows"):
        RowsToRead.of(torch.tensor([4, -1], dtype=torch.int32).numpy(), good)
    rows = RowsToRead.of(good.targets[:2].numpy(), good)
    read = Reader(good, x.dtype, 32, function="silu", gated=True)
    with pytest.raises(ValueError, match="x must be"):
        read(x.half(), None, rows)
    with pytest.raises(ValueError, match=r"x must be .* \[2 or more, 64\]"):
        read(x[:1], None, rows._replace(end=2))
    read = Reader(replace(good, coefficients=floats), x.dtype, 32, function="silu", gated=True)
    with pytest.raises(ValueError, match="no product is given"):
        read(x, None, rows)

"""Editing in the activation kernels and their CPU counterpart, against the reference and by hand.

As in test_activation.py, the activation itself may differ in its last places; everything after it has no tolerance.
"""

import math

import pytest
import torch
from fastneurons_kernels.activation import activation_reference
from fastneurons_kernels.activation_cpu import activation_cpu
from fastneurons_kernels.activation_triton import activation_triton as launch_activation
from fastneurons_kernels.editing import GATE, PRODUCT, Editing, edit_reference
from fastneurons_kernels.editing_cpu import Editor, RowsToEdit
from fastneurons_kernels.functions import FUNCTIONS
from fastneurons_kernels.reading import num_words
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.kernels.conftest import far_apart, launched
from tests.kernels.test_activation import (
    DTYPES,
    PARAMETERS,
    POSITIONS,
    assert_observed,
    assert_same,
    clone,
    make_reading,
    make_x,
    pack,
    steps_between,
)

activation_triton = launched(launch_activation)
# An interpreted launch takes up to a second: looking for a smaller case would take minutes.
NO_SHRINKING = (Phase.explicit, Phase.generate)
IMPLEMENTATIONS = {"triton": activation_triton, "cpu": activation_cpu}
EVERY = [activation_reference, *IMPLEMENTATIONS.values()]


def make_editing(seed, rows, neurons, edited=0.7, edits=5, values=3, layers=3):
    """A bank whose masks and values are a layer's view of those of all layers; each kind of edit is in it."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.full((edits, layers, num_words(neurons)), -1, dtype=torch.int32)
    for k in range(edits):
        marked = torch.rand(neurons, generator=generator) < (0.0, 0.02, 0.5, 1.0)[(seed + k) % 4]
        masks[k, 1] = pack(marked)
    added = torch.randn((values, layers, neurons), generator=generator) * 3
    taken = torch.rand(rows + 3, generator=generator) < edited
    own = torch.randint(0, edits, (rows + 3,), generator=generator)
    return Editing(
        rows=torch.where(taken, own, -1).int(),
        masks=masks[:, 1],
        scales=torch.tensor([0.0, 1.0, 1.5, -2.0, 0.0])[torch.randperm(5, generator=generator)][:edits],
        sites=torch.randint(0, 2, (edits,), generator=generator).int(),
        value_rows=torch.randint(-1, values, (edits,), generator=generator).int(),
        values=added[:, 1],
    )


def same_bits(one, two):
    """Equal, or NaN in both: which NaN it is, no arithmetic promises."""
    integer = torch.int16 if one.element_size() == 2 else torch.int32
    return bool(((one.view(integer) == two.view(integer)) | (one.isnan() & two.isnan())).all())


def assert_activations_nearly_edited(found, want):
    """Up to some last places; but for sums of numbers that cancel, where these places are of the larger one."""
    assert torch.equal(found.isnan(), want.isnan())
    step = torch.finfo(found.dtype).eps
    one, two = found.float().nan_to_num(), want.float().nan_to_num()
    assert ((one - two).abs() <= 16 * step * torch.maximum(two.abs(), torch.tensor(30.0))).all()


@pytest.mark.parametrize("position", [None, *POSITIONS])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(
        st.sampled_from([0, 1, 5, 40]), st.sampled_from([1, 8, 31, 32, 33, 100, 1000, 1025, 2050])
    ),
    function=st.sampled_from(list(FUNCTIONS)),
    gated=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    extra_stride=st.sampled_from([0, 8, 5]),
    values=st.sampled_from([0, 3]),
    signal=st.sampled_from(["gate", "product"]),
)
@settings(settings.get_profile("kernels"), max_examples=12, phases=NO_SHRINKING)
def test_equals_the_reference(
    implementation, runnable, position, seed, shape, function, gated, dtype, extra_stride, values, signal
):
    rows, neurons = shape
    arguments = {"function": function, "gated": gated, "parameters": PARAMETERS.get(function, ())}
    run = IMPLEMENTATIONS[implementation]
    x = make_x(seed, rows, neurons * (1 + gated), dtype, extra_stride)
    editing = make_editing(seed, rows, neurons, values=values)
    before = position and make_reading(seed, rows, neurons, [0.0, 0.25], 0.5, position, signal, dtype)
    got, bare = (clone(before), clone(before)) if before else (None, None)
    calls = torch.zeros(1, dtype=torch.int64)
    out = run(x, got, editing, **arguments, calls=calls)
    assert calls.item() == (rows > 0)

    # From the implementation's own activations: those of an `up` of ones, and unedited coefficients.
    intact = run(x, bare, **arguments)
    ones, up = x._base.clone()[:, : x.shape[1]], x[:, neurons:] if gated else None
    if gated:
        ones[:, neurons:] = 1
    a = run(ones, **arguments)
    want = edit_reference(editing, a, up, intact)
    if implementation == "cpu":
        # It computes activations of the rows edited at the gate once more, in torch's vector loops where the others
        # may come from its scalar ones.
        at_gate = (editing.rows[:rows] >= 0) & (editing.sites[editing.rows[:rows].clamp(min=0)] == GATE)
        assert_activations_nearly_edited(out[at_gate], want[at_gate])
        out, want, intact = out[~at_gate], want[~at_gate], intact[~at_gate]
    else:
        at_gate = torch.zeros(rows, dtype=torch.bool)
    assert same_bits(out, want)
    none = editing.rows[:rows][~at_gate] < 0
    assert same_bits(out[none], intact[none])
    if before:  # read before the edit: as without one
        assert_observed(got, before, a, run(x, bare, **arguments))


@given(
    seed=st.integers(0, 1000),
    neurons=st.sampled_from([1, 32, 100, 1536]),
    gated=st.booleans(),
    dtype=st.sampled_from(DTYPES),
)
@settings(settings.get_profile("kernels"), max_examples=40)
def test_the_cpu_edits_the_models_own_product_in_place(seed, neurons, gated, dtype):
    x = make_x(seed, 12, neurons * (1 + gated), dtype, extra_stride=8)
    editing = make_editing(seed, 12, neurons)
    kept, arguments = x.clone(), {"function": "relu2", "gated": gated}
    product = activation_reference(x, **arguments)
    want = activation_reference(x, editing=editing, **arguments)
    edit = Editor(editing, dtype, neurons, **arguments)
    edit(x, product, RowsToEdit.of(editing.rows[:12].numpy(), 5))
    assert same_bits(product, want)
    assert torch.equal(x.nan_to_num(1), kept.nan_to_num(1))


@pytest.mark.parametrize("implementation", EVERY)
def test_by_hand(implementation, runnable):
    """Six edits of the same two neurons, of three; relu, so that activations are plain."""
    gate, up = [1.0, 2.0, 3.0], [10.0, -10.0, 100.0]
    x = torch.tensor([gate + up] * 7)
    editing = Editing(
        rows=torch.tensor([0, 1, 2, 3, 4, 5, -1], dtype=torch.int32),
        masks=torch.full((6, 1), 0b101, dtype=torch.int32),
        scales=torch.tensor([0.0, 1.5, 0.0, 1.0, 1.0, 0.5]),
        sites=torch.tensor([PRODUCT, PRODUCT, PRODUCT, PRODUCT, GATE, GATE], dtype=torch.int32),
        value_rows=torch.tensor([-1, -1, 0, 0, 0, 1], dtype=torch.int32),
        values=torch.tensor([[7.0, 8.0, 9.0], [-1.0, -2.0, -3.0]]),
    )
    out = implementation(x, editing=editing, function="relu", gated=True)
    assert out.tolist() == [
        [0.0, -20.0, 0.0],
        [15.0, -20.0, 450.0],
        [7.0, -20.0, 9.0],
        [17.0, -20.0, 309.0],
        [80.0, -20.0, 1200.0],
        [-5.0, -20.0, -150.0],
        [10.0, -20.0, 300.0],
    ]
    plain = implementation(x[:, :3], editing=editing, function="relu", gated=False)
    assert plain[5].tolist() == [-0.5, 2.0, -1.5]  # without a gate, both sites are one


@pytest.mark.parametrize("implementation", EVERY)
def test_what_is_switched_off_is_zero_even_where_it_was_not_a_number(implementation, runnable):
    x = torch.tensor([[math.nan, math.inf, -1.0, 5.0]]).repeat(2, 1)
    editing = Editing(
        rows=torch.tensor([0, 1], dtype=torch.int32),
        masks=torch.tensor([[0b0111], [0b0111]], dtype=torch.int32),
        scales=torch.zeros(2),
        sites=torch.zeros(2, dtype=torch.int32),
        value_rows=torch.tensor([-1, 0], dtype=torch.int32),
        values=torch.full((1, 4), 0.25),
    )
    out = implementation(x, editing=editing, function="relu", gated=False)
    assert out.tolist() == [[0.0, 0.0, 0.0, 5.0], [0.25, 0.25, 0.25, 5.0]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS.values())
def test_an_edit_that_changes_nothing_keeps_every_bit(implementation, dtype, runnable):
    x = make_x(3, 9, 2 * 100, dtype)
    every = torch.full((2, 4), -1, dtype=torch.int32)
    every[:, 3] = 0b1111
    editing = Editing(
        rows=torch.arange(9, dtype=torch.int32) % 3 - 1,
        masks=every,
        scales=torch.ones(2),
        sites=torch.tensor([PRODUCT, GATE], dtype=torch.int32),
        value_rows=torch.full((2,), -1, dtype=torch.int32),
        values=torch.zeros(0, 100),
    )
    arguments = {"function": "silu", "gated": True}
    assert same_bits(implementation(x, editing=editing, **arguments), implementation(x, **arguments))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS.values())
def test_a_launch_takes_the_bank_as_it_is(implementation, runnable):
    """The bank changes between launches, in place: nothing of it is kept."""
    editing = make_editing(1, 6, 40, edited=1.0)
    x = make_x(1, 6, 40, torch.float32, special=False)
    arguments = {"function": "relu", "gated": False}
    for seed in range(2, 5):
        other = make_editing(seed, 6, 40)
        for name in ("rows", "masks", "scales", "sites", "value_rows", "values"):
            getattr(editing, name).copy_(getattr(other, name))
        out = implementation(x, editing=editing, **arguments)
        assert_same(out, activation_reference(x, editing=other, **arguments), f"bank {seed}")


def test_offsets_past_two_to_the_31(runnable):
    x = torch.ones(3, 40)
    masks, values = far_apart(torch.int32, (4, 2)), far_apart(torch.float32, (4, 40))
    masks[3], values[3] = torch.tensor([0b10, 1]), torch.arange(40.0)
    four = torch.zeros(4, dtype=torch.int32)
    editing = Editing(
        torch.tensor([3, -1, 3], dtype=torch.int32), masks, four.float(), four, four + 3, values
    )
    out = activation_triton(x, editing=editing, function="relu", gated=False)
    want = torch.ones(40)
    want[1], want[32] = 1.0, 32.0
    assert torch.equal(out[0].cpu(), want) and torch.equal(out[2].cpu(), want)
    assert torch.equal(out[1].cpu(), torch.ones(40))


def test_wrong_arguments_are_named():
    good = make_editing(0, 4, 64)
    x = torch.zeros(4, 64)
    wrong = {
        "rows must be": {"rows": good.rows.long()},
        "masks must be": {"masks": good.masks[:, :1]},
        "scales must be": {"scales": good.scales.double()},
        "sites must be": {"sites": good.sites[:2]},
        "value_rows must be": {"value_rows": good.value_rows[:2]},
        "values must be": {"values": good.values[:, :63]},
    }
    for message, change in wrong.items():
        editing = Editing(**{**vars(good), **change})
        for implementation in (activation_reference, launch_activation, activation_cpu):
            with pytest.raises(ValueError, match=message):
                implementation(x, editing=editing, function="relu", gated=False)
    with pytest.raises(IndexError, match="edit 5, but the bank holds 5"):
        RowsToEdit.of(torch.tensor([5, -1], dtype=torch.int32).numpy(), 5)
    edit = Editor(good, x.dtype, 64, function="relu", gated=False)
    rows = RowsToEdit.of(torch.tensor([-1, 1, 2, 3], dtype=torch.int32).numpy(), 5)
    with pytest.raises(ValueError, match=r"x must be .* \[4 or more, 64\]"):
        edit(x[:3], x, rows)
    with pytest.raises(ValueError, match="product must be"):
        edit(x, x[:, :63], rows)
    assert not steps_between(x, torch.zeros(4, 64)).any()

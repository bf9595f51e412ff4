"""Distributions of the signal: both implementations against the reference, and the reference against numpy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fastneurons_kernels.activation import activation_reference
from fastneurons_kernels.activation_cpu import activation_cpu
from fastneurons_kernels.activation_triton import activation_triton as launch_activation
from fastneurons_kernels.bins import NUM_CELLS, anchors, cells_of, edges_at, snapped, tables
from fastneurons_kernels.histogram import Distribution
from fastneurons_kernels.reading import Reading
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.kernels.conftest import launched
from tests.kernels.test_activation import DTYPES, PARAMETERS, make_targets, make_x

activation_triton = launched(launch_activation)
IMPLEMENTATIONS = {"triton": activation_triton, "cpu": activation_cpu}
# Of these, implementations compute the same values: what hangs on the last place of an exponential is tested elsewhere.
EXACT_FUNCTIONS = ("relu", "relu2", "fatrelu")


def edges_of(bins, seed=0):
    """Edges that ascend, some of them close to each other, one just above 0."""
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([[0.0], rng.normal(0, 2, bins), -np.exp(rng.normal(-5, 4, bins)), [0.25, 1e-3]])
    edges = np.unique(snapped(drawn))
    return np.sort(np.append(rng.permutation(edges[edges != edges_at(1)])[: bins - 2], edges_at(1)))


def make_distribution(seed, outputs, neurons, bins, gated, layers=3):
    """Buffers with something in them already, each a layer's view of one for all layers."""
    generator = torch.Generator().manual_seed(seed)

    def buffer(*shape, dtype):
        return torch.randint(0, 1000, (outputs, layers, *shape), generator=generator).to(dtype)[:, 1]

    return Distribution(
        counts=buffer(neurons, bins, dtype=torch.int32),
        sums=buffer(4, neurons, dtype=torch.float64),
        table=torch.from_numpy(tables(edges_of(bins, seed)[None])[0]),
        anchors=torch.from_numpy(anchors(2.0**33)),  # products of special values are this large
        signs=buffer(4, neurons, dtype=torch.int32) if gated else None,
    )


def copied(reading):
    """With buffers of its own, in the same strides."""
    d = reading.distribution

    def clone(t):
        return t if t is None else t._base.clone().as_strided(t.shape, t.stride(), t.storage_offset())

    of = replace(d, counts=clone(d.counts), sums=clone(d.sums), signs=clone(d.signs))
    return replace(reading, counts=reading.counts.clone(), distribution=of)


def outputs_of(reading):
    d = reading.distribution
    found = {"activated": reading.counts, "counts": d.counts, "sums": d.sums, "signs": d.signs}
    return {name: t if t._base is None else t._base for name, t in found.items() if t is not None}


def assert_equal(found, wanted):
    for name, tensor in outputs_of(found).items():
        other = outputs_of(wanted)[name]
        # NaN where a NaN or an infinity was added: which of the two does not matter, nor does a sum that has one.
        assert torch.equal(tensor.isfinite(), other.isfinite()), name
        there = tensor.isfinite()
        assert torch.equal(tensor[there], other[there]), name


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.sampled_from([0, 1, 2, 5, 40]), st.sampled_from([1, 7, 33, 100, 1025, 1056])),
    function=st.sampled_from(EXACT_FUNCTIONS),
    gated=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    extra_stride=st.sampled_from([0, 5]),
    bins=st.sampled_from([16, 64, 256]),
    num_thresholds=st.sampled_from([1, 8]),
    targeted=st.sampled_from([0.0, 0.5, 1.0]),
    signal=st.sampled_from(["gate", "product"]),
)
@settings(settings.get_profile("kernels"), max_examples=20, phases=[Phase.generate])
def test_equals_the_reference(
    implementation, runnable, seed, shape, function, gated, dtype, extra_stride, bins, num_thresholds, targeted,
    signal,
):  # fmt: skip
    rows, neurons = shape
    generator = torch.Generator().manual_seed(seed)
    x = make_x(seed, rows, neurons * (1 + gated), dtype, extra_stride)
    thresholds = torch.linspace(-0.2, 0.5, num_thresholds)
    before = Reading(
        make_targets(generator, "corpus", rows, 4, targeted), thresholds, signal=signal,
        counts=torch.zeros((4, num_thresholds, neurons), dtype=torch.int32),
        distribution=make_distribution(seed, 4, neurons, bins, gated),
    )  # fmt: skip
    found, wanted = copied(before), copied(before)
    arguments = {"function": function, "gated": gated, "parameters": PARAMETERS.get(function, ())}
    IMPLEMENTATIONS[implementation](x, found, **arguments)
    activation_reference(x, wanted, **arguments)
    assert_equal(found, wanted)


@pytest.mark.parametrize("implementation", [activation_reference, *IMPLEMENTATIONS.values()])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("signal", ["gate", "product"])
def test_is_numpys(implementation, dtype, signal, runnable):
    """Histogram, sums and signs of what numpy sees of the same values, whatever the function's last places are."""
    rows, neurons, bins = 60, 48, 32
    x = make_x(3, rows, 2 * neurons, dtype, special=False)
    edges = edges_of(bins, 5)
    of = Distribution(
        torch.zeros((2, neurons, bins), dtype=torch.int32),
        torch.zeros((2, 4, neurons), dtype=torch.float64),
        torch.from_numpy(tables(edges[None])[0]),
        torch.from_numpy(anchors(200.0)),
        torch.zeros((2, 4, neurons), dtype=torch.int32),
    )
    targets = (torch.arange(rows) % 3 - 1).int()  # a third is not read
    reading = Reading(
        targets, torch.zeros(1), signal=signal, distribution=of,
        counts=torch.zeros((2, 1, neurons), dtype=torch.int32),
    )  # fmt: skip
    out = implementation(x, reading, function="silu", gated=True)
    ones = x.clone()
    ones[:, neurons:] = 1
    a = implementation(ones, function="silu", gated=True)
    for target in range(2):
        read = targets.numpy() == target
        values = (out if signal == "product" else a).float().numpy()[read]
        for i in range(neurons):
            binned = np.histogram(values[:, i], np.concatenate([[-np.inf], edges, [np.inf]]))[0]
            np.testing.assert_array_equal(of.counts[target, i].numpy(), binned)
            numbers = [float(v) for v in values[:, i]]
            coarse, fine, square, fine_square = of.sums[target, :, i].tolist()
            assert coarse + fine == math.fsum(numbers)
            squares = math.fsum(v * v for v in numbers)
            # Squares are rounded to 2**-62 of 256**2.
            assert abs(square + fine_square - squares) <= 1e-15 * squares + len(numbers) * 2.0 ** (16 - 63)
        gate, up = x.float().numpy()[read, :neurons] > 0, x.float().numpy()[read, neurons:] > 0
        cases = [gate & up, gate & ~up, ~gate & up, ~gate & ~up]
        np.testing.assert_array_equal(of.signs[target].numpy(), np.sum(cases, axis=1))
        activated = (a if signal == "gate" else out).float().numpy()[read] > 0
        np.testing.assert_array_equal(reading.counts[target, 0].numpy(), activated.sum(0))
        # The first bin above 0 is where the tokens begin that activate at threshold 0.
        first = int(np.searchsorted(edges, np.float32(0), side="right")) + 1
        np.testing.assert_array_equal(of.counts[target, :, first:].sum(1).numpy(), activated.sum(0))


@pytest.mark.parametrize("implementation", [activation_reference, *IMPLEMENTATIONS.values()])
def test_sums_do_not_depend_on_the_order_of_rows(implementation, runnable):
    x = make_x(9, 48, 80, torch.float32, special=False) * torch.logspace(-6, 2, 80)
    sums = []
    for order in (torch.arange(48), torch.randperm(48, generator=torch.Generator().manual_seed(1))):
        of = replace(
            make_distribution(1, 1, 80, 16, gated=False, layers=2), anchors=torch.from_numpy(anchors(500.0))
        )
        of.sums.zero_()
        for some in torch.split(order, 20):
            reading = Reading(
                torch.zeros(20, dtype=torch.int32), torch.zeros(1), distribution=of,
                counts=torch.zeros((1, 1, 80), dtype=torch.int32),
            )  # fmt: skip
            implementation(x[some], reading, function="relu", gated=False)
        sums.append(of.sums.clone())
    assert torch.equal(*sums)
    assert sums[0].any(dim=-1).all()  # each part has something
    # A plain sum does depend on it.
    plain = [x[order].clamp(min=0).double().square().cumsum(0)[-1] for order in (order, torch.arange(48))]
    assert not torch.equal(*plain)


def test_a_table_has_the_bin_of_every_number():
    edges = edges_of(64, 2)
    [table] = tables(edges[None])
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint32)
    ends = (np.arange(NUM_CELLS, dtype=np.uint32) << 16)[:, None] + np.array([0, 1, 0xFFFF], np.uint32)
    numbers = np.concatenate(
        [bits, ends.ravel(), edges.view(np.uint32), np.float32([0.0, -0.0]).view(np.uint32)]
    )
    values = numbers.view(np.float32)
    there = ~np.isnan(values)
    expected = (values[there, None] >= edges).sum(1)
    np.testing.assert_array_equal(table[numbers >> 16][there], expected)
    assert np.isin(table[numbers >> 16][~there], [0, 63]).all()


def test_edges_are_snapped_upwards():
    given = np.array([-1.0, -0.3, 0.0, -0.0, 1e-45, 0.1, 1.0, 2.0], np.float32)
    found = snapped(given)
    assert (found >= given).all()
    assert (cells_of(found) - cells_of(given) <= 2).all()  # by two across 0, where no edge may lie
    assert found[2] == found[3] == found[4] == np.float32(2.0**-133)
    np.testing.assert_array_equal(found[-2:], [1, 2])  # those that are allowed stay
    np.testing.assert_array_equal(snapped(found), found)
    for wrong in ([[1.0, 1.0]], [[2.0, 1.0]], [[0.0, 1.0]], [[0.1, 1.0]]):
        with pytest.raises(ValueError, match="edges must"):
            tables(np.array(wrong, np.float32))


def test_wrong_buffers_are_named():
    x = torch.zeros(2, 64)
    of = make_distribution(0, 3, 32, 16, gated=True)
    good = Reading(
        torch.zeros(2, dtype=torch.int32), torch.zeros(1), distribution=of,
        counts=torch.zeros((3, 1, 32), dtype=torch.int32),
    )  # fmt: skip
    few = torch.zeros((3, 32, 8), dtype=torch.int32)
    cases = {
        "distribution.counts must be": replace(of, counts=of.counts.long()),
        "counts has 8 bins": replace(of, counts=few),
        "distribution.sums must be": replace(of, sums=of.sums.float()),
        "distribution.table must be": replace(of, table=of.table[1:]),
        "distribution.anchors must be": replace(of, anchors=of.anchors[:2]),
        "distribution.signs must be": replace(of, signs=of.signs[:, :3]),
        "numbers next to each other": replace(of, sums=torch.zeros((3, 8, 32), dtype=torch.float64)[:, ::2]),
    }
    for implementation in (activation_reference, activation_triton, activation_cpu):
        for message, wrong in cases.items():
            with pytest.raises(ValueError, match=message):
                implementation(x, replace(good, distribution=wrong), function="silu", gated=True)
    words, near = torch.zeros((3, 1, 1), dtype=torch.int32), torch.zeros((3, 1, 1), dtype=torch.int32)
    with pytest.raises(ValueError, match="a distribution is that of all tokens"):
        activation_cpu(x, replace(good, counts=None, words=words, near=near), function="silu", gated=True)
    for implementation in (activation_triton, activation_cpu):
        with pytest.raises(ValueError, match="there is no gate"):
            implementation(x[:, :32], good, function="relu", gated=False)

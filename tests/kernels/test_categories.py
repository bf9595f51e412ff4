"""Categories from bits: the kernel and its CPU counterpart against the reference. Integers: no tolerance."""

import pytest
import torch
from fastneurons_kernels import categories as module
from fastneurons_kernels.categories import categories, categories_reference
from fastneurons_kernels.categories_cpu import categories_cpu
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.conftest import far_apart, launched

categories_triton = launched(module.categories_triton)
IMPLEMENTATIONS = {"triton": categories_triton, "cpu": categories_cpu}
SENTINEL = 0x5A5A5A5A


def make(seed, examples, languages, thresholds, layers, neurons, missing=0.0, density=0.5, dirty=False):
    """Bits of some density, in rows that lie in another order, in a strided part of a larger buffer."""
    generator = torch.Generator().manual_seed(seed)
    W = -(-neurons // 32)
    num_rows = examples * languages + 2
    bits = torch.rand((num_rows, thresholds, layers, W * 32), generator=generator) < density
    # Some neurons are the same in all languages, so that every category occurs at any L.
    bits[:, :, :, ::5] = bits[:1, :, :, ::5]
    if not dirty:
        bits[..., neurons:] = False
    packed = (
        (bits.view(num_rows, thresholds, layers, W, 32).long() << torch.arange(32)).sum(-1).to(torch.int32)
    )
    buffer = torch.full((num_rows, thresholds + 1, layers + 2, W + 3), SENTINEL, dtype=torch.int32)
    words = buffer[:, 1:, 1:-1, 2 : 2 + W]
    words.copy_(packed)
    rows = (
        torch.randperm(num_rows, generator=generator)[: examples * languages].int().view(examples, languages)
    )
    rows[torch.rand(rows.shape, generator=generator) < missing] = -1
    for e in range(examples):  # two languages each have at least
        for language in torch.randperm(languages, generator=generator)[:2]:
            rows[e, language] = e * languages + int(language)
    return words, rows


def start(thresholds, layers, neurons):
    """Occupancy of earlier windows: what is there has to be added to."""
    return torch.arange(thresholds * layers * neurons * 4, dtype=torch.int32).view(
        thresholds, layers, neurons, 4
    )


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@given(
    seed=st.integers(0, 1000),
    examples=st.sampled_from([0, 1, 3]),
    languages=st.sampled_from([2, 3, 5, 10, 64]),
    thresholds=st.sampled_from([1, 2]),
    layers=st.sampled_from([1, 3]),
    neurons=st.sampled_from([1, 7, 8, 31, 32, 33, 100, 512, 513, 1030]),
    missing=st.sampled_from([0.0, 0.5, 1.0]),
    density=st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]),
    dirty=st.booleans(),
    occupied=st.booleans(),
    planes=st.booleans(),
)
@settings(settings.get_profile("kernels"), max_examples=25)
def test_equals_the_reference(
    implementation,
    runnable,
    seed,
    examples,
    languages,
    thresholds,
    layers,
    neurons,
    missing,
    density,
    dirty,
    occupied,
    planes,
):
    words, rows = make(seed, examples, languages, thresholds, layers, neurons, missing, density, dirty)
    kept = words._base.clone()
    got_occupancy, want_occupancy = (
        start(thresholds, layers, neurons) if occupied else None for _ in range(2)
    )
    got = IMPLEMENTATIONS[implementation](words, rows, neurons, occupancy=got_occupancy, planes=planes)
    want = categories_reference(words, rows, neurons, occupancy=want_occupancy, planes=planes)
    assert torch.equal(got.activated_count, want.activated_count)
    assert torch.equal(got.category_count, want.category_count)
    assert (got.category_count.sum(-1) == neurons).all()
    assert (got.planes is not None) == planes
    if got.planes is not None and want.planes is not None:
        assert torch.equal(got.planes, want.planes)
    if got_occupancy is not None and want_occupancy is not None:
        assert torch.equal(got_occupancy, want_occupancy)
    assert torch.equal(words._base, kept)


@pytest.mark.parametrize("implementation", [categories_reference, categories_triton, categories_cpu])
def test_by_hand(implementation, runnable):
    words = torch.tensor([0b01000, 0b01100, 0b11110]).int().view(3, 1, 1, 1)
    rows = torch.tensor([[0, 1, -1, 2]], dtype=torch.int32)
    occupancy = torch.full((1, 1, 5, 4), 10, dtype=torch.int32)
    # Neurons 1 and 4 are activated in the last language alone, 2 in the last two, 3 in all three, 0 in none.
    out = implementation(words, rows, 5, occupancy=occupancy, planes=True)
    assert out.activated_count.flatten().tolist() == [1, 2, 0, 4]
    assert out.category_count.flatten().tolist() == [1, 2, 1, 1]
    assert out.planes.flatten().tolist() == [0b00001, 0b10010, 0b00100, 0b01000]
    assert (occupancy - 10).argmax(-1).flatten().tolist() == [0, 1, 2, 3, 1]
    assert (occupancy - 10).sum() == 5


def test_occupancy_counts_past_a_byte():
    """300 examples whose neurons are all specific: the CPU counts in bytes between its emptyings."""
    words = torch.tensor([-1, 0]).int().view(2, 1, 1, 1)
    rows = torch.tensor([[0, 1]], dtype=torch.int32).expand(300, 2)
    occupancy = torch.zeros(1, 1, 32, 4, dtype=torch.int32)
    categories_cpu(words, rows, 32, occupancy=occupancy)
    assert (occupancy == torch.tensor([0, 300, 0, 0])).all()


@pytest.mark.parametrize("implementation", [categories_triton, categories_cpu])
def test_occupancy_near_two_to_the_31(implementation, runnable):
    words = torch.tensor([-1, 0]).int().view(2, 1, 1, 1)
    occupancy = torch.full((1, 1, 32, 4), 2**31 - 2, dtype=torch.int32)
    implementation(words, torch.tensor([[0, 1]], dtype=torch.int32), 32, occupancy=occupancy)
    assert (occupancy == torch.tensor([2**31 - 2, 2**31 - 1, 2**31 - 2, 2**31 - 2])).all()


def test_offsets_past_two_to_the_31(runnable):
    words = far_apart(torch.int32, (4, 1, 1, 1))
    words[2], words[3] = 0b0111, 0b0001
    out = categories_triton(words, torch.tensor([[3, 2]], dtype=torch.int32), 4)
    assert out.category_count.flatten().tolist() == [1, 2, 0, 1]


def test_the_kernel_on_unchecked_rows_still_sums_to_the_neurons(runnable, monkeypatch):
    """Rows on a device are not looked at; one language: its neurons are all-shared, none: non-activated."""
    monkeypatch.setattr(module, "check", lambda *_: None)
    words = torch.tensor([0b0111]).int().view(1, 1, 1, 1)
    out = categories_triton(words, torch.tensor([[0, -1], [-1, -1]], dtype=torch.int32), 4)
    assert out.category_count.squeeze().tolist() == [[1, 0, 0, 3], [4, 0, 0, 0]]


@pytest.mark.parametrize(
    "implementation", [categories_reference, categories_triton, categories_cpu, categories]
)
def test_an_example_of_one_language_is_refused(implementation):
    words = torch.zeros(4, 1, 1, 2, dtype=torch.int32)
    rows = torch.tensor([[0, 1], [2, -1]], dtype=torch.int32)
    with pytest.raises(ValueError, match="example 1 has 1 of 2 languages; categories need 2"):
        implementation(words, rows, 40)


def test_wrong_arguments_are_named():
    words = torch.zeros(4, 1, 1, 2, dtype=torch.int32)
    rows = torch.tensor([[0, 1]], dtype=torch.int32)
    cases = {
        "words must be": (words, rows, 65, None),
        "last stride 1": (torch.zeros(4, 1, 2, 2, dtype=torch.int32).mT, rows, 40, None),
        "rows must be": (words, rows.long(), 40, None),
        "rows go up to 7": (words, rows + 6, 40, None),
        "occupancy must be": (words, rows, 40, torch.zeros(1, 1, 40, 3, dtype=torch.int32)),
    }
    for message, (bits, places, num_neurons, occupancy) in cases.items():
        with pytest.raises(ValueError, match=message):
            categories(bits, places, num_neurons, occupancy=occupancy)

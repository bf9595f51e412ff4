"""Drawing by integer hash: against SplitMix64 in Python's integers, and the properties that controls need."""

import numpy as np
import torch

from fastneurons.engine.draw import drawn, key_of, numbers_of

MASK = (1 << 64) - 1


def mixed(x: int) -> int:
    """SplitMix64's mixing function."""
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK
    return x ^ x >> 31


def test_numbers_are_those_of_splitmix64():
    key = key_of("control", 3, 17)
    found = numbers_of(key, [0, 5, 31], 40, torch.device("cpu")).numpy().view(np.uint64)
    for row, layer in enumerate((0, 5, 31)):
        start = mixed((mixed(layer) + key) & MASK)
        want = [mixed((start + (k + 1) * 0x9E3779B97F4A7C15) & MASK) for k in range(40)]
        assert found[row].tolist() == want
    # The generator's first number for a state of 0, as published: what it adds is its step.
    assert mixed(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF


def test_as_many_as_asked_are_drawn_from_the_members():
    members = torch.rand(4, 300, generator=torch.Generator().manual_seed(0)) < 0.5
    number = torch.tensor([0, 1, 70, int(members[3].sum())])
    found = drawn(key_of("sample", 0, 0), range(4), number, members)
    assert found.sum(-1).tolist() == number.tolist()
    assert not (found & ~members).any()
    assert torch.equal(found[3], members[3])


def test_keys_differ_and_every_neuron_is_drawn_as_often():
    every = torch.ones(1, 50, dtype=torch.bool)
    keys = {key_of(purpose, seed, k) for purpose in ("a", "b") for seed in range(3) for k in range(500)}
    assert len(keys) == 3000
    counts = sum(drawn(key_of("control", 0, k), [7], torch.tensor([10]), every)[0].int() for k in range(2000))
    # 2,000 draws of 10 from 50: 400 each, with a standard deviation of 18.
    assert abs(counts.sum() - 20000) == 0
    assert (counts - 400).abs().max() < 90

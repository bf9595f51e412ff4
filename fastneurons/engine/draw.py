"""Draw neurons at random so that every device, rank and machine draws the same.

Each neuron of a layer gets a 64-bit number from a key, the layer and its index, by the mixing function of SplitMix64
(Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195); the neurons with the smallest numbers are drawn. The function
is a bijection, so that no two neurons of a layer have the same number.
"""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor

_STEP = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64
_FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
_SECOND = -7723592293110705685  # 0x94D049BB133111EB


def key_of(purpose: str, seed: int, example: int) -> int:
    """A key for drawing, int64; different purposes, seeds and examples have independent ones."""
    given = f"{purpose} {seed} {example}".encode()
    return int.from_bytes(blake2b(given, digest_size=8).digest(), "little", signed=True)


def numbers_of(key: int, layers: Sequence[int], neurons: int, device: torch.device) -> Tensor:
    """The number of each neuron, int64 [N, I]; wraps around as unsigned arithmetic does."""
    start = torch.tensor(layers, dtype=torch.int64, device=device)
    start = _mixed(_mixed(start) + key)
    index = torch.arange(1, neurons + 1, device=device)
    return _mixed(start[:, None] + index * _STEP)


def drawn(key: int, layers: Sequence[int], number: Tensor, members: Tensor) -> Tensor:
    """Draw neurons of each layer.

    Args:
        key: See `key_of`.
        layers: The N layer numbers.
        number: int64 [N], how many.
        members: bool [N, I], from which.
    Returns:
        bool [N, I].
    """
    numbers = numbers_of(key, layers, members.shape[-1], members.device)
    numbers = numbers.masked_fill(~members, torch.iinfo(torch.int64).max)
    first = torch.arange(members.shape[-1], device=members.device) < number[:, None]
    return torch.zeros_like(members).scatter_(-1, numbers.argsort(-1), first) & members


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift right as if unsigned: torch keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)

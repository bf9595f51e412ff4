"""Provide host memory for collections: a few blocks, used again and again.

A block is page-locked for a GPU, which then copies into it by itself; or, where workers are processes of their own, it
is mapped by the session's process too. Both take longer to make than to fill.
"""

import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Memory(Protocol):
    """The memory of a block, replaced when it is too small."""

    def at_least(self, num_bytes: int) -> Tensor:
        """uint8 of at least `num_bytes`; earlier content is lost."""


class PageLocked:
    """Page-locked memory, into which a GPU copies by itself."""

    def __init__(self) -> None:
        self._tensor = torch.empty(0, dtype=torch.uint8)

    def at_least(self, num_bytes: int) -> Tensor:
        """See `Memory`."""
        if len(self._tensor) < num_bytes:
            self._tensor = torch.empty(room_for(num_bytes), dtype=torch.uint8, pin_memory=True)
        return self._tensor


def room_for(num_bytes: int) -> int:
    """How large a block to make: a power of two, as groups differ in size and the largest soon comes."""
    return 1 << max(16, (num_bytes - 1).bit_length())


@dataclass(frozen=True, eq=False)
class Block:
    """A block that was taken, as a device's copies see it and as its user does: both uint8 [size].

    It is free again when `array` and all views of it are gone.
    """

    tensor: Tensor
    array: NDArray[np.uint8]


class HostMemory:
    """Blocks for collections that are under way, and for arrays of theirs that are still in use.

    Args:
        blocks: All there are.
        most_begun: Collections that are under way at most: so many blocks are always left for them.
    """

    def __init__(self, blocks: Sequence[Memory], most_begun: int) -> None:
        self._free = deque(blocks)
        self._most_begun = most_begun

    def take(self, num_bytes: int) -> Block:
        """A block of `num_bytes` or more, for a collection that begins."""
        memory = self._free.popleft()
        tensor = memory.at_least(num_bytes)
        array = tensor.numpy()
        # A view of a view refers to the first: this array lives for as long as any other in the block.
        weakref.finalize(array, self._free.append, memory).atexit = False
        return Block(tensor, array)

    def hand_on(self, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The arrays of a complete collection, in its block; copies if too many blocks are in use."""
        if len(self._free) >= self._most_begun:
            return arrays
        return {name: array.copy() for name, array in arrays.items()}


def copied(tensors: dict[str, Tensor], block: Block) -> dict[str, NDArray[Any]]:
    """Queue copies of all tensors into a block, one after another; return the arrays that will hold them."""
    arrays, first = {}, 0
    for name, tensor in tensors.items():
        end = first + tensor.nbytes
        block.tensor[first:end].view(tensor.dtype).view(tensor.shape).copy_(tensor, non_blocking=True)
        dtype = np.dtype(str(tensor.dtype).removeprefix("torch."))
        arrays[name] = block.array[first:end].view(dtype).reshape(tensor.shape)
        first += _padded(tensor.nbytes)
    return arrays


def room_of(tensors: dict[str, Tensor]) -> int:
    """Bytes of a block that `copied` needs."""
    return sum(_padded(tensor.nbytes) for tensor in tensors.values())


def _padded(num_bytes: int) -> int:
    """Round up, so that each array begins on a cache line."""
    return -(-num_bytes // 64) * 64

"""Host memory that a GPU copies into: a few page-locked blocks, used again and again.

Page-locking takes longer than copying, and fresh pages take longer than both.
"""

import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Block:
    """A block, as the device's copies see it and as its user does: both uint8 [size]."""

    tensor: Tensor
    array: NDArray[np.uint8]


def page_locked(num_bytes: int) -> Tensor:
    """Memory that a GPU copies into by itself, uint8 [num_bytes]."""
    return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)


class HostMemory:
    """Blocks for collections that are under way, and for arrays of theirs that are still in use.

    Args:
        most_begun: Collections that are under way at most: so many blocks are always there for them.
        most_in_use: Blocks that may be in use by whoever their arrays were handed to.
        allocate: Makes a block's memory.
    """

    def __init__(
        self, most_begun: int, most_in_use: int = 2, allocate: Callable[[int], Tensor] = page_locked
    ) -> None:
        self._most_begun, self._allocate = most_begun, allocate
        self._to_come = most_begun + most_in_use
        self._free: deque[Tensor] = deque()
        self._num_begun = 0

    def take(self, num_bytes: int) -> Block:
        """A block of `num_bytes` or more, for a collection that begins."""
        if self._free:
            tensor = self._free.popleft()
        else:
            assert self._to_come, "more collections are under way than there is memory for"
            self._to_come -= 1
            tensor = torch.empty(0, dtype=torch.uint8)
        if len(tensor) < num_bytes:
            # A power of two: groups differ in size, and the largest soon comes.
            tensor = self._allocate(1 << (num_bytes - 1).bit_length())
        self._num_begun += 1
        return Block(tensor, tensor.numpy())

    def hand_on(self, block: Block, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The arrays of a collection that is complete, for as long as their user wants them.

        The arrays are in the block, which becomes free when the last of them is gone. Where too many blocks are in
        use, they are copies.
        """
        others = self._num_begun - 1 + len(self._free) + self._to_come
        if others < self._most_begun:
            arrays = {name: array.copy() for name, array in arrays.items()}
            self.give_back(block)
            return arrays
        self._num_begun -= 1
        # A view of a view refers to the first: `block.array` lives for as long as any array in it.
        weakref.finalize(block.array, self._free.append, block.tensor).atexit = False
        return arrays

    def give_back(self, block: Block) -> None:
        """Free the block of a collection whose arrays nobody wants."""
        self._num_begun -= 1
        self._free.append(block.tensor)

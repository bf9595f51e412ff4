"""Where collecting runs: on a CUDA stream beside the forward passes or, on a CPU, at once.

A collection gathers what was read out of the buffers into arrays of its own and copies those to the host. On a GPU
the next step is queued by then, and both must go on together: so a collection waits for the step that read its rows
and for no later one, forward passes wait only where they would write to rows that a collection has yet to leave, and
the host waits for nothing until it fetches the arrays.

    stream.step_queued(step)                     after each forward pass
    collection = stream.begin(step, gather)      queues the work, returns at once
    stream.hold_model(collection)                before a forward pass that writes to the same rows
    collection.arrays()                          waits for the copies

The CUDA form has never run on a GPU.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from fastneurons.engine.host_memory import Block, HostMemory, PageLocked, copied, room_of
from fastneurons.engine.wire import MOST_COLLECTIONS

# Queues a collection's work on the device; the tensors to copy to the host, each contiguous.
Gather = Callable[[], dict[str, Tensor]]

# Steps whose ends are remembered. vLLM queues two; pipeline stages, one each.
_STEPS_REMEMBERED = 16


class Collection(Protocol):
    """A collection that has begun."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Wait for the copies to the host; the arrays."""

    def drop(self) -> None:
        """Give up the arrays."""


class CollectStream(Protocol):
    """The order between collections and forward passes.

    `memory` is what collections are copied into; None leaves them where they were gathered.
    """

    memory: HostMemory | None

    def step_queued(self, step: int) -> None:
        """Note that a forward pass was queued, the `step`-th; steps count upwards."""

    def begin(self, step: int, gather: Gather) -> Collection:
        """Begin a collection of rows that were read last in `step`."""

    def hold_model(self, collection: Collection) -> None:
        """Have forward passes that are queued from now on wait until a collection has left the buffers."""


def collect_stream(device: torch.device, *, beside: bool) -> CollectStream:
    """The form for a device.

    Args:
        device: Where the model is.
        beside: Whether collections may run beside forward passes. What exchanges tensors between ranks may not: a
            communicator's operations must be queued in one order on all of them.
    """
    return CudaStream(device, beside=beside) if device.type == "cuda" else AtOnce()


class AtOnce:
    """On a CPU everything runs when it is called."""

    memory: HostMemory | None = None

    def step_queued(self, step: int) -> None:
        """Do nothing: the step is over."""

    def begin(self, step: int, gather: Gather) -> Collection:
        """Collect."""
        tensors = gather()
        if self.memory is None:
            return _Collected({name: tensor.numpy() for name, tensor in tensors.items()})
        block = self.memory.take(room_of(tensors))
        return _Copied(copied(tensors, block), self.memory, block)

    def hold_model(self, collection: Collection) -> None:
        """Do nothing: the collection is complete."""


class _Collected:
    """A collection that stays where it was gathered."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._arrays = arrays

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays."""
        return self._arrays

    def drop(self) -> None:
        """Let go of the arrays."""
        self._arrays = {}


class _Copied:
    """A collection that is copied into a block."""

    def __init__(self, arrays: dict[str, NDArray[Any]], memory: HostMemory, block: Block) -> None:
        self._arrays, self._memory, self._block = arrays, memory, block

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays, in the block for as long as they are used."""
        arrays, self._arrays = self._arrays, {}
        return self._memory.hand_on(self._block, arrays)

    def drop(self) -> None:
        """Return the block. Later copies into it are queued behind those that are under way."""
        self._arrays = {}
        self._memory.give_back(self._block)


class CudaStream:
    """A CUDA stream beside the model's, and page-locked memory that copies go to without holding up the host.

    Args:
        device: The GPU.
        beside: See `collect_stream`; without it, collections are queued among the forward passes.
    """

    def __init__(self, device: torch.device, *, beside: bool) -> None:
        self._device = device
        self._own = torch.cuda.Stream(device) if beside else None
        # One more than are under way is fetched at once. Collections are of a quarter of the buffers or less: what may
        # be in use is as large as those.
        self.memory: HostMemory | None = HostMemory(
            [PageLocked() for _ in range(MOST_COLLECTIONS + 1 + 4)], most_begun=MOST_COLLECTIONS + 1
        )
        self._steps: deque[tuple[int, torch.cuda.Event]] = deque(maxlen=_STEPS_REMEMBERED)

    def step_queued(self, step: int) -> None:
        """Record an event behind the step."""
        self._steps.append((step, torch.cuda.current_stream(self._device).record_event()))

    def begin(self, step: int, gather: Gather) -> Collection:
        """Queue the gathering and the copies behind the event of the step."""
        stream = self._own or torch.cuda.current_stream(self._device)
        for queued, event in self._steps:
            if queued >= step:
                stream.wait_event(event)
                break
        with torch.cuda.stream(stream):
            tensors = gather()
            left_buffers = stream.record_event()
            assert self.memory is not None
            block = self.memory.take(room_of(tensors))
            arrays = copied(tensors, block)
            return _CudaCollection(arrays, self.memory, block, left_buffers, stream.record_event())

    def hold_model(self, collection: Collection) -> None:
        """Have the model's stream wait for the event behind the gathering, not for the copies."""
        assert isinstance(collection, _CudaCollection)
        torch.cuda.current_stream(self._device).wait_event(collection.left_buffers)


class _CudaCollection(_Copied):
    """A collection whose copies are under way."""

    def __init__(
        self,
        arrays: dict[str, NDArray[Any]],
        memory: HostMemory,
        block: Block,
        left_buffers: torch.cuda.Event,
        done: torch.cuda.Event,
    ) -> None:
        super().__init__(arrays, memory, block)
        self.left_buffers, self._done = left_buffers, done

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Wait for the event behind the copies; then as before."""
        self._done.synchronize()
        return super().arrays()

"""Run collections: on a CUDA stream next to the forward passes or, on a CPU, at once.

A collection gathers readings from the buffers into arrays of its own and copies those to the host. On a GPU
the next step is queued by then, and both must go on together: so a collection waits for the step that read its rows
and for no later one, forward passes wait only where they would write to rows that a collection has yet to leave, and
the host waits for nothing until it wants the arrays.

    stream.step_queued(step)                             after each forward pass
    collection = stream.begin(number, step, gather)      queues the work, returns at once
    stream.hold_model(number)                            before a forward pass that writes to the same rows
    collection.arrays()                                  waits for the copies
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from fastneurons.engine.host_memory import HostMemory, PageLocked, copied, room_of
from fastneurons.engine.wire import MOST_COLLECTIONS

# Queues a collection's work on the device; the tensors to copy to the host, each contiguous.
Gather = Callable[[], dict[str, Tensor]]

# Number of remembered ends of steps and of collections. vLLM queues two steps; pipeline stages, one each.
_EVENTS_REMEMBERED = 16


class Collection(Protocol):
    """A collection that has begun. Dropping it frees its memory."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Wait for the copies to the host and return the arrays. Call it once."""


class CollectStream(Protocol):
    """The order between collections and forward passes.

    `memory` is what collections are copied into; None leaves them where they were gathered.
    """

    memory: HostMemory | None

    def step_queued(self, step: int) -> None:
        """Note that a forward pass was queued, the `step`-th; steps count upwards."""

    def begin(self, number: int, step: int, gather: Gather) -> Collection:
        """Begin a collection, the `number`-th, of rows that were read last in `step`; numbers count upwards."""

    def hold_model(self, number: int) -> None:
        """Have forward passes that are queued from now on wait until a collection has left the buffers."""


def collect_stream(device: torch.device, *, beside: bool) -> CollectStream:
    """Make the stream for a device.

    Args:
        device: Where the model is.
        beside: Whether collections may run next to forward passes. Those that exchange tensors between ranks may
            not: a communicator's operations must be queued in the same order on all ranks.
    """
    return CudaStream(device, beside=beside) if device.type == "cuda" else AtOnce()


class AtOnce:
    """On a CPU everything runs when it is called."""

    memory: HostMemory | None = None

    def step_queued(self, step: int) -> None:
        """Do nothing: the step is over."""

    def begin(self, number: int, step: int, gather: Gather) -> Collection:
        """Collect."""
        tensors = gather()
        if self.memory is None:
            return _Collected({name: tensor.numpy() for name, tensor in tensors.items()})
        return _Copied(copied(tensors, self.memory.take(room_of(tensors))), self.memory)

    def hold_model(self, number: int) -> None:
        """Do nothing: the collection is complete."""


class _Collected:
    """A collection that stays where it was gathered."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._arrays = arrays

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays."""
        return self._arrays


class _Copied:
    """A collection that is copied into a block of memory."""

    def __init__(self, arrays: dict[str, NDArray[Any]], memory: HostMemory) -> None:
        self._arrays, self._memory = arrays, memory

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays, in the block for as long as they are used."""
        arrays, self._arrays = self._arrays, {}
        return self._memory.hand_on(arrays)


class CudaStream:
    """A CUDA stream next to the model's, and page-locked memory for copies that do not hold up the host.

    Args:
        device: The GPU.
        beside: See `collect_stream`; without it, collections are queued among the forward passes.
    """

    def __init__(self, device: torch.device, *, beside: bool) -> None:
        self._device = device
        self._own = torch.cuda.Stream(device) if beside else None
        # One more than are under way is fetched at once. Collections are of a quarter of the buffers or less: what may
        # be in use is about as large as those.
        self.memory: HostMemory | None = HostMemory(
            [PageLocked() for _ in range(MOST_COLLECTIONS + 1 + 5)], most_begun=MOST_COLLECTIONS + 1
        )
        self._steps, self._left_buffers = _Events(), _Events()

    def step_queued(self, step: int) -> None:
        """Record an event after the step."""
        self._steps.add(step, torch.cuda.current_stream(self._device).record_event())

    def begin(self, number: int, step: int, gather: Gather) -> Collection:
        """Queue the gathering and the copies after the event of the step."""
        stream = self._own or torch.cuda.current_stream(self._device)
        if (read := self._steps.not_before(step)) is not None:
            stream.wait_event(read)
        with torch.cuda.stream(stream):
            tensors = gather()
            self._left_buffers.add(number, stream.record_event())
            assert self.memory is not None
            arrays = copied(tensors, self.memory.take(room_of(tensors)))
            return _CudaCollection(arrays, self.memory, stream.record_event())

    def hold_model(self, number: int) -> None:
        """Have the model's stream wait for the event after the gathering, not for the copies."""
        if (left := self._left_buffers.not_before(number)) is not None:
            torch.cuda.current_stream(self._device).wait_event(left)


class _Events:
    """The latest events of a stream, by number. Each comes after those of lower numbers."""

    def __init__(self) -> None:
        self._events: deque[tuple[int, torch.cuda.Event]] = deque(maxlen=_EVENTS_REMEMBERED)

    def add(self, number: int, event: torch.cuda.Event) -> None:
        """Remember an event."""
        self._events.append((number, event))

    def not_before(self, number: int) -> torch.cuda.Event | None:
        """The event of that number, or the next one remembered; None if there has been none yet."""
        return next((event for each, event in self._events if each >= number), None)


class _CudaCollection(_Copied):
    """A collection whose copies are under way."""

    def __init__(self, arrays: dict[str, NDArray[Any]], memory: HostMemory, done: torch.cuda.Event) -> None:
        super().__init__(arrays, memory)
        self._done = done

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Wait for the event after the copies, then return the arrays as usual."""
        self._done.synchronize()
        return super().arrays()

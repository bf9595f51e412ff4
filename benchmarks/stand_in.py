"""A stand-in for a GPU that keeps a GPU's rules: what is queued runs later, in the order of its stream.

It shows without a GPU whether a host keeps a device busy, and whether what the two share is used in turn. Work runs in
threads, one for each stream; a forward pass takes a given time and then writes to real buffers; a collection reads them
then, not when it is queued. A rule that is broken ends the run: see `DeviceError`.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST_STEPS_QUEUED = 2


class DeviceError(Exception):
    """A rule was broken: more steps are queued than a GPU's host may queue, or memory was used before its event."""


class Stream:
    """Work that runs in the order in which it was queued, in a thread of its own."""

    def __init__(self, device: "Device", name: str) -> None:
        self._device = device
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def add(self, work: Callable[[], None]) -> None:
        """Queue work; returns at once."""
        self._work.put(work)

    def record(self) -> threading.Event:
        """An event behind all that is queued."""
        event = threading.Event()
        self.add(event.set)
        return event

    def wait_for(self, event: threading.Event) -> None:
        """What is queued from here on runs after the event."""
        self.add(lambda: self._device.wait(event))

    def end(self) -> None:
        """Run what is queued, and end."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception as error:
                self._device.fail(error)


class Device:
    """A device with a stream for the model and one for collections.

    Args:
        row_of: For each row of the buffers, whether a collection has still to read it: kept here, and checked.
    """

    def __init__(self, num_rows: int) -> None:
        self.failure: Exception | None = None
        self.model, self.beside = Stream(self, "model"), Stream(self, "beside")
        # Collections that have begun to wait for a row, and have not read it.
        self._awaited = np.zeros(num_rows, np.int64)
        self._steps: list[threading.Event] = []
        # The times between which forward passes ran.
        self.busy: list[tuple[float, float]] = []

    def forward(self, rows: np.ndarray, seconds: float, write: Callable[[], None]) -> threading.Event:
        """Queue a forward pass that writes to rows of the buffers; the event of its end.

        Raises:
            DeviceError: two are queued already.
        """
        self._steps = [step for step in self._steps if not step.is_set()]
        if len(self._steps) >= MOST_STEPS_QUEUED:
            raise self.fail(DeviceError(f"{len(self._steps)} steps are queued already"))

        def run() -> None:
            began = time.perf_counter()
            if (early := rows[self._awaited[rows] > 0]).size:
                raise DeviceError(
                    f"rows {early[:5].tolist()} are written to before a collection has read them"
                )
            write()
            time.sleep(max(0.0, seconds - (time.perf_counter() - began)))
            self.busy.append((began, time.perf_counter()))

        self.model.add(run)
        self._steps.append(self.model.record())
        return self._steps[-1]

    def await_rows(self, rows: np.ndarray) -> None:
        """Note that a collection has begun that is to read rows."""
        self._awaited[rows] += 1

    def read_rows(self, rows: np.ndarray) -> None:
        """Note that it has read them."""
        self._awaited[rows] -= 1

    def idle_share(self, after: float = 0.0) -> float:
        """Share of the time from the first forward pass that began at `after` to the last one, in which none ran."""
        busy = [(first, last) for first, last in self.busy if first >= after]
        whole = busy[-1][1] - busy[0][0]
        return 1 - sum(last - first for first, last in busy) / whole

    def wait(self, event: threading.Event) -> None:
        """Wait for an event, but not for one that a failure keeps from coming."""
        while not event.wait(0.1):
            self.check()

    def check(self) -> None:
        """Raise what broke a rule, if anything did."""
        if self.failure is not None:
            raise DeviceError(str(self.failure)) from self.failure

    def fail(self, error: Exception) -> Exception:
        """Keep the first failure."""
        self.failure = self.failure or error
        return error

    def close(self) -> None:
        """End the streams."""
        self.model.end()
        self.beside.end()


class Plain:
    """Memory of a block that is neither page-locked nor shared."""

    def __init__(self) -> None:
        self._tensor = torch.empty(0, dtype=torch.uint8)

    def at_least(self, num_bytes: int) -> Tensor:
        """Uint8 of `num_bytes` or more."""
        if len(self._tensor) < num_bytes:
            self._tensor = torch.empty(num_bytes, dtype=torch.uint8)
        return self._tensor


class StandInStream:
    """`fastneurons.engine.streams.CollectStream` on a stand-in.

    Args:
        device: The stand-in.
        most_begun: Collections that may be under way.
        bytes_per_s: Of copies to the host.
    """

    def __init__(self, device: Device, most_begun: int = 3, bytes_per_s: float = 25e9) -> None:
        self._device, self._bytes_per_s = device, bytes_per_s
        from fastneurons.engine.host_memory import (
            HostMemory,  # here: before there were streams, there was none
        )

        self.memory = HostMemory([Plain() for _ in range(most_begun + 4)], most_begun)
        self._steps: dict[int, threading.Event] = {}
        self._left_buffers: dict[int, threading.Event] = {}

    def step_queued(self, step: int) -> None:
        """Record an event behind the step."""
        self._steps[step] = self._device.model.record()
        self._steps.pop(step - 16, None)

    def begin(self, number: int, step: int, gather: Callable[[], dict[str, Tensor]]) -> "StandInCollection":
        """Queue the gathering and the copies behind the step."""
        stream, collection = self._device.beside, StandInCollection(self)
        if step in self._steps:
            stream.wait_for(self._steps[step])
        stream.add(lambda: collection.gather(gather))
        self._left_buffers[number] = stream.record()
        stream.add(lambda: collection.copy(self._bytes_per_s))
        collection.done = stream.record()
        return collection

    def hold_model(self, number: int) -> None:
        """Have the model's stream wait until a collection has left the buffers."""
        self._device.model.wait_for(self._left_buffers[number])

    def wait(self, done: threading.Event) -> None:
        """Wait for an event."""
        self._device.wait(done)
        self._device.check()


class StandInCollection:
    """A collection on a stand-in."""

    done: threading.Event

    def __init__(self, stream: StandInStream) -> None:
        self._stream = stream
        self._tensors: dict[str, Tensor] = {}
        self._arrays: dict[str, np.ndarray] = {}

    def gather(self, gather: Callable[[], dict[str, Tensor]]) -> None:
        """On the stream: read the buffers."""
        self._tensors = {name: tensor.contiguous() for name, tensor in gather().items()}

    def copy(self, bytes_per_s: float) -> None:
        """On the stream: copy to the host."""
        from fastneurons.engine.host_memory import copied, room_of

        began = time.perf_counter()
        num_bytes = room_of(self._tensors)
        self._arrays = copied(self._tensors, self._stream.memory.take(num_bytes))
        self._tensors = {}
        time.sleep(max(0.0, num_bytes / bytes_per_s - (time.perf_counter() - began)))

    def arrays(self) -> dict[str, Any]:
        """Wait for the copies; the arrays."""
        self._stream.wait(self.done)
        arrays, self._arrays = self._arrays, {}
        return self._stream.memory.hand_on(arrays)

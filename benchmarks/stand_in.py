"""A stand-in for a GPU that keeps a GPU's rules: what is queued runs later, in the order of its stream.

It shows without a GPU whether a host keeps a device busy, and whether what the two share is used in turn. Work runs in
threads, one for each stream; a forward pass takes a given time and writes to real buffers; a collection reads them
then, not when it is queued. A rule that is broken ends the run: see `DeviceError`.

Time is real, or reckoned: then the host's time is the processor time of its main thread, plus its waits for the device
as long as they would be if the device's work took the time that it is given. So whatever else runs on the machine, the
share of time in which the device is idle is that of a host with a core of its own.
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
# Of a device's own memory.
_MEMORY_BYTES_PER_S = 1e12


class DeviceError(Exception):
    """A rule was broken: more steps are queued than a GPU's host may queue, or memory was used before its event."""


class Event(threading.Event):
    """An event of a stream, and when it came."""

    at = 0.0


class RealTime:
    """Time as it passes."""

    def now(self) -> float:
        """Seconds."""
        return time.perf_counter()

    def pass_on(self, seconds: float) -> None:
        """On a device's thread: let work take so long."""
        time.sleep(max(0.0, seconds))

    def waited_for(self, event: Event) -> None:
        """On the host: an event has come."""

    def work(self, seconds: float) -> None:
        """On the host: work for so long."""
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass


class ReckonedTime(RealTime):
    """The main thread's processor time and its waits."""

    def __init__(self) -> None:
        self._waits = 0.0

    def now(self) -> float:
        """Seconds; on the main thread."""
        return time.thread_time() + self._waits

    def pass_on(self, seconds: float) -> None:
        """Do nothing: the time is only reckoned."""

    def waited_for(self, event: Event) -> None:
        """The host has waited until then."""
        self._waits += max(0.0, event.at - self.now())

    def work(self, seconds: float) -> None:
        """The host has worked for so long."""
        self._waits += seconds


class Stream:
    """Work that runs in the order in which it was queued, in a thread of its own."""

    def __init__(self, device: "Device", name: str) -> None:
        self._device = device
        self._free_at = 0.0  # the end of its work so far
        self._work: queue.SimpleQueue[tuple[float, Callable[[], float]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def add(self, work: Callable[[], float]) -> None:
        """Queue work, which gives the seconds that it takes; returns at once."""
        self._work.put((self._device.time.now(), work))

    def record(self) -> Event:
        """An event behind all that is queued."""
        event = Event()

        def come() -> float:
            event.at = self._free_at
            event.set()
            return 0.0

        self.add(come)
        return event

    def wait_for(self, event: Event) -> None:
        """What is queued from here on runs after the event."""

        def wait() -> float:
            self._device.wait_real(event)
            self._free_at = max(self._free_at, event.at)
            return 0.0

        self.add(wait)

    def end(self) -> None:
        """Run what is queued, and end."""
        self._work.put(None)
        self._thread.join()

    def span_of(self, seconds: float) -> tuple[float, float]:
        """When work of so long, that runs now, began and ended."""
        return self._free_at, self._free_at + seconds

    def _run(self) -> None:
        while (queued := self._work.get()) is not None:
            at, work = queued
            began = time.perf_counter()
            self._free_at = max(self._free_at, at)
            try:
                seconds = work()
            except Exception as error:
                self._device.fail(error)
                continue
            self._device.time.pass_on(seconds - (time.perf_counter() - began))
            self._free_at += seconds


class Device:
    """A device with a stream for the model and one for collections.

    Args:
        num_rows: Of its buffers. Whether a collection has still to read a row is kept here, and checked.
        reckoned: Whether time is reckoned.
    """

    def __init__(self, num_rows: int, *, reckoned: bool = False) -> None:
        self.time = ReckonedTime() if reckoned else RealTime()
        self.failure: Exception | None = None
        self.model, self.beside = Stream(self, "model"), Stream(self, "beside")
        # Collections that have begun to wait for a row, and have not read it.
        self._awaited = np.zeros(num_rows, np.int64)
        self._steps: list[Event] = []
        # The times between which forward passes ran.
        self.busy: list[tuple[float, float]] = []

    def forward(self, rows: np.ndarray, seconds: float, write: Callable[[], None]) -> Event:
        """Queue a forward pass that writes to rows of the buffers; the event of its end.

        Raises:
            DeviceError: two are queued already.
        """
        now = self.time.now()
        # In reckoned time a step may be over before the host is through with what it does before.
        self._steps = [step for step in self._steps if not (step.is_set() and step.at <= now)]
        if len(self._steps) >= MOST_STEPS_QUEUED:
            raise self.fail(DeviceError(f"{len(self._steps)} steps are queued already"))

        def run() -> float:
            if (early := rows[self._awaited[rows] > 0]).size:
                raise DeviceError(
                    f"rows {early[:5].tolist()} are written to before a collection has read them"
                )
            write()
            self.busy.append(self.model.span_of(seconds))
            return seconds

        self.model.add(run)
        self._steps.append(self.model.record())
        return self._steps[-1]

    def await_rows(self, rows: np.ndarray) -> None:
        """Note that a collection has begun that is to read rows."""
        self._awaited[rows] += 1

    def read_rows(self, rows: np.ndarray) -> None:
        """Note that it has read them."""
        self._awaited[rows] -= 1

    def wait(self, event: Event) -> None:
        """On the host: wait for an event, but not for one that a failure keeps from coming."""
        self.wait_real(event)
        self.time.waited_for(event)

    def wait_real(self, event: Event) -> None:
        """Until it has come."""
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
        self._steps: dict[int, Event] = {}
        self._left_buffers: dict[int, Event] = {}

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

    def wait(self, done: Event) -> None:
        """Wait for an event."""
        self._device.wait(done)
        self._device.check()


class StandInCollection:
    """A collection on a stand-in."""

    done: Event

    def __init__(self, stream: StandInStream) -> None:
        self._stream = stream
        self._tensors: dict[str, Tensor] = {}
        self._arrays: dict[str, np.ndarray] = {}

    def gather(self, gather: Callable[[], dict[str, Tensor]]) -> float:
        """On the stream: read the buffers."""
        self._tensors = {name: tensor.contiguous() for name, tensor in gather().items()}
        return 2 * sum(tensor.nbytes for tensor in self._tensors.values()) / _MEMORY_BYTES_PER_S

    def copy(self, bytes_per_s: float) -> float:
        """On the stream: copy to the host."""
        from fastneurons.engine.host_memory import copied, room_of

        num_bytes = room_of(self._tensors)
        self._arrays = copied(self._tensors, self._stream.memory.take(num_bytes))
        self._tensors = {}
        return num_bytes / bytes_per_s

    def arrays(self) -> dict[str, Any]:
        """Wait for the copies; the arrays."""
        self._stream.wait(self.done)
        arrays, self._arrays = self._arrays, {}
        return self._stream.memory.hand_on(arrays)

"""Collections beside forward passes, on a stand-in for a GPU that runs what is queued later, in stream order."""

import contextlib
import threading
from collections import deque

import numpy as np
import pytest
import torch
from torch import nn

from fastneurons.engine.discovery import ActivationKind, Site
from fastneurons.engine.host_memory import HostMemory
from fastneurons.engine.observation import ObservationSpec
from fastneurons.engine.observer import Observer
from fastneurons.engine.rows import Batch
from fastneurons.engine.streams import AtOnce, CudaStream
from fastneurons.engine.wire import MOST_COLLECTIONS
from tests.bench.scripts import script

stand_in = script("stand_in")

LANGUAGES, LAYERS, NEURONS, SLOTS = 3, 2, 96, 4


def observer(stream, **changes) -> Observer:
    parent = nn.Module()
    parent.act = nn.SiLU()
    sites = [
        Site(layer, f"layers.{layer}.act", parent, "act", ActivationKind("silu", False), nn.Identity(),
             NEURONS, NEURONS, 0)
        for layer in range(LAYERS)
    ]  # fmt: skip
    spec = ObservationSpec(most_slots=SLOTS, languages=LANGUAGES, **changes)
    return Observer(spec, sites, torch.float32, torch.device("cpu"), max_rows=16, stream=stream)


class Engine:
    """Examples through an observer as through an engine: two steps are queued, and a slot has an example each time."""

    def __init__(self, device, observer, seconds=0.002):
        self.device, self.observer, self.seconds = device, observer, seconds
        self.in_flight = deque()
        self.num_prompts = 0

    def step(self, slot: int, stamp: int) -> None:
        """Queue a step with an example's prompts, one token each, whose words are all `stamp`; end the one before."""
        rows = [slot * LANGUAGES + language for language in range(LANGUAGES)]
        ids = [str(self.num_prompts + language) for language in range(LANGUAGES)]
        self.num_prompts += LANGUAGES
        for request_id, row in zip(ids, rows, strict=True):
            self.observer.scheduled(request_id, row, [], 0)
        one = np.ones(LANGUAGES, np.int64)
        self.observer.arm(Batch(ids, np.arange(LANGUAGES), one, 0 * one, one))
        words = self.observer._buffers["words"]

        def write() -> None:
            words[rows] = stamp

        self.in_flight.append(self.device.forward(np.array(rows), self.seconds, write))
        self.observer.disarm()
        if len(self.in_flight) == 2:
            self.device.wait(self.in_flight.popleft())


def read(device, watched, number: int) -> np.ndarray:
    """The stamps of the examples that go through slot after slot, each slot being given on as soon as its collection
    has begun."""
    engine, begun, stamps = Engine(device, watched), deque(), []
    for example in range(number):
        engine.step(example % 2, example)
        if example == 0:
            continue  # the step of the one before has just ended
        if len(begun) == MOST_COLLECTIONS:
            stamps.append(stamp_of(watched.fetch(begun.popleft())))
        rows = [[(example - 1) % 2 * LANGUAGES + language for language in range(LANGUAGES)]]
        begun.append(watched.begin(rows, keep_bits=True))
    while begun:
        stamps.append(stamp_of(watched.fetch(begun.popleft())))
    device.check()
    return np.array(stamps)


def stamp_of(arrays) -> int:
    words = np.ascontiguousarray(arrays["activated"]).view(np.int32)
    assert (words == words.flat[0]).all()
    return int(words.flat[0])


@pytest.fixture
def device():
    made = stand_in.Device(SLOTS * LANGUAGES)
    yield made
    made.close()


class Watched(stand_in.StandInStream):
    """Tells the device which rows are awaited; the gathering takes long enough for the next step to begin."""

    def __init__(self, device, delay):
        super().__init__(device)
        self.delay = delay

    def begin(self, number, step, gather):
        rows = np.flatnonzero(self.observer._read_in_step == step)
        self._device.await_rows(rows)

        def slow():
            threading.Event().wait(self.delay)
            tensors = gather()
            self._device.read_rows(rows)
            return tensors

        return super().begin(number, step, slow)


def watched_observer(device, delay=0.01):
    stream = Watched(device, delay)
    stream.observer = observer(stream)
    return stream.observer


def test_each_collection_has_what_its_own_step_read_though_slots_are_given_on_at_once(device):
    assert read(device, watched_observer(device), 40).tolist() == list(range(39))


def test_a_slot_that_is_written_to_before_its_collection_read_it_is_noticed(device, monkeypatch):
    monkeypatch.setattr(Watched, "hold_model", lambda self, number: None)
    with pytest.raises(stand_in.DeviceError, match="are written to before a collection has read them"):
        read(device, watched_observer(device), 40)


def test_the_next_step_runs_while_a_collection_waits_to_be_fetched(device):
    watched = watched_observer(device, delay=0.0)
    engine = Engine(device, watched, seconds=0.1)
    engine.step(0, 7)
    engine.step(1, 8)  # ends the first
    assert stamp_of(watched.fetch(watched.begin([[0, 1, 2]], keep_bits=True))) == 7
    assert not engine.in_flight[0].is_set(), "the fetch waited for the step that is queued"


def test_no_more_than_two_steps_can_be_queued(device):
    started = threading.Event()
    device.forward(np.array([0]), 0.0, lambda: started.wait(5))
    device.forward(np.array([1]), 0.0, lambda: None)
    with pytest.raises(stand_in.DeviceError, match="2 steps are queued already"):
        device.forward(np.array([2]), 0.0, lambda: None)
    started.set()


def test_a_window_of_counts_is_collected_before_its_half_counts_again(device):
    stream = stand_in.StandInStream(device)
    watched = observer(stream, position="corpus")
    counts, begun = watched._buffers["counts"], deque()
    for window in range(6):
        half = slice(window % 2 * LANGUAGES, (window % 2 + 1) * LANGUAGES)
        rows = np.arange(half.start, half.stop)
        watched.tally.forwards += 1
        watched._hold_for_collections(rows)

        def count(half=half, window=window):
            counts[half] += window + 1

        step = device.forward(rows, 0.001, count)
        stream.step_queued(watched.tally.forwards)
        begun.append(watched.begin_count(window % 2, range(LANGUAGES)))
        device.wait(step)
        if window:
            assert (watched.fetch(begun.popleft())["activation_count"] == window).all()


def test_memory_of_collections_that_nobody_fetches_is_used_again(device):
    watched = watched_observer(device, delay=0.0)
    engine = Engine(device, watched)
    for number in range(12):
        engine.step(0, number)
        engine.step(1, number)
        abandoned = watched.begin([[0, 1, 2]], keep_bits=True)
    assert stamp_of(watched.fetch(abandoned)) == 11


def test_on_a_cpu_arrays_are_the_gathered_memory_itself():
    tensor = torch.arange(12)
    arrays = AtOnce().begin(1, 0, lambda: {"a": tensor}).arrays()
    assert arrays["a"].__array_interface__["data"][0] == tensor.data_ptr()


def test_memory_in_use_is_not_given_to_another_collection():
    memory = HostMemory([stand_in.Plain() for _ in range(3)], most_begun=2)
    first = memory.take(100)
    address = first.tensor.data_ptr()
    kept = memory.hand_on({"a": first.array[:64].view(np.int32).reshape(4, 4)})["a"][1]
    del first
    second = memory.take(100)
    assert second.tensor.data_ptr() != address
    # Another is left, and two may be wanted: what is handed on is a copy.
    copied = memory.hand_on({"a": second.array[:64]})["a"]
    assert not np.shares_memory(copied, second.array)
    del second
    others = [memory.take(100), memory.take(100)]
    assert address not in [block.tensor.data_ptr() for block in others]
    del kept
    assert memory.take(100).tensor.data_ptr() == address


class Recorder:
    """Stands for CUDA's streams and events, and writes down what is queued on which."""

    def __init__(self, monkeypatch):
        self.log: list[str] = []
        self.model, self.beside = RecordedStream(self, "model"), RecordedStream(self, "beside")
        self.current = self.model
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: self.beside)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: self.current)
        monkeypatch.setattr(torch.cuda, "stream", self.within)
        page_locked = torch.empty
        monkeypatch.setattr(
            torch, "empty", lambda *sizes, pin_memory=False, **kwargs: page_locked(*sizes, **kwargs)
        )

    @contextlib.contextmanager
    def within(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    def gather(self):
        self.log.append(f"{self.current.name}: gather")
        return {"a": torch.arange(6).reshape(2, 3), "b": torch.tensor([True, False])}


class RecordedStream:
    def __init__(self, recorder, name):
        self.recorder, self.name, self.number = recorder, name, 0

    def record_event(self):
        self.number += 1
        return RecordedEvent(self.recorder, f"{self.name} {self.number}")

    def wait_event(self, event):
        self.recorder.log.append(f"{self.name}: wait for {event.name}")


class RecordedEvent:
    def __init__(self, recorder, name):
        self.recorder, self.name = recorder, name

    def synchronize(self):
        self.recorder.log.append(f"host: wait for {self.name}")


def test_the_cuda_form_waits_for_the_step_that_read_and_holds_the_model_until_the_buffers_are_left(
    monkeypatch,
):
    recorder = Recorder(monkeypatch)
    stream = CudaStream(torch.device("cuda"), beside=True)
    stream.step_queued(1)
    stream.step_queued(2)
    collection = stream.begin(1, 1, recorder.gather)
    stream.hold_model(1)
    arrays = collection.arrays()
    assert recorder.log == [
        "beside: wait for model 1",
        "beside: gather",
        "model: wait for beside 1",
        "host: wait for beside 2",
    ]
    assert arrays["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert arrays["b"].tolist() == [True, False]


def test_without_a_stream_of_its_own_the_cuda_form_collects_among_the_steps(monkeypatch):
    recorder = Recorder(monkeypatch)
    stream = CudaStream(torch.device("cuda"), beside=False)
    stream.step_queued(1)
    stream.begin(1, 1, recorder.gather)
    assert recorder.log == ["model: wait for model 1", "model: gather"]

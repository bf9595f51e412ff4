"""The engine's side of a run of many: load the model, then measure and write the windows that are sent."""

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastneurons.data.example import Example
from fastneurons.errors import FastneuronsError, InputError, StoreError
from fastneurons.executors.messages import (
    Begin,
    Begun,
    ChooseEdges,
    Drop,
    Dropped,
    EdgesChosen,
    EncodedWindow,
    End,
    Event,
    Failed,
    HasHistograms,
    Job,
    Measure,
    MeasuredWindow,
    Measurer,
    Message,
    Progress,
    Ready,
    Started,
    Written,
)
from fastneurons.store import WindowWriter

# Variables of vLLM's own data parallelism, by which an engine that inherits them would wait for others.
_OF_DATA_PARALLELISM = "VLLM_DP_"


def serve(job: Job, receive: Callable[[], Message], send: Callable[[Event], None]) -> None:
    """Run an engine until it is asked to end, or fails.

    Args:
        job: Starts the engine.
        receive: Waits for the next message; raises EOFError where none will come.
        send: Sends an event; called by one thread at a time.
    """
    for name in [name for name in os.environ if name.startswith(_OF_DATA_PARALLELISM)]:
        del os.environ[name]
    lock = threading.Lock()

    def tell(event: Event) -> None:
        with lock:
            send(event)

    def started(log: Path | None) -> None:
        tell(Started(f"process {os.getpid()} on {socket.gethostname()}", log))

    started(None)
    try:
        with job.open(started) as measurer:
            tell(Ready(measurer.report))
            _Server(measurer, receive, tell).run()
    except FastneuronsError as error:
        kind = (
            "input"
            if isinstance(error, InputError)
            else "store"
            if isinstance(error, StoreError)
            else "engine"
        )
        tell(Failed(kind, str(error)))  # type: ignore[arg-type]
    except BaseException as error:
        tell(Failed("engine", f"{type(error).__name__}: {error}"))
        raise


class _Server:
    """Windows on their way through an engine: received and tokenised in one thread, written in another."""

    def __init__(
        self, measurer: Measurer, receive: Callable[[], Message], tell: Callable[[Event], None]
    ) -> None:
        self._measurer, self._receive, self._tell = measurer, receive, tell
        self._writer: WindowWriter | None = None
        self._waiting: deque[EncodedWindow] = deque()
        self._sample: Sequence[Example] | None = None  # for edges that are to be chosen
        self._edges: NDArray[np.float32] | None = None  # that are to be set
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None

    def run(self) -> None:
        """Measure what is sent until the end."""
        threading.Thread(target=self._listen, daemon=True, name="fastneurons-windows").start()
        with ThreadPoolExecutor(1, "fastneurons-store") as threads:
            pending: Future[None] | None = None
            while self._wait():
                if self._sample is not None:
                    sample, self._sample = self._sample, None
                    assert isinstance(self._measurer, HasHistograms)
                    self._tell(EdgesChosen(self._measurer.choose_edges(sample)))
                    continue
                if self._edges is not None:
                    edges, self._edges = self._edges, None
                    assert isinstance(self._measurer, HasHistograms)
                    self._measurer.set_edges(edges)
                for found in self._measurer.measure(self._take):
                    if not isinstance(found, MeasuredWindow):
                        self._tell(Progress(found.first, found.examples, found.prompts, found.tokens))
                        continue
                    if pending is not None:
                        pending.result()
                    pending = threads.submit(self._write, found)
                if pending is not None:
                    pending.result()

    def _wait(self) -> bool:
        """Wait for something to do; return whether there is. Raises what receiving it raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended or self._sample is not None)
            if self._error is not None:
                raise self._error
            return bool(self._waiting) or self._sample is not None

    def _take(self) -> EncodedWindow | None:
        """The next window that waits. Raises what receiving one raised."""
        with self._changed:
            if self._error is not None:
                raise self._error
            if not self._waiting:
                return None
            window = self._waiting.popleft()
        self._tell(Begun(window.first))
        return window

    def _listen(self) -> None:
        """Receive messages. Runs in a thread of its own."""
        try:
            while not self._ended:
                self._take_in(self._receive())
        except EOFError:
            self._end(None)
        except BaseException as error:
            self._end(error)

    def _take_in(self, message: Message) -> None:
        match message:
            case Begin(place, edges):
                self._writer, self._edges = WindowWriter(place), edges
            case ChooseEdges(texts):
                with self._changed:
                    self._sample = texts
                    self._changed.notify()
            case Measure(given):
                encoded = self._measurer.encode(given)
                with self._changed:
                    self._waiting.append(encoded)
                    self._changed.notify()
            case Drop(after):
                with self._changed:
                    dropped = [window for window in self._waiting if window.first > after]
                    for window in dropped:
                        self._waiting.remove(window)
                self._tell(Dropped(tuple(window.first for window in dropped)))
            case End():
                self._end(None)

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify()

    def _write(self, found: MeasuredWindow) -> None:
        """Write a window, unless it begins within an object of the store. Runs in the writer's thread."""
        window, writer = found.window, self._writer
        assert writer is not None
        written = writer.write(window) if writer.writes(window.first) else window
        self._tell(Written(window.first, written, found.begun, len(window.skipped), found.first_skipped))

"""Does the driver of many engines keep up, and is its work the same for the first window and the last?

    python benchmarks/driver_simulation.py [--engines 64] [--tiny 100000] [--large 200] [--folder /dev/shm]

The driver, the store's writer and the messages are real; engines are stand-ins in another process, which answer for all
slots. Tiny windows (four examples of a model of two layers) are answered at once and without their objects: what is
measured is how many windows a second are handed out, joined and committed, and whether memory and the time for a
commit grow with their number. Windows of an 8B model's size (256 examples in ten languages, 147 MB of bits each) are
written by the stand-ins as engines write them, sent with their sums, and deleted once they are committed; and once more
without being written, as one machine cannot write at the rate of 64 GPUs: then the driver has to keep up.

Times of the driver are those of its process's processor, commits and messages included, so that what the stand-ins and
other work take on the same machine does not count. Its share at a rate is its time for a window times that rate.
"""

import contextlib
import json
import multiprocessing
import os
import platform
import queue
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer
from write_rate import SHAPES, drawn

from fastneurons.config import Measurement
from fastneurons.data.example import Example
from fastneurons.engine.facts import ModelFacts
from fastneurons.executors.driver import Driver
from fastneurons.executors.messages import (
    Begin,
    Begun,
    EngineReport,
    Event,
    ExamplesOfWindow,
    Measure,
    Message,
    Progress,
    Ready,
    Started,
    Written,
)
from fastneurons.progress import Silent
from fastneurons.store import Header, StoreWriter, Window, WindowWriter, WrittenWindow, open_store

LANGUAGES = ("en", "de", "es", "fr", "ru", "th", "tr", "vi", "zh", "pt")
# Prompts a second of one H100 for 8B and prompts of 30 tokens (results/h100.md).
PROMPTS_PER_S = 1423
_TEXT = "Question: which river flows through the capital of this country, and where does it end? Answer:"


# -- stand-ins ------------------------------------------------------------------------------------------


def report_of(header: Header) -> EngineReport:
    """What an engine says of itself once it is ready."""
    facts = ModelFacts(
        model="stand-in", dtype=header.dtype, layers=tuple(header.layers), neurons=header.neurons, function="silu",
        gated=True, max_prompt_tokens=1000, vocabulary=1000, device="cpu", workers=1, threads_per_worker=1, slots=8,
        buffer_bytes=0,
    )  # fmt: skip
    return EngineReport(
        facts, Measurement(observe_memory=1.0), tuple(header.languages), None, {}, ("ready",), {}
    )


class StandIns:
    """All engines, in one process next to the driver's.

    Args:
        connection: To the driver.
        header: Of the run.
        writes: Whether windows are written; else they are only answered.
    """

    def __init__(self, connection: Connection, header: Header, writes: bool) -> None:
        self._connection, self._header, self._writes = connection, header, writes
        self._arrays = drawn(header, header.window)
        self._writer: WindowWriter | None = None
        self._waiting: deque[tuple[int, ExamplesOfWindow]] = deque()
        self._template: WrittenWindow | None = None
        self._lying: deque[int] = deque()

    def serve(self) -> None:
        """Answer until the driver has gone."""
        while True:
            with contextlib.suppress(EOFError):
                if not self._waiting or self._connection.poll():
                    for slot, message in self._connection.recv():
                        self._take(slot, message)
                    continue
                self._measure(*self._waiting.popleft())
                continue
            return

    def _send(self, *events: tuple[int, Event]) -> None:
        self._connection.send(events)

    def _take(self, slot: int, message: Message | None) -> None:
        match message:
            case None:
                self._send((slot, Started(f"stand-in {slot}")), (slot, Ready(report_of(self._header))))
            case Begin(place):
                self._writer = self._writer or WindowWriter(place)
            case Measure(rows):
                self._waiting.append((slot, rows))

    def _measure(self, slot: int, rows: ExamplesOfWindow) -> None:
        assert self._writer is not None
        E, L = len(rows), len(self._header.languages)
        if self._writes or self._template is None:
            written = self._writer.write(Window(rows.first, self._arrays))
            self._template = self._template or written
        if self._writes:
            self._delete_committed(rows.first)
        else:
            written = self._as_if_written(rows.first)
        self._send(
            (slot, Begun(rows.first)),
            (slot, Progress(rows.first, E, E * L, 30 * E * L)),
            (slot, Written(rows.first, written)),
        )

    def _as_if_written(self, first: int) -> WrittenWindow:
        """A window like the one that was written, at another place."""
        template = self._template
        assert template is not None
        number = first // self._header.window
        objects = {}
        for key, stored in template.objects.items():
            name, _, rest = key.partition("/")
            objects[f"{name}/c.{number}{'.0' * (rest.count('.') - 1)}"] = stored
        return WrittenWindow(first, first + len(template), objects, template.sums, b"")

    def _delete_committed(self, first: int) -> None:
        assert self._writer is not None
        self._lying.append(first // self._header.window)
        folder = Path(self._writer.place.path)
        committed = json.loads((folder / "zarr.json").read_bytes())["attributes"]["commit"]["examples"]
        for number in [one for one in self._lying if (one + 1) * self._header.window <= committed]:
            (folder / f"activated/c.{number}.0.0.0.0").unlink()
            self._lying.remove(number)


def serve(connection: Connection, header: Header, writes: bool) -> None:
    """Run the stand-ins' process."""
    StandIns(connection, header, writes).serve()


class SimulatedEngines:
    """See `fastneurons.executors.messages.Engines`."""

    def __init__(self, num_slots: int, header: Header, writes: bool) -> None:
        self.num_slots = num_slots
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, header, writes), daemon=True)
        self._process.start()
        theirs.close()
        # In a thread: both sides would wait for each other where both pipes are full.
        self._outbox: queue.SimpleQueue[list[tuple[int, Message | None]]] = queue.SimpleQueue()
        threading.Thread(target=self._send_all, daemon=True).start()

    def __enter__(self) -> "SimulatedEngines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._process.terminate()

    def start(self, slot: int) -> None:
        """Have a stand-in say that it is ready."""
        self._outbox.put([(slot, None)])

    def send(self, slot: int, message: Message) -> None:
        """Send a message."""
        self._outbox.put([(slot, message)])

    def _send_all(self) -> None:
        with contextlib.suppress(OSError):  # the run has ended
            while True:
                self._connection.send(self._outbox.get())

    def receive(self, timeout_s: float) -> list[tuple[int, Event]]:
        """Wait for events."""
        found: list[tuple[int, Event]] = []
        while self._connection.poll(0 if found else timeout_s):
            found += self._connection.recv()
        return found

    def kill(self, slot: int) -> None:
        """Stand-ins neither hang nor fail."""
        raise AssertionError(slot)


# -- the driver -----------------------------------------------------------------------------------------


class Windows:
    """A source of drawn rows, and the driver's state at every tenth of the way."""

    def __init__(self, header: Header, number: int, text: str, writer: StoreWriter) -> None:
        self._header, self._number, self._text = header, number, text
        self._taken = self._commits = 0
        self._commit_s = 0.0
        self._commit = writer._commit_written
        writer._commit_written = self._timed_commit  # type: ignore[method-assign]
        self.points: list[dict[str, float]] = [self.point(0)]

    def take(self) -> ExamplesOfWindow:
        """The next window."""
        if self._taken == self._number:
            raise StopIteration
        first = self._taken * self._header.window
        self._taken += 1
        prompts = dict.fromkeys(self._header.languages, self._text)
        return ExamplesOfWindow(
            first, [Example(f"e{first + k}", prompts) for k in range(self._header.window)]
        )

    def _timed_commit(self, written: WrittenWindow) -> None:
        began = time.thread_time()
        self._commit(written)
        self._commit_s += time.thread_time() - began
        self._commits += 1
        committed = written.end // self._header.window
        if committed == self._number or committed - self.points[-1]["windows"] >= self._number / 10:
            self.points.append(self.point(committed))

    def point(self, committed: int) -> dict[str, float]:
        """The state now."""
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return {
            "windows": committed, "resident_bytes": resident, "commit_s": self._commit_s,
            "commits": self._commits, "processor_s": time.process_time(), "clock_s": time.perf_counter(),
        }  # fmt: skip


def simulate(header: Header, num_engines: int, windows: int, text: str, writes: bool, folder: Path) -> Any:
    """One run; return its points."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = f"{place}/run.zarr"
        with SimulatedEngines(num_engines, header, writes) as engines:
            driver = Driver(engines, Silent(), threading.Event(), 600.0)
            driver.start()
            with StoreWriter.create(path, header) as writer:
                source = Windows(header, windows, text, writer)
                assert driver.run(writer, source, lambda: None)
                writer.wait()
                assert writer.committed == windows * header.window
        store = open_store(path)
        assert store.num_examples == windows * header.window
        # All sums are there, exactly: the stand-ins' windows are all alike.
        assert (store["occupancy"][...] == windows * drawn(header, header.window)["occupancy"]).all()
    [whole] = steps([source.points[0], source.points[-1]])
    return whole | {"points": list(steps(source.points))}


def steps(points: list[dict[str, float]]) -> Iterator[dict[str, float]]:
    """Rates and times between one point and the next."""
    for before, after in pairwise(points):
        windows = after["windows"] - before["windows"]
        if windows:
            yield {
                "windows": after["windows"],
                "resident_bytes": after["resident_bytes"],
                "windows_per_s": windows / (after["clock_s"] - before["clock_s"]),
                "processor_s_per_window": (after["processor_s"] - before["processor_s"]) / windows,
                "commit_processor_s_per_window": (after["commit_s"] - before["commit_s"]) / windows,
                "windows_per_commit": windows / max(1, after["commits"] - before["commits"]),
            }


def header_of(layers: int, neurons: int, languages: tuple[str, ...], window: int) -> Header:
    """A run of that shape."""
    return Header(
        version="benchmark", model="stand-in", dtype="bfloat16", task="drawn", tasks=["drawn"], source="drawn",
        languages=list(languages), thresholds=[0.0], layers=list(range(layers)), neurons=neurons, window=window,
        created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def main(
    engines: Annotated[int, typer.Option(help="How many stand-ins.")] = 64,
    tiny: Annotated[int, typer.Option(help="Tiny windows.")] = 100_000,
    large: Annotated[int, typer.Option(help="Windows of an 8B model's size.")] = 200,
    folder: Annotated[Path, typer.Option(help="Where to write.")] = Path("/dev/shm"),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here, too.")] = None,
) -> None:
    """Measure and print."""
    shape = SHAPES[1]
    runs = {
        "tiny": (header_of(2, 64, LANGUAGES[:3], 4), tiny, "A prompt", False),
        "8B, written": (header_of(shape.layers, shape.neurons, LANGUAGES, 256), large, _TEXT, True),
        "8B": (header_of(shape.layers, shape.neurons, LANGUAGES, 256), large, _TEXT, False),
    }
    found = {}
    for name, (header, windows, text, writes) in runs.items():
        if not windows:
            continue
        run = found[name] = simulate(header, engines, windows, text, writes, folder)
        print(f"{name}: {windows:,} windows of {engines} engines")
        print("processor time a window of the driver, and of it for commits; windows a commit")
        print(f"{'windows':>10}{'MiB':>8}{'windows/s':>11}{'driver ms':>11}{'commit ms':>11}{'a commit':>10}")
        for step in run["points"]:
            print(
                f"{step['windows']:>10,}{step['resident_bytes'] / 2**20:>8,.0f}{step['windows_per_s']:>11,.1f}"
                f"{1e3 * step['processor_s_per_window']:>11.2f}{1e3 * step['commit_processor_s_per_window']:>11.2f}"
                f"{step['windows_per_commit']:>10,.1f}"
            )
        if name == "8B":
            seconds = run["processor_s_per_window"]
            rate = engines * PROMPTS_PER_S / len(LANGUAGES) / header.window
            run["share"] = {"windows_per_s": rate, "driver": rate * seconds}
            print(f"{engines} H100s give {rate:.1f} windows/s, which take {rate * seconds:.0%} of a core")
    if json_file is not None:
        about = {"python": platform.python_version(), "machine": platform.machine(), "engines": engines}
        json_file.write_text(json.dumps({**about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)

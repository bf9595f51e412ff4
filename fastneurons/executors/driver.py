"""Drive many engines over one source: hand out windows, and commit what they have written, in order.

Each engine has a window in work and another one that waits, and gets the next when it begins that one: a slow engine
holds nobody up. Windows come back in any order. Those that follow the commit mark without a gap are committed together;
of the others the store holds what their engines have written, and this process their sums, added up for each stretch
without a gap.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastneurons.data.example import Example
from fastneurons.errors import EngineError, InputError, StoreError
from fastneurons.executors.finished import FinishedWindows
from fastneurons.executors.messages import (
    Begin,
    Begun,
    ChooseEdges,
    Drop,
    Dropped,
    EdgesChosen,
    EngineReport,
    Engines,
    Event,
    ExamplesOfWindow,
    Failed,
    Measure,
    Progress,
    Ready,
    Started,
    Written,
    difference,
)
from fastneurons.executors.slot import Slot, judge
from fastneurons.experiments.ending import Found
from fastneurons.experiments.interrupts import SIGNALS_APART_S
from fastneurons.progress import RunProgress
from fastneurons.store import StoreWriter

# An engine that ended is started again so many times in its slot.
MOST_RESTARTS = 3
# A window on which so many engines have failed is given to no other.
_MOST_ATTEMPTS = 3
# The driver looks at clocks and at the source at least so often.
_LOOK_S = 0.2
# A slot whose engine is not ready by then is mentioned, once.
_STILL_STARTING_S = 300.0


class WindowSource(Protocol):
    """The windows of a run, in order."""

    def take(self) -> ExamplesOfWindow | None:
        """The next window; None where none is ready yet.

        Raises:
            StopIteration: there are no more.
            Exception: whatever reading the source raised, once all windows before it have been taken.
        """


class Driver:
    """One run over many engines.

    Args:
        engines: Starts them and carries messages.
        progress: Is shown the examples of all engines together, and messages.
        stop: Once set, no further window is begun; those in work are finished and committed.
        window_timeout_s: An engine with work that says nothing for so long counts as hung.
    """

    def __init__(
        self, engines: Engines, progress: RunProgress, stop: threading.Event, window_timeout_s: float
    ) -> None:
        self._engines, self._progress, self._stop = engines, progress, stop
        self._timeout_s = window_timeout_s
        self._slots = [Slot() for _ in range(engines.num_slots)]
        self._live = set(range(engines.num_slots))  # slots that have an engine
        self._report: EngineReport | None = None
        self._edges: NDArray[np.float32] | None = None
        self._writer: StoreWriter | None = None
        self._source: WindowSource | None = None
        self._reopen: Callable[[], None] = lambda: None
        self._returned: list[ExamplesOfWindow] = []  # to be measured by another engine, in order
        self._attempts: dict[int, int] = {}
        self._shown: dict[int, int] = {}  # examples of unfinished windows that progress has been told of
        self._finished = FinishedWindows()
        self._exhausted = False
        self._source_error: Exception | None = None
        self._stopping = False
        self._examples = self._skipped = self._begun = 0
        self._first_skipped: str | None = None

    def start(self) -> EngineReport:
        """Start all engines; return the report of the first one that is ready.

        Raises:
            InputError: the model cannot be loaded, or its neurons cannot be measured.
            EngineError: no engine could be started.
            KeyboardInterrupt: the run was stopped.
        """
        for number in sorted(self._live):
            self._begin(number)
        while self._report is None:
            if self._stop.is_set():
                raise KeyboardInterrupt
            self._hear()
            self._check_clocks()
        return self._report

    def set_edges(self, edges: NDArray[np.float32]) -> None:
        """Have all engines sort signals into bins with these edges, from the run on."""
        self._edges = edges

    def choose_edges(self, texts: Sequence[Example]) -> NDArray[np.float32]:
        """Have one engine choose the edges of histograms' bins from a sample of texts, for all. After `start`.

        Raises:
            EngineError: no engine could.
            KeyboardInterrupt: the run was stopped.
        """
        while self._edges is None:
            if self._stop.is_set():
                raise KeyboardInterrupt
            ready = [number for number, slot in enumerate(self._slots) if slot.ready]
            if ready and not any(slot.choosing for slot in self._slots):
                slot = self._slots[ready[0]]
                slot.choosing, slot.since = True, time.monotonic()
                self._engines.send(ready[0], ChooseEdges(texts))
            self._hear()
            self._check_clocks()
        return self._edges

    def run(self, writer: StoreWriter, source: WindowSource, reopen: Callable[[], None]) -> bool:
        """Measure a source's windows and commit them. After `start`.

        Args:
            writer: Commits.
            source: The windows that the store does not have.
            reopen: Called before a window is handed out.
        Returns:
            Whether the source came to its end; else the run was stopped.
        Raises:
            EngineError: engines failed; what was measured before is committed, as far as it follows without a gap.
            StoreError: the store cannot be written.
            Exception: whatever reading the source raised, after all windows before it were committed.
        """
        self._writer, self._source, self._reopen = writer, source, reopen
        try:
            while not self._is_done():
                self._hand_out()
                self._finished.commit(writer)
                self._hear()
                self._check_clocks()
        finally:
            # Also after an error: what follows the commit mark without a gap is kept.
            self._finished.commit(writer, all_of_it=True)
        if self._source_error is not None:
            raise self._source_error
        return not self._stopping

    @property
    def found(self) -> Found:
        """The examples measured or skipped so far."""
        return Found(self._examples, self._skipped, self._first_skipped, self._begun)

    def describe(self) -> str:
        """The engines' work in one line."""
        parts = [f"{number}: {slot.examples:,}" for number, slot in enumerate(self._slots)]
        return f"examples by engine: {', '.join(parts)}"

    def _is_done(self) -> bool:
        if self._stop.is_set() and not self._stopping:
            self._stop_handing_out()
        if self._stopping and not self._live:
            return True
        ended = self._exhausted or self._stopping
        return ended and not (self._returned or any(slot.windows for slot in self._slots))

    # -- handing out ----------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        """Give a window to each engine that has none waiting; idle engines come first."""
        free = [(n, slot) for n, slot in enumerate(self._slots) if slot.ready and slot.waiting is None]
        for number, slot in sorted(free, key=lambda each: len(each[1].begun)):
            window = self._next_window()
            if window is None:
                self._ask_back()
                return
            if not slot.begun:
                slot.since = slot.clock = time.monotonic()
            if not slot.has_store:
                assert self._writer is not None
                # Not before: a complete store that goes on is another writer's from its reopening on.
                self._engines.send(number, Begin(self._writer.place, self._edges))
                slot.has_store = True
            slot.waiting = window
            self._engines.send(number, Measure(window))

    def _ask_back(self) -> None:
        """Once no window is left, ask engines that are busy for those that wait, as many as there are idle engines."""
        if not self._exhausted or self._stopping:
            return
        idle = [slot for slot in self._slots if slot.ready and not slot.windows]
        asked = [slot for slot in self._slots if slot.asked_back]
        for number, slot in enumerate(self._slots):
            if len(asked) >= len(idle):
                return
            if slot.waiting is not None and slot.begun and not slot.asked_back:
                slot.asked_back = True
                asked.append(slot)
                self._engines.send(number, Drop(slot.waiting.first - 1))

    def _next_window(self) -> ExamplesOfWindow | None:
        if self._returned:
            return self._returned.pop(0)
        if self._exhausted or self._stopping:
            return None
        assert self._source is not None
        try:
            window = self._source.take()
        except StopIteration:
            self._exhausted = True
            return None
        except Exception as error:
            self._source_error, self._exhausted = error, True
            return None
        if window is not None:
            self._reopen()
        return window

    def _stop_handing_out(self) -> None:
        """Have engines finish what they have begun, and what comes before that."""
        self._stopping = True
        self._give_to_others([])
        last = self._last_begun()
        for number, slot in enumerate(self._slots):
            if slot.waiting is not None and slot.waiting.first > last:
                self._engines.send(number, Drop(last))
        if any(slot.begun for slot in self._slots):
            self._progress.message("stopping once the windows in work are measured; once more stops at once")

    def _last_begun(self) -> int:
        """First example of the last window that is in work or finished and not committed; -1 if there is none."""
        begun = [first for slot in self._slots for first in slot.begun]
        return max([*begun, self._finished.last])

    def _give_to_others(self, windows: list[ExamplesOfWindow]) -> None:
        """Have other engines measure windows; of a run that is stopping, only those that others come after."""
        last = self._last_begun()
        windows = sorted([*self._returned, *windows], key=_first_of)
        self._returned = [window for window in windows if not self._stopping or window.first < last]

    # -- events ---------------------------------------------------------------------------------------

    def _hear(self) -> None:
        for number, event in self._engines.receive(_LOOK_S):
            self._on(number, self._slots[number], event)

    def _on(self, number: int, slot: Slot, event: Event) -> None:
        slot.since = time.monotonic()
        match event:
            case Started(process):
                slot.process = process
            case Ready(report):
                self._on_ready(number, slot, report)
            case EdgesChosen(edges):
                slot.choosing, self._edges = False, edges
            case Begun(first):
                assert slot.waiting is not None and slot.waiting.first == first
                slot.begun[first], slot.waiting, slot.asked_back = slot.waiting, None, False
            case Progress():
                self._on_progress(slot, event)
            case Written():
                self._on_written(number, slot, event)
            case Dropped(firsts):
                if slot.waiting is not None and slot.waiting.first in firsts:
                    window, slot.waiting, slot.asked_back = slot.waiting, None, False
                    self._give_to_others([window])
            case Failed():
                self._on_failed(number, slot, event)

    def _on_ready(self, number: int, slot: Slot, report: EngineReport) -> None:
        problem = None if self._report is None else difference(self._report, report)
        if problem is not None:
            self._engines.kill(number)
            self._on_failed(number, slot, Failed("engine", f"it differs from the others: {problem}"))
            return
        self._report = self._report or report
        slot.ready = True

    def _on_progress(self, slot: Slot, event: Progress) -> None:
        """Show examples, but those that another engine had measured already once only."""
        examples, prompts = slot.measured.get(event.first, (0, 0))
        examples, prompts = slot.measured[event.first] = examples + event.examples, prompts + event.prompts
        shown = self._shown.get(event.first, 0)
        self._shown[event.first] = max(shown, examples)
        self._progress.advance(max(0, examples - shown), event.prompts, event.tokens)

    def _on_written(self, number: int, slot: Slot, written: Written) -> None:
        window = slot.begun.pop(written.first)
        _, prompts = slot.measured.pop(written.first, (0, 0))
        self._attempts.pop(written.first, None)
        self._shown.pop(written.first, None)
        self._finished.add(written.first, written.window)
        slot.examples += len(window)
        self._examples, self._skipped = self._examples + len(window), self._skipped + written.num_skipped
        self._begun += written.begun
        self._first_skipped = self._first_skipped or written.first_skipped
        now = time.monotonic()
        if prompts:
            slot.seconds.append((now - slot.clock) / prompts)
            if (message := judge(self._slots, self._live, number)) is not None:
                self._progress.message(message)
        slot.clock = now

    def _on_failed(self, number: int, slot: Slot, failed: Failed) -> None:
        """Give an engine's windows to others, and start another one in its place.

        Raises:
            InputError: no engine can load the model.
            StoreError: no engine can write.
            EngineError: no engine is left, or a window makes them fail.
            KeyboardInterrupt: the run was stopped before it began.
        """
        name = f"engine {number}" + (f" ({slot.process})" if slot.process else "")
        # A batch system sends its SIGTERM to the engines' processes as well, which may end before this one has it.
        if self._stop.wait(SIGNALS_APART_S) and not self._stopping:
            if self._report is None:
                raise KeyboardInterrupt
            self._stop_handing_out()
        if failed.kind == "store" and not self._stopping:
            raise StoreError(failed.message)
        if failed.kind == "input" and self._report is None:
            raise InputError(failed.message)
        for first in slot.begun:
            self._attempts[first] = self._attempts.get(first, 0) + 1
            if self._attempts[first] == _MOST_ATTEMPTS:
                raise EngineError(
                    f"{name}: {failed.message}; {_MOST_ATTEMPTS} engines in turn have failed on the examples from "
                    f"{first} on"
                )
        self._slots[number] = Slot(restarts=slot.restarts + 1, examples=slot.examples)
        self._give_to_others(slot.windows)
        if slot.restarts < MOST_RESTARTS and not self._stopping:
            count = f"{slot.restarts + 1} of {MOST_RESTARTS}"
            self._progress.message(f"{name}: {failed.message}; starting it again ({count})")
            self._begin(number)
            return
        self._live.discard(number)
        if self._stopping:
            return
        if not self._live:
            raise EngineError(f"{name}: {failed.message}; no engine is left")
        left = len(self._live)
        self._progress.message(
            f"{name}: {failed.message}; it was started {MOST_RESTARTS} times again, and the run goes on with "
            f"{left} engine{'' if left == 1 else 's'}"
        )

    def _begin(self, number: int) -> None:
        self._slots[number].since = time.monotonic()
        self._engines.start(number)

    def _check_clocks(self) -> None:
        """End engines that have work and say nothing; mention those that do not get ready."""
        now = time.monotonic()
        for number in sorted(self._live):
            slot = self._slots[number]
            silent_s = now - slot.since
            if not slot.ready and silent_s > _STILL_STARTING_S and not slot.told:
                slot.told = True
                self._progress.message(f"engine {number} is still starting, after {silent_s:.0f} s")
            if (slot.windows or slot.choosing) and silent_s > self._timeout_s:
                self._engines.kill(number)
                what = "a sample to measure"
                if slot.windows:
                    window = slot.windows[0]
                    what = f"examples {window.first} to {window.first + len(window) - 1} to measure"
                said = f"said nothing for {self._timeout_s:g} s (--window-timeout) while it had {what}"
                self._on_failed(number, slot, Failed("death", said))


def _first_of(window: ExamplesOfWindow) -> int:
    return window.first

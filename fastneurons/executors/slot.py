"""An engine of a run, or the place for one: its windows, its clocks, and whether it is slow."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from fastneurons.executors.messages import ExamplesOfWindow

# An engine is slow if its prompts take this many times as long as those of the others, over its last windows.
_SLOW = 2.0
_WINDOWS_TO_JUDGE = 3


@dataclass
class Slot:
    """An engine, or the place for one.

    Args:
        process: Where it runs, for people.
        ready: Whether it takes windows.
        has_store: Whether it knows the store.
        restarts: How many engines were started in the slot after the first.
        since: When it was started, or last heard of, or given work after it had none.
        choosing: Whether it chooses edges of histograms.
        told: Whether people were told that it is still starting.
        waiting: The window sent that it has not begun.
        asked_back: Whether it was asked for that one, since others have nothing to do.
        begun: Those begun and not written, by first example.
        measured: Examples and prompts measured of each of these.
        examples: Of all windows written.
        clock: When it began to measure, or wrote its last window.
        seconds: For each of its last windows, how long a prompt took.
        slow: Whether people were told that it is slow.
    """

    process: str = ""
    ready: bool = False
    has_store: bool = False
    restarts: int = 0
    since: float = 0.0
    choosing: bool = False
    told: bool = False
    waiting: ExamplesOfWindow | None = None
    asked_back: bool = False
    begun: dict[int, ExamplesOfWindow] = field(default_factory=dict)
    measured: dict[int, tuple[int, int]] = field(default_factory=dict)
    examples: int = 0
    clock: float = 0.0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOWS_TO_JUDGE))
    slow: bool = False

    @property
    def windows(self) -> list[ExamplesOfWindow]:
        """Windows sent and not written."""
        return [*self.begun.values(), *([] if self.waiting is None else [self.waiting])]


def judge(slots: Sequence[Slot], live: Iterable[int], number: int) -> str | None:
    """A message if an engine has become slow, or is so no longer; None if nothing has changed.

    Args:
        live: Numbers of the slots that have an engine.
        number: Of the slot to judge by its last windows.
    """
    times = {
        other: median(slots[other].seconds)
        for other in live
        if len(slots[other].seconds) == _WINDOWS_TO_JUDGE
    }
    if number not in times or len(times) < 2:
        return None
    slot = slots[number]
    others = median(seconds for other, seconds in times.items() if other != number)
    is_slow = times[number] > _SLOW * others
    if is_slow == slot.slow:
        return None
    slot.slow = is_slow
    what = "is slow" if is_slow else "is not slow any more"
    return f"engine {number} ({slot.process}) {what}: {1 / times[number]:,.1f} prompts/s, others {1 / others:,.1f}"

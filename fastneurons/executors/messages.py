"""What a run and its engines say to each other. All of it crosses to other processes by pickle.

A run sends an engine `Begin`, then windows with `Measure`, and `End`. An engine sends `Started`, `Ready`, and for each
window `Begun`, some `Progress`, and `Written`; or `Failed`, after which it ends.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fastneurons.data.example import Example
from fastneurons.experiments.handed_windows import (
    Advanced,
    EncodedWindow,
    EngineReport,
    ExamplesOfWindow,
    MeasuredWindow,
)
from fastneurons.store import StorePlace, Window, WrittenWindow

# -- to an engine -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Begin:
    """Windows to come belong in this store.

    Args:
        edges: Of the histograms' bins, float32 [N, B - 1]; None without histograms.
    """

    place: StorePlace
    edges: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class ChooseEdges:
    """Choose edges of the histograms' bins from a sample of texts; `EdgesChosen` answers."""

    texts: Sequence[Example]


@dataclass(frozen=True)
class Measure:
    """Measure a window, after those that were sent before."""

    examples: ExamplesOfWindow


@dataclass(frozen=True)
class Drop:
    """Give back windows that begin after this example and that are not begun yet."""

    after: int


@dataclass(frozen=True)
class End:
    """End once everything sent is measured."""


Message = Begin | ChooseEdges | Measure | Drop | End

# -- from an engine -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Started:
    """A process has begun to load the model.

    Args:
        process: Where it runs, for people.
        log: Its log file; None where its output is let through.
    """

    process: str
    log: Path | None = None


@dataclass(frozen=True)
class Ready:
    """The engine takes windows."""

    report: EngineReport


@dataclass(frozen=True)
class EdgesChosen:
    """The answer to `ChooseEdges`."""

    edges: NDArray[np.float32]


@dataclass(frozen=True)
class Begun:
    """The window that begins with this example is being measured."""

    first: int


@dataclass(frozen=True)
class Progress:
    """Examples of a window that were measured or skipped since the last word, with their prompts and tokens."""

    first: int
    examples: int
    prompts: int
    tokens: int


@dataclass(frozen=True)
class Written:
    """A window is measured.

    Args:
        first: Index of its first example.
        window: Written, or whole where it shares objects of the store with committed examples: the run writes it then.
        begun: Texts that began with the tokenizer's begin mark.
        num_skipped: Examples of it that were skipped.
        first_skipped: The first of those as "id: reason".
    """

    first: int
    window: WrittenWindow | Window
    begun: int = 0
    num_skipped: int = 0
    first_skipped: str | None = None


@dataclass(frozen=True)
class Dropped:
    """Windows given back, by their first examples."""

    firsts: tuple[int, ...]


@dataclass(frozen=True)
class Failed:
    """The engine has ended.

    Args:
        kind: "input" or "store": the run cannot go on. "engine": another may do better. "death": it ended without a
            word.
        message: One line for people.
    """

    kind: Literal["input", "store", "engine", "death"]
    message: str


Event = Started | Ready | EdgesChosen | Begun | Progress | Written | Dropped | Failed

# -- the two sides ------------------------------------------------------------------------------------


class Measurer(Protocol):
    """Measures windows: `experiments.windows.WindowReader` reads them, `outcome_windows.OutcomeReader` answers them."""

    report: EngineReport

    def encode(self, given: ExamplesOfWindow) -> EncodedWindow:
        """Prepare a window; runs in a thread next to `measure`."""

    def measure(self, take: Callable[[], EncodedWindow | None]) -> Any:
        """Yield progress and windows for as long as `take` returns a window."""


@runtime_checkable
class HasHistograms(Protocol):
    """A measurer that sorts signals into bins."""

    def choose_edges(self, texts: Sequence[Example]) -> NDArray[np.float32]:
        """Choose edges of the histograms' bins from a sample of texts."""

    def set_edges(self, edges: NDArray[np.float32]) -> None:
        """Use these from now on."""


class Job(Protocol):
    """What each engine of a run is to do; `MeasureJob` and `DeactivateJob` of `experiments` start real ones."""

    def open(self, log: Callable[[Path], None]) -> AbstractContextManager[Measurer]:
        """Start an engine; it ends with the context."""


class Engines(Protocol):
    """Starts engines, each in a numbered slot, carries messages to them, and brings their events.

    Args:
        num_slots: How many engines there may be at once.
    """

    num_slots: int

    def __enter__(self) -> Self:
        """Nothing is started yet."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all engines: after an error at once, else giving them a moment."""

    def start(self, slot: int) -> None:
        """Start an engine in an empty slot."""

    def send(self, slot: int, message: Message) -> None:
        """Send an engine a message; one that has ended meanwhile does not get it. Does not wait."""

    def receive(self, timeout_s: float) -> list[tuple[int, Event]]:
        """Wait for events; return them with the slots of their engines, in order.

        After `Failed` a slot is empty. Of an engine that was ended with `kill` nothing comes any more.
        """

    def kill(self, slot: int) -> None:
        """End an engine at once, whatever it does; its slot is empty then. Harmless where it is empty already."""


__all__ = [
    "Advanced",
    "Begin",
    "Begun",
    "ChooseEdges",
    "Drop",
    "Dropped",
    "EdgesChosen",
    "EncodedWindow",
    "End",
    "EngineReport",
    "Engines",
    "Event",
    "ExamplesOfWindow",
    "Failed",
    "HasHistograms",
    "Job",
    "Measure",
    "MeasuredWindow",
    "Measurer",
    "Message",
    "Progress",
    "Ready",
    "Started",
    "Window",
    "Written",
    "WrittenWindow",
]


def difference(first: EngineReport, other: EngineReport) -> str | None:
    """Say in which respect two engines' results would not go together; None if they would."""
    for name in (
        "dtype", "layers", "neurons", "function", "gated", "max_prompt_tokens", "vocabulary", "model_fingerprint",
        "tokenizer_fingerprint",
    ):  # fmt: skip
        here, there = getattr(first.facts, name), getattr(other.facts, name)
        if here != there:
            return f"{name.replace('_', ' ')} {there}, not {here}"
    if first.tokens != other.tokens:
        return f"tokens {other.tokens}, not {first.tokens}"
    return None

"""Windows of examples that are handed to an engine one by one, and what it says of them.

They cross to other processes by pickle.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastneurons.arrays import Arrays
from fastneurons.config import Measurement
from fastneurons.data.example import Skipped
from fastneurons.engine.encode import AnyExample, Tokenised
from fastneurons.engine.facts import ModelFacts
from fastneurons.store import Window


@dataclass(frozen=True)
class ExamplesOfWindow:
    """The examples of a window, on their way to an engine.

    Args:
        first: Index of the first example in the source; of a corpus, of the first block.
        examples: The examples; of a corpus its blocks, as token ids.
        digests: Of a corpus, the blocks'; else None.
    """

    first: int
    examples: Sequence[AnyExample]
    digests: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.examples)


@dataclass(frozen=True)
class EngineReport:
    """An engine that is ready, as its run needs to know it.

    Args:
        facts: Of its model, and where it runs.
        measurement: With the defaults of its device filled in.
        languages: L codes.
        top_k: As in `Session`.
        tokens: The header's field of that name.
        messages: Lines for people.
        constants: The arrays of a run that are constants of the model.
    """

    facts: ModelFacts
    measurement: Measurement
    languages: tuple[str, ...]
    top_k: int | None
    tokens: dict[str, Any]
    messages: tuple[str, ...]
    constants: Arrays


@dataclass(frozen=True)
class Advanced:
    """Examples of the window that begins with example `first` which have been measured or skipped."""

    first: int
    examples: int
    prompts: int
    tokens: int


@dataclass(frozen=True)
class MeasuredWindow:
    """A window whose examples have all been measured or skipped.

    Args:
        window: For the store.
        begun: Texts that began with the tokenizer's begin mark, which was not put before them once more.
        first_skipped: The first example skipped, as "id: reason".
    """

    window: Window
    begun: int
    first_skipped: str | None


@dataclass(frozen=True)
class EncodedWindow:
    """A window's examples as token ids, each with the digest of its texts."""

    first: int
    examples: Sequence[tuple[Tokenised | Skipped, int]]
    begun: int = 0


class WindowFeed:
    """The examples of windows, one window after another, as a reading pass takes them.

    A pass counts examples from 0 and takes all windows to be of one size: after a smaller one it has to end.

    Args:
        take: Returns the next window, or None where none waits.
        size: Examples of a window.

    Attributes:
        taken: Windows that are not complete yet, in order.
    """

    def __init__(self, take: Callable[[], EncodedWindow | None], size: int) -> None:
        self._take, self._size = take, size
        self._examples: Iterator[tuple[Tokenised | Skipped, int]] = iter(())
        self._is_last = False
        self.taken: deque[EncodedWindow] = deque()

    def take(self, wait: bool) -> tuple[Tokenised | Skipped, int] | None:
        """See `EncodedExamples.take`; where nothing runs and no window waits, the pass is over."""
        example = next(self._examples, None)
        if example is not None:
            return example
        window = None if self._is_last else self._take()
        if window is None:
            if wait or self._is_last:
                raise StopIteration
            return None
        self._examples = iter(window.examples)
        self._is_last = len(window.examples) < self._size
        self.taken.append(window)
        return self.take(wait)

    def index_in_source(self, index: int) -> int:
        """Index in the source of the example that was taken last, given its index in the pass."""
        return self.taken[-1].first + index % self._size

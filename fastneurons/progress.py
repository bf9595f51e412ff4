"""Show the progress of a run: a bar on a terminal, plain lines anywhere else."""

import contextlib
import io
import time
from collections.abc import Iterator
from typing import Protocol, TextIO, cast

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from fastneurons.console import PlainConsole
from fastneurons.visible import visible

# Rates are over the latest stretch, not since the start: the first steps are slower.
_RATE_OVER_S = 30.0
_LINE_EVERY_S = 10.0


class RunProgress(Protocol):
    """Receives reports of a run's progress; `fastneurons.run(progress=...)` takes any object with these methods."""

    def message(self, text: str) -> None:
        """Show a line of its own, e.g. which model is loaded or where results go."""

    def start(self, total: int | None, done: int) -> None:
        """Start counting examples.

        Args:
            total: How many examples there are; None if unknown.
            done: How many of them are in the store already.
        """

    def advance(self, examples: int, prompts: int, tokens: int) -> None:
        """Count examples that were measured or skipped since the last call, with their prompts and tokens."""

    def stop(self) -> None:
        """Stop: no more examples will come."""


class Silent:
    """Shows nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

    def start(self, total: int | None, done: int) -> None:
        """Do nothing."""

    def advance(self, examples: int, prompts: int, tokens: int) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class _Rate:
    """Prompts and tokens per second over the latest stretch."""

    def __init__(self) -> None:
        self._points = [(time.perf_counter(), 0, 0)]

    def add(self, prompts: int, tokens: int) -> None:
        now, (_, p, t) = time.perf_counter(), self._points[-1]
        self._points.append((now, p + prompts, t + tokens))
        while len(self._points) > 2 and now - self._points[1][0] > _RATE_OVER_S:
            del self._points[0]

    def text(self) -> str:
        (t0, p0, n0), (t1, p1, n1) = self._points[0], self._points[-1]
        if t1 <= t0:
            return "- prompts/s"
        return f"{(p1 - p0) / (t1 - t0):,.1f} prompts/s  {(n1 - n0) / (t1 - t0):,.0f} tokens/s"


class _Lasting(io.TextIOBase):
    """A stream that may disappear, like a closed terminal or pipe, without ending the run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def write(self, text: str) -> int:
        with self._while_it_lasts() as stream:
            if stream is not None:
                stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._while_it_lasts() as stream:
            if stream is not None:
                stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override] # rich draws with ASCII where this says so
        return getattr(self._stream, "encoding", None) or "utf-8"

    @contextlib.contextmanager
    def _while_it_lasts(self) -> Iterator[TextIO | None]:
        try:
            yield self._stream
        except (OSError, ValueError):  # ValueError: closed
            self._stream = None


class Lines:
    """Prints a plain line at intervals, for logs and pipes. Arguments as for `progress_for`."""

    def __init__(self, stream: TextIO, doing: str = "measuring") -> None:
        self._stream = stream
        self._has_rate = doing == "measuring"
        self._rate = _Rate()
        self._total: int | None = None
        self._done = self._before = self._told = 0
        self._began = self._last = 0.0

    def message(self, text: str) -> None:
        """Print a line."""
        print(visible(text), file=self._stream, flush=True)

    def start(self, total: int | None, done: int) -> None:
        """Start counting."""
        self._total, self._done, self._before, self._told = total, done, done, done
        self._began = self._last = time.perf_counter()
        self._rate = _Rate()

    def advance(self, examples: int, prompts: int, tokens: int) -> None:
        """Count, and print a line if the last one is old enough."""
        self._done += examples
        self._rate.add(prompts, tokens)
        if time.perf_counter() - self._last >= _LINE_EVERY_S:
            self._line()

    def stop(self) -> None:
        """Print a final line if examples were counted since the last one."""
        if self._done > self._told:
            self._line()

    def _line(self) -> None:
        now = time.perf_counter()
        self._last, self._told = now, self._done
        done = f"{self._done:,}" if self._total is None else f"{self._done:,} of {self._total:,}"
        line = f"{done} examples" + (f"  {self._rate.text()}" if self._has_rate else "")
        if self._total is not None and self._done > self._before:
            left = (now - self._began) / (self._done - self._before) * (self._total - self._done)
            line += f"  {_duration(left)} left"
        self.message(line)


class Bar:
    """Shows a bar with rate and time left. Arguments as for `progress_for`."""

    def __init__(self, stream: TextIO, doing: str = "measuring") -> None:
        self._console = PlainConsole(stream)
        self._rate = _Rate()
        self._progress = Progress(
            TextColumn(doing),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn("examples"),
            *([_RateColumn(self._rate)] if doing == "measuring" else []),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task(doing, start=False, visible=False)

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(visible(text), soft_wrap=True)

    def start(self, total: int | None, done: int) -> None:
        """Show the bar."""
        self._progress.update(self._task, total=total, completed=done, visible=True)
        self._progress.start_task(self._task)
        self._progress.start()

    def advance(self, examples: int, prompts: int, tokens: int) -> None:
        """Move the bar."""
        self._rate.add(prompts, tokens)
        self._progress.advance(self._task, examples)

    def stop(self) -> None:
        """Leave the bar as it is."""
        self._progress.stop()


class _RateColumn(ProgressColumn):
    def __init__(self, rate: _Rate) -> None:
        super().__init__()
        self._rate = rate

    def render(self, task: Task) -> Text:
        """Return the current rate."""
        return Text(self._rate.text(), style="progress.data.speed")


def progress_for(stream: TextIO, doing: str = "measuring") -> RunProgress:
    """Return a bar if the stream is a terminal, otherwise lines; neither fails if the stream disappears.

    Args:
        doing: One word for the work; of anything but "measuring", no rate of prompts is shown.
    """
    lasting = cast(TextIO, _Lasting(stream))
    return Bar(lasting, doing) if stream.isatty() else Lines(lasting, doing)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

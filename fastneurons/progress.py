"""What a user sees while a run goes on: a bar on a terminal, plain lines anywhere else."""

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
    """Told about a run as it goes."""

    def message(self, text: str) -> None:
        """A line of its own: what is loaded, where results go."""

    def start(self, total: int | None, done: int) -> None:
        """Rows are about to be measured: how many there are, where it is known, and how many were before."""

    def advance(self, examples: int, prompts: int, tokens: int) -> None:
        """Rows were measured, or skipped."""

    def stop(self) -> None:
        """No more rows come."""


class Silent:
    """Shows nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def start(self, total: int | None, done: int) -> None:
        """Nothing."""

    def advance(self, examples: int, prompts: int, tokens: int) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class _Rate:
    """Prompts and tokens a second over the latest stretch."""

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
    """A stream that may go away, as a closed terminal or pipe does, without ending the run."""

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
    """A plain line now and then, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rate = _Rate()
        self._total: int | None = None
        self._done = self._before = self._told = 0
        self._began = self._last = 0.0

    def message(self, text: str) -> None:
        """A line of its own."""
        print(visible(text), file=self._stream, flush=True)

    def start(self, total: int | None, done: int) -> None:
        """Begin counting."""
        self._total, self._done, self._before, self._told = total, done, done, done
        self._began = self._last = time.perf_counter()
        self._rate = _Rate()

    def advance(self, examples: int, prompts: int, tokens: int) -> None:
        """Count, and say so where the last line is a while ago."""
        self._done += examples
        self._rate.add(prompts, tokens)
        if time.perf_counter() - self._last >= _LINE_EVERY_S:
            self._line()

    def stop(self) -> None:
        """A last line, if the last one does not say all."""
        if self._done > self._told:
            self._line()

    def _line(self) -> None:
        now = time.perf_counter()
        self._last, self._told = now, self._done
        done = f"{self._done:,}" if self._total is None else f"{self._done:,} of {self._total:,}"
        line = f"{done} examples  {self._rate.text()}"
        if self._total is not None and self._done > self._before:
            left = (now - self._began) / (self._done - self._before) * (self._total - self._done)
            line += f"  {_duration(left)} left"
        self.message(line)


class Bar:
    """A bar with rate and time left."""

    def __init__(self, stream: TextIO) -> None:
        self._console = PlainConsole(stream)
        self._rate = _Rate()
        self._progress = Progress(
            TextColumn("measuring"),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn("examples"),
            _RateColumn(self._rate),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("measuring", start=False, visible=False)

    def message(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(visible(text), soft_wrap=True)

    def start(self, total: int | None, done: int) -> None:
        """Show the bar."""
        self._progress.update(self._task, total=total, completed=done, visible=True)
        self._progress.start_task(self._task)
        self._progress.start()

    def advance(self, examples: int, prompts: int, tokens: int) -> None:
        """Move it."""
        self._rate.add(prompts, tokens)
        self._progress.advance(self._task, examples)

    def stop(self) -> None:
        """Leave it as it stands."""
        self._progress.stop()


class _RateColumn(ProgressColumn):
    def __init__(self, rate: _Rate) -> None:
        super().__init__()
        self._rate = rate

    def render(self, task: Task) -> Text:
        """The rate as it is now."""
        return Text(self._rate.text(), style="progress.data.speed")


def progress_for(stream: TextIO) -> RunProgress:
    """A bar where the stream is a terminal, lines otherwise; a stream that goes away ends neither."""
    lasting = cast(TextIO, _Lasting(stream))
    return Bar(lasting) if stream.isatty() else Lines(lasting)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

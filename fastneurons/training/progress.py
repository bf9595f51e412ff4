"""Show how a training goes: a bar on a terminal, plain lines anywhere else; loss and time left in both."""

import time
from typing import Protocol, TextIO

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from fastneurons.console import PlainConsole
from fastneurons.visible import visible


class TrainingProgress(Protocol):
    """Receives reports of a training; `fastneurons.align(progress=...)` takes any object with these methods."""

    def message(self, text: str) -> None:
        """Show a line of its own."""

    def start(self, steps: int, done: int) -> None:
        """Start counting steps, `done` of which were made before."""

    def step(self, done: int) -> None:
        """Count: so many steps are done."""

    def loss(self, done: int, loss: float, validation: float | None) -> None:
        """Report the mean loss since the last report, and that on held-out examples if it was looked at."""

    def stop(self) -> None:
        """Stop: no more steps will come."""


class Silent:
    """Shows nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

    def start(self, steps: int, done: int) -> None:
        """Do nothing."""

    def step(self, done: int) -> None:
        """Do nothing."""

    def loss(self, done: int, loss: float, validation: float | None) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class _Clock:
    """Time left, from the pace since the start."""

    def __init__(self, steps: int, done: int) -> None:
        self._steps, self._before, self._began = steps, done, time.perf_counter()

    def left(self, done: int) -> str:
        if done <= self._before:
            return "-:-- left"
        seconds = (time.perf_counter() - self._began) / (done - self._before) * (self._steps - done)
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"


class Lines:
    """Prints a plain line for each report of the loss."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._steps, self._clock = 0, _Clock(0, 0)

    def message(self, text: str) -> None:
        """Print a line."""
        print(visible(text), file=self._stream, flush=True)

    def start(self, steps: int, done: int) -> None:
        """Start counting."""
        self._steps, self._clock = steps, _Clock(steps, done)

    def step(self, done: int) -> None:
        """Do nothing: lines come with losses."""

    def loss(self, done: int, loss: float, validation: float | None) -> None:
        """Print a line."""
        self.message(
            f"step {done:,} of {self._steps:,}  {losses(loss, validation)}  {self._clock.left(done)}"
        )

    def stop(self) -> None:
        """Do nothing."""


class Bar:
    """Shows a bar with the last loss and the time left."""

    def __init__(self, stream: TextIO) -> None:
        self._console = PlainConsole(stream)
        self._clock = _Clock(0, 0)
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn("steps  {task.fields[losses]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("training", visible=False, losses="", left="")

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(visible(text), soft_wrap=True)

    def start(self, steps: int, done: int) -> None:
        """Show the bar."""
        self._clock = _Clock(steps, done)
        self._progress.update(self._task, total=steps, completed=done, visible=True)
        self._progress.start()

    def step(self, done: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, left=self._clock.left(done))

    def loss(self, done: int, loss: float, validation: float | None) -> None:
        """Show the losses next to the bar."""
        self._progress.update(self._task, losses=losses(loss, validation))

    def stop(self) -> None:
        """Leave the bar as it is."""
        self._progress.stop()


def progress_for(stream: TextIO) -> TrainingProgress:
    """Return a bar if the stream is a terminal, otherwise lines."""
    return Bar(stream) if stream.isatty() else Lines(stream)


def losses(loss: float, validation: float | None) -> str:
    """The losses, for people."""
    return f"loss {loss:.4f}" + (f", {validation:.4f} on held-out examples" if validation is not None else "")

"""How does the cost grow: with examples, languages, neurons and thresholds?

    python benchmarks/growth.py [--json FILE] [--plot FILE] [--quick]
    python benchmarks/growth.py --long 100000 [--json FILE]

Measures whole runs, including the store, with prompts of 8 random tokens and a random model of three layers, so small
that any growing cost besides the model's own work would show. Each point is a process of its own: tokens per second
after a warm-up, as the median of several runs with 20th and 80th percentile, and the peak memory of the process.

With `--long`, one run of that many examples instead, two languages and prompts of 2 to 12 letters, whose resident
memory is read as it goes on; and a second process that resumes it with a few windows more, after passing by the others.
"""

import json
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

    from fastneurons.bench.rounds import Percentiles
    from fastneurons.data.example import Example

_PROMPT_LENGTH = 8
# Of a point that does not grow with examples.
_TOKENS = 48_000
_TOKENS_QUICK = 480
_ROUNDS = 5

AXES = {
    "examples": (100, 300, 1_000, 3_000, 10_000),
    "languages": (2, 4, 8, 16, 32, 64),
    "neurons": (512, 1_024, 2_048, 4_096, 8_192, 16_384),
    "thresholds": (1, 2, 4, 8),
}
QUICK = {"thresholds": (2,)}

# Of a long run: when its memory is read, and the windows by which a second process continues it.
SHARES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_WINDOW = 256
_MORE = 8


@dataclass(frozen=True)
class Case:
    """The size of a run."""

    examples: int
    languages: int = 3
    neurons: int = 1_024
    thresholds: int = 1


@dataclass(frozen=True)
class Row:
    """One point of one axis."""

    axis: str
    value: int
    tokens: int
    tokens_per_s: "Percentiles"
    peak_mib: float


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them here: .png, .svg or .pdf.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One small point, to see that it runs.")] = False,
    long: Annotated[
        int | None, typer.Option(min=100, help="Memory over one run of so many examples, and nothing else.")
    ] = None,
) -> None:
    """Run, print, write."""
    from fastneurons.bench.child import in_a_process
    from fastneurons.machine import this_machine

    if long is not None:
        rows = memory_of_a_long_run(long)
        if json_file is not None:
            machine = asdict(in_a_process(this_machine))
            json_file.write_text(
                json.dumps({"machine": machine, "rows": [asdict(r) for r in rows]}, indent=1) + "\n"
            )
        return
    found = []
    print(f"{'':<12}{'':>8}{'tokens':>10}{'tokens/s':>10}{'':>18}{'peak MiB':>10}")
    for axis, values in (QUICK if quick else AXES).items():
        for value in values:
            row = Row(
                axis, value, *in_a_process(measure, case_of(axis, value, _TOKENS_QUICK if quick else _TOKENS))
            )
            found.append(row)
            rate = row.tokens_per_s
            print(
                f"{axis:<12}{value:>8,}{row.tokens:>10,}{rate.median:>10,.0f}"
                f"{f'({rate.p20:,.0f}-{rate.p80:,.0f})':>18}{row.peak_mib:>10,.0f}",
                flush=True,
            )
    if json_file is not None:
        machine = asdict(in_a_process(this_machine))
        json_file.write_text(
            json.dumps({"machine": machine, "rows": [asdict(r) for r in found]}, indent=1) + "\n"
        )
    if plot is not None:
        draw(found, plot)


def case_of(axis: str, value: int, tokens: int) -> Case:
    """All else as it is; but for examples, about the same number of tokens everywhere."""
    if axis == "examples":
        return Case(value)
    languages = value if axis == "languages" else 3
    return Case(**{"examples": tokens // (languages * _PROMPT_LENGTH), "languages": languages, axis: value})


def measure(case: Case) -> "tuple[int, Percentiles, float]":
    """Tokens of a run, tokens per second, and peak memory in MiB of this process."""
    from random_model import random_model

    from fastneurons.bench.contender import Setting, Work
    from fastneurons.bench.engine import Measured
    from fastneurons.bench.rounds import Percentiles
    from fastneurons.config import Measurement

    rng = np.random.default_rng(0)
    shape = (case.examples, case.languages, _PROMPT_LENGTH)
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(Path(folder), case.neurons)
        languages = tuple(f"l{k}" for k in range(case.languages))
        what = Measurement(tuple(k / 10 for k in range(case.thresholds)))
        setting = Setting(str(model), languages, "float32", {"max_model_len": 256})
        measured = Measured(setting, what, store=True)
        work = Work(rng.integers(10, 40_000, shape).tolist(), rng.integers(10, 40_000, shape[:2]).tolist())
        measured.round(work.first(max(20, case.examples // 10)))
        rates = []
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            measured.round(work)
            rates.append(work.num_tokens / (time.perf_counter() - began))
        measured.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return work.num_tokens, Percentiles.of(rates), peak


@dataclass(frozen=True)
class Resident:
    """Resident memory after so many examples of a run, or of the one that continued it."""

    examples: int
    resident_mib: float
    resumed: bool = False


def memory_of_a_long_run(examples: int) -> list[Resident]:
    """Run, print."""
    from fastneurons.bench.child import in_a_process

    print(f"{'examples':>10}{'resident MiB':>14}")
    with tempfile.TemporaryDirectory() as folder:
        first: list[Resident] = in_a_process(run_and_look, folder, 0, examples)
        for row in first:
            print(f"{row.examples:>10,}{row.resident_mib:>14,.0f}")
        more = _MORE * _WINDOW
        [resumed] = in_a_process(run_and_look, folder, examples, examples + more)
    tenth = next(row for row in first if row.examples >= 0.1 * examples)
    print(f"{bytes_per_example(tenth, first[-1]):+,.0f} bytes an example from {tenth.examples:,} on")
    print(f"resumed, {examples:,} passed by and {more:,} measured: {resumed.resident_mib:,.0f} MiB")
    return [*first, resumed]


def bytes_per_example(earlier: Resident, later: Resident) -> float:
    """How resident memory grew from one point to another."""
    return (later.resident_mib - earlier.resident_mib) * 2**20 / (later.examples - earlier.examples)


def run_and_look(folder: str, first: int, examples: int) -> list[Resident]:
    """Measure made examples into a store, from `first` on; memory at each of `SHARES`, of a resumed run at its end."""
    from random_model import random_model

    import fastneurons

    model, out = Path(folder, "model"), Path(folder, "run.zarr")
    if not model.exists():
        random_model(model)
    looked = _Looking(examples, (1.0,) if first else SHARES, resumed=first > 0)
    fastneurons.run(
        model, _made_examples(examples), ["en", "de"], out, window=_WINDOW, resume=first > 0, progress=looked,
        dtype="float32", max_model_len=64,
    )  # fmt: skip
    return looked.found


class _Looking:
    """Reads the process's memory at intervals, as a run's progress display."""

    def __init__(self, examples: int, shares: tuple[float, ...], resumed: bool) -> None:
        self.found: list[Resident] = []
        self._next = [-int(-share * examples // 1) for share in shares]
        self._resumed = resumed
        self._done = 0

    def message(self, text: str) -> None:
        """Nothing."""

    def start(self, total: int | None, done: int) -> None:
        """Begin counting."""
        self._done = done

    def advance(self, examples: int, prompts: int, tokens: int) -> None:
        """Count, and look."""
        self._done += examples
        if self._next and self._done >= self._next[0]:
            self.found.append(Resident(self._done, _resident_mib(), self._resumed))
            self._next = [number for number in self._next if number > self._done]

    def stop(self) -> None:
        """Nothing."""


def _resident_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def _made_examples(number: int) -> "Iterator[Example]":
    from fastneurons.data.example import Example

    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    for index in range(number):
        lengths = rng.integers(2, 13, 2)
        prompts = ["".join(rng.choice(letters, length)) for length in lengths]
        yield Example(f"e{index}", dict(zip(("en", "de"), prompts, strict=True)))


def draw(found: list[Row], path: Path) -> None:
    """Write the picture."""
    import matplotlib

    from fastneurons.report.style import STYLE, check_ending, save

    check_ending(path)
    with matplotlib.rc_context(STYLE):
        save(figure_of(found), path)


def figure_of(found: list[Row]) -> "Figure":
    """A column for each axis: rates above, memory below."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    from fastneurons.report.style import ACCENT, FAINT

    axes_names = list(dict.fromkeys(row.axis for row in found))
    figure = Figure(figsize=(2.7 * len(axes_names), 4.4), layout="constrained")
    panels: Any = figure.subplots(2, len(axes_names), squeeze=False, sharex="col", sharey="row")
    for column, name in enumerate(axes_names):
        rows = [row for row in found if row.axis == name]
        values = [row.value for row in rows]
        rates = [row.tokens_per_s for row in rows]
        above, below = panels[:, column]
        above.fill_between(values, [r.p20 for r in rates], [r.p80 for r in rates], color=ACCENT, alpha=0.15)
        above.plot(values, [r.median for r in rates], "o-", color=ACCENT, markersize=4)
        below.plot(values, [row.peak_mib for row in rows], "o-", color=ACCENT, markersize=4)
        for panel in (above, below):
            panel.set_xscale("log")
            panel.grid(axis="y", color=FAINT, linewidth=0.8)
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        few = values if len(values) <= 4 else values[:: 2 if len(values) < 7 else 3]
        below.set_xticks(few, [f"{value:,}" for value in few])
        below.xaxis.set_minor_locator(NullLocator())
        below.set_xlabel(name)
    # Columns share these: set when all is drawn.
    panels[0, 0].set_ylim(0, 1.08 * max(row.tokens_per_s.p80 for row in found))
    panels[1, 0].set_ylim(0, 1.08 * max(row.peak_mib for row in found))
    panels[0, 0].set_ylabel("tokens per second")
    panels[1, 0].set_ylabel("peak memory, MiB")
    return figure


if __name__ == "__main__":
    sys.exit(typer.run(main))

"""How does the cost grow: with examples, languages, neurons and thresholds?

    python benchmarks/growth.py [--json FILE] [--plot FILE] [--quick]

A random model of three layers, so small that what grows beside the model's own work would show; prompts of 8 random
tokens; the whole run, store included. Each point is a process of its own: tokens per second after a warm-up, the median
of several runs with 20th and 80th percentile, and the most memory that the process ever held.
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
    from matplotlib.figure import Figure

    from fastneurons.bench.rounds import Percentiles

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


@dataclass(frozen=True)
class Case:
    """What is run."""

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
) -> None:
    """Run, print, write."""
    from fastneurons.bench.child import in_a_process
    from fastneurons.machine import this_machine

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

"""The results of a race, as tables for a terminal and as one object for JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from fastneurons.bench.contenders import CONTENDERS
from fastneurons.bench.rounds import Percentiles, Result
from fastneurons.console import PlainConsole
from fastneurons.machine import Machine
from fastneurons.model_name import short_name
from fastneurons.report.cells import LONGEST_LIST, LONGEST_NAME, table
from fastneurons.visible import visible

_WIDTH = 120
# Tokens of a small data set, for a column that adds its time to the start-up's.
_TOGETHER = 100_000
_HEADINGS = {
    "contender": "",
    "rate": "tokens/s",
    "rates": "",
    "prompts": "prompts/s",
    "ratio": "to vLLM\nalone",
    "ratios": "",
    "limit": "of the\nlimit",
    "store": "store\ns",
    "start": "start\ns",
    "together": "and 100k\ntokens s",
}
# Columns that stay in one table: a median and its percentiles.
_TOGETHER_IN_TABLE = (
    ("rate", "rates"), ("prompts",), ("ratio", "ratios"), ("limit",), ("store",), ("start",), ("together",),
)  # fmt: skip
_ABOVE_LIMIT = (
    "* Faster than the matrix products alone, so the limit is not one here: either they were timed while the "
    "machine was busy, or the contender skips work that they include."
)


@dataclass(frozen=True)
class Report:
    """A whole run.

    Args:
        model: Its name.
        dtype: The dtype that it computes in.
        date: When it ended.
        machine: The machine that it ran on.
        rounds: How many times each contender was timed.
        limit_tokens_per_s: Rate of tokens if there were nothing but matrix products, at their best.
        limit_flops: Operations a second of these products.
        results: In the order of the run.
        checked: Whether results were compared with a plain forward pass before anything was timed.
    """

    model: str
    dtype: str
    date: str
    machine: Machine
    rounds: int
    limit_tokens_per_s: float
    limit_flops: float
    results: Sequence[Result]
    checked: bool = True

    def share_of_limit(self, result: Result) -> float | None:
        """Share of the machine's rate of matrix products that a contender reaches; `is_above_limit` where over 1."""
        return result.tokens_per_s.median / self.limit_tokens_per_s if result.tokens_per_s else None

    def is_above_limit(self, result: Result) -> bool:
        """Whether a contender was faster than the matrix products, which then were no limit."""
        share = self.share_of_limit(result)
        return share is not None and share > 1

    def together_s(self, result: Result) -> float | None:
        """Seconds of start-up and 100,000 tokens together, with the writing of results where they are written."""
        if result.tokens_per_s is None or result.start_s is None:
            return None
        return result.start_s + _TOGETHER / result.tokens_per_s.median

    def as_json(self) -> dict[str, Any]:
        """The whole report; null where there is no value."""
        results = [
            asdict(r)
            | {
                "share_of_limit": self.share_of_limit(r),
                "above_limit": self.is_above_limit(r),
                "start_and_100k_tokens_s": self.together_s(r),
            }
            for r in self.results
        ]
        return asdict(self) | {"results": results}


def print_report(report: Report, file: TextIO) -> None:
    """A table for each number of languages and prompt length."""
    console = PlainConsole(file, _WIDTH)
    print_line = console.print
    machine = report.machine
    print_line(f"{visible(short_name(report.model), limit=LONGEST_NAME)}, {report.dtype}; {report.date}")
    print_line(
        f"{machine.platform}; {', '.join(machine.devices) or f'{len(machine.cores)} cores'}; {machine.engine}"
    )
    print_line(
        f"Matrix products alone, at best: {report.limit_flops / 1e9:,.0f} GFLOP/s, "
        f"{report.limit_tokens_per_s:,.0f} tokens/s. "
        f"Medians of {report.rounds} rounds, in brackets 20th and 80th percentile."
    )
    if not report.checked:
        print_line(
            "The weights are made up (load_format=dummy): no result was compared with a plain forward pass."
        )
    for length, languages in dict.fromkeys((r.prompt_length, r.num_languages) for r in report.results):
        at = [r for r in report.results if (r.prompt_length, r.num_languages) == (length, languages)]
        print_line()
        lengths = f"prompts of {length} tokens" if length is not None else "prompts as they are"
        print_line(f"{lengths}, {languages} languages")
        _print_point(console, report, at)


def _print_point(console: Console, report: Report, results: Sequence[Result]) -> None:
    timed = [result for result in results if result.tokens_per_s is not None]
    for made in _tables(console, [_cells(report, result) for result in timed]) if timed else ():
        console.print(made)
    if any(map(report.is_above_limit, timed)):
        console.print(_ABOVE_LIMIT, markup=False)
    for result in results:
        if result.why_not is not None:
            console.print(f"{result.contender}: not timed: {visible(result.why_not, limit=LONGEST_LIST)}")


def _tables(console: Console, rows: Sequence[dict[str, str]]) -> list[Table]:
    """All columns in one table, or in as few tables as a narrow terminal allows."""
    # Measured as if there were room for all: otherwise a table never takes more than the console's width.
    unbounded = console.options.update(width=10_000)
    tables: list[tuple[str, ...]] = []
    for group in _TOGETHER_IN_TABLE:
        wider = (*tables[-1], *group) if tables else ("contender", *group)
        if tables and Measurement.get(console, unbounded, _table(rows, wider)).maximum > console.width:
            tables.append(("contender", *group))
        else:
            tables[-1:] = [wider]
    return [_table(rows, columns) for columns in tables]


def _table(rows: Sequence[dict[str, str]], columns: Sequence[str]) -> Table:
    made = table("", *(_HEADINGS[column] for column in columns[1:]), left=1)
    for row in rows:
        made.add_row(*(row[column] for column in columns))
    return made


def _cells(report: Report, result: Result) -> dict[str, str]:
    """A row of the table, by the keys of `_HEADINGS`."""
    rate, ratio, share = result.tokens_per_s, result.ratio, report.share_of_limit(result)
    together = report.together_s(result)
    assert rate is not None
    assert share is not None
    return {
        "contender": result.contender,
        "rate": f"{rate.median:,.0f}",
        "rates": f"({rate.p20:,.0f}-{rate.p80:,.0f})",
        "prompts": f"{rate.median * result.prompts / result.tokens:,.1f}",
        "ratio": _ratio(ratio.median) if ratio else "",
        "ratios": f"({_ratio(ratio.p20)}-{_ratio(ratio.p80)})" if ratio else "",
        "limit": _share(share) + ("*" if report.is_above_limit(result) else ""),
        "store": f"{result.store_s:.2f}" if result.store_s is not None else "",
        "start": f"{result.start_s:.1f}" if result.start_s is not None else "",
        "together": f"{together:,.0f}" if together is not None else "",
    }


def _share(share: float) -> str:
    """A share in per cent; just above 1, with enough decimals to show it."""
    return f"{share:.0%}" if 0.1 <= share <= 1 or share >= 1.005 else f"{share:.1%}"


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value >= 0.1 else f"{value:.4f}"


def by_contender(results: Sequence[Result]) -> dict[str, list[tuple[int, Percentiles]]]:
    """Rates over prompt lengths of each contender that was timed, in the order of `CONTENDERS`."""
    found: dict[str, list[tuple[int, Percentiles]]] = {name: [] for name in CONTENDERS}
    for result in results:
        if result.tokens_per_s is not None and result.prompt_length is not None:
            found[result.contender].append((result.prompt_length, result.tokens_per_s))
    return {name: sorted(points) for name, points in found.items() if points}

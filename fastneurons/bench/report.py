"""What a race found, as tables for a terminal and as one object for JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from rich.console import Console

from fastneurons.bench.contenders import CONTENDERS
from fastneurons.bench.rounds import Percentiles, Result
from fastneurons.console import PlainConsole
from fastneurons.machine import Machine
from fastneurons.model_name import short_name
from fastneurons.report.cells import LONGEST_LIST, LONGEST_NAME, table
from fastneurons.visible import visible

_WIDTH = 120
# A small data set: so many tokens, start-up included, as one number beside the two.
_TOGETHER = 100_000


@dataclass(frozen=True)
class Report:
    """A whole run.

    Args:
        model: Its name.
        dtype: What it computes in.
        date: When it ended.
        machine: Where.
        rounds: How often each contender was timed.
        limit_tokens_per_s: As fast as tokens could pass if there were nothing but matrix products, by languages.
        limit_flops: Operations a second of these products.
        results: In the order of the run.
    """

    model: str
    dtype: str
    date: str
    machine: Machine
    rounds: int
    limit_tokens_per_s: float
    limit_flops: float
    results: Sequence[Result]

    def share_of_limit(self, result: Result) -> float | None:
        """Of the machine's rate of matrix products, what a contender reaches."""
        return result.tokens_per_s.median / self.limit_tokens_per_s if result.tokens_per_s else None

    def together_s(self, result: Result) -> float | None:
        """Seconds of start-up and 100,000 tokens together, with the writing of results where they are written."""
        if result.tokens_per_s is None or result.start_s is None:
            return None
        return result.start_s + _TOGETHER / result.tokens_per_s.median

    def as_json(self) -> dict[str, Any]:
        """All of it; null where there is no value."""
        results = [
            asdict(r)
            | {"share_of_limit": self.share_of_limit(r), "start_and_100k_tokens_s": self.together_s(r)}
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
        f"Matrix products alone: {report.limit_flops / 1e9:,.0f} GFLOP/s, {report.limit_tokens_per_s:,.0f} tokens/s. "
        f"Medians of {report.rounds} rounds, in brackets 20th and 80th percentile."
    )
    for length, languages in dict.fromkeys((r.prompt_length, r.num_languages) for r in report.results):
        at = [r for r in report.results if (r.prompt_length, r.num_languages) == (length, languages)]
        print_line()
        lengths = f"prompts of {length} tokens" if length is not None else "prompts as they are"
        print_line(f"{lengths}, {languages} languages")
        _print_point(console, report, at)


def _print_point(console: Console, report: Report, results: Sequence[Result]) -> None:
    made = table(
        "",
        "tokens/s",
        "",
        "prompts/s",
        "to vLLM\nalone",
        "",
        "of the\nlimit",
        "store s",
        "start s",
        "and 100k\ntokens s",
        left=1,
    )
    for result in results:
        if result.tokens_per_s is None:
            continue
        rate, ratio = result.tokens_per_s, result.ratio
        share = report.share_of_limit(result)
        made.add_row(
            result.contender,
            f"{rate.median:,.0f}",
            f"({rate.p20:,.0f}-{rate.p80:,.0f})",
            f"{rate.median * result.prompts / result.tokens:,.1f}",
            _ratio(ratio.median) if ratio else "",
            f"({_ratio(ratio.p20)}-{_ratio(ratio.p80)})" if ratio else "",
            f"{share:.0%}" if share is not None and share >= 0.1 else f"{share:.1%}",
            f"{result.store_s:.2f}" if result.store_s is not None else "",
            f"{result.start_s:.1f}",
            f"{report.together_s(result):,.0f}",
        )
    console.print(made)
    for result in results:
        if result.why_not is not None:
            console.print(f"{result.contender}: not timed: {visible(result.why_not, limit=LONGEST_LIST)}")


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value >= 0.1 else f"{value:.4f}"


def by_contender(results: Sequence[Result]) -> dict[str, list[tuple[int, Percentiles]]]:
    """Rates over prompt lengths of each contender that was timed, in the order of `CONTENDERS`."""
    found: dict[str, list[tuple[int, Percentiles]]] = {name: [] for name in CONTENDERS}
    for result in results:
        if result.tokens_per_s is not None and result.prompt_length is not None:
            found[result.contender].append((result.prompt_length, result.tokens_per_s))
    return {name: sorted(points) for name, points in found.items() if points}

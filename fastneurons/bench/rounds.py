"""The race: check each contender, warm it up, and time it in turn with the engine that it is compared with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastneurons.bench.child import Asked, ChildError, Round
from fastneurons.bench.contender import Findings, Work
from fastneurons.bench.contenders import CONTENDERS


@dataclass(frozen=True)
class Percentiles:
    """Median, 20th and 80th percentile of the rounds."""

    median: float
    p20: float
    p80: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Percentiles":
        """Percentiles of some values, with numpy's linear interpolation."""
        p20, median, p80 = np.percentile(np.asarray(values, float), [20, 50, 80])
        return cls(float(median), float(p20), float(p80))


@dataclass(frozen=True)
class Point:
    """A point to measure: prompts of one length (None: their own lengths) in some number of languages."""

    prompt_length: int | None
    num_languages: int
    work: Work


@dataclass(frozen=True)
class Result:
    """One contender at one point.

    Args:
        contender: Its name.
        prompt_length: Tokens of each prompt; None: their own lengths.
        num_languages: L.
        prompts: Prompts per round.
        tokens: Tokens per round.
        start_s: Seconds from nothing to a loaded model, imports included.
        tokens_per_s: Rate of its rounds.
        ratio: Its rate divided by that of the engine it is compared with, round by round.
        compared_with: "the same engine", or the name of the contender that it took turns with.
        store_s: Median seconds per round that writing results took, while the engine ran.
        why_not: The reason if it was not timed.
    """

    contender: str
    prompt_length: int | None
    num_languages: int
    prompts: int = 0
    tokens: int = 0
    start_s: float | None = None
    tokens_per_s: Percentiles | None = None
    ratio: Percentiles | None = None
    compared_with: str | None = None
    store_s: float | None = None
    why_not: str | None = None


Load = Callable[[str], Asked]


def race(
    names: Sequence[str],
    points: Sequence[Point],
    load: Load,
    differs: Callable[[Findings], str | None],
    check: Work,
    rounds: int,
    log: Callable[[str], Any],
    every_round: Callable[[], Any] = lambda: None,
) -> list[Result]:
    """Time contenders on points of one number of languages.

    At most three engines hold memory at once: the contender, and the unpatched ones, compiled and not, once one is
    needed.

    Args:
        names: Of `CONTENDERS`.
        points: Prompt lengths to measure.
        load: Loads a contender.
        differs: Says in a sentence how findings differ from the reference; None if they do not.
        check: The work of that comparison.
        rounds: How many times each is timed.
        log: Called with each line of progress.
        every_round: Called at the start of each round that is timed, to time the machine itself by turns with it.
    """
    run = _Race(points, load, differs, check, rounds, log, every_round)
    results: list[Result] = []
    try:
        for number, name in enumerate(names, 1):
            log(f"{name} ({number} of {len(names)}): {CONTENDERS[name].about}")
            results += run.results_of(name)
    finally:
        run.close()
    return results


@dataclass(frozen=True)
class _Race:
    """The arguments of `race`, and the unpatched engines that others are compared with, by name."""

    points: Sequence[Point]
    load: Load
    differs: Callable[[Findings], str | None]
    check: Work
    rounds: int
    log: Callable[[str], Any]
    every_round: Callable[[], Any]
    bases: dict[str, Asked] = field(default_factory=dict)

    def results_of(self, name: str) -> list[Result]:
        """One contender's results, or why it could not be timed."""
        results: list[Result] = []
        is_base = name == CONTENDERS[name].base or name.startswith("unpatched")
        contender: Asked | None = None
        try:
            package = CONTENDERS[name].missing()
            if package is not None:
                return self._not_timed(name, f"not installed: pip install {package}")
            contender = self.bases[name] if name in self.bases else self.load(name)
            if is_base:
                self.bases[name] = contender
            else:
                difference = self.differs(contender.find(self.check))
                if difference is not None:
                    return self._not_timed(name, difference)
            for point in self.points:
                results.append(
                    self._timed(name, contender, point, None if is_base else CONTENDERS[name].base)
                )
                self.log(f"  {_line(results[-1])}")
        except ChildError as error:
            return self._not_timed(name, str(error), results)
        finally:
            if contender is not None and not is_base:
                contender.close()
        return results

    def close(self) -> None:
        """End the engines that others were compared with."""
        for base in self.bases.values():
            base.close()

    def _not_timed(self, name: str, why: str, done: Sequence[Result] = ()) -> list[Result]:
        self.log(f"  not timed: {why}")
        rest = self.points[len(done) :]
        return [*done, *(Result(name, p.prompt_length, p.num_languages, why_not=why) for p in rest)]

    def _base(self, name: str) -> Asked:
        if name not in self.bases:
            self.bases[name] = self.load(name)
        return self.bases[name]

    def _timed(self, name: str, contender: Asked, point: Point, base: str | None) -> Result:
        """Run the rounds of one point, alternating with the engine that it is compared with, in changing order."""
        work = point.work.first(max(1, round(contender.portion * len(point.work.prompts))))
        contender.round(work)
        compared_with, compared = self._compared(contender, point.work, base)
        found: list[Round] = []
        reference: list[float] = []
        for number in range(self.rounds):
            self.every_round()
            if number % 2:
                found.append(contender.round(work))
            if compared is not None:
                reference.append(point.work.num_tokens / compared())
            if not number % 2:
                found.append(contender.round(work))
        rates = [work.num_tokens / each.seconds for each in found]
        ratios = [a / b for a, b in zip(rates, reference, strict=True)] if reference else None
        written = [each.store_s for each in found if each.store_s is not None]
        return Result(
            contender=name,
            prompt_length=point.prompt_length,
            num_languages=point.num_languages,
            prompts=len(work.all_prompts),
            tokens=work.num_tokens,
            start_s=contender.start_s,
            tokens_per_s=Percentiles.of(rates),
            ratio=Percentiles.of(ratios) if ratios else None,
            compared_with=compared_with,
            store_s=float(np.median(written)) if written else None,
        )

    def _compared(
        self, contender: Asked, work: Work, base: str | None
    ) -> tuple[str | None, Callable[[], float] | None]:
        """The name of the engine that a contender is compared with, warmed up, and a call that returns its seconds."""
        if base is None:
            return None, None
        if contender.reference_round(work) is None:
            engine = self._base(base)
            engine.round(work)
            return base, lambda: engine.round(work).seconds

        def same_engine() -> float:
            seconds = contender.reference_round(work)
            assert seconds is not None
            return seconds

        return "the same engine", same_engine


def _line(result: Result) -> str:
    assert result.tokens_per_s is not None
    of = "" if result.prompt_length is None else f"{result.prompt_length} tokens, "
    text = f"{of}{result.num_languages} languages: {result.tokens_per_s.median:,.0f} tokens/s"
    if result.ratio is None:
        return text
    return f"{text}, {result.ratio.median:.3f} of {result.compared_with}"

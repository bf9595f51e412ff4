"""The race: each contender checked, warmed up, and timed by turns with the engine that it is compared with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastneurons.bench.child import Asked, ChildError
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
        """With linear interpolation, as numpy has it."""
        p20, median, p80 = np.percentile(np.asarray(values, float), [20, 50, 80])
        return cls(float(median), float(p20), float(p80))


@dataclass(frozen=True)
class Point:
    """What is measured: prompts of one length (None: their own) in so many languages."""

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
        prompts: In a round.
        tokens: In a round.
        start_s: From nothing to a loaded model, imports included.
        tokens_per_s: Of its rounds.
        ratio: Its rate to that of what it is compared with, of each round's own pair.
        compared_with: "the same engine", or the contender that ran beside it.
        store_s: Seconds of a round in which results were written, beside the engine; median.
        why_not: Why it was not timed.
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
    told: Callable[[str], Any],
) -> list[Result]:
    """Time contenders on points of one number of languages.

    At most three engines hold memory at once: the contender, and the unpatched ones, compiled and not, once one is
    needed.

    Args:
        names: Of `CONTENDERS`.
        points: What is measured.
        load: Loads a contender.
        differs: How findings differ from the reference, in a sentence.
        check: What they are findings of.
        rounds: How often each is timed.
        told: Called with a line for people.
    """
    bases: dict[str, Asked] = {}
    results: list[Result] = []
    try:
        for number, name in enumerate(names, 1):
            told(f"{name} ({number} of {len(names)}): {CONTENDERS[name].what}")
            found = list(_of_one(name, points, load, differs, check, rounds, told, bases))
            results += found
    finally:
        for base in bases.values():
            base.close()
    return results


def _of_one(
    name: str,
    points: Sequence[Point],
    load: Load,
    differs: Callable[[Findings], str | None],
    check: Work,
    rounds: int,
    told: Callable[[str], Any],
    bases: dict[str, Asked],
) -> list[Result]:
    """One contender's results; where it cannot be timed, that it was not and why."""

    def not_timed(why: str, done: Sequence[Result] = ()) -> list[Result]:
        told(f"  not timed: {why}")
        rest = points[len(done) :]
        return [*done, *(Result(name, p.prompt_length, p.num_languages, why_not=why) for p in rest)]

    is_base = name == CONTENDERS[name].base or name.startswith("unpatched")
    results: list[Result] = []
    contender: Asked | None = None
    try:
        package = CONTENDERS[name].missing()
        if package is not None:
            return not_timed(f"not installed: pip install {package}")
        contender = bases[name] if name in bases else load(name)
        if is_base:
            bases[name] = contender
        else:
            difference = differs(contender.find(check))
            if difference is not None:
                return not_timed(difference)
        for point in points:
            base_name = CONTENDERS[name].base

            def base(base_name: str = base_name) -> Asked:
                if base_name not in bases:
                    bases[base_name] = load(base_name)
                return bases[base_name]

            results.append(_timed(name, contender, point, rounds, None if is_base else base, base_name))
            told(f"  {_line(results[-1])}")
    except ChildError as error:
        return not_timed(str(error), results)
    finally:
        if contender is not None and not is_base:
            contender.close()
    return results


def _timed(
    name: str,
    contender: Asked,
    point: Point,
    rounds: int,
    base: Callable[[], Asked] | None,
    base_name: str,
) -> Result:
    """Rounds of one point, by turns with what it is compared with, in changing order."""
    examples = max(1, round(contender.portion * len(point.work.prompts)))
    work = point.work.first(examples)
    contender.round(work)
    if base is None:
        found = [contender.round(work) for _ in range(rounds)]
        reference: list[float] = []
        compared_with = None
    else:
        compared_with = "the same engine"
        own_reference = contender.reference_round(point.work)
        if own_reference is None:
            compared_with = base_name
            base().round(point.work)

        def compared() -> float:
            seconds = contender.reference_round(point.work) if own_reference is not None else None
            return point.work.num_tokens / (base().round(point.work).seconds if seconds is None else seconds)

        found, reference = [], []
        for number in range(rounds):
            if number % 2:
                found.append(contender.round(work))
            reference.append(compared())
            if not number % 2:
                found.append(contender.round(work))
    rates = [work.num_tokens / each.seconds for each in found]
    written = [each.store_s for each in found if each.store_s is not None]
    return Result(
        contender=name,
        prompt_length=point.prompt_length,
        num_languages=point.num_languages,
        prompts=len(work.rows),
        tokens=work.num_tokens,
        start_s=contender.start_s,
        tokens_per_s=Percentiles.of(rates),
        ratio=Percentiles.of([a / b for a, b in zip(rates, reference, strict=True)]) if reference else None,
        compared_with=compared_with,
        store_s=float(np.median(written)) if written else None,
    )


def _line(result: Result) -> str:
    assert result.tokens_per_s is not None
    of = "" if result.prompt_length is None else f"{result.prompt_length} tokens, "
    text = f"{of}{result.num_languages} languages: {result.tokens_per_s.median:,.0f} tokens/s"
    if result.ratio is None:
        return text
    return f"{text}, {result.ratio.median:.3f} of {result.compared_with}"

"""Run the whole benchmark: make prompts, compute the reference, race the contenders."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from fastneurons.bench.child import Child, LimitChild, in_a_process
from fastneurons.bench.contender import Setting, Work
from fastneurons.bench.reference import Reference, differs, reference
from fastneurons.bench.report import Report
from fastneurons.bench.rounds import Point, Result, race
from fastneurons.bench.work import has_facts, languages_of, make_work, work_of
from fastneurons.config import EngineOptions
from fastneurons.errors import InputError

# Work of the check before contenders are timed: enough to show an error in any of them, little enough to hold.
_CHECKED_EXAMPLES = 2
_CHECKED_LENGTH = 24


@dataclass(frozen=True)
class Plan:
    """Everything that a run of the benchmark needs to know.

    Args:
        model: A model folder, or a name on the Hub.
        contenders: Names of `contenders.CONTENDERS`.
        prompt_lengths: Tokens of a prompt.
        num_languages: Of an example.
        tokens: Approximate tokens per round; a round has at least one example.
        rounds: How many times each contender is timed.
        engine: Of the contenders that run on vLLM.
        tasks: Prompts of data sets in place of made ones, as `fastneurons run` takes them.
        data: Likewise.
        languages: Likewise.
    """

    model: str
    contenders: tuple[str, ...]
    prompt_lengths: tuple[int, ...] = (8, 32, 128, 512)
    num_languages: tuple[int, ...] = (10,)
    tokens: int = 4096
    rounds: int = 5
    engine: EngineOptions = field(default_factory=EngineOptions)
    tasks: str | None = None
    data: tuple[str, ...] = ()
    languages: str | None = None

    @property
    def has_weights(self) -> bool:
        """Whether the model's weights are read; else vLLM makes up its own, and no reference can be computed."""
        return self.engine.engine_args.get("load_format") != "dummy"


def carry_out(plan: Plan, log: Callable[[str], Any], verbose: bool = False) -> Report:
    """Run the whole plan.

    Args:
        plan: Models, contenders and sizes.
        log: Called with each line of progress.
        verbose: Let the logs of vLLM and the libraries through.
    Raises:
        InputError: the model or the data cannot be used.
        ChildError: the reference cannot be computed.
    """
    tokenizer = _tokenizer(plan)
    if not has_facts():
        log(
            "prompts are random tokens: Babel, which has the facts to ask, is not installed (fastneurons[demo])"
        )
    products = LimitChild(Setting(plan.model, (), plan.engine.dtype))
    try:
        results = _race_all(plan, tokenizer, products, log, verbose)
        limit = products.measure()
    finally:
        products.close()
    log(f"matrix products alone: {limit.flops / 1e9:,.0f} GFLOP/s, {limit.tokens_per_s:,.0f} tokens/s")
    return Report(
        plan.model,
        products.dtype,
        datetime.now(UTC).date().isoformat(),
        products.machine,
        plan.rounds,
        limit.tokens_per_s,
        limit.flops,
        results,
        plan.has_weights,
    )


def _race_all(
    plan: Plan, tokenizer: Any, products: LimitChild, log: Callable[[str], Any], verbose: bool
) -> list[Result]:
    results: list[Result] = []
    for languages, points in _points(plan, tokenizer):
        setting = Setting(plan.model, languages, plan.engine.dtype, _engine_arguments(plan.engine))
        check = _check_work(points, languages, tokenizer)
        expected: Reference | None = in_a_process(reference, setting, check) if plan.has_weights else None
        results += race(
            plan.contenders,
            points,
            load=lambda name, setting=setting: Child(name, setting, verbose),  # type: ignore[misc]
            differs=lambda found, expected=expected: None if expected is None else differs(found, expected),  # type: ignore[misc]
            check=check,
            rounds=plan.rounds,
            log=log,
            every_round=products.measure,
        )
    return results


def _points(plan: Plan, tokenizer: Any) -> list[tuple[tuple[str, ...], list[Point]]]:
    """The points to measure, for each set of languages."""
    if plan.tasks is not None or plan.data:
        languages, work = _work_of_tasks(plan, tokenizer)
        return [(languages, [Point(None, len(languages), work)])]
    sets = []
    for number in plan.num_languages:
        languages = languages_of(number)
        points = []
        for length in plan.prompt_lengths:
            examples = max(1, round(plan.tokens / (length * number)))
            points.append(Point(length, number, make_work(tokenizer, languages, length, examples)))
        sets.append((languages, points))
    return sets


def _work_of_tasks(plan: Plan, tokenizer: Any) -> tuple[tuple[str, ...], Work]:
    """The data's first examples, as many as fill a round."""
    from fastneurons.data.options import DataOptions
    from fastneurons.data.tasks import tasks_and_data
    from fastneurons.experiments.source import task_source
    from fastneurons.languages import parse_languages

    names, places = tasks_and_data(plan.tasks, list(plan.data))
    codes = parse_languages(plan.languages) if plan.languages is not None else None
    source, languages = task_source(plan.model, names, places, codes, DataOptions(), plan.engine)
    examples, tokens = [], 0
    for example in source.examples:
        examples.append(example)
        tokens += sum(
            len(ids) for ids in tokenizer(list(getattr(example, "prompts", {"": ""}).values()))["input_ids"]
        )
        if tokens >= plan.tokens:
            break
    return languages, work_of(examples, tokenizer, languages)


def _check_work(points: list[Point], languages: tuple[str, ...], tokenizer: Any) -> Work:
    """A little work for the check: generated prompts of one short length, or the first of a data set."""
    if points[0].prompt_length is None:
        return points[0].work.first(_CHECKED_EXAMPLES)
    return make_work(tokenizer, languages, _CHECKED_LENGTH, _CHECKED_EXAMPLES)


def _engine_arguments(options: EngineOptions) -> dict[str, Any]:
    """The engine options that differ from their defaults, by vLLM's names."""
    given = {
        name: value
        for name, value in asdict(options).items()
        if value != getattr(EngineOptions(), name) and name != "engine_args"
    }
    given.pop("dtype", None)
    return given | options.engine_args


def _tokenizer(plan: Plan) -> Any:
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(plan.model)
    except (OSError, ValueError) as error:
        line = (str(error).strip().splitlines() or ["?"])[0]
        raise InputError(f"{plan.model}: its tokenizer cannot be loaded: {line}") from error

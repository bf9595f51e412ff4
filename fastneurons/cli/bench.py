"""`bench`: time each mode on this machine, next to vLLM alone and other ways of reading neurons."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fastneurons.cli import data_options as opt_data
from fastneurons.cli import engine_options as opt
from fastneurons.cli.paths import check_picture, check_written
from fastneurons.config import EngineOptions, parse_engine_args
from fastneurons.errors import EngineError, InputError
from fastneurons.streams import say


def _complete_contenders(incomplete: str) -> list[str]:
    """Names that go on what is typed, after the last comma."""
    from fastneurons.bench.contenders import CONTENDERS

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in ("list", *CONTENDERS) if name.startswith(last)]


def bench(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A model folder, or a name on the Hub. [default: the demo's model]",
            show_default=False,
        ),
    ] = None,
    contenders: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated names; --contenders list prints them. [default: all that run eagerly]",
            autocompletion=_complete_contenders,
            show_default=False,
        ),
    ] = None,
    prompt_lengths: Annotated[
        str, typer.Option(help="Prompt lengths to time, in tokens, separated by commas.")
    ] = "8,32,128,512",
    num_languages: Annotated[
        str, typer.Option(help="Numbers of languages to time, separated by commas.")
    ] = "10",
    tokens: Annotated[int, typer.Option(help="Approximate tokens per round.")] = 4096,
    rounds: Annotated[int, typer.Option(help="Timed rounds per contender.")] = 5,
    tasks: opt_data.Tasks = None,
    data: opt_data.Data = None,
    languages: opt_data.Languages = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Plot rate against prompt length: a .png, .svg or .pdf file.")
    ] = None,
    dtype: opt.Dtype = "auto",
    max_model_len: opt.MaxModelLen = None,
    max_num_batched_tokens: opt.MaxNumBatchedTokens = None,
    max_num_seqs: opt.MaxNumSeqs = None,
    gpu_memory_utilization: opt.GpuMemoryUtilization = None,
    tensor_parallel_size: opt.TensorParallelSize = 1,
    pipeline_parallel_size: opt.PipelineParallelSize = 1,
    engine_arg: opt.EngineArg = None,
    verbose: opt.Verbose = False,
) -> None:
    """Compare the speed of fastneurons, vLLM alone and other tools.

    All contenders get the same prompts: facts in each language, cut to exact lengths, or with --tasks a data
    set's own prompts. Each contender's results are first compared with a plain forward pass; a contender whose
    results differ is not timed. With --engine-arg load_format=dummy, a model needs no weights, and nothing can be
    compared.
    """
    from fastneurons.bench.contenders import CONTENDERS, parse_contenders

    if contenders == "list":
        width = max(map(len, CONTENDERS))
        for name, entry in CONTENDERS.items():
            print(f"{name:<{width}}  {entry.about}")
        return
    names = parse_contenders(contenders)
    if tokens < 1 or rounds < 1:
        raise InputError(f"--tokens {tokens} --rounds {rounds}: must be at least 1")
    if plot is not None:
        check_picture(plot)
    if json_file is not None:
        check_written(json_file)
    lengths = _numbers("--prompt-lengths", prompt_lengths, least=2)
    numbers_of_languages = _numbers("--num-languages", num_languages, least=2)

    # Imported late: torch takes seconds to import, and a mistake in the call should be answered at once.
    from fastneurons.bench.figure import draw
    from fastneurons.bench.plan import Plan, carry_out
    from fastneurons.bench.report import print_report

    engine = EngineOptions(
        dtype=dtype,
        max_model_len=max_model_len,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        gpu_memory_utilization=gpu_memory_utilization,
        tensor_parallel_size=tensor_parallel_size,
        pipeline_parallel_size=pipeline_parallel_size,
        engine_args=parse_engine_args(engine_arg or []),
    )
    plan = Plan(
        model=model or _demo_model(),
        contenders=names,
        prompt_lengths=lengths,
        num_languages=numbers_of_languages,
        tokens=tokens,
        rounds=rounds,
        engine=engine,
        tasks=tasks,
        data=tuple(data or ()),
        languages=languages,
    )
    report = carry_out(plan, say, verbose)
    print_report(report, sys.stdout)
    if json_file is not None:
        try:
            json_file.write_text(json.dumps(report.as_json(), indent=1) + "\n")
        except OSError as error:
            raise InputError(f"{json_file} cannot be written: {error.strerror or error}") from error
    if not any(result.tokens_per_s for result in report.results):
        raise EngineError("no contender was timed; the lines above say why")
    if plot is not None:
        draw(report, plot)


def _demo_model() -> str:
    from fastneurons.data.demo.model import demo_model

    return str(demo_model())


def _numbers(option: str, text: str, least: int) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{option} {text}: must be numbers separated by commas") from None
    if min(numbers) < least:
        raise InputError(f"{option} {text}: must be at least {least}")
    return numbers

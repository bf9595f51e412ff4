"""`run`, the main command, and `demo`, the same on an embedded model and data set."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from fastneurons.cli import data_options as opt_data
from fastneurons.cli import engine_options as opt
from fastneurons.cli import measure_options as opt_what
from fastneurons.config import (
    EngineOptions,
    Measurement,
    RunOptions,
    check_together,
    many_engines,
    parse_engine_args,
)
from fastneurons.errors import InputError
from fastneurons.shards import Shard
from fastneurons.streams import say

_OUTPUT = "Output"
_Window = Annotated[
    int, typer.Option(help="Number of examples to write and commit at a time.", rich_help_panel=_OUTPUT)
]
_KeepPrompts = Annotated[
    bool,
    typer.Option(
        "--keep-prompts/--no-keep-prompts",
        help="Store the text of each prompt, or leave it out.",
        rich_help_panel=_OUTPUT,
    ),
]
_KeepBits = Annotated[
    bool,
    typer.Option(
        "--keep-bits/--no-keep-bits",
        help="Store which neurons each prompt activates, or only counts.",
        rich_help_panel=_OUTPUT,
    ),
]
_KeepFolds = Annotated[
    bool,
    typer.Option(
        "--keep-folds/--no-keep-folds",
        help="With --position corpus: also count eight parts of the corpus apart, which tells how certain findings "
        "are; the counts take nine times the space.",
        rich_help_panel=_OUTPUT,
    ),
]
# The demo's longest prompt has 84 tokens; zeroing memory reserved for longer ones takes time.
_DEMO_TOKENS = 256
_Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing store.", rich_help_panel=_OUTPUT)
]


def run(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A Hugging Face model folder, or a name on the Hub.")
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="The store to write: a path or an fsspec URL. [default: MODEL-TASKS.zarr]",
            show_default=False,
        ),
    ] = None,
    tasks: opt_data.Tasks = None,
    data: opt_data.Data = None,
    languages: opt_data.Languages = None,
    split: opt_data.Split = None,
    config: opt_data.Config = None,
    data_revision: opt_data.DataRevision = None,
    allow_missing: opt_data.AllowMissing = False,
    shuffle: opt_data.Shuffle = None,
    skip: opt_data.Skip = 0,
    limit: opt_data.Limit = None,
    select: opt_data.Select = None,
    num_fewshot: opt_data.NumFewshot = 0,
    apply_chat_template: opt_data.ApplyChatTemplate = False,
    chat_template_kwargs: opt_data.ChatTemplateKwargs = None,
    system_instruction: opt_data.SystemInstruction = None,
    template: opt_data.TemplateFile = None,
    answer_prefix: opt_data.AnswerPrefix = "",
    threshold: opt_what.Threshold = None,
    position: opt_what.Position = "last",
    signal: opt_what.Signal = "gate",
    attribution: opt_what.Attribution = False,
    top_k: opt_what.TopK = None,
    keep_coefficients: opt_what.KeepCoefficients = False,
    score: opt_what.Score = False,
    choices_by: opt_what.ChoicesBy = "likelihood",
    max_new_tokens: opt_what.MaxNewTokens = None,
    block_size: opt_what.BlockSize = None,
    tokens_per_language: opt_what.TokensPerLanguage = None,
    histogram: opt_what.Histogram = None,
    include_special_tokens: opt_what.IncludeSpecialTokens = False,
    add_bos_token: opt_what.AddBosToken = None,
    observe_memory: opt_what.ObserveMemory = None,
    window: _Window = 256,
    keep_bits: _KeepBits = True,
    keep_prompts: _KeepPrompts = True,
    keep_folds: _KeepFolds = True,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted run, or one whose data or --limit has grown.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    overwrite: _Overwrite = False,
    shard: opt_data.ShardOption = None,
    dtype: opt.Dtype = "auto",
    revision: opt.Revision = None,
    lora: opt.Lora = None,
    tokenizer: opt.TokenizerName = None,
    quantization: opt.Quantization = None,
    trust_remote_code: opt.TrustRemoteCode = False,
    seed: opt.Seed = 0,
    max_model_len: opt.MaxModelLen = None,
    max_num_batched_tokens: opt.MaxNumBatchedTokens = None,
    max_num_seqs: opt.MaxNumSeqs = None,
    gpu_memory_utilization: opt.GpuMemoryUtilization = None,
    enforce_eager: opt.EnforceEager = None,
    tensor_parallel_size: opt.TensorParallelSize = 1,
    pipeline_parallel_size: opt.PipelineParallelSize = 1,
    engine_arg: opt.EngineArg = None,
    engines: opt.Engines = None,
    num_engines: opt.NumEngines = None,
    window_timeout: opt.WindowTimeout = 600.0,
    verbose: opt.Verbose = False,
) -> None:
    """Measure which neurons each language activates, into a store.

    Prompts of an example say the same in several languages. Each neuron is sorted into a category: activated
    in no language, in one, in some, or in all of them.

    With --position corpus, texts need not be parallel: the store counts the tokens of each language that
    activate each neuron.
    """
    from fastneurons.data.options import DataOptions, parse_chat_template_kwargs
    from fastneurons.data.place_files import notes_on_varieties
    from fastneurons.engine.adapters import check_place
    from fastneurons.languages import parse_languages
    from fastneurons.model_name import short_name

    engine = EngineOptions(
        dtype=dtype,
        revision=revision,
        lora=lora,
        tokenizer=tokenizer,
        quantization=quantization,
        trust_remote_code=trust_remote_code,
        seed=seed,
        max_model_len=max_model_len,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        gpu_memory_utilization=gpu_memory_utilization,
        enforce_eager=enforce_eager,
        tensor_parallel_size=tensor_parallel_size,
        pipeline_parallel_size=pipeline_parallel_size,
        engine_args=parse_engine_args(engine_arg or []),
    )
    data_options = DataOptions(
        split=split,
        config=config,
        revision=data_revision,
        allow_missing=allow_missing,
        shuffle=shuffle,
        skip=skip,
        limit=limit,
        select=select,
        num_fewshot=num_fewshot,
        apply_chat_template=apply_chat_template,
        chat_template_kwargs=parse_chat_template_kwargs(chat_template_kwargs),
        system_instruction=system_instruction,
        template=template,
        answer_prefix=answer_prefix,
    )
    measurement = Measurement(
        thresholds=tuple(threshold or [0.0]),
        position=position,
        signal=signal,
        attribution=attribution,
        top_k=top_k,
        keep_coefficients=keep_coefficients,
        observe_memory=observe_memory,
        include_special_tokens=include_special_tokens,
        add_bos_token=add_bos_token,
        score=score,
        choices_by=choices_by,
        max_new_tokens=max_new_tokens,
        histogram=histogram,
    )
    options = RunOptions(
        window=window,
        keep_bits=keep_bits,
        keep_prompts=keep_prompts,
        keep_folds=keep_folds,
        resume=resume,
        overwrite=overwrite,
        block_size=block_size,
        shard=None if shard is None else Shard.parse(shard),
        tokens_per_language=tokens_per_language,
    )
    at_least = 1 if position == "corpus" else 2
    codes = parse_languages(languages, at_least) if languages is not None else None
    for note in notes_on_varieties(re.split(r"[,\s]+", languages or "")):
        say(f"--languages: {note}")
    many = many_engines(engines, num_engines, window_timeout)
    check_together(measurement, options, engine)
    check_place(model, lora)
    # Imported late: mistakes that need neither data nor an engine to find are reported at once.
    from fastneurons.data.tasks import tasks_and_data
    from fastneurons.experiments.measure import measure_into_store
    from fastneurons.experiments.source import task_source

    names, places = tasks_and_data(tasks, data or [])
    source, codes = task_source(model, names, places, codes, data_options, engine, position)
    if out is None:
        part = "" if options.shard is None else f"-{options.shard.file_name}"
        out = f"{short_name(model).replace('/', '-')}-{'+'.join(names)}{part}.zarr"
    if many is None:
        store = measure_into_store(model, source, codes, out, measurement, options, engine, verbose=verbose)
    else:
        from fastneurons.executors.measure import measure_with_engines

        store = measure_with_engines(
            model, source, codes, out, many, measurement, options, engine, verbose=verbose
        )
    _closing_line(out, store.is_complete)


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the store, the report and the picture.")
    ] = Path("demo"),
    languages: Annotated[
        str | None,
        typer.Option(
            help="Codes separated by commas. [default: ten languages in seven scripts]", show_default=False
        ),
    ] = None,
    limit: opt_data.Limit = 200,
    threshold: opt_what.Threshold = None,
    position: opt_what.Position = "last",
    signal: opt_what.Signal = "gate",
    attribution: opt_what.Attribution = False,
    window: _Window = 4,
    overwrite: _Overwrite = False,
    dtype: opt.Dtype = "auto",
    tensor_parallel_size: opt.TensorParallelSize = 1,
    engine_arg: opt.EngineArg = None,
    verbose: opt.Verbose = False,
) -> None:
    """Measure a small embedded model on real facts in ten languages.

    The model is SmolLM2-135M-Instruct; the facts come from Unicode CLDR.
    """
    from fastneurons.data.demo.facts import DEFAULT_LANGUAGES, facts
    from fastneurons.data.demo.model import demo_model
    from fastneurons.data.options import DataOptions
    from fastneurons.languages import parse_languages

    codes = parse_languages(languages) if languages else DEFAULT_LANGUAGES
    engine = EngineOptions(
        dtype=dtype,
        max_model_len=_DEMO_TOKENS,
        tensor_parallel_size=tensor_parallel_size,
        engine_args=parse_engine_args(engine_arg or []),
    )
    measurement = Measurement(tuple(threshold or [0.0]), position, signal, attribution)
    if position == "corpus":
        raise InputError(
            "--position corpus: the demo's facts are not a corpus; use fastneurons run --tasks corpus"
        )
    options, limit = RunOptions(window=window, overwrite=overwrite), DataOptions(limit=limit).limit
    # Imported late: this loads torch, and mistakes should be reported before that.
    from fastneurons.experiments.measure import measure_into_store
    from fastneurons.experiments.source import example_source
    from fastneurons.report import draw_findings, print_findings
    from fastneurons.report.findings import compute_findings
    from fastneurons.report.page import write_report
    from fastneurons.store import check_output

    out = output / "demo.zarr"
    check_output(str(out), resume=False, overwrite=overwrite)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--output {output}: cannot create this folder: {error.strerror or error}"
        ) from error
    say("preparing SmolLM2-135M-Instruct (converted once, then cached)")
    model = demo_model()
    rows = list(facts(codes))
    source = example_source("capitals", f"CLDR facts in {','.join(codes)}", rows, limit, len(rows))
    store = measure_into_store(
        str(model), source, codes, str(out), measurement, options, engine, verbose=verbose
    )
    found = compute_findings(store)
    print_findings(found, sys.stdout)
    picture = output / "demo.png"
    draw_findings(found, picture)
    page = output / "report.html"
    write_report([store], page, found=found)
    _closing_line(str(out), store.is_complete)
    say(f"picture: {picture}")
    say(f"report:  {page}   (open it in a browser, e.g. xdg-open {page})")


def _closing_line(out: str, is_complete: bool) -> None:
    if not is_complete:
        raise typer.Exit(130)
    say(f"store:   {out}   (fastneurons summary {out})")

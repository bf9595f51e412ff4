"""`deactivate`: what breaks when a category's neurons are switched off, beside random ones of the same number."""

from typing import Annotated, cast

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
from fastneurons.shards import Shard
from fastneurons.streams import say

_EDITS = "Edits"
_OUTPUT = "Output"


def deactivate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A Hugging Face model folder, or a name on the Hub.")
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="The store to write: a path or an fsspec URL. [default: MODEL-TASKS-deactivate.zarr]",
            show_default=False,
        ),
    ] = None,
    tasks: opt_data.Tasks = None,
    data: opt_data.Data = None,
    languages: opt_data.Languages = None,
    category: Annotated[
        str | None,
        typer.Option(
            help="Categories to switch off, one at a time, separated by commas: all-shared, partial-shared, specific, "
            "non-activated. [default: all]",
            show_default=False,
            rich_help_panel=_EDITS,
        ),
    ] = None,
    controls: Annotated[
        int,
        typer.Option(
            help="Random sets of the same size in each layer, for each category. --seed is the first one's seed.",
            rich_help_panel=_EDITS,
        ),
    ] = 5,
    operation: Annotated[
        str,
        typer.Option(
            metavar="zero|scale=NUMBER",
            help="Hold the neurons at 0, or multiply them.",
            rich_help_panel=_EDITS,
        ),
    ] = "zero",
    scope: Annotated[
        str,
        typer.Option(
            metavar="prompt|generation|both",
            help="Which tokens to edit: the prompt's, the answer's, or both.",
            rich_help_panel=_EDITS,
        ),
    ] = "both",
    layers: Annotated[
        str | None,
        typer.Option(
            help="Layers to edit: 10-20 (both included) or 0,3,10-20. [default: all]",
            show_default=False,
            rich_help_panel=_EDITS,
        ),
    ] = None,
    fraction: Annotated[
        float,
        typer.Option(help="Share of a category's neurons in each layer to edit.", rich_help_panel=_EDITS),
    ] = 1.0,
    rank: Annotated[
        str,
        typer.Option(
            metavar="random|contribution",
            help="With --fraction: take neurons at random, or those that contribute most.",
            rich_help_panel=_EDITS,
        ),
    ] = "random",
    min_share: Annotated[
        float | None,
        typer.Option(
            help="Edit one set for all examples: the neurons that are in the category in at least this share of them. "
            "[default: each example's own]",
            show_default=False,
            rich_help_panel=_EDITS,
        ),
    ] = None,
    from_store: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STORE",
            help="With --min-share: take the categories from this store of `run` instead of reading the data first.",
            show_default=False,
            rich_help_panel=_EDITS,
        ),
    ] = None,
    split: opt_data.Split = None,
    config: opt_data.Config = None,
    data_revision: opt_data.DataRevision = None,
    allow_missing: opt_data.AllowMissing = False,
    shuffle: opt_data.Shuffle = None,
    skip: opt_data.Skip = 0,
    limit: opt_data.Limit = None,
    shard: opt_data.ShardOption = None,
    select: opt_data.Select = None,
    num_fewshot: opt_data.NumFewshot = 0,
    apply_chat_template: opt_data.ApplyChatTemplate = False,
    chat_template_kwargs: opt_data.ChatTemplateKwargs = None,
    system_instruction: opt_data.SystemInstruction = None,
    template: opt_data.TemplateFile = None,
    answer_prefix: opt_data.AnswerPrefix = "",
    threshold: Annotated[
        float, typer.Option(help="A neuron is activated above this value.", rich_help_panel="Measurement")
    ] = 0.0,
    position: opt_what.Position = "last",
    signal: opt_what.Signal = "gate",
    include_special_tokens: opt_what.IncludeSpecialTokens = False,
    add_bos_token: opt_what.AddBosToken = None,
    observe_memory: opt_what.ObserveMemory = None,
    window: Annotated[
        int, typer.Option(help="Number of examples to write and commit at a time.", rich_help_panel=_OUTPUT)
    ] = 16,
    keep_prompts: Annotated[
        bool,
        typer.Option(
            "--keep-prompts/--no-keep-prompts",
            help="Store the text of each prompt, or leave it out.",
            rich_help_panel=_OUTPUT,
        ),
    ] = True,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted run, or one whose data or --limit has grown.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing store.", rich_help_panel=_OUTPUT)
    ] = False,
    dtype: opt.Dtype = "auto",
    revision: opt.Revision = None,
    tokenizer: opt.TokenizerName = None,
    lora: opt.Lora = None,
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
    """Switch categories of neurons off, and measure what breaks.

    Each prompt is answered as the model is, with each category's neurons held at 0, and with random neurons of the
    same number in each layer. The store has the log-probability of the reference answer, and whether the answer is
    right: the likeliest choice or, without choices, what greedy decoding would write. fastneurons summary and plot show
    the differences with their intervals.

    A category is that of each example, unless --min-share makes one set for all of them.
    """
    from fastneurons.data.options import DataOptions, parse_chat_template_kwargs
    from fastneurons.engine.adapters import check_place
    from fastneurons.experiments.design import Deactivation
    from fastneurons.languages import parse_languages
    from fastneurons.model_name import short_name
    from fastneurons.neuron_sets.edits import Scope

    engine = EngineOptions(
        dtype=dtype,
        revision=revision,
        tokenizer=tokenizer,
        lora=lora,
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
    names = None if category is None else tuple(name.strip() for name in category.split(",") if name.strip())
    wanted = Deactivation(
        names, controls, operation, cast(Scope, scope), layers, fraction, rank, min_share, from_store
    )
    measurement = Measurement(
        (threshold,),
        position,
        signal,
        observe_memory=observe_memory,
        include_special_tokens=include_special_tokens,
        add_bos_token=add_bos_token,
    )
    options = RunOptions(
        window,
        resume=resume,
        overwrite=overwrite,
        keep_prompts=keep_prompts,
        shard=None if shard is None else Shard.parse(shard),
    )
    codes = parse_languages(languages) if languages is not None else None
    many = many_engines(engines, num_engines, window_timeout)
    check_together(measurement, options, engine)
    check_place(model, lora)
    # Imported late: mistakes that need neither data nor an engine to find are reported at once.
    from fastneurons.data.tasks import tasks_and_data
    from fastneurons.experiments.deactivate import deactivate_into_store
    from fastneurons.experiments.source import task_source

    task_names, places = tasks_and_data(tasks, data or [])
    source, codes = task_source(model, task_names, places, codes, data_options, engine, position)
    if out is None:
        part = "" if options.shard is None else f"-{options.shard.file_name}"
        out = f"{short_name(model).replace('/', '-')}-{'+'.join(task_names)}-deactivate{part}.zarr"
    if many is None:
        store = deactivate_into_store(
            model, source, codes, out, wanted, measurement, options, engine, verbose=verbose
        )
    else:
        from fastneurons.executors.deactivate import deactivate_with_engines

        store = deactivate_with_engines(
            model, source, codes, out, many, wanted, measurement, options, engine, verbose=verbose
        )
    if not store.is_complete:
        raise typer.Exit(130)
    say(f"store:   {out}   (fastneurons summary {out})")

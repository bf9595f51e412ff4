"""`generate`: texts of the intact model and of edited ones, side by side."""

import re
import sys
from typing import Annotated

import typer

from fastneurons.cli import data_options as opt_data
from fastneurons.cli import engine_options as opt
from fastneurons.config import EngineOptions, RunOptions, parse_engine_args
from fastneurons.streams import say

_OUTPUT = "Output"
_TEXTS = "Texts"


def generate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A Hugging Face model folder, or a name on the Hub.")
    ],
    edit: Annotated[
        list[str] | None,
        typer.Option(
            "--edit",
            metavar="FILE",
            help="An edit, or a set of neurons to switch off; repeatable.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="The store to write: a path or an fsspec URL. [default: MODEL-TASKS-generate.zarr]",
            show_default=False,
        ),
    ] = None,
    tasks: opt_data.Tasks = None,
    data: opt_data.Data = None,
    languages: opt_data.Languages = None,
    max_tokens: Annotated[
        int, typer.Option(help="Most tokens to generate after a prompt.", rich_help_panel=_TEXTS)
    ] = 64,
    temperature: Annotated[
        float, typer.Option(help="0 takes the likeliest token each time.", rich_help_panel=_TEXTS)
    ] = 0.0,
    sampling_seed: Annotated[
        int,
        typer.Option(
            help="Random seed of the texts, for a temperature above 0. A prompt has the same random numbers with "
            "each edit and without.",
            rich_help_panel=_TEXTS,
        ),
    ] = 0,
    until: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="Cut texts before this string; repeatable.", rich_help_panel=_TEXTS
        ),
    ] = None,
    measure: Annotated[
        str,
        typer.Option(
            metavar="starts-with|exact-match|last-number",
            help="A text is right if its first line begins with the answer, is the answer, or if the answer is the "
            "text's last number.",
            rich_help_panel=_TEXTS,
        ),
    ] = "starts-with",
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
    window: Annotated[
        int,
        typer.Option(help="Number of examples to write and commit at a time.", rich_help_panel=_OUTPUT),
    ] = 64,
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
    as_json: opt.AsJson = False,
    verbose: opt.Verbose = False,
) -> None:
    """Generate texts with a model intact and edited, side by side.

    Each prompt is continued once without an edit and once with each --edit, all in one stream through one engine.
    The table shows how many texts an edit leaves as they are, and how many are right.
    """
    from fastneurons.data.options import DataOptions, parse_chat_template_kwargs
    from fastneurons.data.place_files import notes_on_varieties
    from fastneurons.engine.adapters import check_place
    from fastneurons.languages import parse_languages
    from fastneurons.model_name import short_name

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
    options = RunOptions(
        window=window, keep_bits=False, resume=resume, overwrite=overwrite, keep_prompts=keep_prompts
    )
    codes = parse_languages(languages, 1) if languages is not None else None
    for note in notes_on_varieties(re.split(r"[,\s]+", languages or "")):
        say(f"--languages: {note}")
    check_place(model, lora)
    # Imported late: mistakes that need neither data nor an engine to find are reported at once.
    from fastneurons.data.tasks import tasks_and_data
    from fastneurons.experiments.generate import Decoding, generate_into_store
    from fastneurons.experiments.source import task_source
    from fastneurons.experiments.under_edits import named_edits
    from fastneurons.report import print_summary, summary_json

    decoding = Decoding(max_tokens, temperature, sampling_seed, tuple(until or ()), measure)
    edits = named_edits(edit or [])
    names, places = tasks_and_data(tasks, data or [])
    source, codes = task_source(model, names, places, codes, data_options, engine, "corpus")
    if out is None:
        out = f"{short_name(model).replace('/', '-')}-{'+'.join(names)}-generate.zarr"
    store = generate_into_store(model, source, codes, out, edits, decoding, options, engine, verbose=verbose)
    if as_json:
        print(summary_json(store))
    else:
        print_summary(store, sys.stdout)
    if not store.is_complete:
        raise typer.Exit(130)
    say(f"store:   {out}   (fastneurons export {out} writes the texts)")

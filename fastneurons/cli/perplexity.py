"""`perplexity`: how well a model predicts texts of each language, intact and under edits."""

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


def perplexity(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A Hugging Face model folder, or a name on the Hub.")
    ],
    edit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|FOLDER",
            help="An edit, or a set of neurons to switch off, as a .safetensors file; a folder means all its files. "
            "Repeat it for several.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="The store to write: a path or an fsspec URL. [default: MODEL-TASKS-perplexity.zarr]",
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
    max_length: Annotated[
        int | None,
        typer.Option(
            help="Most tokens that the model reads at once. [default: as many as it takes]",
            show_default=False,
            rich_help_panel=_TEXTS,
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            help="Of longer texts, tokens between the beginnings of two windows. [default: half of --max-length]",
            show_default=False,
            rich_help_panel=_TEXTS,
        ),
    ] = None,
    block_size: Annotated[
        int | None,
        typer.Option(
            help="Join each language's texts and cut them into blocks of this many tokens, read one by one.",
            rich_help_panel=_TEXTS,
        ),
    ] = None,
    window: Annotated[
        int, typer.Option(help="Number of examples to write and commit at a time.", rich_help_panel=_OUTPUT)
    ] = 256,
    keep_prompts: Annotated[
        bool,
        typer.Option(
            "--keep-prompts/--no-keep-prompts",
            help="Store each text, or leave it out.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
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
    as_json: opt.AsJson = False,
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
    verbose: opt.Verbose = False,
) -> None:
    """Perplexity of texts in each language, intact and under edits.

    Prints a matrix of edits and languages, and stores the log-probability of every text. All edits and the intact
    model run in one engine and share its steps.

    Texts that are longer than --max-length are read in windows that begin --stride tokens after each other; each
    token is judged once, in the first window that it is in.
    """
    from fastneurons.data.options import DataOptions
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
    )
    options = RunOptions(window=window, keep_prompts=keep_prompts, resume=resume, overwrite=overwrite)
    codes = parse_languages(languages, 1) if languages is not None else None
    for note in notes_on_varieties(re.split(r"[,\s]+", languages or "")):
        say(f"--languages: {note}")
    check_place(model, lora)
    # Imported late: mistakes that need neither data nor an engine to find are reported at once.
    from fastneurons.data.tasks import tasks_and_data
    from fastneurons.experiments.perplexity import Strides, perplexity_into_store
    from fastneurons.experiments.source import task_source
    from fastneurons.experiments.under_edits import named_edits

    strides = Strides(max_length, stride, block_size)
    edits = named_edits(edit or [])
    names, places = tasks_and_data(tasks, data or [])
    source, codes = task_source(model, names, places, codes, data_options, engine, "corpus")
    if out is None:
        out = f"{short_name(model).replace('/', '-')}-{'+'.join(names)}-perplexity.zarr"
    store = perplexity_into_store(model, source, codes, out, edits, strides, options, engine, verbose=verbose)
    from fastneurons.report import compute_findings, findings_json, print_findings

    found = compute_findings(store)
    if as_json:
        print(findings_json(found))
    else:
        print_findings(found, sys.stdout)
    say(f"store:   {out}   (fastneurons summary {out})")
    if not store.is_complete:
        raise typer.Exit(130)

"""`align`: fine-tune a model on parallel data."""

from pathlib import Path
from typing import Annotated

import typer

from fastneurons.cli import data_options as opt_data
from fastneurons.cli import engine_options as opt
from fastneurons.errors import InputError
from fastneurons.streams import say

_TRAINING = "Training"
_WEIGHTS = "Weights to train"


def align(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A Hugging Face model folder, or a name on the Hub.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the adapter or, with --merge, the model.")
    ],
    tasks: opt_data.Tasks = None,
    data: opt_data.Data = None,
    languages: opt_data.Languages = None,
    objective: Annotated[
        str,
        typer.Option(
            metavar="answers|translate",
            help="`answers`: learn each language's answer to its prompt. `translate`: learn an example's text in one "
            "language from that in another, for all pairs.",
            autocompletion=lambda: ["answers", "translate"],
        ),
    ] = "answers",
    break_links: Annotated[
        bool,
        typer.Option(
            "--break-links",
            help="A control with the parallel link broken: `translate` pairs texts of different examples; `answers` "
            "shuffles each language by itself.",
            rich_help_panel=_TRAINING,
        ),
    ] = False,
    translation_template: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="With `translate`: wording of the task by target language, TOML or JSON, with the fields {source}, "
            "{source_language} and {target_language}.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(
            help="Optimizer steps. [default: until each text was seen once]",
            show_default=False,
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    num_train_epochs: Annotated[
        float,
        typer.Option(help="Without --max-steps: how often to see each text.", rich_help_panel=_TRAINING),
    ] = 1.0,
    learning_rate: Annotated[
        float,
        typer.Option(help="The highest learning rate; it falls linearly to 0.", rich_help_panel=_TRAINING),
    ] = 2e-4,
    warmup_steps: Annotated[
        int, typer.Option(help="Steps in which the learning rate rises at first.", rich_help_panel=_TRAINING)
    ] = 0,
    per_device_train_batch_size: Annotated[
        int, typer.Option(help="Texts in a forward pass.", rich_help_panel=_TRAINING)
    ] = 8,
    gradient_accumulation_steps: Annotated[
        int, typer.Option(help="Forward passes in a step.", rich_help_panel=_TRAINING)
    ] = 1,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing",
            help="Compute activations twice instead of keeping them: slower, less memory.",
            rich_help_panel=_TRAINING,
        ),
    ] = False,
    max_model_len: Annotated[
        int | None,
        typer.Option(
            help="Tokens of the longest text; longer ones are skipped. [default: the model's longest]",
            show_default=False,
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    validation_share: Annotated[
        float, typer.Option(help="Share of the examples to hold out.", rich_help_panel=_TRAINING)
    ] = 0.1,
    seed: Annotated[
        int,
        typer.Option(
            help="Of new weights, held-out examples and the order of texts.", rich_help_panel=_TRAINING
        ),
    ] = 0,
    logging_steps: Annotated[
        int, typer.Option(help="Steps between reports of the loss.", rich_help_panel=_TRAINING)
    ] = 10,
    eval_steps: Annotated[
        int | None,
        typer.Option(
            help="Steps between looks at the held-out examples, a multiple of --logging-steps. "
            "[default: a tenth of all]",
            show_default=False,
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    save_steps: Annotated[
        int, typer.Option(help="Steps between checkpoints.", rich_help_panel=_TRAINING)
    ] = 100,
    lora_rank: Annotated[int, typer.Option(help="Rank of the adapter.", rich_help_panel=_WEIGHTS)] = 16,
    lora_alpha: Annotated[
        int | None,
        typer.Option(
            help="Scale of the adapter, times its rank. [default: twice the rank]",
            show_default=False,
            rich_help_panel=_WEIGHTS,
        ),
    ] = None,
    lora_dropout: Annotated[
        float,
        typer.Option(help="Share of the adapter's inputs to drop in training.", rich_help_panel=_WEIGHTS),
    ] = 0.0,
    target_modules: Annotated[
        str | None,
        typer.Option(
            help="Names of linear layers to adapt, separated by commas: q_proj,v_proj. "
            "[default: all in the decoder layers]",
            show_default=False,
            rich_help_panel=_WEIGHTS,
        ),
    ] = None,
    neurons: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A set of neurons: train their rows and columns alone, instead of an adapter, and write a model.",
            rich_help_panel=_WEIGHTS,
        ),
    ] = None,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge",
            help="Write a model with the adapter merged into its weights.",
            rich_help_panel=_WEIGHTS,
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted training from its last checkpoint.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier training.")] = False,
    split: opt_data.Split = None,
    config: opt_data.Config = None,
    data_revision: opt_data.DataRevision = None,
    allow_missing: opt_data.AllowMissing = False,
    shuffle: opt_data.Shuffle = None,
    skip: opt_data.Skip = 0,
    limit: opt_data.Limit = None,
    select: opt_data.Select = None,
    apply_chat_template: opt_data.ApplyChatTemplate = False,
    chat_template_kwargs: opt_data.ChatTemplateKwargs = None,
    system_instruction: opt_data.SystemInstruction = None,
    template: opt_data.TemplateFile = None,
    dtype: Annotated[
        str,
        typer.Option(
            help="Type to load the model in. auto: the checkpoint's, or float32 with --neurons.",
            rich_help_panel=_TRAINING,
        ),
    ] = "auto",
    revision: opt.Revision = None,
    trust_remote_code: opt.TrustRemoteCode = False,
) -> None:
    """Fine-tune a model on parallel data, into a LoRA adapter.

    Measure the model before and after (fastneurons run MODEL; fastneurons run MODEL --lora FOLDER) and compare the two
    stores with fastneurons align-report.
    """
    from fastneurons.api import align as train
    from fastneurons.data.options import DataOptions, parse_chat_template_kwargs

    data_options = DataOptions(
        split=split,
        config=config,
        revision=data_revision,
        allow_missing=allow_missing,
        shuffle=shuffle,
        skip=skip,
        limit=limit,
        select=select,
        apply_chat_template=apply_chat_template,
        chat_template_kwargs=parse_chat_template_kwargs(chat_template_kwargs),
        system_instruction=system_instruction,
        template=template,
    )
    if not data:
        raise InputError("--data is missing: a file, folder, pattern, URL or Hub name")
    done = train(
        model,
        data,
        languages,
        out,
        tasks=tasks,
        data_options=data_options,
        revision=revision,
        trust_remote_code=trust_remote_code,
        resume=resume,
        overwrite=overwrite,
        objective=objective,
        break_links=break_links,
        translation_template=translation_template,
        neurons=neurons,
        merge=merge,
        max_steps=max_steps,
        num_train_epochs=num_train_epochs,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        per_device_train_batch_size=per_device_train_batch_size,
        gradient_accumulation_steps=gradient_accumulation_steps,
        gradient_checkpointing=gradient_checkpointing,
        lora_rank=lora_rank,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        target_modules=tuple(name for name in (target_modules or "").split(",") if name),
        dtype=dtype,
        max_model_len=max_model_len,
        validation_share=validation_share,
        seed=seed,
        logging_steps=logging_steps,
        eval_steps=eval_steps,
        save_steps=save_steps,
    )
    if not done:
        raise typer.Exit(130)
    is_model = merge or neurons is not None
    named = f"{out}" if is_model else f"{model} --lora {out}"
    say(f"{'model' if is_model else 'adapter'}:   {out}   (fastneurons run {named})")

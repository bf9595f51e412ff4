"""Options that commands share, each defined once: same name, same meaning everywhere."""

from typing import Annotated

import typer

_ENGINE = "Engine (vLLM's own options)"

Dtype = Annotated[
    str,
    typer.Option(
        help="Type of weights and activations. auto: the checkpoint's, or float32 on CPUs without bfloat16.",
        rich_help_panel=_ENGINE,
    ),
]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a Hub model.", rich_help_panel=_ENGINE)
]
TokenizerName = Annotated[
    str | None,
    typer.Option("--tokenizer", help="Tokenizer to use instead of the model's.", rich_help_panel=_ENGINE),
]
Quantization = Annotated[
    str | None, typer.Option(help="Quantization method, by vLLM's name for it.", rich_help_panel=_ENGINE)
]
Lora = Annotated[
    str | None,
    typer.Option(
        "--lora",
        metavar="FOLDER",
        help="A LoRA adapter of the model, as PEFT saves it; every prompt uses it.",
        rich_help_panel=_ENGINE,
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="Run Python code that comes with the model.", rich_help_panel=_ENGINE
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed of the engine.", rich_help_panel=_ENGINE)]
MaxModelLen = Annotated[
    int | None, typer.Option(help="Longest prompt plus one, in tokens.", rich_help_panel=_ENGINE)
]
MaxNumBatchedTokens = Annotated[
    int | None, typer.Option(help="Maximum tokens per engine step.", rich_help_panel=_ENGINE)
]
MaxNumSeqs = Annotated[
    int | None,
    typer.Option(
        help="Maximum prompts in flight inside the engine. On GPUs, two steps of them.",
        rich_help_panel=_ENGINE,
    ),
]
GpuMemoryUtilization = Annotated[
    float | None, typer.Option(help="Fraction of device memory that vLLM may use.", rich_help_panel=_ENGINE)
]
EnforceEager = Annotated[
    bool | None,
    typer.Option(
        "--enforce-eager/--no-enforce-eager",
        help="Run without torch.compile and CUDA graphs. [default: without]",
        show_default=False,
        rich_help_panel=_ENGINE,
    ),
]
TensorParallelSize = Annotated[
    int,
    typer.Option(
        "--tensor-parallel-size",
        "-tp",
        help="Split each layer over this many devices.",
        rich_help_panel=_ENGINE,
    ),
]
PipelineParallelSize = Annotated[
    int,
    typer.Option(
        "--pipeline-parallel-size",
        "-pp",
        help="Distribute the layers over this many devices.",
        rich_help_panel=_ENGINE,
    ),
]
EngineArg = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-arg",
        metavar="KEY=VALUE",
        help="Any other vLLM engine argument; repeatable.",
        rich_help_panel=_ENGINE,
    ),
]
_ENGINES = "Many engines"
Engines = Annotated[
    str | None,
    typer.Option(
        "--engines",
        metavar="N|ray[:ADDRESS]",
        help="Run this many engines on this machine, each with its share of the cores or GPUs; or on a Ray cluster.",
        rich_help_panel=_ENGINES,
    ),
]
NumEngines = Annotated[
    int | None,
    typer.Option(
        "--num-engines",
        help="With --engines ray: how many. [default: as many as the cluster has room for]",
        show_default=False,
        rich_help_panel=_ENGINES,
    ),
]
WindowTimeout = Annotated[
    float,
    typer.Option(
        help="Seconds after which an engine that has work and reports nothing counts as hung and is replaced.",
        rich_help_panel=_ENGINES,
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show vLLM's log.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

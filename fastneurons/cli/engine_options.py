"""Options that commands share, each defined once: same name, same meaning everywhere."""

from typing import Annotated

import typer

_ENGINE = "Engine (vLLM's own options)"

Dtype = Annotated[
    str,
    typer.Option(
        help="Weights and activations. auto: the checkpoint's; float32 on CPUs that cannot compute in bfloat16.",
        rich_help_panel=_ENGINE,
    ),
]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a Hub model.", rich_help_panel=_ENGINE)
]
TokenizerName = Annotated[
    str | None,
    typer.Option("--tokenizer", help="Another tokenizer than the model's.", rich_help_panel=_ENGINE),
]
Quantization = Annotated[str | None, typer.Option(help="Quantisation method.", rich_help_panel=_ENGINE)]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run code that comes with a model.", rich_help_panel=_ENGINE),
]
Seed = Annotated[int, typer.Option(help="Seed of the engine.", rich_help_panel=_ENGINE)]
MaxModelLen = Annotated[
    int | None, typer.Option(help="Longest prompt, in tokens, plus one.", rich_help_panel=_ENGINE)
]
MaxNumBatchedTokens = Annotated[
    int | None, typer.Option(help="Most tokens in a step.", rich_help_panel=_ENGINE)
]
MaxNumSeqs = Annotated[int | None, typer.Option(help="Most prompts in a step.", rich_help_panel=_ENGINE)]
GpuMemoryUtilization = Annotated[
    float | None, typer.Option(help="Share of the device's memory to use.", rich_help_panel=_ENGINE)
]
EnforceEager = Annotated[
    bool | None,
    typer.Option(
        "--enforce-eager/--no-enforce-eager",
        help="Without torch.compile and CUDA graphs. Default: eager on the CPU, compiled on GPUs.",
        rich_help_panel=_ENGINE,
    ),
]
TensorParallelSize = Annotated[
    int,
    typer.Option(
        "--tensor-parallel-size", "-tp", help="Devices that share each layer.", rich_help_panel=_ENGINE
    ),
]
PipelineParallelSize = Annotated[
    int,
    typer.Option(
        "--pipeline-parallel-size", "-pp", help="Devices that share the layers out.", rich_help_panel=_ENGINE
    ),
]
EngineArg = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-arg",
        metavar="KEY=VALUE",
        help="Any other engine argument; repeatable.",
        rich_help_panel=_ENGINE,
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show vLLM's log.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")]

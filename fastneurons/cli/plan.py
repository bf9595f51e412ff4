"""`plan`: memory, size of the store and hours of a run, before there is a machine for it."""

import json
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from fastneurons.cli import engine_options as opt
from fastneurons.cli import measure_options as opt_what

if TYPE_CHECKING:
    from fastneurons.planning import Plan

_RUN = "The run"
_MACHINE = "The machine"
_GB = 1e9


def plan(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A model's folder or its config.json; no weights are needed.",
            show_default=False,
        ),
    ],
    examples: Annotated[int, typer.Option(help="How many examples; of a corpus, texts.", show_default=False)],
    languages: Annotated[int, typer.Option(help="How many languages.", show_default=False)],
    tokens: Annotated[int, typer.Option(help="Tokens of a prompt, on average.", show_default=False)],
    gpus: Annotated[int, typer.Option(help="How many GPUs there are.", rich_help_panel=_MACHINE)] = 1,
    gpu: Annotated[
        str,
        typer.Option(metavar="a100|h100|h200|b200", help="Which GPU.", rich_help_panel=_MACHINE),
    ] = "h100",
    tensor_parallel_size: Annotated[
        int | None,
        typer.Option(
            "--tensor-parallel-size",
            "-tp",
            help="GPUs that one engine's layers are spread over. [default: as few as its memory needs]",
            show_default=False,
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    pipeline_parallel_size: opt.PipelineParallelSize = 1,
    max_num_batched_tokens: opt.MaxNumBatchedTokens = None,
    max_num_seqs: opt.MaxNumSeqs = None,
    quantization: opt.Quantization = None,
    bench: Annotated[
        str | None,
        typer.Option(
            "--bench",
            metavar="FILE",
            help="A file of `fastneurons bench --json` from such a machine: rates are taken from it.",
            show_default=False,
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    threshold: opt_what.Threshold = None,
    position: opt_what.Position = "last",
    attribution: opt_what.Attribution = False,
    top_k: opt_what.TopK = None,
    keep_coefficients: opt_what.KeepCoefficients = False,
    keep_bits: Annotated[
        bool,
        typer.Option("--keep-bits/--no-keep-bits", help="Whether the store has bits.", rich_help_panel=_RUN),
    ] = True,
    keep_prompts: Annotated[
        bool,
        typer.Option(
            "--keep-prompts/--no-keep-prompts", help="Whether the store has prompts.", rich_help_panel=_RUN
        ),
    ] = True,
    edits: Annotated[
        int, typer.Option(help="Edits that are active at once, in a run that edits.", rich_help_panel=_RUN)
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Plan a run: memory, size of the store and hours.

    Everything follows from the model's configuration and the GPU's data sheet, or from a benchmark of the machine.
    Estimates are marked as such.
    """
    from fastneurons.planning import Wanted
    from fastneurons.planning import plan as planned

    found = planned(
        Wanted(
            model=model,
            examples=examples,
            languages=languages,
            tokens=tokens,
            gpus=gpus,
            gpu=gpu,
            tensor_parallel_size=tensor_parallel_size,
            pipeline_parallel_size=pipeline_parallel_size,
            max_num_batched_tokens=max_num_batched_tokens,
            max_num_seqs=max_num_seqs,
            quantization=quantization,
            thresholds=tuple(threshold or [0.0]),
            position=position,
            attribution=attribution,
            top_k=top_k,
            keep_coefficients=keep_coefficients,
            keep_bits=keep_bits,
            keep_prompts=keep_prompts,
            edits=edits,
            bench=bench,
        )
    )
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        _print(found)


def _print(found: "Plan") -> None:
    from fastneurons.visible import visible

    model, engine, wanted = found.model, found.engine, found.wanted
    size = engine.tensor_parallel_size * engine.pipeline_parallel_size
    print(
        f"{visible(model.name)}: {model.num_layers} layers of {model.intermediate_size:,} neurons, "
        f"{model.num_parameters / 1e9:.1f} billion weights"
    )
    engines = f"{found.engines} engine{'s' if found.engines > 1 else ''} of {size}"
    print(f"{wanted.gpus} x {found.gpu.name}: {engines}, steps of {engine.max_num_batched_tokens:,} tokens")
    print(f"{wanted.examples:,} examples: {found.prompts:,} prompts of {wanted.tokens:,} tokens\n")
    figures = found.figures()
    for name, label in {
        "memory_weights": "weights",
        "memory_sampler": "sampler",
        "memory_kv_cache": "keys and values",
        "memory_reading": "reading",
        "memory_edits": "edits",
        "memory_activations": "a step",
        "memory_of_a_gpu": "memory of a GPU",
        "memory_available": "available",
        "store": "store",
        "store_at_most": "store at most",
    }.items():
        figure = figures[name]
        print(_line(label, (figure.value or 0) / _GB, "GB", figure.basis))
    rate = figures["prompts_per_s"]
    if rate.value is not None and found.hours is not None:
        print(_line("rate", rate.value, "prompts/s", rate.basis))
        print(_line("time", found.hours, "h", rate.basis))
    notes = [*found.notes, *([f"rate from {found.rate.about}"] if found.rate.basis != "estimated" else [])]
    for note in notes:
        print("\n" + textwrap.fill(visible(note), 100))


def _line(label: str, value: float, unit: str, basis: str) -> str:
    """A figure with two digits after the point, none where it has three before it."""
    shown = (
        f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 1 or not value else f"{value:,.2f}"
    )
    return f"{label:<18}{shown:>12} {unit:<11}{basis}"

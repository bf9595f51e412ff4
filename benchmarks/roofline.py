"""The cost of observing on a GPU, on paper, by bytes and operations: nothing here was run on a GPU.

    python benchmarks/roofline.py [MODEL ...] [--gpu h100] [--tokens 2048 --tokens 16384] [--json FILE]

MODEL is llama-3.2-1b, llama-3.1-8b or llama-3.1-70b (all three, if none is given), or a model's folder or
config.json. For each size of a step: the time of its matrix products, each the longer of its operations at the
data sheet's dense bf16 rate and its bytes at the data sheet's bandwidth; of the activation kernel as it is without
observing; and what each way of observing adds to that, in microseconds a step and as a share of it.

The kernels' figures are those of the compiled kernels: bytes from grid and contract (`kernels_static.py`),
instructions read off the machine code (`sass.py`). A kernel's time is the longest of its bytes at the bandwidth,
its instructions at one per scheduler and clock, and its exponentials and reciprocals at the special function
units' rate. So are, by their bytes, the categories of finished examples and, with attribution, the contributions.

Left out: attention, norms, launches, and between GPUs what tensor parallelism sends. All would make the step longer
and observing's share smaller, but for launches, of which observing adds none to a layer. Real kernels reach some
80 to 90 % of a data sheet's bandwidth and 60 to 80 % of its operations: products gain more from the assumption
than the activation, so shares are rather over- than underestimated.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from fastneurons.errors import InputError
from fastneurons.planning.gpus import GPUS, Gpu
from fastneurons.planning.shapes import BF16_BYTES, Model, model_shapes, products_s

# Multiprocessors of all these have four schedulers, each of which issues one instruction a clock for a warp of 32
# threads, and 16 lanes for special functions (CUDA C++ programming guide, throughput of arithmetic instructions).
SCHEDULERS = 4
WARP = 32
SPECIAL_LANES = 16


MODELS = {
    "llama-3.2-1b": Model("Llama 3.2 1B", 2048, 8192, 16, 32, 8, 64, 128256, True),
    "llama-3.1-8b": Model("Llama 3.1 8B", 4096, 14336, 32, 32, 8, 128, 128256, False),
    "llama-3.1-70b": Model("Llama 3.1 70B", 8192, 28672, 80, 64, 8, 128, 128256, False),
}


def ranks_needed(gpu: Gpu, model: Model) -> int:
    """The fewest GPUs, a power of two, whose memory holds the weights and leaves a fifth for all else."""
    ranks = 1
    while BF16_BYTES * model.num_parameters > 0.8 * ranks * gpu.memory_bytes:
        ranks *= 2
    return ranks


# -- a kernel ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """The demands of one launch on the device; instructions are counted per warp."""

    bytes: float
    instructions: float = 0.0
    special: float = 0.0

    def seconds(self, gpu: Gpu) -> float:
        """The longest of what it asks for."""
        issued = self.instructions / (gpu.multiprocessors * SCHEDULERS * gpu.clock)
        special = self.special * WARP / (gpu.multiprocessors * SPECIAL_LANES * gpu.clock)
        return max(self.bytes / gpu.bandwidth, issued, special)


# What is added to a step, by the way of observing: thresholds, position, whether coefficients are kept.
MODES: dict[str, dict[str, Any]] = {
    "last": {"position": "last"},
    "last, 6 thresholds": {"position": "last", "thresholds": 6},
    "any": {"position": "any"},
    "any, 6 thresholds": {"position": "any", "thresholds": 6},
    "corpus": {"position": "corpus"},
    "attribution": {"position": "last", "coefficients": True},
}


class Kernels:
    """The compiled kernels' figures, one target's; each variant is compiled once, never loaded."""

    def __init__(self, arch: int) -> None:
        self._arch = arch
        self._codes: dict[tuple[Any, ...], Any] = {}

    def activation(self, neurons: int, tokens: int, prompts: int, **mode: Any) -> Load:
        """A layer's launch in a step; `mode` as in MODES, nothing observed with position None."""
        from fastneurons_kernels import activation_triton
        from kernels_static import activation_case, compile_launch
        from sass import code_of
        from triton import knobs

        case = activation_case(neurons=neurons, rows=tokens, prompts=prompts, **mode)
        key = (neurons, *sorted(mode.items()))
        if key not in self._codes:
            compiled = compile_launch(activation_triton, case.function, case.launch, self._arch)
            self._codes[key] = code_of(compiled.asm["cubin"], knobs.nvidia.nvdisasm.path)
        code = self._codes[key]
        warps = activation_triton._NUM_WARPS * -(-neurons // activation_triton.BLOCK_NEURONS)  # of a row
        if case.function == "_row_kernel":
            read = prompts if mode["position"] else 0
            counts = [(tokens, code.once), (read, code.read)]
        else:
            programs = -(-tokens // activation_triton._ROWS_PER_PROGRAM)
            turns = programs * (activation_triton._ROWS_PER_PROGRAM + 1)
            # Each prompt's end hands on, and so does each program's.
            counts = [(programs, code.once), (turns, code.row), (max(prompts, programs), code.handed_on)]
        return Load(
            case.bytes_moved,
            warps * sum(times * part.instructions for times, part in counts),
            warps * sum(times * part.special for times, part in counts),
        )


def finished_s(
    gpu: Gpu,
    model: Model,
    mode: dict[str, Any],
    prompts: int,
    languages: int,
    ranks: int,
    in_flight: int = 256,
) -> float:
    """Time of what is done once an example's prompts are through, for as many as one step brings to their end.

    Examples are collected a quarter of those in flight at once. With attribution each prompt's answer is
    taken to be of another token, so that each needs a product of its own with all value vectors, in float32.
    """
    from kernels_static import attribution_case, categories_case

    if mode["position"] == "corpus":
        return 0.0
    shape: dict[str, Any] = {
        "neurons": model.intermediate_size // ranks,
        "languages": languages,
        "layers": model.num_layers,
    }
    at_once = in_flight // 4
    case = categories_case(
        examples=at_once,
        thresholds=mode.get("thresholds", 1),
        planes=mode.get("coefficients", False),
        **shape,
    )
    seconds = case.bytes_moved / gpu.bandwidth
    if mode.get("coefficients"):
        seconds += attribution_case(examples=at_once, **shape).bytes_moved / gpu.bandwidth
        rows, vectors = at_once * languages, model.num_layers * shape["neurons"]
        # The CUDA cores' float32 rate: 128 fused multiply-adds a multiprocessor and clock, 64 on sm_80.
        float32 = (128 if gpu.arch == 80 else 256) * gpu.multiprocessors * gpu.clock
        moved = vectors * (model.hidden_size * (BF16_BYTES + 2 * 4) + 4 * rows)
        seconds += max(2 * rows * vectors * model.hidden_size / float32, moved / gpu.bandwidth)
    return seconds * prompts / languages / at_once


# -- the table -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A step: times in seconds."""

    gpu: str
    model: str
    ranks: int
    tokens: int
    products_s: float
    activation_s: float
    added_s: dict[str, float]  # by mode: in the activation kernel
    finished_s: dict[str, float]  # by mode: categories and contributions

    def share(self, mode: str) -> float:
        """The time that observing adds, as a share of the step without it."""
        return (self.added_s[mode] + self.finished_s[mode]) / (self.products_s + self.activation_s)


def rows(
    gpu: Gpu, model: Model, tokens: Sequence[int], prompt_length: int, languages: int, ranks: int | None
) -> Iterator[Row]:
    """One for each size of a step."""
    ranks = ranks or ranks_needed(gpu, model)
    kernels, neurons = Kernels(gpu.arch), model.intermediate_size // ranks
    for size in tokens:
        prompts = max(1, size // prompt_length)
        plain = kernels.activation(neurons, size, prompts, position=None).seconds(gpu)
        added = {
            name: model.num_layers * (kernels.activation(neurons, size, prompts, **mode).seconds(gpu) - plain)
            for name, mode in MODES.items()
        }
        yield Row(
            gpu=gpu.name,
            model=model.name,
            ranks=ranks,
            tokens=size,
            products_s=products_s(gpu, model, size, prompts, ranks),
            activation_s=model.num_layers * plain,
            added_s=added,
            finished_s={
                name: finished_s(gpu, model, mode, prompts, languages, ranks) for name, mode in MODES.items()
            },
        )


def model_of(name: str) -> Model:
    """A preset, or what a config.json says.

    Raises:
        typer.BadParameter: neither, or a field is missing.
    """
    if name in MODELS:
        return MODELS[name]
    try:
        return model_shapes(name)
    except InputError as error:
        raise typer.BadParameter(f"{error}, or one of {', '.join(MODELS)}") from error


def main(
    model: Annotated[
        list[str] | None, typer.Argument(help="Presets, folders or config.json. [default: 1B, 8B and 70B]")
    ] = None,
    gpu: Annotated[str, typer.Option(help=", ".join(GPUS))] = "h100",
    tokens: Annotated[
        list[int] | None, typer.Option(help="Tokens of a step; repeatable. [default: 2048 to 16384]")
    ] = None,
    prompt_length: Annotated[int, typer.Option(help="Tokens of a prompt.")] = 128,
    languages: Annotated[int, typer.Option(help="Languages of an example.")] = 10,
    tensor_parallel_size: Annotated[
        int | None, typer.Option("--tensor-parallel-size", "-tp", help="[default: what the weights need]")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here, too.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a table here, too.")] = None,
) -> None:
    """Compute and print."""
    if gpu not in GPUS:
        raise typer.BadParameter(f"--gpu {gpu}: must be one of {', '.join(GPUS)}")
    sheet, found = GPUS[gpu], []
    for name in model or MODELS:
        shape = model_of(name)
        found += list(
            rows(
                sheet,
                shape,
                tokens or [2048, 4096, 8192, 16384],
                prompt_length,
                languages,
                tensor_parallel_size,
            )
        )
    print_table(sheet, found, prompt_length, languages)
    if json_file is not None:
        shares = [asdict(row) | {"share": {mode: row.share(mode) for mode in MODES}} for row in found]
        json_file.write_text(json.dumps({"gpu": asdict(sheet), "rows": shares}, indent=1) + "\n")
    if markdown is not None:
        markdown.write_text(as_markdown(sheet, found, prompt_length, languages))


def print_table(gpu: Gpu, found: Sequence[Row], prompt_length: int, languages: int) -> None:
    """A line for each step."""
    print(
        f"On paper, from data sheets and compiled kernels: nothing was run on a GPU.\n"
        f"{gpu.name}: {gpu.bf16_flops / 1e12:,.0f} TFLOP/s dense bf16, {gpu.bandwidth / 1e12:.2f} TB/s "
        f"({gpu.source}). Prompts of {prompt_length} tokens, {languages} languages.\n"
        "Products and activation: of a whole step, without observing. Then what observing adds to both: in the\n"
        "activation kernel + for finished examples, and together as a share of the step.\n"
    )
    columns = "".join(f"{mode:>22}" for mode in MODES)
    print(f"{'':<14}{'GPUs':>5}{'tokens':>8}{'products ms':>13}{'activation ms':>15}{columns}")
    for row in found:
        cells = (
            f"{1e6 * row.added_s[mode]:.0f} + {1e6 * row.finished_s[mode]:.0f} us {row.share(mode):7.2%}"
            for mode in MODES
        )
        print(
            f"{row.model:<14}{row.ranks:>5}{row.tokens:>8,}{1e3 * row.products_s:>13.2f}"
            f"{1e3 * row.activation_s:>15.3f}{''.join(f'{cell:>22}' for cell in cells)}"
        )


def as_markdown(gpu: Gpu, found: Sequence[Row], prompt_length: int, languages: int) -> str:
    """The same as a section of a page."""
    lines = [
        f"## {gpu.name}",
        "",
        f"{gpu.bf16_flops / 1e12:,.0f} TFLOP/s dense bf16, {gpu.bandwidth / 1e12:.2f} TB/s ({gpu.source}). Prompts of "
        f"{prompt_length} tokens, {languages} languages.",
        "",
        f"| model | GPUs | tokens | products, ms | activation, ms | {' | '.join(MODES)} |",
        f"|---|---|---|---|---|{'---|' * len(MODES)}",
    ]
    for row in found:
        shares = " | ".join(f"{row.share(mode):.2%}" for mode in MODES)
        lines.append(
            f"| {row.model} | {row.ranks} | {row.tokens:,} | {1e3 * row.products_s:.2f} | {1e3 * row.activation_s:.3f} "
            f"| {shares} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)

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

BF16_BYTES = 2
# Multiprocessors of all these have four schedulers, each of which issues one instruction a clock for a warp of 32
# threads, and 16 lanes for special functions (CUDA C++ programming guide, throughput of arithmetic instructions).
SCHEDULERS = 4
WARP = 32
SPECIAL_LANES = 16


@dataclass(frozen=True)
class Gpu:
    """A data sheet.

    Args:
        arch: Compute capability, as 90.
        bf16_flops: Dense, a second.
        bandwidth: Bytes a second.
        memory_bytes: Of the device.
        multiprocessors: Streaming multiprocessors.
        clock: At which `bf16_flops` is given, in Hz: that is 2,048 (sm_80), 4,096 (sm_90) or 8,192 (sm_100)
            operations a multiprocessor and clock.
        source: Where these stand.
    """

    name: str
    arch: int
    bf16_flops: float
    bandwidth: float
    memory_bytes: float
    multiprocessors: int
    clock: float
    source: str


GPUS = {
    "a100": Gpu("A100 SXM 80 GB", 80, 312e12, 2.039e12, 80e9, 108, 1.410e9, "NVIDIA A100 data sheet, 2021"),
    "h100": Gpu("H100 SXM", 90, 989.4e12, 3.35e12, 80e9, 132, 1.830e9, "NVIDIA H100 data sheet, 2023"),
    "h200": Gpu("H200 SXM", 90, 989.4e12, 4.8e12, 141e9, 132, 1.830e9, "NVIDIA H200 data sheet, 2024"),
    "b200": Gpu("B200 (HGX)", 100, 2250e12, 8.0e12, 180e9, 148, 1.856e9, "NVIDIA HGX B200 data sheet, 2025"),
}


@dataclass(frozen=True)
class Model:
    """The shapes that matter."""

    name: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    tied: bool
    gated: bool = True

    @property
    def num_parameters(self) -> int:
        """Of the matrices; norms and biases are a ten-thousandth."""
        layer = sum(k * n for _, _, k, n in _layer_shapes(self, 1))
        return self.num_layers * layer + self.vocab_size * self.hidden_size * (1 if self.tied else 2)


MODELS = {
    "llama-3.2-1b": Model("Llama 3.2 1B", 2048, 8192, 16, 32, 8, 64, 128256, True),
    "llama-3.1-8b": Model("Llama 3.1 8B", 4096, 14336, 32, 32, 8, 128, 128256, False),
    "llama-3.1-70b": Model("Llama 3.1 70B", 8192, 28672, 80, 64, 8, 128, 128256, False),
}


# -- a step's matrix products --------------------------------------------------------------------------


def _layer_shapes(model: Model, ranks: int) -> list[tuple[str, int, int, int]]:
    """Name, how often, K and N of a layer's products on one rank."""
    heads, kv_heads = model.num_heads // ranks, max(1, model.num_kv_heads // ranks)
    neurons = model.intermediate_size // ranks
    return [
        ("qkv", 1, model.hidden_size, (heads + 2 * kv_heads) * model.head_dim),
        ("attention out", 1, heads * model.head_dim, model.hidden_size),
        ("gate and up" if model.gated else "up", 1, model.hidden_size, (1 + model.gated) * neurons),
        ("down", 1, neurons, model.hidden_size),
    ]


def product_s(gpu: Gpu, m: int, k: int, n: int) -> float:
    """Time of [M, K] by [K, N] in bf16: the longer of its operations and its bytes, each moved once."""
    moved = BF16_BYTES * (m * k + k * n + m * n)
    return max(2 * m * k * n / gpu.bf16_flops, moved / gpu.bandwidth)


def products_s(gpu: Gpu, model: Model, tokens: int, prompts: int, ranks: int = 1) -> float:
    """Time of a step's matrix products: all layers for all tokens, the unembedding for each prompt's last."""
    layer = sum(times * product_s(gpu, tokens, k, n) for _, times, k, n in _layer_shapes(model, ranks))
    return model.num_layers * layer + product_s(gpu, prompts, model.hidden_size, model.vocab_size // ranks)


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
        from fastneurons_kernels import activation
        from kernels_static import activation_case, compile_launch
        from sass import code_of
        from triton import knobs

        case = activation_case(neurons=neurons, rows=tokens, prompts=prompts, **mode)
        key = (neurons, *sorted(mode.items()))
        if key not in self._codes:
            compiled = compile_launch(activation, case.function, case.launch, self._arch)
            self._codes[key] = code_of(compiled.asm["cubin"], knobs.nvidia.nvdisasm.path)
        code = self._codes[key]
        warps = activation._NUM_WARPS * -(-neurons // activation.BLOCK_NEURONS)  # of a row
        if case.function == "_row_kernel":
            read = prompts if mode["position"] else 0
            counts = [(tokens, code.once), (read, code.read)]
        else:
            programs = -(-tokens // activation._ROWS_PER_PROGRAM)
            turns = programs * (activation._ROWS_PER_PROGRAM + 1)
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
    path = Path(name)
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise typer.BadParameter(f"{name}: neither a config.json nor one of {', '.join(MODELS)}")
    config = json.loads(path.read_text())
    try:
        heads = config["num_attention_heads"]
        return Model(
            name=path.parent.name,
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            num_layers=config["num_hidden_layers"],
            num_heads=heads,
            num_kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            vocab_size=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", True)),
        )
    except KeyError as error:
        raise typer.BadParameter(f"{path} has no {error}; a Llama-like configuration is needed") from error


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

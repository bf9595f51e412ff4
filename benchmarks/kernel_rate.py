"""How fast are the kernels on this GPU, and do they compute there what the reference computes?

    python benchmarks/kernel_rate.py [--neurons 14336] [--rows 2048 --rows 16384] [--json FILE] [--markdown FILE]

Each kernel is first compared with the plain torch reference on the device, and not timed if it differs: activations may
differ in their last place, what is read of them not at all. Triton's `do_bench_cudagraph`, or `do_bench` for what takes
long, then gives median milliseconds, bytes per second by the kernel's own count, and the time relative to vLLM's own
activation kernel, which reads and keeps nothing. `--check` only compares, also in Triton's interpreter, which truncates
bfloat16 where a GPU rounds it:

    TRITON_INTERPRET=1 python benchmarks/kernel_rate.py --check --device cpu --dtype fp16 --neurons 96 --rows 64
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import triton.experimental.gluon  # noqa: F401  # the interpreter imports it too late for itself
import typer
from fastneurons_kernels.activation import activation_reference, read_reference
from fastneurons_kernels.reading import Reading

MODES: dict[str, dict[str, Any]] = {
    "unobserved": {"position": None},
    "last": {"position": "last"},
    "last, 6 thresholds": {"position": "last", "thresholds": 6},
    "last, coefficients": {"position": "last", "coefficients": True},
    "any": {"position": "any"},
    "any, 6 thresholds": {"position": "any", "thresholds": 6},
    "corpus": {"position": "corpus"},
}


@dataclass(frozen=True)
class Row:
    """One kernel at one size."""

    kernel: str
    rows: int
    neurons: int
    milliseconds: float
    gigabytes_per_s: float
    to_vllm: float | None  # its time to that of vLLM's own kernel


def main(
    neurons: Annotated[int, typer.Option(help="Of a layer on one GPU.")] = 14336,
    rows: Annotated[list[int] | None, typer.Option(help="Tokens of a step. [default: 2048 to 16384]")] = None,
    device: Annotated[str, typer.Option(help="Where.")] = "cuda",
    dtype: Annotated[str, typer.Option(help="bf16 or fp16.")] = "bf16",
    check: Annotated[bool, typer.Option("--check", help="Compare, time nothing.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a table here.")] = None,
) -> None:
    """Compare, time and print."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "kernel_rate.py needs an NVIDIA GPU; --check --device cpu compares in the interpreter"
        )
    sizes = rows or [2048, 4096, 8192, 16384]
    for size in sizes:
        for name, mode in MODES.items():
            compare(name, neurons, size, device, mode | {"dtype": dtype})
    print(f"{len(MODES)} ways of reading agree with the reference at {', '.join(map(str, sizes))} rows")
    if check:
        return
    found = [row for size in sizes for row in rates(neurons, size, dtype)] + list(other_rates(neurons))
    name = torch.cuda.get_device_name()
    lines = [
        f"{name}, torch {torch.__version__}",
        "",
        "| kernel | rows | ms | GB/s | to vLLM's |",
        "|---|---|---|---|---|",
    ]
    for row in found:
        to_vllm = f"{row.to_vllm:.3f}" if row.to_vllm is not None else ""
        lines.append(
            f"| {row.kernel} | {row.rows:,} | {row.milliseconds:.4f} | {row.gigabytes_per_s:,.0f} | {to_vllm} |"
        )
    print("\n".join(lines))
    if markdown is not None:
        markdown.write_text("\n".join(lines) + "\n")
    if json_file is not None:
        json_file.write_text(
            json.dumps({"gpu": name, "rows": [asdict(row) for row in found]}, indent=1) + "\n"
        )


def compare(name: str, neurons: int, rows: int, device: str, mode: dict[str, Any]) -> None:
    """Compare one launch with the reference on the same numbers.

    Raises:
        SystemExit: they differ.
    """
    from kernels_static import activation_case

    def require(holds: bool, what: str) -> None:
        if not holds:
            raise SystemExit(f"{name}, {rows} rows: {what} differ from the reference")

    case = activation_case(neurons=neurons, rows=rows, prompts=max(1, rows // 32), device=device, **mode)
    x, reading = case.x, case.reading
    assert x is not None and case.launch_on is not None
    product = case.launch_on(x, reading)
    # Its own activations: the product where `up` is 1, by the same compiled kernel.
    ones = x.clone()
    ones[:, neurons:] = 1
    a = case.launch_on(ones, _emptied(reading))
    expected_a = activation_reference(ones, function="silu", gated=True)
    place = torch.finfo(x.dtype).eps
    require(torch.allclose(a.float(), expected_a.float(), rtol=place, atol=1e-6), "activations")
    require(torch.equal(product, (a.float() * x[:, neurons:].float()).to(x.dtype)), "products")
    expected = _emptied(reading)
    if expected is not None:
        read_reference(expected, a, product)
        found = _outputs(reading)
        for key, tensor in _outputs(expected).items():
            require(torch.equal(found[key], tensor), key)


def rates(neurons: int, rows: int, dtype: str) -> Iterator[Row]:
    """Time the activation kernel in each mode, and vLLM's own where vLLM's compiled part is there."""
    import vllm._custom_ops  # noqa: F401 - registers torch.ops._C
    from kernels_static import activation_case

    plain: float | None = None
    has_vllms = hasattr(torch.ops._C, "silu_and_mul")
    for name, mode in MODES.items():
        mode = mode | {"dtype": dtype}
        case = activation_case(neurons=neurons, rows=rows, prompts=max(1, rows // 128), device="cuda", **mode)
        if plain is None and has_vllms:
            assert case.x is not None
            out = torch.empty((rows, neurons), dtype=case.x.dtype, device="cuda")
            plain = _in_a_graph(lambda out=out, x=case.x: torch.ops._C.silu_and_mul(out, x))  # type: ignore[misc]
            yield Row("vLLM's silu_and_mul", rows, neurons, plain, rows * neurons * 6 / plain / 1e6, 1.0)
        taken = _in_a_graph(case.launch)
        to_vllm = taken / plain if plain is not None else None
        yield Row(f"activation, {name}", rows, neurons, taken, case.bytes_moved / taken / 1e6, to_vllm)


def other_rates(neurons: int) -> Iterator[Row]:
    """Time the work that follows once examples are complete."""
    from kernels_static import attribution_case, categories_case

    for case in (
        categories_case(neurons=neurons, device="cuda"),
        attribution_case(neurons=neurons, device="cuda", top_k=max(1, neurons * 800 // 16384)),
    ):
        taken = _milliseconds(case.launch)
        yield Row(f"{case.kernel}, {case.variant}", 0, neurons, taken, case.bytes_moved / taken / 1e6, None)


def _milliseconds(launch: Callable[[], object]) -> float:
    from triton.testing import do_bench

    return float(do_bench(launch, warmup=50, rep=200, return_mode="median"))


def _in_a_graph(launch: Callable[[], object]) -> float:
    """Milliseconds of a kernel that may be shorter than its launch from Python."""
    from triton.testing import do_bench_cudagraph

    return float(do_bench_cudagraph(launch, rep=100, return_mode="median"))


def _outputs(reading: Reading | None) -> dict[str, torch.Tensor]:
    names = ("words", "near", "edges", "counts", "coefficients")
    there = {} if reading is None else {name: getattr(reading, name) for name in names}
    return {name: tensor for name, tensor in there.items() if tensor is not None}


def _emptied(reading: Reading | None) -> Reading | None:
    """The same reading with buffers of its own, all zeros."""
    if reading is None:
        return None
    buffers = {name: torch.zeros_like(tensor) for name, tensor in _outputs(reading).items()}
    return Reading(targets=reading.targets, thresholds=reading.thresholds, signal=reading.signal, **buffers)


if __name__ == "__main__":
    typer.run(main)

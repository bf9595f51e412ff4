"""How fast are the kernels on this GPU, and do they compute there what the reference computes?

    python benchmarks/kernel_rate.py [--neurons 14336] [--rows 2048 --rows 16384] [--json FILE] [--markdown FILE]

Each kernel is first compared with the plain torch reference on the device, and not timed if it differs: activations may
differ in their last place, what is read of them not at all. Then it is timed: milliseconds, bytes per second by the
kernel's own count, and, for the activation kernel, the time relative to a kernel that reads and keeps nothing: vLLM's
`silu_and_mul` where vLLM is installed, else what torch.compile makes of the same formula. The activation kernels are
replayed from a CUDA graph, so that Python's part of a launch, which is given in a column of its own, is not in their
time. `--check` only compares, also in Triton's interpreter, which truncates bfloat16 where a GPU rounds it:

    TRITON_INTERPRET=1 python benchmarks/kernel_rate.py --check --device cpu --dtype fp16 --neurons 96 --rows 64
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import from_checkout  # noqa: F401  # before the kernels are imported
import torch
import triton
import triton.experimental.gluon  # the interpreter imports it too late for itself
import typer
from fastneurons_kernels import activation_triton  # noqa: F401  # reads TRITON_INTERPRET, which kernels_static clears
from fastneurons_kernels.activation import activation_reference, read_reference
from fastneurons_kernels.attribution import contributions, contributions_reference
from fastneurons_kernels.categories import categories, categories_reference
from fastneurons_kernels.projection import projection, projection_reference
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
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Row:
    """One kernel at one size."""

    kernel: str
    rows: int
    neurons: int
    milliseconds: float
    gigabytes_per_s: float
    to_plain: float | None = None  # its time to that of the kernel that reads nothing
    host_microseconds: float | None = None  # of Python for a launch


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
    if device == "cuda":
        compare_others(neurons, dtype)
        print(f"categories, attribution and projection agree with the reference at {neurons} neurons")
    if check:
        return
    found = [row for size in sizes for row in rates(neurons, size, dtype)] + list(other_rates(neurons, dtype))
    name = torch.cuda.get_device_name()
    lines = [
        f"{name}, torch {torch.__version__}, Triton {triton.__version__}, {dtype}, {neurons:,} neurons",
        "",
        "| kernel | rows | ms | GB/s | to the first | host us |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        to_plain = f"{row.to_plain:.3f}" if row.to_plain is not None else ""
        host = f"{row.host_microseconds:.0f}" if row.host_microseconds is not None else ""
        lines.append(
            f"| {row.kernel} | {row.rows:,} | {row.milliseconds:.4f} | {row.gigabytes_per_s:,.0f} "
            f"| {to_plain} | {host} |"
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


def compare_others(neurons: int, dtype: str) -> None:
    """Compare what follows once examples are complete, on drawn numbers of production's sizes.

    Raises:
        SystemExit: something differs.
    """

    def require(holds: bool, what: str) -> None:
        if not holds:
            raise SystemExit(f"{what} differ from the reference")

    E, L, N, A, H = 2, 10, 4, 8, 4096
    words = torch.randint(-(2**31), 2**31 - 1, (E * L, 1, N, -(-neurons // 32)), device="cuda").int()
    rows = torch.randperm(E * L).int().view(E, L)
    counters = [torch.zeros((1, N, neurons, 4), dtype=torch.int32, device="cuda") for _ in range(2)]
    found = categories(words, rows, neurons, occupancy=counters[0], planes=True)
    wanted = categories_reference(words, rows, neurons, occupancy=counters[1], planes=True)
    require(torch.equal(*counters), "occupancies")
    for name in found._fields:
        require(torch.equal(getattr(found, name), getattr(wanted, name)), name)

    vectors = torch.randn((H, neurons), device="cuda").to(_DTYPES[dtype]).T
    e = torch.randn((A, H), device="cuda")
    projections = torch.empty((A, N, neurons), device="cuda")
    for layer in range(N):
        projection(e, vectors, projections[:, layer])
    scale = (e.to(vectors.dtype).double().abs() @ vectors.double().abs().T).float()
    error = (projections[:, 0] - projection_reference(e, vectors)).abs()
    require(bool((error <= 1e-6 * scale).all()), "projections")

    m = torch.randn((E * L, N, neurons), device="cuda").to(_DTYPES[dtype])
    norms = torch.rand((N, neurons), device="cuda")
    answers = torch.randint(0, A, (E, L), dtype=torch.int32)
    assert found.planes is not None
    arguments = (m, rows, found.planes[:, 0], norms, projections, answers, max(1, neurons // 20))
    scores = zip(
        contributions(*arguments)._asdict().items(), contributions_reference(*arguments), strict=True
    )
    for (name, got), want in scores:
        # Sums of some thousands of numbers, in another order.
        close = (
            torch.allclose(got, want, rtol=1e-4, atol=1e-2)
            if name.endswith("_sum")
            else torch.equal(got, want)
        )
        require(close, name)


def rates(neurons: int, rows: int, dtype: str) -> Iterator[Row]:
    """Time the activation kernel in each mode, and the one that reads nothing."""
    from kernels_static import activation_case

    plain: float | None = None
    for name, mode in MODES.items():
        mode = mode | {"dtype": dtype}
        case = activation_case(neurons=neurons, rows=rows, prompts=max(1, rows // 128), device="cuda", **mode)
        if plain is None:
            assert case.x is not None
            title, launch = plain_kernel(case.x)
            plain = _milliseconds(launch)
            yield Row(
                title, rows, neurons, plain, rows * neurons * 6 / plain / 1e6, 1.0, _host_microseconds(launch)
            )
        taken = _milliseconds(case.launch)
        yield Row(
            f"activation, {name}", rows, neurons, taken, case.bytes_moved / taken / 1e6, taken / plain,
            _host_microseconds(case.launch),
        )  # fmt: skip


def plain_kernel(x: torch.Tensor) -> tuple[str, Callable[[], object]]:
    """The activated product of [gate | up] by somebody else's kernel, and what that is called."""
    try:
        import vllm._custom_ops  # noqa: F401 - registers torch.ops._C
    except ImportError:
        compiled = torch.compile(lambda gate, up: torch.nn.functional.silu(gate) * up, dynamic=False)
        gate, up = x.chunk(2, dim=1)
        return "torch.compile's silu * up", lambda: compiled(gate, up)
    out = torch.empty((len(x), x.shape[1] // 2), dtype=x.dtype, device=x.device)
    return "vLLM's silu_and_mul", lambda: torch.ops._C.silu_and_mul(out, x)


def other_rates(neurons: int, dtype: str) -> Iterator[Row]:
    """Time the work that follows once examples are complete."""
    from kernels_static import attribution_case, categories_case
    from triton.testing import do_bench

    for case in (
        categories_case(neurons=neurons, device="cuda"),
        attribution_case(neurons=neurons, device="cuda", dtype=dtype, top_k=max(1, neurons * 800 // 16384)),
    ):
        # Not from a graph: both copy a few indices from the host, which takes far less than they do.
        taken = float(do_bench(case.launch, warmup=50, rep=200, return_mode="median"))
        yield Row(f"{case.kernel}, {case.variant}", 0, neurons, taken, case.bytes_moved / taken / 1e6)
    answers, hidden = 1024, 4096
    vectors = torch.randn((hidden, neurons), device="cuda").to(_DTYPES[dtype]).T
    e = torch.randn((answers, hidden), device="cuda")
    out = torch.empty((answers, neurons), device="cuda")
    moved = 2 * (answers + neurons) * hidden + 4 * answers * neurons
    for title, launch in (
        ("tensor cores", lambda: projection(e, vectors, out)),
        ("float32", lambda: projection(e, vectors.float(), out)),
    ):
        taken = float(do_bench(launch, warmup=50, rep=200, return_mode="median"))
        yield Row(
            f"projection of one layer, {title}, H={hidden}", answers, neurons, taken, moved / taken / 1e6
        )


def _milliseconds(launch: Callable[[], object]) -> float:
    """Time of a launch on the device, as it is replayed from a CUDA graph."""
    from triton.testing import do_bench_cudagraph

    launch()  # compiled before the graph is captured
    torch.cuda.synchronize()
    return float(do_bench_cudagraph(launch, rep=50, return_mode="median"))


def _host_microseconds(launch: Callable[[], object], launches: int = 200) -> float:
    """Time of Python for a launch, with nothing on the device to wait for; the least of five rounds' means."""
    rounds = []
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(launches):
            launch()
        rounds.append((time.perf_counter() - start) / launches * 1e6)
    return min(rounds)


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

"""Machine code of the kernels for each GPU generation, compiled without a GPU.

    python benchmarks/kernels_static.py [--json] [--arch 80 90 gfx942] [--every | --few]

Each launcher is called as in production, on tensors of PyTorch's `meta` device, with a recorder in the
kernel's place; what it would have launched is then specialised and compiled by Triton itself. So types and
alignment are those of the real call. Targets are NVIDIA's compute capabilities, bf16 left out on 75, which has none,
and AMD's gfx942. Reported per kernel, size and target: registers and spilled bytes a
thread, shared memory, the width of global loads and stores, and the bytes that a launch asks for against the
least that the contract allows (from grid and contract). Nothing here was measured on a GPU.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.pop(
    "TRITON_INTERPRET", None
)  # before Triton is imported: an interpreted kernel cannot be compiled

import from_checkout  # noqa: F401  # before the kernels are imported
import torch
import triton
from fastneurons_kernels import activation_triton, attribution, categories, editing, histogram, reading, top
from fastneurons_kernels.bins import NUM_CELLS
from fastneurons_kernels.functions import FUNCTIONS
from triton.backends.compiler import GPUTarget
from triton.compiler.compiler import ASTSource, make_backend
from triton.runtime.jit import create_function_from_signature

Arch = int | str  # a compute capability, as 90, or AMD's name
ARCHITECTURES: tuple[Arch, ...] = (75, 80, 86, 89, 90, 100, 120, "gfx942")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
PARAMETERS = {"fatrelu": (0.1,), "xielu": (0.8, 1.3, 0.5, -1e-6)}


@dataclass(frozen=True)
class Case:
    """One launch: what it is called in the table, how to make it, and the bytes it moves."""

    kernel: str
    variant: str
    function: str  # the compiled one, in the kernel's module
    launch: Callable[[], object]
    bytes_moved: int  # asked for by all programs together, by the kernel's code
    bytes_least: int  # every input element once, every output element once
    # Of the activation kernel: what `launch` gives it, and the same launch on something else.
    x: torch.Tensor | None = None
    reading: Any = None
    launch_on: Callable[[torch.Tensor, Any], torch.Tensor] | None = None


@dataclass(frozen=True)
class Row:
    """One compiled kernel."""

    kernel: str
    variant: str
    arch: Arch
    registers: int
    spilled_bytes: int
    shared_bytes: int
    loads: dict[str, int]
    stores: dict[str, int]
    atomics: int
    popc: int
    bf16_roundings: list[str]
    bytes_moved: int
    bytes_least: int


class _Recorder:
    """Stands in a kernel's place and keeps the arguments of the launch."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def record(*args: Any, **kwargs: Any) -> None:
            self.arguments = (args, kwargs)

        return record


def compile_launch(module: Any, kernel_name: str, launch: Callable[[], object], arch: Arch) -> Any:
    """The kernel that `launch` would run on a target, compiled, never loaded."""
    recorder = _Recorder(getattr(module, kernel_name))
    setattr(module, kernel_name, recorder)
    try:
        launch()
    finally:
        setattr(module, kernel_name, recorder.kernel)
    if recorder.arguments is None:
        raise RuntimeError(f"{kernel_name} was not launched")
    args, kwargs = recorder.arguments
    kernel = recorder.kernel
    target = GPUTarget("hip", arch, 64) if isinstance(arch, str) else GPUTarget("cuda", arch, 32)
    backend = make_backend(target)
    # The steps of JITFunction.run, for a target that is not there.
    binder = create_function_from_signature(kernel.signature, kernel.params, backend)
    bound, specialization, options = binder(*args, **kwargs)
    options, signature, constexprs, attributes = kernel._pack_args(
        backend, kwargs, bound, specialization, options
    )
    source = ASTSource(kernel, signature, constexprs, attributes)
    return triton.compile(source, target=target, options=options.__dict__)


def inspect(case: Case, arch: Arch) -> Row:
    """Compile a case for a target and read its assembly and its resource usage."""
    modules = {
        "activation": activation_triton,
        "histogram": activation_triton,  # in the same kernel
        "categories": categories,
        "attribution": attribution,
        "top": top,
    }
    module = modules[case.kernel]
    compiled = compile_launch(module, case.function, case.launch, arch)
    if "amdgcn" in compiled.asm:
        return _amd_row(case, arch, compiled)
    ptx = compiled.asm["ptx"]
    usage = _resource_usage(compiled.asm["cubin"])
    return Row(
        kernel=case.kernel,
        variant=case.variant,
        arch=arch,
        registers=usage["REG"],
        spilled_bytes=usage["STACK"] + usage["LOCAL"],
        shared_bytes=compiled.metadata.shared,  # dynamic: the cubin lists only what the system reserves
        loads=_widths(ptx, "ld"),
        stores=_widths(ptx, "st"),
        atomics=len(re.findall(r"\b(?:atom|red)\.", ptx)),
        popc=len(re.findall(r"\bpopc\.b32", ptx)),
        bf16_roundings=sorted(set(re.findall(r"\bcvt\.(\w+)\.bf16(?:x2)?\.f32", ptx))),
        bytes_moved=case.bytes_moved,
        bytes_least=case.bytes_least,
    )


def _amd_row(case: Case, arch: Arch, compiled: Any) -> Row:
    """The same from AMD's assembly; registers are a thread's vector registers."""
    text = compiled.asm["amdgcn"]

    def number(name: str) -> int:
        [value] = set(re.findall(rf"\.{name}:\s+(\d+)", text))
        return int(value)

    return Row(
        kernel=case.kernel,
        variant=case.variant,
        arch=arch,
        registers=number("vgpr_count"),
        # Scalar registers that do not fit go to lanes of vector registers, not to memory.
        spilled_bytes=number("vgpr_spill_count") * 4 + number("private_segment_fixed_size"),
        shared_bytes=compiled.metadata.shared,
        loads=_amd_widths(text, "load"),
        stores=_amd_widths(text, "store"),
        atomics=len(re.findall(r"\b(?:global|buffer)_atomic_", text)),
        popc=len(re.findall(r"\b[sv]_bcnt", text)),
        bf16_roundings=[],
        bytes_moved=case.bytes_moved,
        bytes_least=case.bytes_least,
    )


_AMD_BYTES = {"byte": 1, "ubyte": 1, "sbyte": 1, "short": 2, "ushort": 2, "dword": 4}


def _amd_widths(text: str, operation: str) -> dict[str, int]:
    widths: Counter[str] = Counter()
    for kind, times in re.findall(
        rf"\b(?:global|buffer)_{operation}_(dword|[us]?byte|u?short)(?:_d16(?:_hi)?)?(?:x(\d))?\b", text
    ):
        widths[str(_AMD_BYTES[kind] * int(times or 1))] += 1
    return dict(sorted(widths.items(), key=lambda item: -int(item[0])))


def _widths(ptx: str, operation: str) -> dict[str, int]:
    """How many global accesses of how many bytes a thread the code has."""
    widths: Counter[str] = Counter()
    for vector, bits in re.findall(rf"\b{operation}\.global[\w.:]*?(?:\.(v\d))?\.[bfsu](\d+)\b", ptx):
        widths[str(int(vector[1:] or 1 if vector else 1) * int(bits) // 8)] += 1
    return dict(sorted(widths.items(), key=lambda item: -int(item[0])))


def _resource_usage(cubin: bytes) -> dict[str, int]:
    tool = triton.knobs.nvidia.cuobjdump.path
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        command = [tool, "--dump-resource-usage", str(path)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    usage = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", text)}
    if len(usage) != 3:
        raise RuntimeError(f"{tool} says something else than expected: {text}")
    return usage


def activation_case(
    function: str = "silu",
    *,
    gated: bool = True,
    position: str | None = "last",
    signal: str = "gate",
    coefficients: bool = False,
    edits: str | None = None,
    dtype: str = "bf16",
    neurons: int = 14336,
    thresholds: int = 1,
    rows: int = 2048,
    prompts: int = 64,
    bins: int | None = None,
    device: str = "meta",
) -> Case:
    """A step of `rows` tokens of as many prompts; the outputs are one layer's part of a buffer.

    With edits, "sets" or "values", every row has one: of as many as there are prompts.

    On another device than `meta` it has numbers, and can be launched as it is.
    """
    T, I, S = rows, neurons, thresholds  # noqa: E741
    W, P = reading.num_words(I), reading.near_parts(I)
    x = torch.randn((T, 2 * I if gated else I), device=device).to(DTYPES[dtype])
    int32: dict[str, Any] = {"dtype": torch.int32, "device": device}
    shapes = {
        None: {},
        "last": {"words": (S, 32, W), "near": (S, 32, P)},
        "any": {"words": (S, 32, W), "edges": (S, 32, 2, W)},
        "corpus": {"counts": (S, 32, I)},
    }[position]
    buffers = {name: torch.zeros((prompts, *shape), **int32)[:, :, 0] for name, shape in shapes.items()}
    if coefficients:
        buffers["coefficients"] = torch.zeros((prompts, 32, I), dtype=x.dtype, device=device)[:, 0]
    read = None
    if position is not None:
        read = reading.Reading(
            targets=_targets(T, prompts, position, device),
            thresholds=torch.arange(S, dtype=torch.float32, device=device) / 10,
            signal=signal,
            distribution=None if bins is None else _distribution(prompts, I, bins, gated, device),
            **buffers,
        )
    bank = None
    if edits is not None:
        bank = editing.Editing(
            rows=(torch.arange(T, device=device) * prompts // T).int(),
            masks=torch.zeros((prompts, 32, W), **int32)[:, 0],
            scales=torch.zeros(prompts, device=device),
            sites=torch.zeros(prompts, **int32),
            value_rows=torch.zeros(prompts, **int32),
            values=torch.zeros((1 if edits == "values" else 0, 32, I), device=device)[:, 0],
        )
    calls = None if read is None else torch.zeros(1, dtype=torch.int64, device=device)
    arguments: dict[str, Any] = {
        "function": function,
        "gated": gated,
        "parameters": PARAMETERS.get(function, ()),
        "calls": calls,
    }

    def launch_on(x: torch.Tensor, read: Any) -> torch.Tensor:
        return activation_triton.activation_triton(x, read, bank, **arguments)

    calls = arguments["calls"]
    launcher = activation_triton.ActivationLauncher(
        read, x.dtype, I, function=function, gated=gated, parameters=arguments["parameters"], editing=bank
    )

    step = T * (x.shape[1] + I) * x.element_size()
    groups = -(-S // activation_triton._THRESHOLDS_PER_PROGRAM)
    parts = -(-T // activation_triton._ROWS_PER_PROGRAM)
    # A prompt's row is written once; read and written by each part of its rows where it is added to.
    row_bytes = {"last": S * (W + P) * 4, "any": S * 3 * W * 4, "corpus": S * I * 4}.get(position or "", 0)
    if coefficients:
        row_bytes += I * x.element_size()
    once = prompts * row_bytes * (1 if position == "last" else 2)
    flushed = once if position == "last" else max(prompts, parts) * row_bytes * 2
    if bins is not None:
        # Of each value its bin, read and written; of each part of the rows sums and signs. Tables stay in the cache.
        aside = I * (4 * 8 + (16 if gated else 0)) * 2
        flushed += T * I * 8 + max(prompts, parts) * aside
        once += T * I * 8 + prompts * aside
    again = (groups - 1) * T * x.shape[1] * x.element_size() if position in ("any", "corpus") else 0
    told = {None: "unobserved", "last": f"S={S}"}.get(position, f"{position} S={S}")
    told += "" if bins is None else f" B={bins}"
    more = f"{' product' if signal == 'product' else ''}{' coefficients' if coefficients else ''}"
    more += f" {edits} edited" if edits else ""
    targets = 0 if read is None else T * P * groups * 4
    edited = 0 if bank is None else T * (4 * W + P * 12) + (4 * T * I if edits == "values" else 0)
    return Case(
        kernel="activation" if bins is None else "histogram",
        variant=f"{function} {'gated' if gated else 'plain'} {dtype} I={I} {told}{more}",
        function="_rows_kernel" if position in ("any", "corpus") else "_row_kernel",
        launch=lambda: launcher(x, calls),
        bytes_moved=step
        + edited
        + again
        + (0 if read is None else flushed + 8 + targets + max(prompts, parts) * P * S * 4),
        bytes_least=step + edited + (0 if read is None else once + 8 + T * 4 + S * 4),
        x=x,
        reading=read,
        launch_on=launch_on,
    )


def _distribution(
    prompts: int, neurons: int, bins: int, gated: bool, device: str
) -> "histogram.Distribution":
    """A layer's part of the buffers for distributions."""
    shape = (prompts, 32, neurons, bins)
    return histogram.Distribution(
        counts=torch.zeros(shape, dtype=torch.int32, device=device)[:, 0],
        sums=torch.zeros((prompts, 32, 4, neurons), dtype=torch.float64, device=device)[:, 0],
        table=torch.zeros(NUM_CELLS, dtype=torch.uint8, device=device),
        anchors=torch.zeros(4, dtype=torch.float64, device=device),
        signs=torch.zeros((prompts, 32, 4, neurons), dtype=torch.int32, device=device)[:, 0]
        if gated
        else None,
    )


def _targets(rows: int, prompts: int, position: str, device: str) -> torch.Tensor:
    """Prompts of one length one after another, of which the last token is read, or all."""
    prompt = torch.arange(rows, device=device) * prompts // rows
    if position != "last":
        return prompt.int()
    ends = torch.ones(rows, dtype=torch.bool, device=device)
    ends[:-1] = prompt[1:] != prompt[:-1]
    return torch.where(ends, prompt, -1).int()


def categories_case(
    *,
    neurons: int = 14336,
    languages: int = 10,
    thresholds: int = 1,
    layers: int = 32,
    examples: int = 64,
    occupancy: bool = True,
    planes: bool = False,
    device: str = "meta",
) -> Case:
    """A window of `examples` finished examples."""
    E, L, S, N, I = examples, languages, thresholds, layers, neurons  # noqa: E741
    W = reading.num_words(I)
    tiles = -(-W // categories._BLOCK_WORDS)
    words = torch.randint(-(2**31), 2**31 - 1, (E * L, S, N, W), dtype=torch.int32, device=device)
    rows = torch.arange(E * L, dtype=torch.int32).view(E, L)
    counters = torch.zeros((S, N, I, 4), dtype=torch.int32, device=device) if occupancy else None

    def launch() -> object:
        return categories.categories_triton(words, rows, I, occupancy=counters, planes=planes)

    shared = (
        E * L * S * N * W * 4
        + (2 * S * N * I * 16 if occupancy else 0)
        + (E * S * N * W * 16 if planes else 0)
    )
    counts = E * S * N * (L + 4) * 4
    asked = f"{' occupancy' if occupancy else ''}{' planes' if planes else ''}"
    return Case(
        kernel="categories",
        variant=f"L={L} S={S} N={N} I={I}{asked}",
        function="_categories_kernel",
        launch=launch,
        bytes_moved=shared + tiles * counts + S * N * tiles * E * L * 4,
        bytes_least=shared + counts + E * L * 4,
    )


def attribution_case(
    *,
    dtype: str = "bf16",
    neurons: int = 14336,
    languages: int = 10,
    layers: int = 32,
    examples: int = 8,
    top_k: int = 700,
    device: str = "meta",
) -> Case:
    """Finished examples, each language with an answer of its own."""
    E, L, N, I = examples, languages, layers, neurons  # noqa: E741
    shape = (E * L, N, I)
    m = torch.randn(shape, device=device).to(DTYPES[dtype])
    rows = torch.arange(E * L, dtype=torch.int32).view(E, L)
    planes = torch.zeros((E, N, 4, reading.num_words(I)), dtype=torch.int32, device=device)
    planes[:, :, 0] = -1  # each neuron in exactly one category
    norms, projections = (torch.rand(s, device=device) for s in (shape[1:], shape))

    def launch() -> object:
        return attribution.contributions_triton(m, rows, planes, norms, projections, rows, top_k)

    out = E * L * N * (6 * 4 * 4 + top_k * 5)
    scores = m.numel() * m.element_size() + E * L * norms.numel() * 4
    per_neuron = m.numel() * m.element_size() + projections.numel() * 4
    # Three of four planes, for each language; the scores again in each round of the search, from the caches.
    again = _SEARCH_ROUNDS * scores
    return Case(
        kernel="attribution",
        variant=f"{dtype} L={L} N={N} I={I} k={top_k}",
        function="_attribution_kernel",
        launch=launch,
        bytes_moved=per_neuron + E * L * norms.numel() * 4 + L * planes.numel() * 3 + again + out,
        bytes_least=per_neuron + norms.numel() * 4 + planes.numel() * 3 + out,
    )


# 13 to 16 on average for normal variables to the third power, I of 1,536 and 14,336; and one to take what was found.
_SEARCH_ROUNDS = 17


def top_case(*, rows: int = 2560, scores: int = 1400, top_k: int = 700) -> Case:
    """The candidates of two ranks."""
    score = torch.empty((rows, scores), dtype=torch.float32, device="meta")
    category = torch.empty(score.shape, dtype=torch.uint8, device="meta")
    least = rows * (scores * 4 + top_k + 16)
    return Case(
        kernel="top",
        variant=f"rows={rows} M={scores} k={top_k}",
        function="_top_count_kernel",
        launch=lambda: top.top_count_triton(score, category, top_k),
        bytes_moved=least + rows * scores * 4 * _SEARCH_ROUNDS,
        bytes_least=least,
    )


def cases(every: bool) -> Iterator[Case]:
    """The cases that production runs: all of them, or one for each way in which the code can differ."""
    if every:
        for function in FUNCTIONS:
            for gated in (True, False):
                for position in (None, "last", "any", "corpus"):
                    for dtype in DTYPES:
                        yield activation_case(function, gated=gated, position=position, dtype=dtype)
    else:
        for index, function in enumerate(FUNCTIONS):
            dtype = list(DTYPES)[index % 3]
            yield activation_case(function, gated=index % 2 == 0, dtype=dtype)
        yield activation_case("silu", position=None)
        yield activation_case("silu", dtype="fp32")
        yield activation_case("relu2", gated=False, position=None)
        for position in ("any", "corpus"):
            yield activation_case("silu", position=position)
            yield activation_case("gelu_tanh", position=position, dtype="fp32", signal="product")
            yield activation_case("relu2", gated=False, position=position, thresholds=8)
            yield activation_case("silu", position=position, neurons=1538)
        yield activation_case("silu", position="corpus", bins=64)
        yield activation_case("relu2", gated=False, position="corpus", bins=64, dtype="fp32", thresholds=8)
        yield activation_case("silu", signal="product", coefficients=True)
        yield activation_case("silu", coefficients=True, dtype="fp32")
    for edits in ("sets", "values"):
        yield activation_case("silu", edits=edits)
        yield activation_case("gelu_tanh", gated=False, dtype="fp32", edits=edits)
        yield activation_case("silu", position="any", edits=edits)
    yield activation_case("silu", thresholds=4)
    yield activation_case("silu", neurons=1544)  # a multiple of 8, not of 16
    yield activation_case("silu", neurons=1538)  # no 16-byte rows
    yield activation_case("silu", neurons=1536)
    yield categories_case()
    yield categories_case(neurons=1536, layers=30, planes=True)
    yield categories_case(languages=2, occupancy=False)
    yield categories_case(languages=64, thresholds=3)
    yield categories_case(languages=17)
    yield attribution_case()
    yield attribution_case(dtype="fp16", neurons=1536, layers=30, top_k=75)
    yield attribution_case(dtype="fp32")
    yield attribution_case(neurons=1538)
    yield top_case()


def few_cases(dtype: str = "fp16") -> Iterator[Case]:
    """The cases that come closest to a thread's registers, one of each kernel, and the one that runs most."""
    yield activation_case(dtype=dtype)
    yield activation_case(dtype=dtype, edits="values")
    yield activation_case(dtype=dtype, position="any", thresholds=8)
    yield activation_case(dtype=dtype, position="corpus", thresholds=8)
    yield activation_case(dtype=dtype, position="corpus", thresholds=6, bins=256)
    yield categories_case(languages=64, thresholds=3)
    yield categories_case(languages=17)
    yield attribution_case(dtype=dtype)
    yield top_case()


def cases_of(arch: Arch, every: bool, few: bool) -> Iterator[Case]:
    """The cases that a target can run: bf16 needs compute capability 80."""
    if few or arch == 75:
        yield from few_cases("fp16" if arch == 75 else "bf16")
    if not few:
        yield from (case for case in cases(every) if arch != 75 or "bf16" not in case.variant)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--arch",
        type=lambda text: int(text) if text.isdigit() else text,
        nargs="+",
        default=ARCHITECTURES,
        help="compute capabilities, as 90, or gfx942",
    )
    parser.add_argument("--every", action="store_true", help="every function, dtype and flag (minutes)")
    parser.add_argument("--few", action="store_true", help="only what comes closest to a thread's registers")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    options = parser.parse_args()
    rows = [
        inspect(case, arch) for arch in options.arch for case in cases_of(arch, options.every, options.few)
    ]
    rows.sort(key=lambda row: (row.kernel, row.variant))  # stable: by target in the order asked for
    if options.json:
        json.dump([asdict(row) for row in rows], sys.stdout, indent=1)
        print()
        return
    print(
        f"Triton {triton.__version__}; compiled here, without a GPU. Loads and stores: bytes a thread x times."
    )
    width = max(len(row.variant) for row in rows)
    print(
        f"{'kernel':11} {'variant':{width}} {'target':>6} {'regs':>5} {'spill':>5} {'smem':>6} {'loads':16} "
        f"{'stores':16} {'MB':>8} {'/least':>7}"
    )
    for row in rows:
        loads, stores = (" ".join(f"{b}x{n}" for b, n in w.items()) for w in (row.loads, row.stores))
        print(
            f"{row.kernel:11} {row.variant:{width}} {row.arch:>6} {row.registers:>5} {row.spilled_bytes:>5} "
            f"{row.shared_bytes:>6} {loads:16} {stores:16} {row.bytes_moved / 1e6:>8.1f} "
            f"{row.bytes_moved / row.bytes_least:>7.4f}"
        )


if __name__ == "__main__":
    main()

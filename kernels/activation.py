"""activation: an MLP's activation and, for the rows that are read, which neurons it activates, in one pass.

In:    x           bf16, fp16 or fp32, [T, 2I] gated (gate first, then up) or [T, I] plain; last stride 1
       targets     int32 [>= T]: the row r of `words` and `near` that a row of x is written to; -1: it is not
                   read. In [-1, R), and no r twice. None: nothing is observed
       thresholds  float32 [S]
Out:   out         [T, I] in x's dtype: a * up gated, a plain
       words       int32 [R, S, W], W = ceil(I / 32), last stride 1: neuron i is bit i % 32 of word i // 32,
                   1 where it is activated; bits past I are 0. As uint8, its first ceil(I / 8) bytes are
                   numpy's packbits(bitorder="little")
       near        int32 [R, S, P], P = ceil(I / 1024), last stride 1: of the p-th 1024 neurons, how many have
                   abs(a - threshold) <= NEAR_MARGIN, in float32: those that rounding might have tipped
       calls       int64 [1] or None: 1 is added per launch, on the device, so that replays of a CUDA graph
                   count too (T == 0 launches nothing)
Rule:  a = act(gate), computed in float32 and rounded to x's dtype; out = a * up from that rounded a, rounded
       again: the steps of vLLM's own CUDA kernels. Activated: float32(a) > threshold; so +inf is, NaN never.
       Rows of `words` and `near` that are no target stay as they are; a target's are overwritten, so that
       nothing has to be zeroed before.
Exact: given a, everything. Two implementations of exp or erf may differ in the last places of a, and so in a
       bit that hangs on them; relu, relu2 and fatrelu are the same everywhere.

The Triton kernel has been compiled for sm_80, sm_90 and sm_100 and run in Triton's interpreter; it has never
been run on a GPU.
"""

import functools
import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl
from fastneurons_kernels.functions import activate, get_function

NEAR_MARGIN = 1e-3
WORD_BITS = 32
_INLINE_ELEMENTS = 32768  # at::internal::GRAIN_SIZE: torch shares out what is larger among threads
BLOCK_NEURONS = 1024  # of one program, and of one count of `near`: no two programs share a count


def num_words(num_neurons: int) -> int:
    """W: the 32-bit words that hold one bit per neuron."""
    return -(-num_neurons // WORD_BITS)


def near_parts(num_neurons: int) -> int:
    """P: the partial counts of `near`."""
    return -(-num_neurons // BLOCK_NEURONS)


def activation_reference(
    x: torch.Tensor,
    targets: torch.Tensor | None = None,
    *,
    function: str,
    gated: bool,
    parameters: Sequence[float] = (),
    thresholds: torch.Tensor | None = None,
    words: torch.Tensor | None = None,
    near: torch.Tensor | None = None,
    calls: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """The definition, row by row. Returns `out`; writes `words`, `near` and `calls` in place."""
    num_rows, num_neurons = _check(x, targets, function, gated, parameters, thresholds, words, near, out)
    a = get_function(function)(x[:, :num_neurons].float(), parameters).to(x.dtype)
    product = (a.float() * x[:, num_neurons:].float()).to(x.dtype) if gated else a.clone()
    if targets is not None and thresholds is not None and words is not None and near is not None:
        weight = 1 << torch.arange(WORD_BITS, device=x.device)
        for row, target in enumerate(targets[:num_rows].tolist()):
            if target < 0:
                continue
            value = a[row].float()
            for s, threshold in enumerate(thresholds):
                bits = torch.zeros(words.shape[2] * WORD_BITS, dtype=torch.int64, device=x.device)
                bits[:num_neurons] = value > threshold
                words[target, s] = (bits.view(-1, WORD_BITS) * weight).sum(-1).to(torch.int32)
                is_near = (value - threshold).abs() <= NEAR_MARGIN
                near[target, s] = torch.stack([part.sum() for part in is_near.split(BLOCK_NEURONS)]).int()
    if calls is not None and num_rows:
        calls += 1
    return product if out is None else out.copy_(product)


# Strides are not specialised on: they change with the batch and the buffers, the code does not. What the
# compiler has to know of them, that rows start on 16-byte boundaries, ALIGNMENT tells it.
@triton.jit(  # type: ignore[untyped-decorator]
    do_not_specialize=(
        "stride_x",
        "stride_out",
        "stride_words",
        "stride_words_s",
        "stride_near",
        "stride_near_s",
    )
)
def _activation_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    out_ptr,
    targets_ptr,  # None: nothing is observed
    thresholds_ptr,
    words_ptr,
    near_ptr,
    calls_ptr,  # None: calls are not counted
    stride_x,
    stride_out,
    stride_words,
    stride_words_s,
    stride_near,
    stride_near_s,
    p0,
    p1,
    p2,
    p3,
    FUNCTION: tl.constexpr,
    GATED: tl.constexpr,
    I: tl.constexpr,  # noqa: E741
    S: tl.constexpr,
    NEAR: tl.constexpr,
    ALIGNMENT: tl.constexpr,  # rows of x and of out start at multiples of so many elements
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    if targets_ptr is not None:
        target = tl.load(targets_ptr + row)
    if calls_ptr is not None:  # noqa: SIM102  # known at compile time, what stands in it is not
        if (row == 0) & (block == 0):
            tl.atomic_add(calls_ptr, 1)

    column = block * BLOCK + tl.arange(0, BLOCK)
    inside = column < I
    gate_ptr = x_ptr + tl.multiple_of(row * stride_x, ALIGNMENT)
    gate = tl.load(gate_ptr + column, mask=inside, other=0.0)
    if GATED:
        up = tl.load(gate_ptr + I + column, mask=inside, other=0.0)
    a = activate(gate.to(tl.float32), p0, p1, p2, p3, FUNCTION).to(gate.dtype)
    value = a.to(tl.float32)
    product = (value * up.to(tl.float32)).to(gate.dtype) if GATED else a
    tl.store(out_ptr + tl.multiple_of(row * stride_out, ALIGNMENT) + column, product, mask=inside)

    if targets_ptr is not None:  # noqa: SIM102
        if target >= 0:
            bit = tl.arange(0, 32)
            word = block * (BLOCK // 32) + tl.arange(0, BLOCK // 32)
            words_row = words_ptr + target.to(tl.int64) * stride_words
            near_row = near_ptr + target.to(tl.int64) * stride_near
            for s in tl.static_range(S):
                threshold = tl.load(thresholds_ptr + s)
                activated = ((value > threshold) & inside).to(tl.int32)
                # A sum of distinct powers of two, over neighbouring threads of one warp: no atomics.
                packed = tl.sum(tl.reshape(activated, [BLOCK // 32, 32]) << bit[None, :], axis=1)
                tl.store(words_row + stride_words_s.to(tl.int64) * s + word, packed, mask=word * 32 < I)
                is_near = ((tl.abs(value - threshold) <= NEAR) & inside).to(tl.int32)
                tl.store(near_row + stride_near_s.to(tl.int64) * s + block, tl.sum(is_near, axis=0))


# Not tuned: never run on a GPU. 1024 columns in 4 warps give a thread eight neighbouring elements: in bf16
# and fp16 one 16-byte load of gate, one of up and one 16-byte store; in fp32 two of each. No spills on
# sm_80, sm_90 and sm_100 (benchmarks/kernels_static.py).
_NUM_WARPS = 4
_VECTOR_BYTES = 16


def activation_triton(
    x: torch.Tensor,
    targets: torch.Tensor | None = None,
    *,
    function: str,
    gated: bool,
    parameters: Sequence[float] = (),
    thresholds: torch.Tensor | None = None,
    words: torch.Tensor | None = None,
    near: torch.Tensor | None = None,
    calls: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """The contract in one launch, which waits for nothing and can be captured in a CUDA graph.

    Compiled once per function, gated or plain, I, S, dtype, alignment and what is None; not for a new T or
    stride.
    """
    num_rows, num_neurons = _check(x, targets, function, gated, parameters, thresholds, words, near, out)
    if out is None:
        out = torch.empty((num_rows, num_neurons), dtype=x.dtype, device=x.device)
    if num_rows == 0 or num_neurons == 0:
        return out
    vector = _VECTOR_BYTES // x.element_size()
    # I counts as well: up starts I elements after gate.
    aligned = all(size % vector == 0 for size in (x.stride(0), out.stride(0), num_neurons))
    _activation_kernel[(num_rows, near_parts(num_neurons))](
        x,
        out,
        targets,
        thresholds,
        words,
        near,
        calls,
        x.stride(0),
        out.stride(0),
        *((0, 0) if words is None else words.stride()[:2]),
        *((0, 0) if near is None else near.stride()[:2]),
        *get_function(function).padded(parameters),
        FUNCTION=function,
        GATED=gated,
        I=num_neurons,
        S=0 if thresholds is None else thresholds.numel(),
        NEAR=NEAR_MARGIN,
        ALIGNMENT=vector if aligned else 1,
        BLOCK=BLOCK_NEURONS,
        num_warps=_NUM_WARPS,
        enable_fp_fusion=False,  # in fp32, a - threshold fused with the product in a would skip a's rounding
    )
    return out


def observe_cpu(
    x: torch.Tensor,
    targets: torch.Tensor,
    *,
    function: str,
    gated: bool,
    parameters: Sequence[float] = (),
    thresholds: torch.Tensor,
    words: torch.Tensor,
    near: torch.Tensor,
    calls: torch.Tensor | None = None,
) -> None:
    """`words`, `near` and `calls` of the contract, without `out`: it runs beside the model's own activation.

    Reads the targeted rows of x only; where there are none it returns at once.
    """
    num_rows, num_neurons = _check(x, targets, function, gated, parameters, thresholds, words, near, None)
    if calls is not None and num_rows:
        calls += 1
    target = targets[:num_rows].numpy()
    rows = np.flatnonzero(target >= 0)
    if rows.size == 0:
        return
    if x.element_size() == 2:
        key = (function, tuple(map(float, parameters)), x.dtype)
        codes = x.view(torch.int16).numpy().view(np.uint16)[rows, :num_neurons]
        _write(
            [
                (_in_ranges(codes, activated), _in_ranges(codes, is_near))
                for activated, is_near in (_code_ranges(*key, threshold) for threshold in thresholds.tolist())
            ],
            target[rows],
            words,
            near,
        )
    else:
        # A few rows at a time, so that torch stays on this thread: waking the others takes longer than all
        # of this (22 ms a layer were seen with both cores busy, 2.5 ms so).
        for some in np.array_split(rows, -(-rows.size * num_neurons // _INLINE_ELEMENTS)):
            gate = x[:, :num_neurons].index_select(0, torch.from_numpy(some)).float()
            a = get_function(function)(gate, parameters).to(x.dtype)
            _write(_compare(a, thresholds), target[some], words, near)


def activation_cpu(
    x: torch.Tensor,
    targets: torch.Tensor | None = None,
    *,
    function: str,
    gated: bool,
    parameters: Sequence[float] = (),
    thresholds: torch.Tensor | None = None,
    words: torch.Tensor | None = None,
    near: torch.Tensor | None = None,
    calls: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """The whole contract on the CPU."""
    num_rows, num_neurons = _check(x, targets, function, gated, parameters, thresholds, words, near, out)
    if calls is not None and num_rows:
        calls += 1
    a = get_function(function)(x[:, :num_neurons].float(), parameters).to(x.dtype)
    if targets is not None and thresholds is not None and words is not None and near is not None:
        target = targets[:num_rows].numpy()
        rows = np.flatnonzero(target >= 0)
        if rows.size:
            _write(_compare(a[torch.from_numpy(rows)], thresholds), target[rows], words, near)
    if gated:
        # A product of two bf16 or fp16 numbers fits float32: torch rounds it once, as the contract does.
        return torch.mul(a, x[:, num_neurons:], out=out)
    return a if out is None else out.copy_(a)


def activation(x: torch.Tensor, targets: torch.Tensor | None = None, **arguments: object) -> torch.Tensor:
    """`activation_cpu` or `activation_triton`, by the device of x; same arguments."""
    implementation = activation_cpu if x.device.type == "cpu" else activation_triton
    return implementation(x, targets, **arguments)  # type: ignore[arg-type]


_Mask = npt.NDArray[np.bool_]  # [n, I]
_Ranges = tuple[tuple[np.uint16, np.uint16], ...]  # of codes: the first one, and how many more


@functools.lru_cache(maxsize=256)
def _code_ranges(
    function: str, parameters: tuple[float, ...], dtype: torch.dtype, threshold: float
) -> tuple[_Ranges, _Ranges]:
    """The gates that activate a neuron, and those that come near the threshold, as ranges of 16-bit codes.

    bf16 and fp16 have 65,536 values, so the definition can be asked about each of them beforehand. Seen as
    unsigned integers, the gates that say yes lie in three runs at most for every function of the table (any
    number would do): a neuron costs a few 16-bit comparisons instead of an exponential.
    """
    codes = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(dtype)
    a = get_function(function)(codes.float(), parameters).to(dtype)
    ((activated, is_near),) = _compare(a[None], torch.tensor([threshold]))
    return _runs(activated[0]), _runs(is_near[0])


def _runs(mask: npt.NDArray[np.bool_]) -> _Ranges:
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    return tuple((np.uint16(first), np.uint16(end - first - 1)) for first, end in edges.reshape(-1, 2))


def _in_ranges(codes: npt.NDArray[np.uint16], ranges: _Ranges) -> _Mask:
    inside = np.zeros(codes.shape, dtype=np.bool_)
    for first, span in ranges:
        inside |= (codes - first) <= span  # unsigned: codes below `first` wrap around, past `span`
    return inside


def _compare(a: torch.Tensor, thresholds: torch.Tensor) -> list[tuple[_Mask, _Mask]]:
    """For each threshold, which of the activations [n, I] exceed it and which come near it."""
    value = a.float().numpy()
    margin = np.float32(NEAR_MARGIN)
    with np.errstate(invalid="ignore"):  # NaN compares false, which is what the contract says
        return [(value > threshold, np.abs(value - threshold) <= margin) for threshold in thresholds.numpy()]


def _write(
    masks: list[tuple[_Mask, _Mask]], target: npt.NDArray[np.int32], words: torch.Tensor, near: torch.Tensor
) -> None:
    """Pack and count the masks of n rows into rows `target` [n] of `words` and `near`."""
    if sys.byteorder != "little":
        raise NotImplementedError("bytes are packed into words in place: the machine must be little-endian")
    packed = words.numpy().view(np.uint8)  # [R, S, 4W]
    counts = near.numpy()
    for s, (activated, is_near) in enumerate(masks):
        num_bytes = -(-activated.shape[1] // 8)
        packed[target, s, :num_bytes] = np.packbits(activated, axis=1, bitorder="little")
        packed[target, s, num_bytes:] = 0
        starts = range(0, is_near.shape[1], BLOCK_NEURONS)
        counts[target, s] = np.add.reduceat(is_near, starts, axis=1, dtype=np.int32)


def _check(
    x: torch.Tensor,
    targets: torch.Tensor | None,
    function: str,
    gated: bool,
    parameters: Sequence[float],
    thresholds: torch.Tensor | None,
    words: torch.Tensor | None,
    near: torch.Tensor | None,
    out: torch.Tensor | None,
) -> tuple[int, int]:
    """T and I, once the shapes, dtypes and strides, which the host knows, are as the contract says.

    Raises:
        ValueError: they are not; the message names the argument. Values on a device are not looked at.
    """
    get_function(function).padded(parameters)
    if x.dim() != 2 or (x.stride(1) != 1 and x.shape[1] > 1):
        raise ValueError(f"x must be [T, columns] with last stride 1, got {_layout(x)}")
    num_rows, num_columns = x.shape
    if gated and num_columns % 2:
        raise ValueError(f"a gated x has an even number of columns, got {num_columns}")
    num_neurons = num_columns // 2 if gated else num_columns
    if out is not None:
        _expect("out", out, x.dtype, (num_rows, num_neurons))
    if targets is None:
        return num_rows, num_neurons
    if thresholds is None or words is None or near is None:
        raise ValueError("targets come with thresholds, words and near")
    S = thresholds.numel()
    _expect("targets", targets, torch.int32, (max(targets.numel(), num_rows),))
    _expect("thresholds", thresholds, torch.float32, (S,))
    _expect("words", words, torch.int32, (words.shape[0], S, num_words(num_neurons)))
    _expect("near", near, torch.int32, (near.shape[0], S, near_parts(num_neurons)))
    return num_rows, num_neurons


def _expect(name: str, tensor: torch.Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    if tensor.dtype != dtype or tensor.shape != shape or (tensor.stride(-1) != 1 and shape[-1] > 1):
        raise ValueError(f"{name} must be {dtype} {list(shape)} with last stride 1, got {_layout(tensor)}")


def _layout(tensor: torch.Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)} with strides {list(tensor.stride())}"

"""The contract of `activation.py` on GPUs: one Triton kernel for single rows, one for rows that share a target.

Compiled for sm_75 to sm_120 and gfx942. On a GPU, readings have run on one H100 (benchmarks/results/h100.md); edits and
distributions have run in Triton's interpreter only.
"""

import sys
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from fastneurons_kernels.editing import GATE, Editing
from fastneurons_kernels.functions import activate, get_function
from fastneurons_kernels.histogram import count_bin, flush_signs, flush_sums, sign_case, two_parts
from fastneurons_kernels.reading import (
    BLOCK_NEURONS,
    NEAR_MARGIN,
    Reading,
    check_input,
    expect,
    layout,
    near_parts,
)


@triton.jit  # type: ignore[untyped-decorator]
def _pack(mask, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """0 or 1 for each of BLOCK neurons as words: a sum of powers of two over neighbouring threads of one warp."""
    return tl.sum(tl.reshape(mask, [BLOCK // 32, 32]) << tl.arange(0, 32)[None, :], axis=1)


@triton.jit  # type: ignore[untyped-decorator]
def _edited(  # type: ignore[no-untyped-def]
    product,
    a,
    up,  # None without a gate
    edit,
    masks_ptr,
    scales_ptr,
    sites_ptr,
    value_rows_ptr,
    values_ptr,  # None: no edit has values
    stride_masks,
    stride_values,
    column,
    inside,
    AT_GATE: tl.constexpr,  # the code of this site
    ALIGNMENT: tl.constexpr,  # of rows of values, in elements
):
    """The coefficients of a row with an edit; its own if it marks none of them."""
    edit = edit.to(tl.int64)
    word = tl.load(masks_ptr + edit * stride_masks + column // 32, mask=inside, other=0)
    is_marked = ((word >> (column % 32)) & 1) != 0
    scale = tl.load(scales_ptr + edit)
    at_gate = tl.load(sites_ptr + edit) == AT_GATE
    before = tl.where(at_gate, a, product).to(tl.float32)
    after = tl.where(scale == 0.0, 0.0, before * scale)
    if values_ptr is not None:
        value_row = tl.load(value_rows_ptr + edit).to(tl.int64)
        if value_row >= 0:
            # Of all neurons, so that neighbours come in one load.
            from_row = values_ptr + tl.multiple_of(value_row * stride_values, ALIGNMENT)
            after += tl.load(from_row + column, mask=inside, other=0.0)
    after = after.to(product.dtype)
    if up is not None:
        through_gate = (after.to(tl.float32) * up.to(tl.float32)).to(product.dtype)
        after = tl.where(at_gate, through_gate, after)
    return tl.where(is_marked, after, product)


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
        "stride_coefficients",
        "stride_masks",
        "stride_values",
    )
)
def _row_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    out_ptr,
    targets_ptr,  # None: nothing is observed
    thresholds_ptr,
    words_ptr,
    near_ptr,
    coefficients_ptr,  # None: they are not kept
    edits_ptr,  # the edit of each row; None: nothing is edited
    masks_ptr,
    scales_ptr,
    sites_ptr,
    value_rows_ptr,
    values_ptr,
    calls_ptr,  # None: calls are not counted
    stride_x,
    stride_out,
    stride_words,
    stride_words_s,
    stride_near,
    stride_near_s,
    stride_coefficients,
    stride_masks,
    stride_values,
    p0,
    p1,
    p2,
    p3,
    FUNCTION: tl.constexpr,
    GATED: tl.constexpr,
    OF_PRODUCT: tl.constexpr,  # the signal
    I: tl.constexpr,  # noqa: E741
    S: tl.constexpr,
    NEAR: tl.constexpr,
    AT_GATE: tl.constexpr,
    ALIGNMENT: tl.constexpr,  # rows of x, out and coefficients start at multiples of so many elements
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    if targets_ptr is not None:
        target = tl.load(targets_ptr + row).to(tl.int64)
    if edits_ptr is not None:
        edit = tl.load(edits_ptr + row)
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
    written = product
    if edits_ptr is not None:  # noqa: SIM102
        if edit >= 0:
            written = _edited(
                product, a, up if GATED else None, edit, masks_ptr, scales_ptr, sites_ptr, value_rows_ptr, values_ptr,
                stride_masks, stride_values, column, inside, AT_GATE, ALIGNMENT,
            )  # fmt: skip
    tl.store(out_ptr + tl.multiple_of(row * stride_out, ALIGNMENT) + column, written, mask=inside)

    if targets_ptr is not None:  # noqa: SIM102
        if target >= 0:
            if coefficients_ptr is not None:
                kept = coefficients_ptr + tl.multiple_of(target * stride_coefficients, ALIGNMENT) + column
                tl.store(kept, product, mask=inside)
            signal = product.to(tl.float32) if OF_PRODUCT else value
            word = block * (BLOCK // 32) + tl.arange(0, BLOCK // 32)
            words_row = words_ptr + target * stride_words
            near_row = near_ptr + target * stride_near
            for s in tl.static_range(S):
                threshold = tl.load(thresholds_ptr + s)
                packed = _pack(((signal > threshold) & inside).to(tl.int32), BLOCK)
                tl.store(words_row + stride_words_s.to(tl.int64) * s + word, packed, mask=word * 32 < I)
                is_near = ((tl.abs(signal - threshold) <= NEAR) & inside).to(tl.int32)
                tl.store(near_row + stride_near_s.to(tl.int64) * s + block, tl.sum(is_near, axis=0))


# In a program's registers: how many of its rows are above, in 5 bits for each threshold (corpus), or three flags
# for each (any). Six thresholds fit 32 bits both times, and 16 rows fit 5 bits.
_ROWS_PER_PROGRAM = 16
_THRESHOLDS_PER_PROGRAM = 6
_THRESHOLDS_BESIDE_BINS = 4  # six spill two registers on sm_100
_COUNT_BITS = 5
_FLAG_BITS = 3


@triton.jit  # type: ignore[untyped-decorator]
def _flush_flags(  # type: ignore[no-untyped-def]
    flags,
    words_ptr,
    edges_ptr,
    stride_words_s,
    stride_edges_s,
    stride_edges_plane,
    first_threshold,
    word,
    I: tl.constexpr,  # noqa: E741
    S: tl.constexpr,
    PER_PROGRAM: tl.constexpr,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    for k in tl.static_range(PER_PROGRAM):
        s = first_threshold + k
        if s < S:
            found = flags >> (BITS * k)
            to = words_ptr + s.to(tl.int64) * stride_words_s + word
            activated = _pack(found & 1, BLOCK)
            tl.atomic_or(to, activated, mask=(word * 32 < I) & (activated != 0), sem="relaxed")
            to = edges_ptr + s.to(tl.int64) * stride_edges_s + word
            reached = _pack((found >> 1) & 1, BLOCK)
            tl.atomic_or(to, reached, mask=(word * 32 < I) & (reached != 0), sem="relaxed")
            above = _pack((found >> 2) & 1, BLOCK)
            to += stride_edges_plane
            tl.atomic_or(to, above, mask=(word * 32 < I) & (above != 0), sem="relaxed")


@triton.jit  # type: ignore[untyped-decorator]
def _flush_counts(  # type: ignore[no-untyped-def]
    sums,
    counts_ptr,
    stride_counts_s,
    first_threshold,
    column,
    I: tl.constexpr,  # noqa: E741
    S: tl.constexpr,
    PER_PROGRAM: tl.constexpr,
    BITS: tl.constexpr,
):
    for k in tl.static_range(PER_PROGRAM):
        s = first_threshold + k
        if s < S:
            count = (sums >> (BITS * k)) & ((1 << BITS) - 1)
            to = counts_ptr + s.to(tl.int64) * stride_counts_s + column
            tl.atomic_add(to, count, mask=(column < I) & (count != 0), sem="relaxed")


@triton.jit(  # type: ignore[untyped-decorator]
    do_not_specialize=(
        "T",
        "stride_x",
        "stride_out",
        "stride_words",
        "stride_words_s",
        "stride_edges",
        "stride_edges_s",
        "stride_edges_plane",
        "stride_counts",
        "stride_counts_s",
        "stride_bins",
        "stride_sums",
        "stride_signs",
        "stride_masks",
        "stride_values",
    )
)
def _rows_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    out_ptr,
    targets_ptr,
    thresholds_ptr,
    words_ptr,  # position "any": words and edges; else None
    edges_ptr,
    counts_ptr,  # position "corpus"; else None
    bins_ptr,  # with a distribution: its counts, sums, table and anchors; else None
    sums_ptr,
    table_ptr,
    anchors_ptr,
    signs_ptr,  # None: they are not counted
    edits_ptr,  # as in _row_kernel, and so the next
    masks_ptr,
    scales_ptr,
    sites_ptr,
    value_rows_ptr,
    values_ptr,
    calls_ptr,  # None: calls are not counted
    T,
    stride_x,
    stride_out,
    stride_words,
    stride_words_s,
    stride_edges,
    stride_edges_s,
    stride_edges_plane,
    stride_counts,
    stride_counts_s,
    stride_bins,
    stride_sums,
    stride_signs,
    stride_masks,
    stride_values,
    p0,
    p1,
    p2,
    p3,
    FUNCTION: tl.constexpr,
    GATED: tl.constexpr,
    OF_PRODUCT: tl.constexpr,
    I: tl.constexpr,  # noqa: E741
    S: tl.constexpr,
    BINS: tl.constexpr,
    NEAR: tl.constexpr,
    AT_GATE: tl.constexpr,
    ALIGNMENT: tl.constexpr,
    ROWS: tl.constexpr,
    PER_PROGRAM: tl.constexpr,  # thresholds
    BITS: tl.constexpr,  # of a threshold, in what is added up
    BLOCK: tl.constexpr,
):
    """A program takes ROWS rows one after another and writes its findings when the target changes."""
    block = tl.program_id(1)
    first_threshold = tl.program_id(2) * PER_PROGRAM
    if calls_ptr is not None:  # noqa: SIM102
        if (tl.program_id(0) == 0) & (block == 0) & (first_threshold == 0):
            tl.atomic_add(calls_ptr, 1)
    column = block * BLOCK + tl.arange(0, BLOCK)
    inside = column < I
    word = block * (BLOCK // 32) + tl.arange(0, BLOCK // 32)

    first = tl.program_id(0) * ROWS
    end = tl.minimum(first + ROWS, T)
    found = tl.zeros([BLOCK], tl.int32)
    if bins_ptr is not None:
        coarse = tl.zeros([BLOCK], tl.float64)
        fine = tl.zeros([BLOCK], tl.float64)
        coarse_of_squares = tl.zeros([BLOCK], tl.float64)
        fine_of_squares = tl.zeros([BLOCK], tl.float64)
    if signs_ptr is not None:
        signs = tl.zeros([BLOCK], tl.int32)
    target = tl.full([], -1, tl.int64)
    # One turn more than there are rows: in it the last target's findings are handed on.
    for k in range(ROWS + 1):
        row = (first + k).to(tl.int64)
        is_row = row < end
        own = tl.load(targets_ptr + row, mask=is_row, other=-1).to(tl.int64)
        if own != target:
            if target >= 0:
                if counts_ptr is not None:
                    _flush_counts(
                        found, counts_ptr + target * stride_counts, stride_counts_s, first_threshold, column,
                        I, S, PER_PROGRAM, BITS,
                    )  # fmt: skip
                else:
                    _flush_flags(
                        found, words_ptr + target * stride_words, edges_ptr + target * stride_edges, stride_words_s,
                        stride_edges_s, stride_edges_plane, first_threshold, word, I, S, PER_PROGRAM, BITS, BLOCK,
                    )  # fmt: skip
                if bins_ptr is not None:  # noqa: SIM102
                    if first_threshold == 0:
                        flush_sums(
                            coarse, fine, coarse_of_squares, fine_of_squares, sums_ptr + target * stride_sums, column,
                            inside, I,
                        )  # fmt: skip
                if signs_ptr is not None:  # noqa: SIM102
                    if first_threshold == 0:
                        flush_signs(signs, signs_ptr + target * stride_signs, column, inside, I, BITS)
            found = tl.zeros([BLOCK], tl.int32)
            if bins_ptr is not None:
                coarse = tl.zeros([BLOCK], tl.float64)
                fine = tl.zeros([BLOCK], tl.float64)
                coarse_of_squares = tl.zeros([BLOCK], tl.float64)
                fine_of_squares = tl.zeros([BLOCK], tl.float64)
            if signs_ptr is not None:
                signs = tl.zeros([BLOCK], tl.int32)
            target = own
        if is_row:
            gate_ptr = x_ptr + tl.multiple_of(row * stride_x, ALIGNMENT)
            gate = tl.load(gate_ptr + column, mask=inside, other=0.0)
            if GATED:
                up = tl.load(gate_ptr + I + column, mask=inside, other=0.0)
            a = activate(gate.to(tl.float32), p0, p1, p2, p3, FUNCTION).to(gate.dtype)
            value = a.to(tl.float32)
            product = (value * up.to(tl.float32)).to(gate.dtype) if GATED else a
            if first_threshold == 0:
                written = product
                if edits_ptr is not None:
                    edit = tl.load(edits_ptr + row)
                    if edit >= 0:
                        written = _edited(
                            product, a, up if GATED else None, edit, masks_ptr, scales_ptr, sites_ptr, value_rows_ptr,
                            values_ptr, stride_masks, stride_values, column, inside, AT_GATE, ALIGNMENT,
                        )  # fmt: skip
                tl.store(out_ptr + tl.multiple_of(row * stride_out, ALIGNMENT) + column, written, mask=inside)
            if own >= 0:
                signal = product.to(tl.float32) if OF_PRODUCT else value
                for s in tl.static_range(PER_PROGRAM):
                    is_threshold = first_threshold + s < S
                    threshold = tl.load(
                        thresholds_ptr + first_threshold + s, mask=is_threshold, other=float("inf")
                    )
                    here = ((signal > threshold) & inside).to(tl.int32)
                    if counts_ptr is not None:
                        found += here << (BITS * s)
                    else:
                        reached = ((signal - threshold >= -NEAR) & inside).to(tl.int32)
                        above = ((signal - threshold > NEAR) & inside).to(tl.int32)
                        found |= (here | (reached << 1) | (above << 2)) << (BITS * s)
                if bins_ptr is not None:  # noqa: SIM102
                    if first_threshold == 0:
                        count_bin(signal, bins_ptr + own * stride_bins, table_ptr, column, inside, BINS)
                        number = signal.to(tl.float64)
                        more_coarse, more_fine = two_parts(number, anchors_ptr)
                        coarse += more_coarse
                        fine += more_fine
                        more_coarse, more_fine = two_parts(number * number, anchors_ptr + 2)
                        coarse_of_squares += more_coarse
                        fine_of_squares += more_fine
                        if signs_ptr is not None:
                            signs += 1 << (BITS * sign_case(gate.to(tl.float32), up.to(tl.float32)))


# Not tuned, but 2.9 TB/s on an H100 (benchmarks/results/h100.md). 1024 columns in 4 warps give a thread eight
# neighbouring elements: in bf16 and fp16 one 16-byte load of gate, one of up and one 16-byte store; in fp32 two of
# each. No spills on any architecture of benchmarks/kernels_static.py.
_NUM_WARPS = 4
_VECTOR_BYTES = 16


class ActivationLauncher:
    """Launches the contract's kernel for one layer many times; arguments that do not change are checked once.

    Compiled once per function, gated or plain, I, S, dtype, alignment, position, signal, and whether there is a bank of
    edits and one of values; not for a new T or stride, nor for another edit.

    Args:
        reading: What is read, and where it goes; None: nothing.
        editing: What is edited, and how; None: nothing.
        dtype: That of the inputs.
        num_neurons: I.
        function, gated, parameters: The activation.
    Raises:
        ValueError: a buffer does not fit the contract; the message names it.
    """

    def __init__(
        self,
        reading: Reading | None,
        dtype: torch.dtype,
        num_neurons: int,
        *,
        function: str,
        gated: bool,
        parameters: Sequence[float] = (),
        editing: Editing | None = None,
    ) -> None:
        if reading is not None:
            reading.check(dtype, 0, num_neurons)
        if editing is not None:
            editing.check(0, num_neurons)
        self._dtype, self._num_neurons = dtype, num_neurons
        self._num_columns = num_neurons * (2 if gated else 1)
        self._most_rows = min(
            sys.maxsize if reading is None else reading.targets.numel(),
            sys.maxsize if editing is None else editing.rows.numel(),
        )
        position = "last" if reading is None else reading.position
        num_thresholds = 0 if reading is None else reading.thresholds.numel()
        kept = None if reading is None else reading.coefficients
        numbers = get_function(function).padded(parameters)
        self._vector = _VECTOR_BYTES // dtype.itemsize
        # I counts as well: up starts I elements after gate, and rows of a new output lie I apart.
        starts = [num_neurons, *([] if kept is None else [kept.stride(0)])]
        starts += [] if editing is None else [editing.values.stride(0)]
        bank, bank_strides = _bank(editing)
        self._is_aligned = all(size % self._vector == 0 for size in starts)
        self._options: dict[str, Any] = {
            "FUNCTION": function,
            "GATED": gated,
            "OF_PRODUCT": reading is not None and reading.signal == "product",
            "I": num_neurons,
            "S": num_thresholds,
            "NEAR": NEAR_MARGIN,
            "AT_GATE": GATE,
            "BLOCK": BLOCK_NEURONS,
            "num_warps": _NUM_WARPS,
            "enable_fp_fusion": False,  # in fp32, a - t fused with the product in a would skip a's rounding
        }
        self._of_one_row = reading is None or position == "last"
        outputs: dict[str, Any] = {
            name: None if reading is None else getattr(reading, name)
            for name in ("targets", "thresholds", "words", "near", "edges", "counts")
        }
        if self._of_one_row:
            names: tuple[str, ...] = ("targets", "thresholds", "words", "near")
            self._tensors = (*(outputs[name] for name in names), kept, *bank)
            self._strides = (
                *_strides(outputs["words"], 2), *_strides(outputs["near"], 2), *_strides(kept, 1), *bank_strides,
                *numbers,
            )  # fmt: skip
            self._grid: tuple[int, ...] = (near_parts(num_neurons),)
            return
        names = ("targets", "thresholds", "words", "edges", "counts")
        of = None if reading is None else reading.distribution
        if of is not None:
            of.check(num_neurons, gated)
        distribution: tuple[Any, ...] = (
            (None,) * 5 if of is None else (of.counts, of.sums, of.table, of.anchors, of.signs)
        )
        self._tensors = (*(outputs[name] for name in names), *distribution, *bank)
        self._strides = (
            *_strides(outputs["words"], 2), *_strides(outputs["edges"], 3), *_strides(outputs["counts"], 2),
            *(stride for tensor in (*distribution[:2], distribution[4]) for stride in _strides(tensor, 1)),
            *bank_strides, *numbers,
        )  # fmt: skip
        most = _THRESHOLDS_PER_PROGRAM if of is None else _THRESHOLDS_BESIDE_BINS
        self._grid = (near_parts(num_neurons), max(1, triton.cdiv(num_thresholds, most)))
        self._options |= {
            "ROWS": _ROWS_PER_PROGRAM,
            "PER_PROGRAM": min(most, max(1, num_thresholds)),
            "BITS": _COUNT_BITS if position == "corpus" else _FLAG_BITS,
            "BINS": 0 if of is None else of.num_bins,
        }

    def __call__(
        self, x: torch.Tensor, calls: torch.Tensor | None = None, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The contract in one launch that never synchronises and can be captured in a CUDA graph.

        Raises:
            ValueError: `x` or `out` does not fit the contract.
        """
        num_rows = x.shape[0]
        if (
            x.dtype != self._dtype
            or x.dim() != 2
            or x.shape[1] != self._num_columns
            or (x.stride(1) != 1 and x.shape[1] > 1)
            or num_rows > self._most_rows
        ):
            at_most = "" if self._most_rows == sys.maxsize else f" of at most {self._most_rows} rows"
            raise ValueError(
                f"x must be {self._dtype} [T, {self._num_columns}]{at_most} with last stride 1, got {layout(x)}"
            )
        starts = x.stride(0)
        if out is None:
            out = torch.empty((num_rows, self._num_neurons), dtype=x.dtype, device=x.device)
        else:
            expect("out", out, x.dtype, (num_rows, self._num_neurons))
            starts |= out.stride(0)  # both are multiples of a power of two where their bits are
        if num_rows == 0 or self._num_neurons == 0:
            return out
        alignment = self._vector if self._is_aligned and starts % self._vector == 0 else 1
        if self._of_one_row:
            _row_kernel[(num_rows, *self._grid)](
                x, out, *self._tensors, calls, x.stride(0), out.stride(0), *self._strides,
                ALIGNMENT=alignment, **self._options,
            )  # fmt: skip
        else:
            _rows_kernel[(triton.cdiv(num_rows, _ROWS_PER_PROGRAM), *self._grid)](
                x, out, *self._tensors, calls, num_rows, x.stride(0), out.stride(0), *self._strides,
                ALIGNMENT=alignment, **self._options,
            )  # fmt: skip
        return out


def activation_triton(
    x: torch.Tensor,
    reading: Reading | None = None,
    editing: Editing | None = None,
    *,
    function: str,
    gated: bool,
    parameters: Sequence[float] = (),
    calls: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """The contract, checked in full and launched once. For repeated launches, keep an `ActivationLauncher`."""
    num_rows, num_neurons = check_input(x, function, gated, parameters, out)
    if reading is not None:
        reading.check(x.dtype, num_rows, num_neurons)
    if editing is not None:
        editing.check(num_rows, num_neurons)
    launch = ActivationLauncher(
        reading, x.dtype, num_neurons, function=function, gated=gated, parameters=parameters, editing=editing
    )
    return launch(x, calls, out)


def _bank(editing: Editing | None) -> tuple[tuple[torch.Tensor | None, ...], tuple[int, int]]:
    """The kernels' arguments for a bank of edits: its tensors, and the strides of its masks and values."""
    if editing is None:
        return (None,) * 6, (0, 0)
    values = editing.values if len(editing.values) else None
    tensors = (editing.rows, editing.masks, editing.scales, editing.sites, editing.value_rows, values)
    return tensors, (editing.masks.stride(0), editing.values.stride(0))


def _strides(tensor: torch.Tensor | None, number: int) -> tuple[int, ...]:
    return (0,) * number if tensor is None else tensor.stride()[:number]

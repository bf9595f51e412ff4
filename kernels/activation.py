"""activation: compute an MLP's activation and, for targeted rows, which neurons it activates, in one pass.

In:    x           bf16, fp16 or fp32, [T, 2I] gated (gate first, then up) or [T, I] plain; last stride 1
       reading     which rows to read, and the outputs (`reading.py`); None: nothing
       editing     which rows take which edit, and the bank of edits (`editing.py`); None: none
Out:   out         [T, I] in x's dtype: the coefficients, a * up gated, a plain; edited
       calls       int64 [1] or None: 1 is added per launch, on the device, so that replays of a CUDA graph
                   count too (T == 0 launches nothing)
       and of the reading, for the rows of x with a target in [0, R) (-1: not read), s being the signal (a, or the
       rounded coefficient, before an edit), t a threshold:
       "last"      words: bit i % 32 of word i // 32 is 1 where s > t; bits past I are 0. As uint8, a row's first
                   ceil(I / 8) bytes are numpy's packbits(bitorder="little"). near: of each 1024 neurons, how many
                   have abs(s - t) <= NEAR_MARGIN: those that rounding might have tipped. coefficients: the row's
                   before the edit. All are overwritten: nothing has to be zeroed before, and no target comes twice
       "any"       into words the bits of s > t are OR-ed over the rows of a target, which lie next to each other;
                   likewise into edges s - t >= -NEAR_MARGIN and s - t > NEAR_MARGIN. Zero a target's before its
                   first row: a prompt may come in several calls
       "corpus"    counts: the number of rows with s > t is added. Of s itself, the distribution, if there is one:
                   see `histogram.py`
Rule:  a = act(gate), computed in float32 and rounded to x's dtype; out = a * up from that rounded a, rounded
       again: the steps of vLLM's own CUDA kernels. Comparisons are in float32; +inf is above any threshold, NaN never.
       What is read is read before the edit.
Exact: given a, everything. Two implementations of exp or erf may differ in the last places of a, and so in a
       bit that hangs on them; relu, relu2 and fatrelu are the same everywhere.

This module is the definition, slow and plain. `activation_triton.py` implements it on GPUs and `activation_cpu.py` on
CPUs.
"""

from collections.abc import Sequence

import torch
from fastneurons_kernels.editing import Editing, edit_reference
from fastneurons_kernels.functions import get_function
from fastneurons_kernels.histogram import add_reference
from fastneurons_kernels.reading import (
    ABOVE,
    BLOCK_NEURONS,
    NEAR_MARGIN,
    REACHED,
    WORD_BITS,
    Reading,
    check_input,
    num_words,
)


def activation_reference(
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
    """The definition, row by row. Returns `out`; writes `calls` and the reading's outputs in place."""
    num_rows, num_neurons = check_input(x, function, gated, parameters, out)
    a = get_function(function)(x[:, :num_neurons].float(), parameters).to(x.dtype)
    product = (a.float() * x[:, num_neurons:].float()).to(x.dtype) if gated else a.clone()
    if reading is not None:
        read_reference(reading, a, product, x)
    if editing is not None:
        editing.check(num_rows, num_neurons)
        product = edit_reference(editing, a, x[:, num_neurons:] if gated else None, product)
    if calls is not None and num_rows:
        calls += 1
    return product if out is None else out.copy_(product)


def read_reference(
    reading: Reading, a: torch.Tensor, product: torch.Tensor, x: torch.Tensor | None = None
) -> None:
    """The definition of the reading, from activations and coefficients, both [T, I] in one dtype.

    Here no implementation has a choice: a kernel is right if this gives the same of its own activations. Of x, only
    the signs of gate and up are read, for a distribution.
    """
    num_rows, num_neurons = a.shape
    reading.check(a.dtype, num_rows, num_neurons)
    signal = product if reading.signal == "product" else a
    for row, target in enumerate(reading.targets[:num_rows].tolist()):
        if target >= 0:
            _read_row(reading, target, signal[row], product[row])
            if reading.distribution is not None:
                assert x is not None
                add_reference(reading.distribution, target, signal[row].float(), x[row])


def _read_row(reading: Reading, target: int, value: torch.Tensor, coefficients: torch.Tensor) -> None:
    difference = value.float() - reading.thresholds[:, None]  # [S, I]
    activated = value.float() > reading.thresholds[:, None]
    if reading.counts is not None:
        reading.counts[target] += activated
        return
    assert reading.words is not None
    if reading.edges is not None:
        reading.words[target] |= _packed(activated)
        reading.edges[target, :, REACHED] |= _packed(difference >= -NEAR_MARGIN)
        reading.edges[target, :, ABOVE] |= _packed(difference > NEAR_MARGIN)
        return
    assert reading.near is not None
    reading.words[target] = _packed(activated)
    parts = torch.split(difference.abs() <= NEAR_MARGIN, BLOCK_NEURONS, dim=1)
    reading.near[target] = torch.stack([part.sum(1) for part in parts], dim=1).int()
    if reading.coefficients is not None:
        reading.coefficients[target] = coefficients


def _packed(mask: torch.Tensor) -> torch.Tensor:
    """bool [S, I] as bits, int32 [S, W]."""
    words = num_words(mask.shape[1])
    bits = torch.zeros((len(mask), words * WORD_BITS), dtype=torch.int64, device=mask.device)
    bits[:, : mask.shape[1]] = mask
    weight = 1 << torch.arange(WORD_BITS, device=mask.device)
    return (bits.view(len(mask), words, WORD_BITS) * weight).sum(-1).to(torch.int32)

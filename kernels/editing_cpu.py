"""The editing of `editing.py` on the CPU: in place, on the coefficients that the model's own module has computed.

Only rows that take an edit are touched, and of these only words of the mask that are not 0. At the site "gate", the
activations of those rows are computed once more.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from fastneurons_kernels.codes import bits_of, float32_of, rounded_bits
from fastneurons_kernels.compiled import compiled
from fastneurons_kernels.editing import GATE, Editing
from fastneurons_kernels.functions import get_function
from fastneurons_kernels.reading import WORD_BITS, layout
from fastneurons_kernels.threads import parts_of, pool, share_out


class RowsToEdit(NamedTuple):
    """The rows of a step that take an edit, in order.

    Args:
        rows: int64 [M], of x.
        edits: int32 [M], of the bank.
        end: Rows that x must have.
    """

    rows: npt.NDArray[np.int64]
    edits: npt.NDArray[np.int32]
    end: int

    @classmethod
    def of(cls, edits: npt.NDArray[np.int32], num_edits: int) -> "RowsToEdit":
        """Rows whose edit, of the step's T, is not -1.

        Raises:
            IndexError: there is no such edit in the bank.
        """
        rows = np.flatnonzero(edits >= 0)
        taken = edits[rows]
        if rows.size and taken.max() >= num_edits:
            raise IndexError(f"edit {taken.max()}, but the bank holds {num_edits}")
        return cls(rows, taken, int(rows[-1]) + 1 if rows.size else 0)


class Editor:
    """One layer's editing, next to the model's own activation module.

    Args:
        editing: The bank, whose tensors may change between calls; its rows are ignored.
        dtype: Of x.
        num_neurons: I.
        function, gated, parameters: The activation.
    Raises:
        ValueError: they do not fit together.
    """

    def __init__(
        self,
        editing: Editing,
        dtype: torch.dtype,
        num_neurons: int,
        *,
        function: str,
        gated: bool,
        parameters: Sequence[float] = (),
    ) -> None:
        editing.check(0, num_neurons)
        self._dtype, self._neurons, self._gated = dtype, num_neurons, gated
        self._function, self._parameters = get_function(function), tuple(map(float, parameters))
        self._masks, self._scales = editing.masks.numpy(), editing.scales.numpy()
        self._sites, self._value_rows = editing.sites.numpy(), editing.value_rows.numpy()
        self._values = editing.values.numpy()

    def __call__(self, x: torch.Tensor, product: torch.Tensor, which: RowsToEdit) -> None:
        """Edit.

        Args:
            x: [T, 2I] gated or [T, I] plain: the input of the activation module.
            product: [T, I], its output, which is changed.
            which: Rows of both.
        Raises:
            ValueError: x or product is of another kind.
        """
        rows, edits, end = which
        marked = self._masks[edits].any(axis=1)  # edits often concern a few layers
        rows, edits = rows[marked], edits[marked]
        if not rows.size:
            return
        columns = self._neurons * (2 if self._gated else 1)
        for name, tensor, width in (("x", x, columns), ("product", product, self._neurons)):
            if tensor.dtype != self._dtype or tensor.shape[1:] != (width,) or len(tensor) < end:
                raise ValueError(
                    f"{name} must be {self._dtype} [{end} or more, {width}], got {layout(tensor)}"
                )
        activations, own = self._activations(x, rows, edits)
        _edit(
            pool(), parts_of(rows.size * self._neurons), bits_of(product), bits_of(x), activations, own, rows, edits,
            self._masks, self._scales, self._value_rows, self._values, self._neurons, self._dtype == torch.float16,
        )  # fmt: skip

    def _activations(
        self, x: torch.Tensor, rows: npt.NDArray[np.int64], edits: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.int64]]:
        """Bits of the activations of rows that are edited at the gate, and each row's index in them.

        The index is -1 at the product, and where the edit changes nothing.
        """
        scales = self._scales[edits]
        at_gate = (self._sites[edits] == GATE) if self._gated else np.zeros(len(edits), np.bool_)
        at_gate &= (scales != 1) | (self._value_rows[edits] >= 0)
        own = np.where(at_gate, np.cumsum(at_gate) - 1, -1)
        gates = x[torch.from_numpy(rows[at_gate]), : self._neurons]
        return bits_of(self._function(gates.float(), self._parameters).to(self._dtype)), own


@compiled
def _edit(  # type: ignore[no-untyped-def]
    pool, parts, product, x, activations, own, rows, edits, masks, scales, value_rows, values, neurons, is_half
):  # fmt: skip
    share_out(
        pool, parts, _edit_part,
        (product, x, activations, own, rows, edits, masks, scales, value_rows, values, neurons, is_half),
    )  # fmt: skip


@compiled
def _edit_part(  # type: ignore[no-untyped-def]
    part, parts, product, x, activations, own, rows, edits, masks, scales, value_rows, values, neurons, is_half
):  # fmt: skip
    for k in range(len(rows) * part // parts, len(rows) * (part + 1) // parts):
        row, edit = rows[k], edits[k]
        scale, value_row = scales[edit], value_rows[edit]
        if scale == 1 and value_row < 0:
            continue
        for w in range(masks.shape[1]):
            word = masks[edit, w]
            if word == 0:
                continue
            first, count = w * WORD_BITS, min(WORD_BITS, neurons - w * WORD_BITS)
            if own[k] >= 0:
                _edit_gates(
                    product, x, activations, own[k], row, first, count, neurons, word, scale, value_row, values, is_half
                )  # fmt: skip
            elif scale == 0 and value_row < 0:
                for bit in range(count):
                    product[row, first + bit] *= 1 - (word >> bit & 1)
            else:
                _edit_products(product, row, first, count, word, scale, value_row, values, is_half)


@compiled
def _edit_products(product, row, first, count, word, scale, value_row, values, is_half):  # type: ignore[no-untyped-def]
    for bit in range(count):
        i = first + bit
        before = product[row, i]
        value = np.float32(0) if scale == 0 else float32_of(before, is_half) * scale
        if value_row >= 0:
            value += values[value_row, i]
        product[row, i] = rounded_bits(value, before, is_half) if word >> bit & 1 else before


@compiled
def _edit_gates(  # type: ignore[no-untyped-def]
    product, x, activations, own, row, first, count, neurons, word, scale, value_row, values, is_half
):  # fmt: skip
    for bit in range(count):
        i = first + bit
        before = product[row, i]
        value = np.float32(0) if scale == 0 else float32_of(activations[own, i], is_half) * scale
        if value_row >= 0:
            value += values[value_row, i]
        gate = float32_of(rounded_bits(value, before, is_half), is_half)
        after = rounded_bits(gate * float32_of(x[row, neurons + i], is_half), before, is_half)
        product[row, i] = after if word >> bit & 1 else before

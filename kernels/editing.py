"""The editing of a layer's neurons: which edit each row takes, the bank of edits, checks, and the definition.

An edit changes some neurons of a row: at them, the value x of its site becomes scale * x + value. The site is the
coefficient ("product", which enters the down projection) or the activation ("gate", from which the coefficient is then
computed anew); without a gate in the model, the two are the same.

Rule:  scale * x and then + value are computed in float32, each rounded, and the result is rounded to x's dtype. A scale
       of 0 gives 0 (or the value) whatever x is, infinities and NaN included; an edit without values adds nothing, so
       that a scale of 1 keeps every bit. Neurons outside the mask, and rows without an edit, keep every bit.
Reads: a reading of the same layer sees activations and coefficients as they were before the edit. Layers after it
       are computed from the edited ones.
"""

from dataclasses import dataclass

import torch
from fastneurons_kernels.reading import WORD_BITS, expect, num_words

SITES = ("product", "gate")  # the codes of `sites` are the indices
PRODUCT, GATE = 0, 1


@dataclass(frozen=True, eq=False)
class Editing:
    """One layer's view of a bank of K edits. The last stride of each tensor is 1.

    Args:
        rows: int32 [>= T], the edit of a row of x; -1: none.
        masks: int32 [K, W], W = ceil(I / 32): the neurons; neuron i is bit i % 32 of word i // 32. Bits past I are 0.
        scales: float32 [K].
        sites: int32 [K]: PRODUCT or GATE.
        value_rows: int32 [K], the edit's row of `values`; -1: it adds nothing.
        values: float32 [V, I]; V may be 0.
    """

    rows: torch.Tensor
    masks: torch.Tensor
    scales: torch.Tensor
    sites: torch.Tensor
    value_rows: torch.Tensor
    values: torch.Tensor

    def check(self, num_rows: int, num_neurons: int) -> None:
        """Check that the bank fits an x of T rows and I neurons.

        Raises:
            ValueError: it does not; the message names the argument. Values on a device are not looked at.
        """
        num_edits = self.masks.shape[0]
        expect("rows", self.rows, torch.int32, (max(self.rows.numel(), num_rows),))
        expect("masks", self.masks, torch.int32, (num_edits, num_words(num_neurons)))
        expect("scales", self.scales, torch.float32, (num_edits,))
        expect("sites", self.sites, torch.int32, (num_edits,))
        expect("value_rows", self.value_rows, torch.int32, (num_edits,))
        expect("values", self.values, torch.float32, (self.values.shape[0], num_neurons))


def edit_reference(
    editing: Editing, a: torch.Tensor, up: torch.Tensor | None, product: torch.Tensor
) -> torch.Tensor:
    """The definition, row by row, from activations, the other factor (None without a gate) and coefficients, [T, I]."""
    edited = product.clone()
    bit = torch.arange(WORD_BITS, device=product.device)
    for row, edit in enumerate(editing.rows[: len(product)].tolist()):
        if edit < 0:
            continue
        marked = (editing.masks[edit][:, None] >> bit & 1).flatten()[: product.shape[1]].bool()
        scale, value_row = float(editing.scales[edit]), int(editing.value_rows[edit])
        at_gate = up is not None and int(editing.sites[edit]) == GATE
        before = (a if at_gate else product)[row].float()
        after = torch.zeros_like(before) if scale == 0 else before * scale
        if value_row >= 0:
            after = after + editing.values[value_row]
        after = after.to(product.dtype)
        if at_gate:
            assert up is not None
            after = (after.float() * up[row].float()).to(product.dtype)
        edited[row] = torch.where(marked, after, product[row])
    return edited

"""One layer's view of a worker's buffers, which its patched activation reads rows into and edits rows by."""

import traceback
from dataclasses import dataclass

import torch
from fastneurons_kernels.activation_cpu import Reader, RowsToRead
from fastneurons_kernels.activation_triton import ActivationLauncher
from fastneurons_kernels.editing import Editing
from fastneurons_kernels.editing_cpu import Editor, RowsToEdit
from fastneurons_kernels.reading import Reading
from torch import Tensor, nn

from fastneurons.engine.discovery import Site


@dataclass
class Tally:
    """Counts of a worker's work since the engine started."""

    prompts: int = 0  # of which the last token was computed
    prompt_tokens: int = 0  # computed by this engine, each position once
    cached_tokens: int = 0  # taken from the prefix cache
    rows_read: int = 0  # those that a preempted request computes again count once
    forwards: int = 0  # real forward passes
    error: str | None = None


@dataclass
class LayerObserver:
    """One layer's view of the buffers, in the shape that the kernels take."""

    site: Site
    original: nn.Module
    reading: Reading
    calls: Tensor  # int64 [1]
    fused: bool
    tally: Tally
    # On CPUs: the reader, and the rows to read in the next forward pass; None: read no row.
    reader: Reader | None = None
    rows_to_read: RowsToRead | None = None
    # This layer's view of the bank of edits; None: the engine edits nothing. On CPUs also the editor, and the rows that
    # the next forward pass edits; None: no row.
    editing: Editing | None = None
    editor: Editor | None = None
    rows_to_edit: RowsToEdit | None = None
    # On GPUs: launches the kernel; made at the first forward pass.
    launcher: ActivationLauncher | None = None

    @property
    def neurons(self) -> int:
        """Neurons of this layer on this rank."""
        return self.site.neurons

    def observe(self, x: Tensor, product: Tensor) -> None:
        """Read the targeted rows of the input `x` [T, I] or [T, 2I] and of the product [T, I]; the CPU's path."""
        if self.reader is not None and self.rows_to_read is not None:
            self.reader(x, product, self.rows_to_read)

    def edit(self, x: Tensor, product: Tensor) -> None:
        """Change the product [T, I], in place, where rows have an edit; after `observe`, on the CPU's path."""
        if self.editor is not None and self.rows_to_edit is not None:
            self.editor(x, product, self.rows_to_edit)

    def activation(self, x: Tensor, calls: Tensor) -> Tensor:
        """The activated product [T, I], reading and editing rows on the way; the GPU's path."""
        if self.launcher is None:
            kind = self.site.kind
            self.launcher = ActivationLauncher(
                self.reading,
                x.dtype,
                self.neurons,
                function=kind.function,
                gated=kind.gated,
                parameters=kind.parameters,
                editing=self.editing,
            )
        return self.launcher(x, calls)

    def failed(self, error: Exception) -> None:
        """Keep the first error, with its layer, for the session."""
        if self.tally.error is None:
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.tally.error = (
                f"{self.site.path}: {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
            )


def uses_fused_kernel(device: torch.device) -> bool:
    """Whether our kernel computes the product and reads it; else the model's own module computes it."""
    return device.type == "cuda"

"""The reading of a layer's input: the rows, outputs and checks that all implementations share.

The contract itself stands in `activation.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from fastneurons_kernels.functions import get_function

if TYPE_CHECKING:
    from fastneurons_kernels.histogram import Distribution

NEAR_MARGIN = 1e-3
WORD_BITS = 32
BLOCK_NEURONS = 1024  # of one program, and of one count of `near`: no two programs share a count
REACHED, ABOVE = 0, 1  # the planes of `edges`

Position = Literal["last", "any", "corpus"]


def num_words(num_neurons: int) -> int:
    """W: the 32-bit words that hold one bit per neuron."""
    return -(-num_neurons // WORD_BITS)


def near_parts(num_neurons: int) -> int:
    """P: the partial counts of `near`."""
    return -(-num_neurons // BLOCK_NEURONS)


@dataclass(frozen=True, eq=False)
class Reading:
    """One layer's view of the buffers that hold a step's readings. The last stride of each is 1.

    Exactly one position's outputs are given: `words` and `near` for "last", `words` and `edges` for "any",
    `counts` for "corpus". R rows of outputs, S thresholds, I neurons, W = ceil(I / 32), P = ceil(I / 1024).

    Args:
        targets: int32 [>= T], the row of the outputs that a row of x is read into; -1: it is not read.
        thresholds: float32 [S].
        words: int32 [R, S, W].
        near: int32 [R, S, P].
        edges: int32 [R, S, 2, W].
        counts: int32 [R, S, I].
        coefficients: [R, I] in x's dtype, or None; only with position "last".
        signal: Value compared with the thresholds: "gate", the activation, or "product", the coefficient.
        distribution: Further outputs, or None; only with position "corpus". Contract: `histogram.py`.
    """

    targets: torch.Tensor
    thresholds: torch.Tensor
    words: torch.Tensor | None = None
    near: torch.Tensor | None = None
    edges: torch.Tensor | None = None
    counts: torch.Tensor | None = None
    coefficients: torch.Tensor | None = None
    signal: str = "gate"
    distribution: "Distribution | None" = None

    @property
    def position(self) -> Position:
        """The position that the outputs are for."""
        if self.counts is not None:
            return "corpus"
        return "last" if self.edges is None else "any"

    @property
    def num_rows(self) -> int:
        """R: rows of the outputs."""
        there = [tensor for tensor in (self.words, self.counts) if tensor is not None]
        return there[0].shape[0]

    def check(self, dtype: torch.dtype, num_rows: int, num_neurons: int) -> None:
        """Check that the buffers fit an x of T rows and I neurons.

        Raises:
            ValueError: they do not; the message names the argument. Values on a device are not looked at.
        """
        given = {name for name in ("words", "near", "edges", "counts") if getattr(self, name) is not None}
        if given not in ({"words", "near"}, {"words", "edges"}, {"counts"}):
            names = " and ".join(sorted(given)) or "nothing"
            raise ValueError(f"outputs are words and near, words and edges, or counts; got {names}")
        if self.coefficients is not None and self.position != "last":
            raise ValueError(f"coefficients are those of one row; position {self.position} reads several")
        if self.signal not in ("gate", "product"):
            raise ValueError(f"signal must be gate or product, got {self.signal!r}")
        S = self.thresholds.numel()
        expect("targets", self.targets, torch.int32, (max(self.targets.numel(), num_rows),))
        expect("thresholds", self.thresholds, torch.float32, (S,))
        W, P = num_words(num_neurons), near_parts(num_neurons)
        for name, shape in (
            ("words", (S, W)),
            ("near", (S, P)),
            ("edges", (S, 2, W)),
            ("counts", (S, num_neurons)),
        ):
            tensor = getattr(self, name)
            if tensor is not None:
                expect(name, tensor, torch.int32, (tensor.shape[0], *shape))
        if self.distribution is not None:
            if self.position != "corpus":
                raise ValueError(f"a distribution is that of all tokens; position is {self.position}")
            self.distribution.check(num_neurons)
        if self.coefficients is not None:
            rows = self.coefficients.shape[0]
            expect("coefficients", self.coefficients, dtype, (rows, num_neurons))


def check_input(
    x: torch.Tensor,
    function: str,
    gated: bool,
    parameters: Sequence[float],
    out: torch.Tensor | None = None,
) -> tuple[int, int]:
    """Check an input as far as the host can see it, and return its T and I.

    Raises:
        ValueError: it is not; the message names the argument.
    """
    get_function(function).padded(parameters)
    if x.dim() != 2 or (x.stride(1) != 1 and x.shape[1] > 1):
        raise ValueError(f"x must be [T, columns] with last stride 1, got {layout(x)}")
    num_rows, num_columns = x.shape
    if gated and num_columns % 2:
        raise ValueError(f"a gated x has an even number of columns, got {num_columns}")
    num_neurons = num_columns // 2 if gated else num_columns
    if out is not None:
        expect("out", out, x.dtype, (num_rows, num_neurons))
    return num_rows, num_neurons


def near_threshold_count(edges: torch.Tensor) -> torch.Tensor:
    """Count neurons that came near a threshold and never clearly above it: int32 [...], from `edges` [..., 2, W].

    The planes come first of the last two dimensions; permute where they do not.
    """
    is_near = edges[..., REACHED, :] & ~edges[..., ABOVE, :]
    x = is_near.contiguous().view(torch.uint8)  # bytes: torch has no logical shift of signed words
    x = x - ((x >> 1) & 0x55)
    x = (x & 0x33) + ((x >> 2) & 0x33)
    x = (x + (x >> 4)) & 0x0F
    return x.sum(-1, dtype=torch.int32)


def expect(name: str, tensor: torch.Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless a tensor fits the contract."""
    if tensor.dtype != dtype or tensor.shape != shape or (tensor.stride(-1) != 1 and shape[-1] > 1):
        raise ValueError(f"{name} must be {dtype} {list(shape)} with last stride 1, got {layout(tensor)}")


def layout(tensor: torch.Tensor) -> str:
    """A tensor's dtype, shape and strides, for a message."""
    return f"{tensor.dtype} {list(tensor.shape)} with strides {list(tensor.stride())}"

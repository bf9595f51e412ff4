"""Watch that a model computes finite numbers: activations that are NaN would be read as not activated."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

NOT_FINITE = (
    "the model computed NaN or infinity: its weights are damaged, or its numbers overflow in this dtype (for "
    "float16, try --dtype bfloat16 or --dtype float32)"
)


class FiniteWatch:
    """Whether all last hidden states so far were finite.

    A NaN or an infinity anywhere in a layer stays in the residual stream, and reaches later tokens through attention:
    the last hidden states of the tokens that would be sampled from tell of all layers. One sum for each step, on the
    device and without waiting for it.

    Args:
        model: The whole model, as its runner calls it.
        is_reading: Whether the current step is to be read; dummy steps may compute anything.
        all_finite: bool [], on the device; set to False, in place, by the first value that is not finite.
    """

    def __init__(self, model: nn.Module, is_reading: Callable[[], bool], all_finite: Tensor) -> None:
        self._all_finite = all_finite
        compute: Any = model.compute_logits

        def compute_logits(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
            if is_reading():
                self._all_finite.logical_and_(torch.isfinite(hidden_states).all())
            return compute(hidden_states, *args, **kwargs)

        model.compute_logits = compute_logits  # type: ignore[assignment]

"""Watches that what a model computes are numbers: activations that are NaN would be read as not activated."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class FiniteWatch:
    """Whether all last hidden states so far were finite.

    A NaN or an infinity anywhere in a layer stays in the residual stream, and reaches later tokens through attention:
    the last hidden states of the tokens that would be sampled from tell of all layers. One sum for each step, on the
    device and without waiting for it.

    Args:
        model: The whole model, as its runner calls it.
        is_reading: Whether the step that runs is one of those that are read; dummy steps compute anything.
    """

    def __init__(self, model: nn.Module, is_reading: Callable[[], bool]) -> None:
        self._all_finite: Tensor | None = None
        compute: Any = model.compute_logits

        def compute_logits(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
            if is_reading():
                self._look(hidden_states)
            return compute(hidden_states, *args, **kwargs)

        model.compute_logits = compute_logits  # type: ignore[assignment]

    @property
    def error(self) -> str | None:
        """The first value that was not finite, in one line. Waits for the device."""
        if self._all_finite is None or bool(self._all_finite):
            return None
        return (
            "the model computed NaN or infinity: its weights are damaged, or its numbers overflow in this dtype (for "
            "float16, try --dtype bfloat16 or --dtype float32)"
        )

    def _look(self, hidden_states: Tensor) -> None:
        finite = torch.isfinite(hidden_states).all()
        self._all_finite = finite if self._all_finite is None else self._all_finite & finite

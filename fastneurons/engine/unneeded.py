"""Skip work that a run which only reads prompts does not need: the next token, and rows that only lead to it.

No reading depends on either. Only real steps are shortened: vLLM measures its memory in dummy ones.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fastneurons.engine.discovery import Site


def leave_out_logits(model: nn.Module, is_reading: Callable[[], bool]) -> None:
    """Skip the unembedding: in steps of our requests, logits are zeros for a vocabulary of one.

    Args:
        model: The whole model, as its runner calls it.
        is_reading: Whether the step that runs is one of those.
    """
    compute: Any = model.compute_logits

    def compute_logits(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        if is_reading():
            return hidden_states.new_zeros((hidden_states.shape[0], 1))
        return compute(hidden_states, *args, **kwargs)

    model.compute_logits = compute_logits  # type: ignore[assignment]


def can_leave_out_rows(site: Site) -> bool:
    """Whether a site's parent is a feed-forward part by itself: it computes each row from that row alone."""
    from vllm.model_executor.layers.linear import LinearBase

    activation = set(site.module.modules())
    parts = [module for module in site.parent.modules() if module is not site.parent]
    return all(
        module in activation or isinstance(module, LinearBase | nn.Dropout | nn.Identity) for module in parts
    )


def leave_out_rows(site: Site, begin: Callable[[], Tensor | None]) -> None:
    """Have a feed-forward part compute certain rows alone; the others come out as zeros.

    For the last layer, behind which no attention mixes rows. Not for compiled models: how many rows there are
    differs from step to step.

    Args:
        site: One that `can_leave_out_rows`.
        begin: Called before each forward pass of it; the indices of the rows, or None for all of them.
    """
    forward = site.parent.forward

    def of_some_rows(x: Tensor) -> Any:
        index = begin()
        if index is None:
            return forward(x)
        given = forward(x.reshape(-1, x.shape[-1])[index].reshape(*[1] * (x.dim() - 2), len(index), -1))
        # Some return a bias as well, which is the same for all rows.
        some, *rest = given if isinstance(given, tuple) else (given,)
        out = torch.zeros_like(x)
        out.reshape(-1, x.shape[-1])[index] = some.reshape(len(index), -1)
        return (out, *rest) if isinstance(given, tuple) else out

    site.parent.forward = of_some_rows

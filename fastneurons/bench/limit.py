"""Measure the machine's limit: how fast it multiplies matrices of the model's own shapes.

The products are timed by turns with the contenders, and each shape's best time counts: a machine that was busy at one
moment does not make the limit too low for the whole run.
"""

import time
from dataclasses import dataclass
from typing import Any

import torch

from fastneurons.bench.device import has_gpu

_SECONDS = 0.03  # of each shape and turn
# Rows of the products, as many as a full step of the engine has, or enough to keep a GPU busy.
_STEP_TOKENS, _STEP_TOKENS_ON_GPU = 2048, 8192
_LAUNCHED = 10  # products that a GPU is given at once: waiting for each would take as long as a small one


@dataclass(frozen=True)
class Limit:
    """Rate of a model's matrix products.

    Args:
        flops: Operations a second, of all products of a layer, each as often as a forward pass has it.
        flops_per_token: Operations of a token's products: all layers, without the unembedding.
        tokens: Rows of the products.
    """

    flops: float
    flops_per_token: float
    tokens: int

    @property
    def tokens_per_s(self) -> float:
        """Rate of tokens if there were nothing but products."""
        return self.flops / self.flops_per_token


class MatrixProducts:
    """The products of a decoder layer, ready to be timed again and again.

    Args:
        config: The model's configuration in Transformers.
        dtype: The dtype that the engine computes in.
        tokens: Rows of the products; None chooses for the device.
    """

    def __init__(self, config: Any, dtype: torch.dtype, tokens: int | None = None) -> None:
        on_gpu = has_gpu()
        self._device = "cuda" if on_gpu else "cpu"
        self._launched = _LAUNCHED if on_gpu else 1
        self._dtype = dtype
        tokens = tokens or (_STEP_TOKENS_ON_GPU if on_gpu else _STEP_TOKENS)
        self._tokens = tokens
        self._layers = config.num_hidden_layers
        self._shapes = layer_shapes(config)
        # Allocated once: later, engines may have taken all of a device's memory.
        self._operands = [(self._random(tokens, k), self._random(n, k)) for k, n in self._shapes]
        self._best_s = [float("inf")] * len(self._shapes)
        for a, b in self._operands:
            self._time(a, b)  # warm-up

    def measure(self) -> Limit:
        """Time each product for a thirtieth of a second, once at least; the best of all calls so far."""
        for index, (a, b) in enumerate(self._operands):
            spent = 0.0
            while spent < _SECONDS:
                seconds = self._time(a, b)
                spent += seconds * self._launched
                self._best_s[index] = min(self._best_s[index], seconds)
        layer_flops = sum(2 * k * n for k, n in self._shapes)
        flops = self._tokens * layer_flops / sum(self._best_s)
        return Limit(flops, self._layers * layer_flops, self._tokens)

    def _random(self, rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, device=self._device, dtype=self._dtype)

    def _time(self, a: torch.Tensor, b: torch.Tensor) -> float:
        """Seconds of one product."""
        self._wait()
        began = time.perf_counter()
        for _ in range(self._launched):
            torch.nn.functional.linear(a, b)
        self._wait()
        return (time.perf_counter() - began) / self._launched

    def _wait(self) -> None:
        if self._device == "cuda":
            torch.cuda.synchronize()


def layer_shapes(config: Any) -> list[tuple[int, int]]:
    """K and N of a decoder layer's products: queries, keys and values; attention's out; up, or gate and up; down."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    head = getattr(config, "head_dim", None) or hidden // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    neurons = getattr(config, "intermediate_size", None) or 4 * hidden
    gated = hasattr(config, "intermediate_size") and "gelu" not in str(getattr(config, "hidden_act", "gelu"))
    gated = gated or getattr(config, "hidden_activation", None) is not None
    return [
        (hidden, (heads + 2 * kv_heads) * head),
        (heads * head, hidden),
        (hidden, (2 if gated else 1) * neurons),
        (neurons, hidden),
    ]

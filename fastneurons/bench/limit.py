"""The machine's limit: how fast it multiplies matrices of the model's own shapes, and nothing else."""

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch

_SECONDS = 0.3  # of each shape
_LEAST_TIMES = 3


@dataclass(frozen=True)
class Limit:
    """What is reached on a model's products.

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
        """As fast as tokens could pass if there were nothing but products."""
        return self.flops / self.flops_per_token


def matrix_product_limit(config: Any, dtype: torch.dtype, tokens: int) -> Limit:
    """Multiply, a third of a second for each shape; the median rate of each.

    Args:
        config: The model's configuration in Transformers.
        dtype: What the engine computes in.
        tokens: Of a step.
    """
    shapes = layer_shapes(config)
    layer_s = sum(_seconds(tokens, k, n, dtype) for k, n in shapes)
    layer_flops = sum(2 * k * n for k, n in shapes)
    return Limit(tokens * layer_flops / layer_s, config.num_hidden_layers * layer_flops, tokens)


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


def _seconds(m: int, k: int, n: int, dtype: torch.dtype) -> float:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a = torch.randn(m, k, device=device, dtype=dtype)
    b = torch.randn(n, k, device=device, dtype=dtype)
    torch.nn.functional.linear(a, b)
    times: list[float] = []
    while len(times) < _LEAST_TIMES or sum(times) < _SECONDS:
        _wait(device)
        began = time.perf_counter()
        torch.nn.functional.linear(a, b)
        _wait(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()

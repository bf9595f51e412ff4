"""The shapes of a model, from its configuration alone, and the time of its matrix products on paper."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastneurons.errors import InputError
from fastneurons.planning.gpus import Gpu

BF16_BYTES = 2
_CONFIG_BYTES = 2**24

# Names of one thing in the configurations of different families.
_NAMES = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "num_heads": ("num_attention_heads", "n_head"),
    "vocab_size": ("vocab_size",),
}
_NEURONS = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "ffn_dim")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
# Families whose MLP has no gate.
_PLAIN = {"bloom", "falcon", "gpt2", "gpt_bigcode", "gpt_neox", "gptj", "mpt", "opt", "phi", "starcoder2"}
# Bytes of a weight of a layer, with scales; embeddings stay as they are.
_QUANTIZED = {
    "fp8": 1.0,
    "compressed-tensors": 1.0,
    "awq": 0.53,
    "gptq": 0.53,
    "bitsandbytes": 0.53,
    "mxfp4": 0.53,
}


@dataclass(frozen=True)
class Model:
    """The shapes that matter."""

    name: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    tied: bool
    gated: bool = True
    bytes_per_weight: float = BF16_BYTES  # of the layers' matrices

    @property
    def layer_parameters(self) -> int:
        """Of one layer's matrices; norms and biases are a ten-thousandth."""
        return sum(times * k * n for _, times, k, n in layer_shapes(self, 1))

    @property
    def embedding_parameters(self) -> int:
        """Of the embedding, and as many of the unembedding where it is not the same."""
        return self.vocab_size * self.hidden_size

    @property
    def num_parameters(self) -> int:
        """Of all matrices."""
        return self.num_layers * self.layer_parameters + self.embedding_parameters * (1 if self.tied else 2)


def layer_shapes(model: Model, ranks: int) -> list[tuple[str, int, int, int]]:
    """Name, how often, K and N of a layer's products on one rank."""
    heads, kv_heads = model.num_heads // ranks, max(1, model.num_kv_heads // ranks)
    neurons = model.intermediate_size // ranks
    return [
        ("qkv", 1, model.hidden_size, (heads + 2 * kv_heads) * model.head_dim),
        ("attention out", 1, heads * model.head_dim, model.hidden_size),
        ("gate and up" if model.gated else "up", 1, model.hidden_size, (1 + model.gated) * neurons),
        ("down", 1, neurons, model.hidden_size),
    ]


def product_s(gpu: Gpu, m: int, k: int, n: int) -> float:
    """Time of [M, K] by [K, N] in bf16: the longer of its operations and its bytes, each moved once."""
    moved = BF16_BYTES * (m * k + k * n + m * n)
    return max(2 * m * k * n / gpu.bf16_flops, moved / gpu.bandwidth)


def layers_s(gpu: Gpu, model: Model, tokens: int, ranks: int = 1) -> float:
    """Time of the matrix products of all layers in a step of so many tokens."""
    layer = sum(times * product_s(gpu, tokens, k, n) for _, times, k, n in layer_shapes(model, ranks))
    return model.num_layers * layer


def products_s(gpu: Gpu, model: Model, tokens: int, prompts: int, ranks: int = 1) -> float:
    """Time of a step's matrix products: all layers for all tokens, the unembedding for each prompt's last."""
    return layers_s(gpu, model, tokens, ranks) + product_s(
        gpu, prompts, model.hidden_size, model.vocab_size // ranks
    )


def model_shapes(path: str, quantization: str | None = None) -> Model:
    """Read the shapes from a model's folder or its config.json. No weights are needed.

    Args:
        quantization: A method of vLLM that quantises while it loads.
    Raises:
        InputError: there is no configuration, or it is none of a model that can be measured.
    """
    file = Path(path).expanduser()
    file = file / "config.json" if file.is_dir() else file
    try:
        if file.stat().st_size > _CONFIG_BYTES:
            raise InputError(f"{path} is too large for a configuration")
        config = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}; plan needs a model's folder or its config.json"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{file} is not the configuration of a model")
    text = config.get("text_config")
    if isinstance(text, dict):
        config = {**config, **text}
    name = file.parent.name if file.name == "config.json" else file.stem
    return _shapes(name, str(file), config, quantization)


def _shapes(name: str, where: str, config: Mapping[str, Any], quantization: str | None) -> Model:
    for key in _EXPERTS:
        if isinstance(config.get(key), int) and config[key] > 1:
            raise InputError(f"{where}: {key} {config[key]}: mixtures of experts cannot be measured")
    found = {field: _number(config, names, where) for field, names in _NAMES.items()}
    heads, hidden = found["num_heads"], found["hidden_size"]
    neurons = next((config[key] for key in _NEURONS if isinstance(config.get(key), int)), 4 * hidden)
    given = config.get("quantization_config")
    method = quantization or (given.get("quant_method") if isinstance(given, dict) else None)
    return Model(
        name=name,
        intermediate_size=neurons,
        num_kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or hidden // heads,
        tied=bool(config.get("tie_word_embeddings", True)),
        gated=config.get("model_type") not in _PLAIN,
        bytes_per_weight=_QUANTIZED.get(str(method), BF16_BYTES),
        **found,
    )


def _number(config: Mapping[str, Any], names: tuple[str, ...], where: str) -> int:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and 0 < value < 2**31:
            return value
    raise InputError(f"{where} has no {names[0]}: it is not the configuration of a language model")

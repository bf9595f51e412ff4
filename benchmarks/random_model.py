"""Write models with random weights and the shapes of real ones, with a tokenizer that has a token for each byte.

    python benchmarks/random_model.py SHAPE FOLDER [--no-weights]

Speed does not depend on the weights, so `llama-8b` needs no download. Without weights only `config.json` and the
tokenizer are written: vLLM then fills in its own with `--engine-arg load_format=dummy`, and nothing can be compared
with a plain forward pass.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

# Name: (family, hidden size, neurons, layers, query heads, key heads, head size, vocabulary, tied embeddings).
SHAPES: dict[str, tuple[str, int, int, int, int, int, int, int, bool]] = {
    # 1,000 neurons: two devices have 500 each, which end inside a byte.
    "smallest": ("llama", 256, 1000, 4, 4, 2, 64, 512, False),
    "llama-1b": ("llama", 2048, 8192, 16, 32, 8, 64, 128256, True),
    "llama-8b": ("llama", 4096, 14336, 32, 32, 8, 128, 128256, False),
    "llama-70b": ("llama", 8192, 28672, 80, 64, 8, 128, 128256, False),
    "qwen3-0.6b": ("qwen3", 1024, 3072, 28, 16, 8, 128, 151936, True),
    "qwen3-1.7b": ("qwen3", 2048, 6144, 28, 16, 8, 128, 151936, True),
    "qwen3-8b": ("qwen3", 4096, 12288, 36, 32, 8, 128, 151936, False),
}
_CONTEXT = 4096
# Larger than usual, so that layers differ and activations are well apart from 0 on both sides.
_SPREAD = 0.05


def random_model(folder: Path, neurons: int = 128, layers: int = 3) -> Path:
    """Write a small Llama with the demo model's tokenizer, to time what is outside the model; return its folder."""
    import shutil

    from transformers import LlamaConfig, LlamaForCausalLM

    from fastneurons.data.demo.model import demo_model

    demo = demo_model()
    config = LlamaConfig(
        vocab_size=json.loads((demo / "config.json").read_text())["vocab_size"], hidden_size=64,
        intermediate_size=neurons, num_hidden_layers=layers, num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(demo / file, folder)
    return folder


def write_shape(shape: str, folder: Path, weights: bool = True) -> Path:
    """Write a model of one of `SHAPES` in bfloat16; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(folder)
    if weights:
        _write_weights(shape, folder)
    # Last: a folder with a configuration is complete.
    (folder / "config.json").write_text(json.dumps(_config(shape), indent=1) + "\n")
    return folder


def _config(shape: str) -> dict[str, Any]:
    family, hidden, neurons, layers, heads, key_heads, head, vocabulary, tied = SHAPES[shape]
    return {
        "architectures": ["LlamaForCausalLM" if family == "llama" else "Qwen3ForCausalLM"],
        "model_type": family,
        "hidden_size": hidden,
        "intermediate_size": neurons,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "head_dim": head,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "max_position_embeddings": _CONTEXT,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "dtype": "bfloat16",
    }


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*special.values(), *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special.values()))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": _CONTEXT, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def _write_weights(shape: str, folder: Path) -> None:
    """Write a file for each layer, and one for the rest, with the index that names them."""
    import torch
    from safetensors.torch import save_file

    device = "cuda" if torch.cuda.is_available() else "cpu"
    random = torch.Generator(device).manual_seed(0)

    def tensor(size: tuple[int, ...]) -> torch.Tensor:
        if len(size) == 1:
            return torch.ones(size, dtype=torch.bfloat16)
        drawn = torch.empty(size, dtype=torch.bfloat16, device=device)
        return drawn.normal_(0, _SPREAD, generator=random).cpu()

    place_of: dict[str, str] = {}
    for number, sizes in enumerate(_parts(shape)):
        file = f"model-{number:05}.safetensors"
        save_file({name: tensor(size) for name, size in sizes.items()}, folder / file, {"format": "pt"})
        place_of |= dict.fromkeys(sizes, file)
    index = {"metadata": {}, "weight_map": place_of}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def _parts(shape: str) -> Iterator[dict[str, tuple[int, ...]]]:
    """Names and sizes of the tensors: those outside the layers, then those of each layer."""
    family, hidden, neurons, layers, heads, key_heads, head, vocabulary, tied = SHAPES[shape]
    outside: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, hidden),
        "model.norm.weight": (hidden,),
    }
    yield outside | ({} if tied else {"lm_head.weight": (vocabulary, hidden)})
    layer: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj": (heads * head, hidden),
        "self_attn.k_proj": (key_heads * head, hidden),
        "self_attn.v_proj": (key_heads * head, hidden),
        "self_attn.o_proj": (hidden, heads * head),
        "mlp.gate_proj": (neurons, hidden),
        "mlp.up_proj": (neurons, hidden),
        "mlp.down_proj": (hidden, neurons),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    if family == "qwen3":
        layer |= {"self_attn.q_norm": (head,), "self_attn.k_norm": (head,)}
    for number in range(layers):
        yield {f"model.layers.{number}.{name}.weight": size for name, size in layer.items()}


def main(
    shape: Annotated[str, typer.Argument(help=f"One of {', '.join(SHAPES)}.")],
    folder: Annotated[Path | None, typer.Argument(help="Where to write.")] = None,
    weights: Annotated[bool, typer.Option(help="Write random weights, too.")] = True,
    known: Annotated[
        bool, typer.Option("--known", help="Write nothing; exit status 0 if there is such a shape.")
    ] = False,
) -> None:
    """Write a model and print its folder."""
    if known:
        raise SystemExit(0 if shape in SHAPES else 1)
    if shape not in SHAPES or folder is None:
        raise SystemExit(f"random_model.py SHAPE FOLDER: SHAPE must be one of {', '.join(SHAPES)}")
    print(write_shape(shape, folder, weights))


if __name__ == "__main__":
    typer.run(main)

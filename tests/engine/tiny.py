"""Tiny random models of many architectures, made on the spot: a few layers, odd widths, float32."""

from pathlib import Path
from typing import Any

VOCABULARY = 320
LAYERS = 3
# 88 neurons: no multiple of 32, and with two ranks 44, no multiple of 8.
NEURONS = 88

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": NEURONS,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def _common(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (_COMMON | changes).items() if value is not None}


# Architecture: (config class, what differs from a Llama).
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("LlamaConfig", _common()),
    "Qwen2": ("Qwen2Config", _common()),
    "Qwen3": ("Qwen3Config", _common(head_dim=32)),
    "Mistral": ("MistralConfig", _common(sliding_window=None)),
    "Granite": ("GraniteConfig", _common()),
    "Phi3": ("Phi3Config", _common()),
    "StableLm": ("StableLmConfig", _common()),
    "Cohere": ("CohereConfig", _common()),
    "Gemma2": ("Gemma2Config", _common(head_dim=32, query_pre_attn_scalar=32, attn_logit_softcapping=None)),
    "Gemma3": ("Gemma3TextConfig", _common(head_dim=32, query_pre_attn_scalar=32)),
    "Bloom": (
        "BloomConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 64, "n_layer": LAYERS, "n_head": 2, "bos_token_id": 1,
         "eos_token_id": 2, "pad_token_id": 0},
    ),
    "OPT": (
        "OPTConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 64, "ffn_dim": NEURONS, "num_hidden_layers": LAYERS,
         "num_attention_heads": 2, "max_position_embeddings": 512, "word_embed_proj_dim": 64, "bos_token_id": 1,
         "eos_token_id": 2, "pad_token_id": 0},
    ),
    "GPT2": (
        "GPT2Config",
        {"vocab_size": VOCABULARY, "n_embd": 64, "n_inner": NEURONS, "n_layer": LAYERS, "n_head": 2,
         "n_positions": 512, "bos_token_id": 1, "eos_token_id": 2},
    ),
    "GPTJ": (
        "GPTJConfig",
        {"vocab_size": VOCABULARY, "n_embd": 64, "n_inner": NEURONS, "n_layer": LAYERS, "n_head": 2,
         "n_positions": 512, "rotary_dim": 16, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False},
    ),
    "Falcon": (
        "FalconConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": LAYERS,
         "num_attention_heads": 2, "new_decoder_architecture": False, "multi_query": True, "parallel_attn": True,
         "bias": False, "alibi": False, "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 512},
    ),
    "Nemotron": ("NemotronConfig", _common(head_dim=32)),
    "Apertus": ("ApertusConfig", _common()),
    "GPTNeoX": ("GPTNeoXConfig", _common(num_key_value_heads=None)),
    "Phi": ("PhiConfig", _common(num_key_value_heads=2)),
    "Starcoder2": ("Starcoder2Config", _common(sliding_window=None)),
    "Olmo2": ("Olmo2Config", _common()),
}  # fmt: skip


def neurons(architecture: str) -> int:
    """Neurons of a layer; those of BLOOM and of vLLM's Falcon are four times its width, whatever one says."""
    return 256 if architecture in ("Bloom", "Falcon") else NEURONS


def make(architecture: str, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write a random model of an architecture with a byte-level tokenizer; its folder."""
    import torch
    import transformers

    name, arguments = ARCHITECTURES[architecture]
    config = getattr(transformers, name)(**(arguments | changes))
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Larger than the usual 0.02, so that layers differ and no activation is all but zero.
            if parameter.dim() > 1:
                parameter.normal_(0, 0.15)
            elif parameter.numel() > 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def tokenizer() -> Any:
    """A token a byte, and the special ones: any text has tokens, and their number is plain."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(special + alphabet)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )

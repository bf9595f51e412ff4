"""A random Llama with the tokenizer of the demo's model: what the time beside the model's own is measured with."""

import json
import shutil
from pathlib import Path


def random_model(folder: Path, neurons: int = 128, layers: int = 3) -> Path:
    """Write it, hidden size 64; the folder."""
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

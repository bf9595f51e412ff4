"""Make a small random Llama with the demo model's tokenizer, to measure the time spent outside the model."""

import json
import shutil
from pathlib import Path


def random_model(folder: Path, neurons: int = 128, layers: int = 3) -> Path:
    """Write a model of hidden size 64 and return its folder."""
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

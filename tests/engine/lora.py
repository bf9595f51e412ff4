"""Random LoRA adapters of tiny models, made and merged by PEFT."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

MLP = ("gate_proj", "up_proj", "down_proj")


def make_adapter(
    model: Path, folder: Path, targets: Sequence[str] = (*MLP, "q_proj"), rank: int = 8, **changes: Any
) -> Path:
    """Write a random adapter of a model; its folder."""
    import peft
    import torch
    import transformers

    torch.manual_seed(5)
    base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(targets), **changes)
    adapted = peft.get_peft_model(base, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:  # B is zero at first
                parameter.normal_(0, 0.1)
    adapted.save_pretrained(folder)
    return folder


def merge(model: Path, adapter: Path, folder: Path) -> Path:
    """Write a model with the adapter merged into its weights; its folder."""
    import peft
    import torch
    import transformers

    base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    merged = peft.PeftModel.from_pretrained(base, adapter).merge_and_unload()
    merged.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder

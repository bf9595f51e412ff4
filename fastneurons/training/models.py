"""Load the model to train, put an adapter on it, and save what was trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import peft
import torch
import transformers

from fastneurons.errors import InputError
from fastneurons.training.options import TrainingOptions

if TYPE_CHECKING:
    from fastneurons.training.align import BaseModel


def load_model(model: "BaseModel", options: TrainingOptions) -> Any:
    """The base model, in the dtype that it is trained in.

    Raises:
        InputError: Transformers cannot load it.
    """
    dtype = options.dtype
    if options.neurons is not None and dtype == "auto":
        dtype = "float32"  # small changes would vanish in 16 bits
    try:
        loaded = transformers.AutoModelForCausalLM.from_pretrained(
            model.name,
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
        )
    except Exception as error:
        message = " ".join(str(error).split())[:300]
        raise InputError(f"{model.name}: Transformers cannot load it: {message}") from error
    loaded.config.use_cache = False
    return loaded


def with_adapter(base: Any, model: "BaseModel", options: TrainingOptions) -> Any:
    """The model with a new adapter, whose weights alone are trained.

    Raises:
        InputError: the model has no modules of the names that were given.
    """
    config = peft.LoraConfig(
        r=options.lora_rank,
        lora_alpha=options.alpha,
        lora_dropout=options.lora_dropout,
        target_modules=list(options.target_modules) or "all-linear",
        task_type="CAUSAL_LM",
        revision=model.revision,
    )
    try:
        return peft.get_peft_model(base, config)
    except ValueError as error:
        names = ",".join(options.target_modules) or "all-linear"
        raise InputError(f"--target-modules {names}: {' '.join(str(error).split())[:300]}") from error


def save_model(trained: Any, model: "BaseModel", options: TrainingOptions, tokenizer: Any, out: Path) -> None:
    """Write the adapter; or the whole model in its checkpoint's dtype, with its tokenizer."""
    if not options.writes_a_model:
        trained.save_pretrained(out, save_embedding_layers=False)
        return
    # Adapters are added in float32: one rounding in the end instead of two.
    whole = trained if options.neurons is not None else trained.float().merge_and_unload()
    whole.config.use_cache = True
    stored = transformers.AutoConfig.from_pretrained(
        model.name, revision=model.revision, trust_remote_code=model.trust_remote_code
    ).dtype
    whole.to(stored if isinstance(stored, torch.dtype) else torch.float32)
    whole.save_pretrained(out)
    tokenizer.save_pretrained(out)

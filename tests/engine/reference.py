"""Activations from a plain Transformers forward pass, one prompt at a time: what the engine is held against.

A script, run in a process of its own: vLLM's Transformers backend changes the classes that it takes
from Transformers, so that they cannot be used beside an engine.

    python reference.py REQUEST.json

The request is a list of {"model": folder, "dtype": name, "prompts": [text], "out": file.npz}; each
file gets `activations` float32 [P, N, I] at the last prompt token, and `logits` float32 [P, V].
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

# The activation's name in an MLP, over all architectures of Transformers that are tested.
_NAMES = {"act_fn", "act", "activation_fn", "gelu_impl", "activation"}


def references(requests: list[dict[str, Any]], folder: Path) -> list[dict[str, np.ndarray]]:
    """Run this file as a script over the requests; their results in order."""
    for index, request in enumerate(requests):
        request["out"] = str(folder / f"reference-{index}.npz")
    path = folder / "request.json"
    path.write_text(json.dumps(requests))
    done = subprocess.run([sys.executable, __file__, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [dict(np.load(request["out"])) for request in requests]


def _measure(model_folder: str, dtype: str, prompts: list[str]) -> dict[str, np.ndarray]:
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        model_folder, dtype=getattr(torch, dtype), attn_implementation="eager"
    ).eval()
    layers = _decoder_layers(model)
    kept: list[Any] = [None] * len(layers)

    def keep(layer: int) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            kept[layer] = output.reshape(-1, output.shape[-1])[-1].float()

        return hook

    for number, layer in enumerate(layers):
        places = [m for path, m in layer.named_modules() if path.rpartition(".")[2] in _NAMES]
        assert len(places) == 1, (number, places)
        places[0].register_forward_hook(keep(number))
    activations, logits = [], []
    for prompt in prompts:
        with torch.no_grad():
            out = model(torch.tensor([tokenizer(prompt)["input_ids"]]))
        activations.append(torch.stack(kept).numpy())
        logits.append(out.logits[0, -1].float().numpy())
    return {"activations": np.stack(activations), "logits": np.stack(logits)}


def _decoder_layers(model: Any) -> Any:
    import torch

    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    return max(lists, key=len)


if __name__ == "__main__":
    for asked in json.loads(Path(sys.argv[1]).read_text()):
        np.savez(asked["out"], **_measure(asked["model"], asked["dtype"], asked["prompts"]))

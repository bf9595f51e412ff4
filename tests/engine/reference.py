"""Activations from a plain Transformers forward pass, one prompt at a time: what the engine is held against.

A script, run in a process of its own: vLLM's Transformers backend changes the classes that it takes
from Transformers, so that they cannot be used beside an engine.

    python reference.py REQUEST.json

The request is a list of {"model": folder, "dtype": name, "prompts": [text], "out": file.npz}; each
file gets `activations` float32 [P, N, I] at the last prompt token, and `logits` float32 [P, V]. With
"every_token" it gets `activations` and `coefficients` float32 [T, N, I] of all tokens of all prompts, one after
another, and `lengths` int64 [P]; with "weights" also `values` float32 [N, I, H] and `unembedding` float32 [V, H].
With "exact_gelu" BLOOM's activation is the exact GELU, which vLLM computes for it, not its tanh form.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

# The activation's name in an MLP, over all architectures of Transformers that are tested.
_NAMES = {"act_fn", "act", "activation_fn", "gelu_impl", "activation"}
# The down projection's, over those whose coefficients are tested.
_DOWN = {"down_proj", "dense_4h_to_h", "c_proj", "fc2", "fc_out"}


def references(requests: list[dict[str, Any]], folder: Path) -> list[dict[str, np.ndarray]]:
    """Run this file as a script over the requests; their results in order."""
    for index, request in enumerate(requests):
        request["out"] = str(folder / f"reference-{index}.npz")
    path = folder / "request.json"
    path.write_text(json.dumps(requests))
    done = subprocess.run([sys.executable, __file__, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [dict(np.load(request["out"])) for request in requests]


def _measure(asked: dict[str, Any]) -> dict[str, np.ndarray]:
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(asked["model"])
    model = transformers.AutoModelForCausalLM.from_pretrained(
        asked["model"], dtype=getattr(torch, asked["dtype"]), attn_implementation="eager"
    ).eval()
    if asked.get("exact_gelu", False):
        for layer in model.modules():
            if hasattr(layer, "gelu_impl"):
                layer.gelu_impl = torch.nn.GELU()
    layers = _decoder_layers(model)
    activations: list[Any] = [None] * len(layers)
    coefficients: list[Any] = [None] * len(layers)

    def keep_output(layer: int) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            activations[layer] = output.reshape(-1, output.shape[-1]).float()

        return hook

    def keep_input(layer: int) -> Any:
        def hook(module: Any, inputs: Any) -> None:
            coefficients[layer] = inputs[0].reshape(-1, inputs[0].shape[-1]).float()

        return hook

    downs = []
    for number, layer in enumerate(layers):
        [place] = [m for path, m in layer.named_modules() if path.rpartition(".")[2] in _NAMES]
        place.register_forward_hook(keep_output(number))
        down = [
            m for path, m in layer.named_modules() if path.rpartition(".")[2] in _DOWN and "attn" not in path
        ]
        downs += down
        for module in down:
            module.register_forward_pre_hook(keep_input(number))
    every_token = asked.get("every_token", False)
    found: dict[str, list[Any]] = {"activations": [], "coefficients": [], "logits": [], "lengths": []}
    for prompt in asked["prompts"]:
        with torch.no_grad():
            out = model(torch.tensor([tokenizer(prompt)["input_ids"]]))
        whole = torch.stack(activations, 1)  # [tokens, N, I]
        if every_token:
            found["activations"] += list(whole.numpy())
            found["coefficients"] += list(torch.stack(coefficients, 1).numpy())
            found["lengths"].append(len(whole))
        else:
            found["activations"].append(whole[-1].numpy())
        found["logits"].append(out.logits[0, -1].float().numpy())
    arrays = {name: np.stack(values) for name, values in found.items() if values}
    if asked.get("weights", False):
        # Conv1D holds its weight [in, out], Linear [out, in].
        weights = [m.weight if type(m).__name__ == "Conv1D" else m.weight.T for m in downs]
        arrays["values"] = torch.stack(weights).detach().float().numpy()
        arrays["unembedding"] = model.get_output_embeddings().weight.detach().float().numpy()
    return arrays


def _decoder_layers(model: Any) -> Any:
    import torch

    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    return max(lists, key=len)


if __name__ == "__main__":
    for asked in json.loads(Path(sys.argv[1]).read_text()):
        np.savez(asked["out"], **_measure(asked))

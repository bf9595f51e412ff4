"""Activations from a plain Transformers forward pass, one prompt at a time: what the engine is held against.

In a process of its own, which answers one request after another: vLLM's Transformers backend changes the classes
that it takes from Transformers, so that they cannot be used beside an engine.

A request is a line {"model": folder, "dtype": name, "prompts": [text], "out": file.npz}, its answer a line too; a
prompt may be token ids in place of a text. The file gets `activations` float32 [P, N, I] at the last prompt token, and
`logits` float32 [P, V]. With "every_token" it gets `activations` and `coefficients` float32 [T, N, I] of all tokens of
all prompts, one after another, and `lengths` int64 [P]; with "weights" also `values` float32 [N, I, H] and
`unembedding` float32 [V, H].
With "first", a token of each prompt, it gets `log_probability` float32, of each prompt's tokens from there on, one
prompt after another.
With "exact_gelu" BLOOM's activation is the exact GELU, which vLLM computes for it, not its tanh form.
"""

import atexit
import functools
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

# The activation's name in an MLP, over all architectures of Transformers that are tested.
_NAMES = {"act_fn", "act", "activation_fn", "gelu_impl", "activation"}
# The down projection's, over those whose coefficients are tested.
_DOWN = {"down_proj", "dense_4h_to_h", "c_proj", "fc2", "fc_out"}


def references(requests: list[dict[str, Any]], folder: Path) -> list[dict[str, np.ndarray]]:
    """Results of the requests, in order."""
    answers = []
    for index, request in enumerate(requests):
        out = folder / f"reference-{index}.npz"
        process = _process()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(request | {"out": str(out)}) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline() or '"the process ended"')
        assert answer is None, answer
        answers.append(dict(np.load(out)))
    return answers


@functools.cache
def _process() -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    atexit.register(process.kill)
    return process


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
        places = {path: m for path, m in layer.named_modules() if path.rpartition(".")[2] in _NAMES}
        if len(places) > 1:  # Gemma 3n's layer has a gate of its own, beside its MLP
            places = {path: m for path, m in places.items() if "." in path}
        [place] = places.values()
        place.register_forward_hook(keep_output(number))
        down = [
            m for path, m in layer.named_modules() if path.rpartition(".")[2] in _DOWN and "attn" not in path
        ]
        downs += down
        for module in down:
            module.register_forward_pre_hook(keep_input(number))
    every_token = asked.get("every_token", False)
    names = ("activations", "coefficients", "logits", "lengths", "log_probability")
    found: dict[str, list[Any]] = {name: [] for name in names}
    for number, prompt in enumerate(asked["prompts"]):
        with torch.no_grad():
            out = model(torch.tensor([_ids(tokenizer, prompt)]))
        whole = torch.stack(activations, 1)  # [tokens, N, I]
        if every_token:
            found["activations"] += list(whole.numpy())
            found["coefficients"] += list(torch.stack(coefficients, 1).numpy())
            found["lengths"].append(len(whole))
        else:
            found["activations"].append(whole[-1].numpy())
        found["logits"].append(out.logits[0, -1].float().numpy())
        if "first" in asked:
            found["log_probability"] += _judged(out.logits[0], prompt, asked["first"][number])
    arrays = {name: np.stack(values) for name, values in found.items() if values}
    if asked.get("weights", False):
        # Conv1D holds its weight [in, out], Linear [out, in].
        weights = [m.weight if type(m).__name__ == "Conv1D" else m.weight.T for m in downs]
        arrays["values"] = torch.stack(weights).detach().float().numpy()
        arrays["unembedding"] = model.get_output_embeddings().weight.detach().float().numpy()
    return arrays


def _judged(logits: Any, ids: list[int], first: int) -> list[float]:
    """The log-probability of each token from the `first` on; logits [T, V]."""
    import torch

    known = logits[first - 1 : -1].double().log_softmax(-1)
    return list(known.gather(1, torch.tensor(ids[first:])[:, None])[:, 0].float().numpy())


def _ids(tokenizer: Any, prompt: str | list[int]) -> list[int]:
    return prompt if isinstance(prompt, list) else list(tokenizer(prompt)["input_ids"])


def _decoder_layers(model: Any) -> Any:
    import torch

    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    return max(lists, key=len)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            np.savez(asked["out"], **_measure(asked))
            answer = None
        except Exception:
            answer = traceback.format_exc()
        print(json.dumps(answer), file=answers, flush=True)

"""Activations from a plain Transformers forward pass, one prompt at a time: what the engine is held against.

A request is {"model": folder, "dtype": name, "prompts": [text]}; a prompt may be token ids in place of a text. Its
result has `activations` float32 [P, N, I] at the last prompt token, and `logits` float32 [P, V].
With "every_token" it has `activations` and `coefficients` float32 [T, N, I] of all tokens of all prompts, one after
another, and `lengths` int64 [P]; with "weights" also `values` float32 [N, I, H] and `unembedding` float32 [V, H].
With "first", a token of each prompt, it has `log_probability` float32, of each prompt's tokens from there on, one
prompt after another.
With "exact_gelu" BLOOM's activation is the exact GELU, which vLLM computes for it, not its tanh form.
"""

from typing import Any

import numpy as np

from tests.engine.without_vllm import called

# The activation's name in an MLP, over all architectures of Transformers that are tested.
NAMES = {"act_fn", "act", "activation_fn", "gelu_impl", "activation"}
# The down projection's, over those whose coefficients are tested.
DOWN = {"down_proj", "dense_4h_to_h", "c_proj", "fc2", "fc_out"}


def references(requests: list[dict[str, Any]]) -> list[dict[str, np.ndarray]]:
    """Results of the requests, in order."""
    return [called(_measure, request) for request in requests]


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
    layers = decoder_layers(model)
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
        places = {path: m for path, m in layer.named_modules() if path.rpartition(".")[2] in NAMES}
        if len(places) > 1:  # Gemma 3n's layer has a gate of its own, beside its MLP
            places = {path: m for path, m in places.items() if "." in path}
        [place] = places.values()
        place.register_forward_hook(keep_output(number))
        down = [
            m for path, m in layer.named_modules() if path.rpartition(".")[2] in DOWN and "attn" not in path
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


def decoder_layers(model: Any) -> Any:
    import torch

    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    return max(lists, key=len)

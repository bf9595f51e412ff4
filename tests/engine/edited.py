"""Edited models in plain Transformers: what edits in the engine are held against.

Edits are `bits` bool [K, N, I], `values` float32 [K, N, I], `scale` float [K], `site` and `scope` str [K]. A text is
{"ids": [...], "edit": index or null, "boundary": of prompt and generation, "most": tokens to generate}.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tests.engine.reference import DOWN, NAMES, decoder_layers
from tests.engine.without_vllm import called


class EditedModel:
    """A model of Transformers whose neurons are changed by hooks, token by token."""

    def __init__(self, folder: str, edits: dict[str, np.ndarray]) -> None:
        import torch
        import transformers

        self.torch = torch
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.edits = edits
        self.edit: int | None = None
        self.boundary = 0
        for number, layer in enumerate(decoder_layers(self.model)):
            [act] = [m for path, m in layer.named_modules() if path.rpartition(".")[2] in NAMES]
            act.register_forward_hook(lambda _, __, out, n=number: self.changed(out, n, "gate"))
            [down] = [
                m
                for path, m in layer.named_modules()
                if path.rpartition(".")[2] in DOWN and "attn" not in path
            ]
            down.register_forward_pre_hook(lambda _, args, n=number: (self.changed(args[0], n, "product"),))

    def changed(self, x: Any, layer: int, site: str) -> Any:
        """Numbers [..., tokens, I] of a layer after the edit in force."""
        k = self.edit
        if k is None or self.edits["site"][k] != site:
            return x
        torch, shape = self.torch, x.shape
        flat = x.reshape(-1, shape[-1])
        token = torch.arange(len(flat))[:, None]
        inside = {
            "prompt": token < self.boundary, "generation": token >= self.boundary, "both": token >= 0,
        }[str(self.edits["scope"][k])]  # fmt: skip
        at = torch.from_numpy(self.edits["bits"][k, layer]) & inside
        after = float(self.edits["scale"][k]) * flat + torch.from_numpy(self.edits["values"][k, layer])
        return torch.where(at, after, flat).reshape(shape)

    def logits(self, ids: list[int]) -> Any:
        """[tokens, vocabulary]."""
        with self.torch.no_grad():
            return self.model(self.torch.tensor([ids]), use_cache=False).logits[0].double()

    def answer(self, texts: list[dict[str, Any]]) -> tuple[list[np.ndarray], list[list[int]]]:
        """Log-probabilities, float32, of the tokens from the boundary on, and the likeliest tokens, by text."""
        scores, generated = [], []
        for text in texts:
            self.edit, self.boundary = text["edit"], text["boundary"]
            ids = text["ids"]
            known = self.logits(ids)[self.boundary - 1 : -1].log_softmax(-1)
            judged = known.gather(1, self.torch.tensor(ids[self.boundary :])[:, None])[:, 0]
            scores.append(judged.float().numpy())
            prompt = ids[: self.boundary]
            for _ in range(text["most"]):
                prompt = [*prompt, int(self.logits(prompt)[-1].argmax())]
            generated.append(prompt[self.boundary :])
        return scores, generated


def edited_by_hooks(
    model: Path, edits: dict[str, np.ndarray], texts: list[dict[str, Any]]
) -> tuple[list[np.ndarray], list[list[int]]]:
    """Log-probabilities and generated tokens of each text."""
    return called(_answer, str(model), edits, texts)


def _answer(
    model: str, edits: dict[str, np.ndarray], texts: list[dict[str, Any]]
) -> tuple[list[np.ndarray], list[list[int]]]:
    return EditedModel(model, edits).answer(texts)

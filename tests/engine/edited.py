"""Edited models in plain Transformers: what edits in the engine are held against.

In a process of its own, as in reference.py, whose names of modules it uses. A request is a line {"model": folder,
"edits": file.npz, "texts": [...], "out": file.npz}. The edits' file has `bits` bool [K, N, I], `values` float32
[K, N, I], `scale` float [K], `site` and `scope` str [K]. A text is {"ids": [...], "edit": index or null, "boundary": of
prompt and generation, "most": tokens to generate}. The answer has float32 `log_probability` of the tokens of each text
from the boundary on, one text after another, and int64 `generated`, `most` tokens a text, the likeliest ones.
"""

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np


class EditedModel:
    """A model of Transformers whose neurons are changed by hooks, token by token."""

    def __init__(self, folder: str, edits: str) -> None:
        import torch
        import transformers

        from tests.engine.reference import _DOWN, _NAMES, _decoder_layers

        self.torch = torch
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.edits = {name: np.asarray(array) for name, array in np.load(edits).items()}
        self.edit: int | None = None
        self.boundary = 0
        for number, layer in enumerate(_decoder_layers(self.model)):
            [act] = [m for path, m in layer.named_modules() if path.rpartition(".")[2] in _NAMES]
            act.register_forward_hook(lambda _, __, out, n=number: self.changed(out, n, "gate"))
            [down] = [
                m
                for path, m in layer.named_modules()
                if path.rpartition(".")[2] in _DOWN and "attn" not in path
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

    def answer(self, texts: list[dict[str, Any]]) -> dict[str, np.ndarray]:
        scores, generated = [], []
        for text in texts:
            self.edit, self.boundary = text["edit"], text["boundary"]
            ids = text["ids"]
            known = self.logits(ids)[self.boundary - 1 : -1].log_softmax(-1)
            scores.append(known.gather(1, self.torch.tensor(ids[self.boundary :])[:, None])[:, 0].numpy())
            prompt = ids[: self.boundary]
            for _ in range(text["most"]):
                prompt = [*prompt, int(self.logits(prompt)[-1].argmax())]
            generated += prompt[self.boundary :]
        return {
            "log_probability": np.concatenate(scores).astype(np.float32),
            "generated": np.array(generated, np.int64),
        }


def edited_by_hooks(
    model: Path, edits: dict[str, np.ndarray], texts: list[dict[str, Any]], folder: Path
) -> tuple[list[np.ndarray], list[list[int]]]:
    """Log-probabilities and generated tokens of each text."""
    np.savez(folder / "edits.npz", **edits)
    request = {
        "model": str(model), "edits": str(folder / "edits.npz"), "texts": texts, "out": str(folder / "o.npz"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.edited"], input=json.dumps(request), text=True,
        capture_output=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    out = np.load(folder / "o.npz")
    lengths = [len(text["ids"]) - text["boundary"] for text in texts]
    ends = np.cumsum([text["most"] for text in texts])[:-1]
    return (
        np.split(out["log_probability"], np.cumsum(lengths)[:-1]),
        [part.tolist() for part in np.split(out["generated"], ends)],
    )


if __name__ == "__main__":
    asked = json.loads(sys.stdin.read())
    try:
        np.savez(asked["out"], **EditedModel(asked["model"], asked["edits"]).answer(asked["texts"]))
    except Exception:
        sys.exit(traceback.format_exc())
    os._exit(0)

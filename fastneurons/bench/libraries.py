"""Libraries that read activations: nnsight and TransformerLens, as their users would, an example's prompts at once.

Both run Transformers' forward pass in their own way and give each layer's activations to Python. baukit and pyvene
are hooks around the same pass: the published loop stands for them.
"""

import importlib.util
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastneurons.bench.contender import Contender, Findings, Setting, Work, categories_of
from fastneurons.bench.device import device_name
from fastneurons.bench.hooks import dtype_of


class _Library(Contender):
    """A model that returns activations [N, L, I] at the last token of prompts of one length."""

    portion = 1 / 8

    @property
    def device(self) -> str:
        """The device of the model."""
        return device_name()

    def activations(self, token_ids: Tensor) -> Tensor:
        raise NotImplementedError

    def find(self, work: Work) -> Findings:
        """Categories int8 [1, E, N, I]."""
        found = []
        for example in work.prompts:
            same = len({len(prompt) for prompt in example}) == 1
            batches = [example] if same else [[prompt] for prompt in example]
            values = torch.cat(
                [self.activations(torch.tensor(batch, device=self.device)) for batch in batches], 1
            )
            found.append(categories_of(values.numpy() > 0, axis=1))
        return Findings(category=np.stack(found)[None])

    def round(self, work: Work) -> None:
        """Measure as `find` does."""
        self.find(work)


class NNsight(_Library):
    """nnsight (Fiotto-Kaufman et al., arXiv 2407.14561): values saved inside a trace."""

    @classmethod
    def missing(cls) -> str | None:
        """Name nnsight, or the package with which it places a model, if it is not installed."""
        return _missing("nnsight", "accelerate")

    def __init__(self, setting: Setting) -> None:
        from nnsight import LanguageModel

        self._model: Any = LanguageModel(
            setting.model, device_map=self.device, dtype=dtype_of(setting), dispatch=True
        )

    def activations(self, token_ids: Tensor) -> Tensor:
        """float32 [N, L, I]."""
        with torch.no_grad(), self._model.trace(token_ids):
            saved = [].save()  # type: ignore[attr-defined]
            for layer in self._model.model.layers:
                saved.append(layer.mlp.act_fn.output[:, -1])
        return torch.stack(list(saved)).float().cpu()


class TransformerLens(_Library):
    """TransformerLens (Nanda and Bloom, 2022): `run_with_cache` over its bridge to Transformers."""

    @classmethod
    def missing(cls) -> str | None:
        """Name transformer-lens, or the package with which it places a model, if it is not installed."""
        return _missing("transformer-lens", "accelerate")

    def __init__(self, setting: Setting) -> None:
        from transformer_lens.model_bridge import TransformerBridge

        self._model: Any = TransformerBridge.boot_transformers(
            setting.model, device=self.device, dtype=dtype_of(setting)
        )
        self._activate = torch.nn.functional.silu
        self._names = [f"blocks.{n}.mlp.hook_pre" for n in range(self._model.cfg.n_layers)]

    def activations(self, token_ids: Tensor) -> Tensor:
        """float32 [N, L, I]; the hook point is before the activation function."""
        with torch.no_grad():
            _, cache = self._model.run_with_cache(token_ids, names_filter=self._names)
        return torch.stack([self._activate(cache[name][:, -1]) for name in self._names]).float().cpu()


def _missing(*packages: str) -> str | None:
    """Packages that are not installed, by the names that pip knows."""
    missing = [name for name in packages if importlib.util.find_spec(name.replace("-", "_")) is None]
    return " ".join(missing) or None

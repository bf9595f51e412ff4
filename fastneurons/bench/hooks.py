"""The published method at its best: Hugging Face forward passes with hooks, a prompt at a time, sorted by numpy.

`notebook` has it as it was published.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastneurons.bench.contender import Contender, Findings, Setting, Work, categories_of
from fastneurons.bench.device import device_name, has_gpu
from fastneurons.config import Measurement
from fastneurons.engine.environment import cpu_computes_bfloat16

# The activation's name in an MLP, and the down projection's, over the architectures of Transformers.
_ACTIVATIONS = ("act_fn", "gelu_impl", "activation_fn", "act", "activation")
_DOWNS = ("down_proj", "dense_4h_to_h", "c_proj", "fc2", "fc_out")


class Hooked:
    """A Transformers model whose activations and coefficients are kept as it runs.

    Args:
        setting: Which model, in which dtype.
        coefficients: Whether to keep them, too.
        last_only: Keep those of the last token alone, on the host; else those of all, where they are.
        attentions: Ask each pass for hidden states and attentions, too, though nothing reads them.
    """

    def __init__(
        self, setting: Setting, coefficients: bool, last_only: bool, attentions: bool = False
    ) -> None:
        import transformers

        self.device = device_name()
        # Only the eager attention of Transformers returns its attentions.
        more: dict[str, Any] = {"attn_implementation": "eager"} if attentions else {}
        self._outputs = {"output_hidden_states": attentions, "output_attentions": attentions}
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            setting.model, dtype=dtype_of(setting), **more
        ).eval()
        self.model.to(self.device)
        layers = max((m for m in self.model.modules() if isinstance(m, nn.ModuleList)), key=len)
        self.activations: list[Tensor] = [torch.empty(0)] * len(layers)
        self.coefficients: list[Tensor] = [torch.empty(0)] * len(layers)
        self._last_only = last_only
        self.downs: list[Any] = []
        for number, layer in enumerate(layers):
            self._child(layer, _ACTIVATIONS).register_forward_hook(self._keep_output(number))
            down = self._child(layer, _DOWNS)
            self.downs.append(down)
            if coefficients:
                down.register_forward_pre_hook(self._keep_input(number))

    def run(self, token_ids: list[int]) -> None:
        """A forward pass of one prompt."""
        with torch.no_grad():
            self.model(torch.tensor([token_ids], device=self.device), use_cache=False, **self._outputs)

    def value_vectors(self, layer: int) -> Tensor:
        """float32 [I, H]."""
        down = self.downs[layer]
        # Conv1D holds its weight [in, out], Linear [out, in].
        weight = down.weight if type(down).__name__ == "Conv1D" else down.weight.T
        vectors: Tensor = weight.detach().float()
        return vectors

    def unembedding(self, token: int) -> Tensor:
        """float32 [H]."""
        row: Tensor = self.model.get_output_embeddings().weight[token].detach().float()
        return row

    def _child(self, layer: nn.Module, names: tuple[str, ...]) -> Any:
        modules = {
            path.rpartition(".")[2]: m for path, m in layer.named_modules() if "attn" not in path and path
        }
        return next(modules[name] for name in names if name in modules)

    def _keep_output(self, layer: int) -> Any:
        def hook(module: Any, inputs: Any, output: Tensor) -> None:
            self.activations[layer] = self._kept(output)

        return hook

    def _keep_input(self, layer: int) -> Any:
        def hook(module: Any, inputs: Any) -> None:
            self.coefficients[layer] = self._kept(inputs[0])

        return hook

    def _kept(self, values: Tensor) -> Tensor:
        rows = values.reshape(-1, values.shape[-1])
        return rows[-1].float().cpu() if self._last_only else rows.float()


class Hooks(Contender):
    """The loop, categories only."""

    portion = 1 / 8
    attribution = False

    def __init__(self, setting: Setting) -> None:
        self._model = Hooked(setting, coefficients=self.attribution, last_only=True)
        self._norms = []
        if self.attribution:
            layers = range(len(self._model.downs))
            self._norms = [self._model.value_vectors(layer).norm(dim=1).cpu().numpy() for layer in layers]

    def find(self, work: Work) -> Findings:
        """Categories int8 [1, E, N, I], and with attribution the shares of the largest scores."""
        found = [self._example(*each) for each in zip(work.prompts, work.answers, strict=True)]
        shares = [share for _, share in found if share is not None]
        return Findings(
            category=np.stack([category for category, _ in found])[None],
            top_share=np.stack(shares) if shares else None,
        )

    def round(self, work: Work) -> None:
        """Measure as `find` does."""
        for prompts, answers in zip(work.prompts, work.answers, strict=True):
            self._example(prompts, answers)

    def _example(
        self, prompts: list[list[int]], answers: list[int]
    ) -> tuple[NDArray[np.int8], NDArray[np.float64] | None]:
        """Categories [N, I] of parallel prompts, and each category's share [N, 4] of the largest scores."""
        activations, coefficients = [], []
        for token_ids in prompts:
            self._model.run(token_ids)
            activations.append(torch.stack(self._model.activations).numpy())
            if self.attribution:
                coefficients.append(torch.stack(self._model.coefficients).numpy())
        category = categories_of(np.stack(activations) > 0, axis=0)
        if not self.attribution:
            return category, None
        shares = [
            self._attribute(m, category, answer) for m, answer in zip(coefficients, answers, strict=True)
        ]
        return category, np.mean(shares, axis=0)

    def _attribute(
        self, coefficients: NDArray[np.float32], category: NDArray[np.int8], answer: int
    ) -> NDArray[np.float64]:
        """Shares [N, 4] of one language; the statistics of both scores are computed as the store has them."""
        neurons = coefficients.shape[1]
        top_k = Measurement(attribution=True).neurons_in_top(neurons) or 1
        unembedding = self._model.unembedding(answer)
        shares = np.zeros((len(coefficients), 4))
        for layer, m in enumerate(coefficients):
            contribution = np.abs(m) * self._norms[layer]
            effective = m * (self._model.value_vectors(layer) @ unembedding).cpu().numpy()
            top = np.argpartition(-contribution, top_k - 1)[:top_k]
            shares[layer] = np.bincount(category[layer][top], minlength=4) / top_k
            for code in range(4):
                for scores in (contribution[category[layer] == code], effective[category[layer] == code]):
                    if len(scores):
                        _ = scores.max(), scores.mean(), scores.min(), scores.sum()
        return shares


class HooksAttribution(Hooks):
    """The loop with attribution."""

    attribution = True


def dtype_of(setting: Setting) -> torch.dtype:
    """The dtype that the model computes in; `auto` means the same as for the engine."""
    import transformers

    if setting.dtype != "auto":
        dtype: torch.dtype = getattr(torch, setting.dtype)
        return dtype
    if not has_gpu() and not cpu_computes_bfloat16():
        return torch.float32
    stored = transformers.AutoConfig.from_pretrained(setting.model).dtype
    return torch.bfloat16 if stored in (None, torch.float32) else stored

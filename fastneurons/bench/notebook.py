"""The published method as it was published, written anew: a prompt at a time, neurons sorted by lists and sets.

The notebooks of *Sharing Matters* (arXiv 2406.09265) ask each forward pass for hidden states and attentions, too, sort
neurons by index lists and by Python sets of (layer, neuron), and for attribution run every prompt again. What they do
beyond that and no figure of theirs needs is left out, in their favour: an unembedding of every layer's residual stream
whose vocabulary is sorted in Python, hooks that are registered again for each prompt, a pass for each kind of score.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fastneurons.bench.contender import Contender, Findings, Setting, Work
from fastneurons.bench.hooks import Hooked
from fastneurons.config import Measurement


@dataclass(frozen=True)
class Groups:
    """The neurons of each category, by layer."""

    non_activated: list[list[int]]
    specific: list[list[int]]
    partial_shared: list[list[int]]
    all_shared: list[list[int]]

    @property
    def by_code(self) -> tuple[list[list[int]], ...]:
        """In the order of the categories' codes."""
        return self.non_activated, self.specific, self.partial_shared, self.all_shared


def sort_neurons(activations: list[NDArray[np.float32]]) -> Groups:
    """The groups, from the activations [N, I] of each language."""
    activated = [(values > 0).astype(int) for values in activations]
    count = np.sum(activated, axis=0)
    layers = range(len(count))
    own = [[np.nonzero(one[layer])[0].tolist() for layer in layers] for one in activated]
    all_shared = [np.nonzero(count[layer] == len(activations))[0].tolist() for layer in layers]
    non_activated = [np.nonzero(count[layer] == 0)[0].tolist() for layer in layers]
    own_specific = []
    for one in activated:
        alone = set(zip(*np.where(count == 1), strict=True))
        of_layers: list[list[int]] = [[] for _ in layers]
        for layer, neuron in alone & set(zip(*np.where(one == 1), strict=True)):
            of_layers[layer].append(int(neuron))
        own_specific.append(of_layers)
    specific, partial_shared = [], []
    for layer in layers:
        specific.append([neuron for of_layers in own_specific for neuron in of_layers[layer]])
        some: list[int] = []
        for of_layers, specific_ones in zip(own, own_specific, strict=True):
            some += set(of_layers[layer]) - set(all_shared[layer] + specific_ones[layer])
        partial_shared.append(list(set(some)))
    return Groups(non_activated, specific, partial_shared, all_shared)


class Notebook(Contender):
    """The notebook's loop, categories only."""

    portion = 1 / 8
    attribution = False

    def __init__(self, setting: Setting) -> None:
        self._model = Hooked(setting, coefficients=self.attribution, last_only=True, attentions=True)

    def find(self, work: Work) -> Findings:
        """Categories int8 [1, E, N, I], and with attribution the shares of the largest scores."""
        categories, shares = [], []
        for prompts, answers in zip(work.prompts, work.answers, strict=True):
            groups = self._example(prompts)
            category = np.zeros((len(groups.specific), len(self._model.activations[0])), np.int8)
            for code, layers in enumerate(groups.by_code):
                for layer, neurons in enumerate(layers):
                    category[layer, neurons] = code
            categories.append(category)
            if self.attribution:
                shares.append(self._attribute(prompts, answers, groups))
        return Findings(category=np.stack(categories)[None], top_share=np.stack(shares) if shares else None)

    def round(self, work: Work) -> None:
        """Measure as `find` does."""
        for prompts, answers in zip(work.prompts, work.answers, strict=True):
            groups = self._example(prompts)
            if self.attribution:
                self._attribute(prompts, answers, groups)

    def _example(self, prompts: list[list[int]]) -> Groups:
        activations = []
        for token_ids in prompts:
            self._model.run(token_ids)
            activations.append(torch.stack(self._model.activations).numpy())
        return sort_neurons(activations)

    def _attribute(self, prompts: list[list[int]], answers: list[int], groups: Groups) -> NDArray[np.float64]:
        """Shares [N, 4], mean over languages; of both scores the statistics by category, too."""
        shares = []
        for token_ids, answer in zip(prompts, answers, strict=True):
            self._model.run(token_ids)
            coefficients = torch.stack(self._model.coefficients).numpy()
            unembedding = self._model.unembedding(answer)
            shares.append([self._layer(k, m, unembedding, groups) for k, m in enumerate(coefficients)])
        mean: NDArray[np.float64] = np.mean(shares, axis=0)
        return mean

    def _layer(
        self, layer: int, coefficients: NDArray[np.float32], unembedding: torch.Tensor, groups: Groups
    ) -> list[float]:
        """Shares [4] of one language's layer."""
        vectors = self._model.value_vectors(layer)
        contribution = np.absolute(coefficients) * vectors.norm(dim=1).cpu().numpy()
        effect = coefficients[:, None] * vectors.cpu().numpy()
        effective = (unembedding @ torch.tensor(effect.T, device=unembedding.device)).cpu().numpy()
        for neurons in groups.by_code:
            for scores in (contribution[neurons[layer]], effective[neurons[layer]]):
                if len(scores):
                    _ = np.max(scores), np.mean(scores), np.min(scores), np.sum(scores)
        top_k = Measurement(attribution=True).neurons_in_top(len(contribution)) or 1
        top = sorted(enumerate(contribution), key=lambda pair: pair[1], reverse=True)[:top_k]
        found = [0, 0, 0, 0]
        for neuron, _ in top:
            for code in (3, 2, 1, 0):
                if neuron in groups.by_code[code][layer]:
                    found[code] += 1
                    break
        return [number / top_k for number in found]


class NotebookAttribution(Notebook):
    """The loop with attribution."""

    attribution = True

"""Gather readings from a worker's buffers, on the device: bits, counts, categories and contributions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fastneurons_kernels.attribution import contributions
from fastneurons_kernels.categories import categories
from fastneurons_kernels.reading import near_threshold_count
from fastneurons_kernels.top import top_count
from torch import Tensor

from fastneurons.engine.buffers import DISTRIBUTION, neurons_of
from fastneurons.engine.discovery import Site
from fastneurons.engine.observation import ObservationSpec
from fastneurons.engine.to_device import page_locked, to_device
from fastneurons.engine.values import AdaptedValueVectors, ValueVectors

# Share of the memory budget for products of value vectors and answers while examples are collected.
_PROJECTIONS_SHARE = 1 / 8


@dataclass
class Gatherer:
    """Gathers what collections copy to the host. Every call queues work and waits for nothing.

    Args:
        spec: What is observed.
        sites: This rank's layers.
        device: Where the buffers are.
        buffers: By name; see `row_shapes`.
        values: Value vectors; with attribution.
        gather: Puts the last dimensions of all tensor-parallel ranks side by side, in their order.
        adapted: Value vectors under the adapter, once there is one.
    """

    spec: ObservationSpec
    sites: Sequence[Site]
    device: torch.device
    buffers: dict[str, Tensor]
    values: ValueVectors | None = None
    gather: Callable[[Tensor], Tensor] | None = None
    adapted: AdaptedValueVectors | None = None

    @property
    def neurons(self) -> int:
        """I: neurons of each layer on this rank."""
        return neurons_of(self.sites)

    def examples(
        self, rows: list[list[int]], keep_bits: bool, attribution: dict[str, Any] | None
    ) -> dict[str, Tensor]:
        """The readings of finished examples: the arrays of `Observer.fetch`, contiguous, on the device.

        Args:
            rows, keep_bits, attribution: As for `Observer.begin`.
        """
        index = page_locked(torch.tensor(rows, dtype=torch.int32), self.device)
        words = self.buffers["words"]
        occupancy = torch.zeros((*words.shape[1:3], self.neurons, 4), dtype=torch.int32, device=self.device)
        counted = categories(words, index, self.neurons, occupancy=occupancy, planes=attribution is not None)
        gathered = to_device(index.clamp(min=0).long(), self.device)
        missing = to_device(index < 0, self.device)[..., None, None]
        near = self._near_threshold_count(gathered)  # [E, L, S, N]
        near.masked_fill_(missing, 0)
        out = {
            "activated_count": counted.activated_count,
            "category_count": counted.category_count,
            "near_threshold_count": near.transpose(1, 2),
            "occupancy": occupancy,
        }
        if keep_bits:
            bits = words[gathered]  # [E, L, S, N, W]
            bits.masked_fill_(missing[..., None], 0)
            out["activated"] = bits.view(torch.uint8)[..., : -(-self.neurons // 8)].transpose(1, 2)
        if attribution is not None:
            assert counted.planes is not None
            out |= self._contributions(index, counted.planes[:, 0], attribution)
            out["neuron_contribution"] = self._neuron_contribution(gathered, missing, attribution["adapted"])
            if attribution["keep_coefficients"]:
                coefficient = self.buffers["coefficients"][gathered].half()
                coefficient.masked_fill_(missing, torch.nan)
                out["coefficient"] = coefficient
        # Transposed on the device: a copy to the host keeps strides, and the host is slow at this.
        return {name: tensor.contiguous() for name, tensor in out.items()}

    def counts(self, parity: int, languages: Sequence[int]) -> dict[str, Tensor]:
        """Likewise the counts of a window of a corpus, whose half of the buffer is then 0.

        Args:
            parity, languages: As for `Observer.begin_count`.
        """
        half = self.buffers["counts"].unflatten(0, (2, -1))[parity]  # [L, S, N, I]
        counts = half.transpose(0, 1).long().contiguous()
        half.zero_()
        out = {"activation_count": counts}
        if self.spec.bins is None:
            return out
        first = parity * self.spec.languages
        rows = to_device(np.array([first + index for index in languages], np.int64), self.device)
        taken = {}
        for name in DISTRIBUTION:
            if name in self.buffers:
                taken[name] = self.buffers[name][rows]
                self.buffers[name].index_fill_(0, rows, 0)
        sums = taken["sums"]
        out["histogram"] = taken["bin_counts"]
        out["signal_sum"] = sums[:, :, 0] + sums[:, :, 1]
        out["signal_square_sum"] = sums[:, :, 2] + sums[:, :, 3]
        if "signs" in taken:
            out["sign_count"] = taken["signs"].transpose(2, 3).contiguous()
        return out

    def planes(self, rows: list[list[int]], threshold: int) -> Tensor:
        """Categories of the neurons of some examples by one threshold, as packed planes, the first example's first.

        Args:
            rows: As for `Observer.begin`.
        """
        index = torch.tensor(rows, dtype=torch.int32)
        words = self.buffers["words"][:, threshold : threshold + 1]
        found = categories(words, page_locked(index, self.device), self.neurons, planes=True).planes
        assert found is not None
        return found[:, 0]

    def scores(self, rows: list[list[int]]) -> Tensor:
        """Contribution scores of some examples, added over their languages: float32 [E, N, I].

        Args:
            rows: As for `Observer.begin`.
        """
        assert self.values is not None, "contributions need attribution"
        index = torch.tensor(rows, dtype=torch.int32)
        gathered = to_device(index.clamp(min=0).long(), self.device)
        missing = to_device(index < 0, self.device)
        norms = self.values_of(self.adapted is not None).norms
        scores = self.buffers["coefficients"][gathered].float().abs() * norms  # [E, L, N, I]
        return scores.masked_fill_(missing[..., None, None], 0).sum(1)

    def values_of(self, adapted: bool) -> ValueVectors | AdaptedValueVectors:
        """The value vectors of the base model, or those under the adapter."""
        values = self.adapted if adapted else self.values
        assert values is not None
        return values

    @property
    def exchanges_candidates(self) -> bool:
        """Whether collecting needs numbers from other ranks, which hold the layers' other neurons."""
        if self.values is None or self.gather is None or not self.sites:
            return False
        return self.sites[0].neurons != self.sites[0].total_neurons

    def _near_threshold_count(self, rows: Tensor) -> Tensor:
        """int32 [*rows, S, N]."""
        if "near" in self.buffers:
            return self.buffers["near"][rows].sum(-1, dtype=torch.int32)
        count: Tensor = near_threshold_count(self.buffers["edges"][rows])
        return count

    def _contributions(self, rows: Tensor, planes: Tensor, attribution: dict[str, Any]) -> dict[str, Tensor]:
        """Compute `contributions`, a few examples at a time.

        An answer's projection is as large as a row of coefficients in float32.
        """
        values = self.values_of(attribution["adapted"])
        index = torch.tensor(attribution["index"], dtype=torch.int32)
        unembedding = torch.tensor(attribution["unembedding"])
        answer_bytes = 4 * len(self.sites) * self.neurons
        at_once = int(self.spec.memory_bytes * _PROJECTIONS_SHARE) // (answer_bytes * self.spec.languages)
        parts = []
        at_once = max(1, at_once)
        for some in (slice(first, first + at_once) for first in range(0, len(rows), at_once)):
            tokens, own = torch.unique(index[some], return_inverse=True)
            if tokens[0] < 0:
                tokens, own = tokens[1:], own - 1
            found = contributions(
                self.buffers["coefficients"],
                page_locked(rows[some], self.device),
                planes[some],
                values.norms,
                values.projections(to_device(unembedding[tokens.long()], self.device)),
                page_locked(own.int(), self.device),
                attribution["top_k"],
            )._asdict()
            # Counted here: the candidates of a large model on eight devices are 45 MB an example.
            score, category = (
                self._of_all_ranks(found.pop("top_score")),
                self._of_all_ranks(found.pop("top_category")),
            )
            found["top_count"] = top_count(score, category, attribution["top_k"])
            parts.append(found)
        out = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return out | {"present": rows >= 0, "answered": index >= 0}

    def _neuron_contribution(self, rows: Tensor, missing: Tensor, adapted: bool) -> Tensor:
        """Contribution scores, summed over examples: float64 [L, N, I], of `rows` [E, L] without those missing.

        An example at a time: the scores of all are several times as large as their coefficients.
        """
        norms = self.values_of(adapted).norms
        shape = (self.spec.languages, len(self.sites), self.neurons)
        total = torch.zeros(shape, dtype=torch.float64, device=self.device)
        for row, absent in zip(rows, missing, strict=True):
            scores = self.buffers["coefficients"][row].float().abs()
            scores *= norms
            total += scores.masked_fill_(absent, 0)
        return total

    def _of_all_ranks(self, candidates: Tensor) -> Tensor:
        """[..., k] of this rank's neurons, then [..., k of each rank] of the whole layer's."""
        if not self.exchanges_candidates:
            return candidates
        assert self.gather is not None
        return self.gather(candidates)

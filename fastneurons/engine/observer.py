"""What one worker process holds while it measures: targets, bits, and what has been counted.

Every buffer is allocated once, before the profile run, and updated in place between steps: captured
CUDA graphs keep their addresses.
"""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import torch
from fastneurons_kernels import activation as activation_kernels
from fastneurons_kernels.categories import categories
from torch import Tensor, nn

from fastneurons.engine.discovery import Site
from fastneurons.engine.rows import Batch, completes_prompt, last_prompt_row, new_prompt_tokens


def uses_fused_kernel(device: torch.device) -> bool:
    """Whether one kernel of ours computes the product and reads; else the model's own module computes it."""
    return device.type == "cuda"


class ObservationSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is observed; crosses to the workers inside vLLM's `additional_config`.

    It is part of the key of vLLM's compiled graphs, as is `patch`: buffers of another size are other
    addresses, and a graph of another patch is another graph.
    """

    patch: int
    engine: int  # which patched engine of this process
    slots: int  # examples in flight
    languages: int
    thresholds: tuple[float, ...]

    @property
    def rows(self) -> int:
        """Prompts in flight: row `slot * languages + language` is one's."""
        return self.slots * self.languages


@dataclass
class Tally:
    """What a worker has read since the engine started."""

    prompts: int = 0  # rows that were read
    prompt_tokens: int = 0  # computed by this engine, each position once
    cached_tokens: int = 0  # taken from the prefix cache
    forwards: int = 0  # real forward passes
    error: str | None = None


@dataclass
class _Request:
    row: int
    prompt_tokens_seen: int


@dataclass
class LayerObserver:
    """One layer's view of the buffers, in the shape that the kernels take."""

    site: Site
    original: nn.Module
    targets: Tensor  # int32 [T_max]
    thresholds: Tensor  # float32 [S]
    words: Tensor  # int32 [R, S, W]
    near: Tensor  # int32 [R, S, P]
    calls: Tensor  # int64 [1]
    fused: bool
    tally: Tally

    @property
    def neurons(self) -> int:
        """Neurons of this layer on this rank."""
        return self.site.neurons

    def observe(self, x: Tensor) -> None:
        """Read the targeted rows of `x` [T, I] or [T, 2I]; the CPU's path."""
        activation_kernels.observe_cpu(
            x,
            self.targets,
            function=self.site.kind.function,
            gated=self.site.kind.gated,
            parameters=self.site.kind.parameters,
            thresholds=self.thresholds,
            words=self.words,
            near=self.near,
        )

    def activation(self, x: Tensor, calls: Tensor) -> Tensor:
        """The activated product [T, I], reading the targeted rows on the way; the GPU's path."""
        return activation_kernels.activation_triton(
            x,
            self.targets,
            function=self.site.kind.function,
            gated=self.site.kind.gated,
            parameters=self.site.kind.parameters,
            thresholds=self.thresholds,
            words=self.words,
            near=self.near,
            calls=calls,
        )

    def failed(self, error: Exception) -> None:
        """Keep the first error, with its place, for the session."""
        if self.tally.error is None:
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.tally.error = (
                f"{self.site.path}: {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
            )


@dataclass
class Observer:
    """A worker's buffers for all its layers, and who the rows of the next forward pass are.

    Args:
        spec: What is observed.
        sites: This rank's layers.
        device: Where the model is.
        max_rows: The most rows a forward pass can have, padding included.
    """

    spec: ObservationSpec
    sites: Sequence[Site]
    device: torch.device
    max_rows: int
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        spec, num_layers = self.spec, len(self.sites)
        neurons = self.sites[0].neurons if self.sites else 0
        num_words = -(-neurons // 32)
        num_parts = activation_kernels.near_parts(neurons)
        zeros: dict[str, Any] = {"dtype": torch.int32, "device": self.device}
        self.targets = torch.full((self.max_rows,), -1, **zeros)
        self.thresholds = torch.tensor(spec.thresholds, dtype=torch.float32, device=self.device)
        # Neurons innermost and layers next, as the store has them: what is copied out is contiguous.
        self.words = torch.zeros((spec.rows, len(spec.thresholds), num_layers, num_words), **zeros)
        self.near = torch.zeros((spec.rows, len(spec.thresholds), num_layers, num_parts), **zeros)
        self.calls = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in self.sites]
        self.layers = [
            LayerObserver(
                site=site,
                original=site.module,
                targets=self.targets,
                thresholds=self.thresholds,
                words=self.words[:, :, n],
                near=self.near[:, :, n],
                calls=self.calls[n],
                fused=uses_fused_kernel(self.device),
                tally=self.tally,
            )
            for n, site in enumerate(self.sites)
        ]
        self._requests: dict[str, _Request] = {}
        self._armed = False

    @property
    def buffer_bytes(self) -> int:
        """Device memory of the buffers."""
        return sum(t.numel() * t.element_size() for t in (self.targets, self.words, self.near))

    def scheduled(self, request_id: str, row: int, num_cached_tokens: int) -> None:
        """A request enters the engine, or re-enters it after a preemption."""
        if request_id in self._requests:
            return
        self._requests[request_id] = _Request(row, num_cached_tokens)
        self.tally.cached_tokens += num_cached_tokens

    def finished(self, request_id: str) -> None:
        """A request has left the engine."""
        self._requests.pop(request_id, None)

    def arm(self, batch: Batch) -> None:
        """Point the rows of the forward pass that comes next at their places.

        Only the row of a prompt's last token is read; every other has target -1: earlier prompt
        tokens, generated tokens, padding, and the rows of requests that are not ours.
        """
        self.tally.forwards += 1
        requests = [self._requests.get(request_id) for request_id in batch.request_ids]
        seen = np.array([r.prompt_tokens_seen if r else 0 for r in requests])
        new = new_prompt_tokens(batch, seen)
        completes = completes_prompt(batch)
        rows = last_prompt_row(batch)
        targets = np.full(self.max_rows, -1, dtype=np.int32)
        for index, request in enumerate(requests):
            if request is None:
                continue
            request.prompt_tokens_seen += int(new[index])
            self.tally.prompt_tokens += int(new[index])
            if completes[index]:
                targets[rows[index]] = request.row
                self.tally.prompts += 1
        self._set_targets(targets)
        self._armed = True

    def disarm(self) -> None:
        """No row is read until the next `arm`: dummy and capture passes run in between."""
        if self._armed:
            self.targets.fill_(-1)
            self._armed = False

    def _set_targets(self, targets: np.ndarray) -> None:
        host = torch.from_numpy(targets)
        if self.device.type == "cpu":
            self.targets.copy_(host)
        else:
            # The caching allocator keeps the pinned block until the copy is done.
            self.targets.copy_(host.pin_memory(), non_blocking=True)

    def num_calls(self) -> int:
        """Calls of the op, over all layers, since the buffers were made. Waits for the device."""
        return int(sum(int(c) for c in self.calls))

    def collect(self, rows: list[list[int]], keep_bits: bool) -> dict[str, np.ndarray]:
        """What was read of some finished examples, on the host.

        Args:
            rows: For each of E examples, the row of each of the L languages; -1 where it has none.
            keep_bits: Whether `activated` comes along.
        Returns:
            For this rank's N layers and I neurons: `activated` uint8 [E, S, L, N, B] (zeros where a
            language is missing), `activated_count` and `near_threshold_count` int32 [E, S, L, N],
            `category_count` int32 [E, S, N, 4], `occupancy` int32 [S, N, I, 4] over the E examples.
        """
        index = torch.tensor(rows, dtype=torch.int32)
        neurons = self.sites[0].neurons
        num_thresholds, num_layers = self.words.shape[1:3]
        occupancy = torch.zeros(
            (num_thresholds, num_layers, neurons, 4), dtype=torch.int32, device=self.device
        )
        counted = categories(self.words, index, neurons, occupancy=occupancy)
        gathered = index.clamp(min=0).to(self.device).long()
        missing = (index < 0).to(self.device)
        near = self.near[gathered].sum(-1, dtype=torch.int32)  # [E, L, S, N]
        near[missing] = 0
        out = {
            "activated_count": counted.activated_count,
            "category_count": counted.category_count,
            "near_threshold_count": near.transpose(1, 2),
            "occupancy": occupancy,
        }
        if keep_bits:
            words = self.words[gathered]  # [E, L, S, N, W]
            words[missing] = 0
            num_bytes = -(-neurons // 8)
            out["activated"] = words.view(torch.uint8)[..., :num_bytes].transpose(1, 2)
        return {name: np.ascontiguousarray(tensor.cpu().numpy()) for name, tensor in out.items()}

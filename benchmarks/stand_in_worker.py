"""A worker of vLLM's with a stand-in for its device: real requests, buffers and messages, and no model.

`host_budget.py` gives it to vLLM by name. What a run is to look like comes in environment variables, as workers are
processes of their own where there are several.
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from vllm.v1.kv_cache_interface import FullAttentionSpec
from vllm.v1.outputs import AsyncModelRunnerOutput, ModelRunnerOutput
from vllm.v1.worker.worker_base import CompilationTimes, WorkerBase

sys.path.insert(0, str(Path(__file__).parent))
from stand_in import Device, StandInStream

from fastneurons.engine import (
    cpu_norms,  # noqa: F401 - each process registers what the configuration names
)
from fastneurons.engine import observer as observers
from fastneurons.engine.discovery import ActivationKind, Site
from fastneurons.engine.observer import ObservationSpec, Observer
from fastneurons.engine.rows import Batch
from fastneurons.engine.worker import NeuronWorker

# Before collecting had a stream of its own, a worker had one call for it, which waited for all that was queued.
HAS_STREAMS = hasattr(Observer, "begin")
SETTINGS = "FASTNEURONS_STAND_IN"
# Random words that the rows of buffers are filled from: bits of real runs do not compress either.
_POOL_WORDS = 1 << 24


class _Device(Device):
    """A device that fills rows of buffers in its forward passes."""

    def __init__(self, observer: Observer, s_per_token: float, reckoned: bool) -> None:
        super().__init__(observer.num_slots * observer.spec.languages, reckoned=reckoned)
        self._words, self._calls = observer._buffers["words"], observer.calls
        self._s_per_token = s_per_token
        self._pool = torch.from_numpy(np.random.default_rng(0).integers(0, 2**31, _POOL_WORDS, np.int32))

    def run(self, rows: np.ndarray, stamps: np.ndarray, num_tokens: int) -> Any:
        """Queue a forward pass that reads prompts into rows; the first word of each is then its stamp."""
        size = self._words[0].numel()

        def write() -> None:
            for row, stamp in zip(rows.tolist(), stamps.tolist(), strict=True):
                first = stamp * 7919 % (_POOL_WORDS - size)
                self._words[row].view(-1).copy_(self._pool[first : first + size])
                self._words[row].view(-1)[0] = stamp
            for calls in self._calls:
                calls += 1

        return self.forward(rows, num_tokens * self._s_per_token, write)


class _Output(AsyncModelRunnerOutput):
    """A step's output, which comes when the device is through with it."""

    def __init__(self, device: Device, step: Any, output: ModelRunnerOutput) -> None:
        self._device, self._step, self._output = device, step, output

    def get_output(self) -> ModelRunnerOutput:
        """Wait for the device."""
        self._device.wait(self._step)
        return self._output


class _Runner(WorkerBase):
    """vLLM's worker and model runner, as far as an engine core and fastneurons know them."""

    def init_device(self) -> None:
        """Note that buffers are the host's own memory."""
        self.settings = json.loads(os.environ[SETTINGS])
        self.device = torch.device("cpu")
        self.model_runner = SimpleNamespace(device=self.device, get_model=nn.Module)
        self.requests: dict[str, tuple[int, int, int]] = {}  # stamp, tokens of the prompt, tokens computed
        torch.set_num_threads(1)

    def get_kv_cache_spec(self) -> dict[str, Any]:
        """Keys and values as the model's."""
        config = self.model_config
        spec = FullAttentionSpec(
            block_size=self.cache_config.block_size,
            num_kv_heads=config.get_num_kv_heads(self.parallel_config),
            head_size=config.get_head_size(),
            dtype=torch.bfloat16,
        )
        return {f"layers.{layer}": spec for layer in range(config.get_num_layers(self.parallel_config))}

    def get_supported_kv_cache_layouts(self) -> list[str]:
        """Any: nothing is laid out."""
        from vllm.v1.attention.backends.utils import KVCacheLayout

        return [layout.name for layout in KVCacheLayout]

    def determine_available_memory(self) -> int:
        """What is left of a GPU's 80 GB."""
        return 40 << 30

    def initialize_from_config(self, *_: Any) -> None:
        """Nothing is allocated."""

    def compile_or_warm_up_model(self) -> CompilationTimes:
        """Nothing is compiled."""
        return CompilationTimes(0.0, 0.0)

    def get_supported_tasks(self) -> tuple[str, ...]:
        """Generation."""
        return ("generate",)

    def execute_model(self, scheduler_output: Any) -> ModelRunnerOutput | None:
        """Queue a step."""
        for request_id in scheduler_output.finished_req_ids:
            self.requests.pop(request_id, None)
        for new in scheduler_output.scheduled_new_reqs:
            tokens = new.prompt_token_ids
            self.requests[new.req_id] = (tokens[0], len(tokens), new.num_computed_tokens)
        scheduled = scheduler_output.num_scheduled_tokens
        ids = list(scheduled)
        known = [self.requests[request_id] for request_id in ids]
        stamps, lengths, computed = np.array(known, np.int64).reshape(-1, 3).T
        counts = np.fromiter(scheduled.values(), np.int64, len(ids))
        ends = np.cumsum(counts)
        self.sampled = [[0] if c + n >= p else [] for n, p, c in zip(counts, lengths, computed, strict=True)]
        for request_id, (stamp, length, done), count in zip(ids, known, counts.tolist(), strict=True):
            self.requests[request_id] = (stamp, length, done + count)
        self.output = ModelRunnerOutput(
            req_ids=ids,
            req_id_to_index={request_id: index for index, request_id in enumerate(ids)},
            sampled_token_ids=self.sampled,
        )
        self.step = None
        if not ids:
            return self.output
        # What vLLM's runner takes for a step, beside what stands here.
        self.observer_device.time.work(1e-6 * self.settings["runner_us"] * len(ids))
        self._on_batch(Batch(ids, ends - counts, counts, computed, lengths))
        targets = self.observer.targets.numpy()
        read = np.flatnonzero(targets >= 0)
        of = np.searchsorted(ends, read, side="right")
        self.step = self.observer_device.run(targets[read].astype(np.int64), stamps[of], int(ends[-1]))
        return None

    def sample_tokens(self, grammar_output: Any) -> Any:
        """The step's output."""
        return _Output(self.observer_device, self.step, self.output) if self.step is not None else self.output

    def check_health(self) -> None:
        """Nothing ails it."""

    def shutdown(self) -> None:
        """Nothing to free."""


class StandInWorker(NeuronWorker, _Runner):
    """The part of fastneurons on it: its observer is real, and collects from the stand-in's buffers."""

    def load_model(self, *_: Any, **__: Any) -> None:
        """Make the buffers."""
        self.warnings = []
        given = self.vllm_config.additional_config
        # A dictionary in versions that collected without a stream, which the script measures, too.
        spec = given["fastneurons"] if isinstance(given, dict) else msgspec.to_builtins(given)
        config, ranks = self.model_config.hf_config, self.parallel_config.tensor_parallel_size
        neurons = config.intermediate_size // ranks
        parent = nn.Module()
        parent.act = nn.SiLU()
        sites = [
            Site(layer, f"layers.{layer}", parent, "act", ActivationKind("silu", True), nn.Identity(),
                 neurons, config.intermediate_size, neurons * self.rank)
            for layer in range(config.num_hidden_layers)
        ]  # fmt: skip
        observers.Reader = lambda *_, **__: None
        place = (torch.bfloat16, torch.device("cpu"), self._max_rows())
        self.observer = _Observer(msgspec.convert(spec, ObservationSpec), sites, *place)
        device = _Device(
            self.observer, self.settings["s_per_token"], reckoned=self.parallel_config.world_size == 1
        )
        self.observer_device = self.observer.stand_in = device
        if HAS_STREAMS:
            self.observer._stream = StandInStream(device)
        if hasattr(self.observer, "_gatherer"):
            self.observer._gatherer.examples = self.observer._collect

    def fastneurons_tally(self) -> dict[str, Any]:
        """As a GPU's worker, which waits for all that is queued."""
        self.observer_device.wait(self.observer_device.model.record())
        return super().fastneurons_tally()

    def fastneurons_report(self) -> dict[str, Any]:
        """The times between which forward passes ran; what broke a rule."""
        device = self.observer_device
        return {
            "busy": [list(span) for span in device.busy],
            "failure": device.failure and str(device.failure),
        }


class _Observer(Observer):
    """Collects what a forward pass of the stand-in has written."""

    stand_in: Device

    def _tell_readers(self, *_: Any) -> None:
        """The stand-in reads."""

    def _begin(self, rows: np.ndarray, gather: Any) -> Any:
        self.stand_in.await_rows(rows)

        def read() -> Any:
            tensors = gather()
            self.stand_in.read_rows(rows)
            return tensors

        return super()._begin(rows, read)

    def _collect(self, rows: list[list[int]], keep_bits: bool, answers: Any) -> dict[str, Tensor]:
        """The arrays of a collection: bits as they are, the others of the right size."""
        index = torch.tensor(rows)
        E, L = index.shape
        S, N = self._buffers["words"].shape[1:3]
        bits = self._buffers["words"][index].view(torch.uint8)[..., : -(-self.neurons // 8)].transpose(1, 2)
        return {
            "activated_count": torch.zeros((E, S, L, N), dtype=torch.int32),
            "category_count": torch.zeros((E, S, N, 4), dtype=torch.int32),
            "near_threshold_count": torch.zeros((E, S, L, N), dtype=torch.int32),
            "occupancy": torch.zeros((S, N, self.neurons, 4), dtype=torch.int32),
            "activated": bits.contiguous(),
        }

    if not HAS_STREAMS:

        def collect(
            self, rows: list[list[int]], keep_bits: bool, answers: Any = None
        ) -> dict[str, np.ndarray]:
            """Wait for all that is queued, then copy, as `.cpu()` does."""
            self.stand_in.wait(self.stand_in.model.record())
            return {name: tensor.numpy() for name, tensor in self._collect(rows, keep_bits, answers).items()}

"""What the session asks of a worker besides requests: its layers, readings, edits, adapters, log-probabilities.

vLLM calls these methods by name, on every rank (`collective_rpc`). None of them raises: a reply names the first error.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from vllm.v1.outputs import AsyncModelRunnerOutput

from fastneurons.engine.adapters import CHANGES_UNEMBEDDING
from fastneurons.engine.core import ADAPTER_NUMBER, lora_request
from fastneurons.engine.edit_bank import EditBank
from fastneurons.engine.observer import Observer
from fastneurons.engine.scorer import Scorer
from fastneurons.engine.shared import WorkerShare
from fastneurons.engine.streams import Collection
from fastneurons.engine.values import adapter_slot, down_factors, unembedding_factors, unembedding_rows
from fastneurons.engine.wire import from_wire, to_wire

if TYPE_CHECKING:
    from vllm.v1.worker.gpu_worker import Worker as _WorkerBase
else:
    _WorkerBase = object


class WorkerReplies(_WorkerBase):
    """The part of our worker that answers the session."""

    observer: Observer | None = None
    scorer: Scorer | None = None  # of the last pipeline stage, where tokens are judged
    share: WorkerShare | None = None
    refusal: str | None = None  # why the model cannot be measured
    warnings: list[str]
    _other_forwards = 0  # real forward passes without requests of ours

    def fastneurons_describe(self) -> dict[str, Any]:
        """Describe this rank's layers and neurons, or say why the model cannot be measured."""
        rank: dict[str, Any] = {
            "refusal": self.refusal,
            "pid": os.getpid(),
            "dtype": str(self.model_config.dtype).removeprefix("torch."),
            "device": self._device_name(),
            "threads": torch.get_num_threads(),
            "cpus": sorted(os.sched_getaffinity(0)),
            "layers": [],
            "warnings": list(self.warnings),
        }
        if self.observer is not None:
            sites = self.observer.sites
            rank |= {
                "layers": [site.layer for site in sites],
                "paths": [site.path for site in sites],
                "function": sites[0].kind.function,
                "gated": sites[0].kind.gated,
                "neurons": sites[0].neurons,
                "total_neurons": sites[0].total_neurons,
                "first_neuron": sites[0].first_neuron,
                "slots": self.observer.num_slots,
                "buffer_bytes": self.observer.buffer_bytes,
            }
        return rank

    def fastneurons_share(self, folder: str) -> int | None:
        """Collect into memory that the session maps; return this rank's number, or None on another machine."""
        assert self.observer is not None
        try:
            self.share = WorkerShare(folder, self.rank, self.model_runner.device.type == "cuda")
        except OSError:
            return None
        self.observer.collect_into(self.share.memory)
        return int(self.rank)

    def fastneurons_tally(self) -> dict[str, Any]:
        """The work of this rank so far, and its calls of the op. Waits for the device."""
        assert self.observer is not None
        self.observer.check_finite(bool(self.observer.all_finite))
        tally: dict[str, Any] = msgspec.to_builtins(self.observer.tally)
        scored = self.scorer.tokens_scored if self.scorer is not None else None
        return tally | {
            "forwards": tally["forwards"] + self._other_forwards,
            "calls": self.observer.num_calls(),
            "layers": len(self.observer.layers),
            "tokens_scored": scored,
        }

    def fastneurons_collect(
        self, rows: list[list[int]], keep_bits: bool, attribution: dict[str, Any] | None = None
    ) -> "_Later":
        """`Observer.begin` of this rank, and its arrays once they are there."""
        if attribution is not None:
            attribution = attribution | {"unembedding": from_wire(attribution["unembedding"])["rows"]}
        return self._later(lambda observer: observer.begin(rows, keep_bits, attribution))

    def fastneurons_count(self, parity: int, languages: list[int]) -> "_Later":
        """`Observer.begin_count` of this rank, and its arrays once they are there."""
        return self._later(lambda observer: observer.begin_count(parity, languages))

    def fastneurons_set_edges(self, layers: list[int], edges: dict[str, Any]) -> dict[str, Any]:
        """`Observer.set_edges` of this rank, from the edges of all `layers` of the model."""
        assert self.observer is not None
        own = [layers.index(site.layer) for site in self.observer.sites]
        self.observer.set_edges(from_wire(edges)["edges"][own])
        return {"error": None, "arrays": {}}

    def fastneurons_put_edit(
        self, slot: int, layers: list[int], mask: dict[str, Any], change: dict[str, Any]
    ) -> dict[str, Any]:
        """`EditBank.put` of this rank."""
        return self._with_bank(lambda bank: bank.put(slot, layers, from_wire(mask)["mask"], change))

    def fastneurons_put_values(self, row: int, layers: list[int], values: dict[str, Any]) -> dict[str, Any]:
        """`EditBank.put_values` of this rank."""
        return self._with_bank(lambda bank: bank.put_values(row, layers, from_wire(values)["values"]))

    def fastneurons_clear_edit(self, slot: int) -> dict[str, Any]:
        """`EditBank.clear` of this rank."""
        return self._with_bank(lambda bank: bank.clear(slot))

    def fastneurons_fill_edits(
        self, rows: list[list[int]], fills: list[dict[str, Any]], threshold: int
    ) -> "_Later":
        """`Observer.fill_edits` of this rank, and its arrays once they are there."""
        return self._later(lambda observer: observer.fill_edits(rows, fills, threshold))

    def fastneurons_load_adapter(self, name: str, folder: str, judges: bool = False) -> dict[str, Any]:
        """Load the LoRA adapter that requests may use; return what is wrong with it, and modules without effect here.

        Before the first request, since an exception within a step would end the engine.

        Args:
            judges: Whether log-probabilities of given tokens will be computed, though there is no scorer.
        """
        assert self.observer is not None
        try:
            self.add_lora(lora_request(name, folder))
        except Exception as error:  # whatever vLLM raises
            return {"error": " ".join(str(error).split()), "unused": []}
        manager: Any = self.model_runner.get_model().lora_manager
        loaded = manager.list_adapters()[ADAPTER_NUMBER].loras
        slot = adapter_slot(self.model_runner.get_model(), ADAPTER_NUMBER)
        # See `Adapter.engine_arguments`.
        assert self.model_runner.device.type != "cpu" or slot < manager.lora_slots - 1
        judges = judges or self.scorer is not None
        if judges and unembedding_factors(self.model_runner.get_model(), slot) is not None:
            return {"error": CHANGES_UNEMBEDDING, "unused": []}
        self.observer.adapt(down_factors(self.observer.sites, slot))
        return {"error": None, "unused": sorted(set(loaded) - set(manager.modules))}

    def fastneurons_constants(self, adapted: bool = False) -> dict[str, Any]:
        """`Observer.constants` of this rank."""
        return self._reply(lambda observer: observer.constants(adapted))

    def fastneurons_unembedding(self, tokens: list[int], adapted: bool = False) -> dict[str, Any]:
        """This rank's part of rows of the unembedding; the parts of all ranks add up."""
        from vllm.distributed import get_pp_group

        if not get_pp_group().is_last_rank:
            return {"error": None, "arrays": {}}
        model = self.model_runner.get_model()
        slot = adapter_slot(model, ADAPTER_NUMBER) if adapted else None
        return self._reply(
            lambda observer: observer.beside_forward_passes(
                lambda: {"rows": unembedding_rows(model, tokens, slot).contiguous()}
            )
        )

    def fastneurons_log_probabilities(self, ranges: list[list[int]]) -> "_Later":
        """`Scorer.begin` of the last pipeline stage's first rank, and its array once it is there."""
        from vllm.distributed import get_tp_group

        scorer = self.scorer
        if scorer is None or not get_tp_group().is_first_rank:
            return _Later(lambda: self._reply(lambda _: {}))
        return self._later(lambda _: scorer.begin(ranges), lambda _, begun: begun.arrays())

    def _with_bank(self, change: Callable[[EditBank], None]) -> dict[str, Any]:
        """Change the bank of edits; the reply has no arrays."""

        def changed(observer: Observer) -> dict[str, Any]:
            assert observer.bank is not None, "the engine has no bank of edits"
            change(observer.bank)
            return {}

        return self._reply(changed)

    def _later(
        self,
        begin: Callable[[Observer], Collection],
        fetch: Callable[[Observer, Collection], dict[str, Any]] = Observer.fetch,
    ) -> "_Later":
        """Begin a collection; the reply brings its arrays."""
        assert self.observer is not None
        try:
            # Also after an error: other ranks may wait for what this one gathers.
            collection = begin(self.observer)
        except (LookupError, RuntimeError) as error:  # RuntimeError: out of memory, for one
            failed = {"error": self.observer.tally.error or str(error), "arrays": {}}
            return _Later(lambda: failed)
        return _Later(lambda: self._reply(lambda observer: fetch(observer, collection)))

    def _reply(self, read: Callable[[Observer], dict[str, Any]]) -> dict[str, Any]:
        """Arrays for the session, or the first error: of this rank's ops, or of reading them now."""
        assert self.observer is not None
        try:
            arrays = read(self.observer)
        except (LookupError, RuntimeError) as error:
            return {"error": self.observer.tally.error or str(error), "arrays": {}}
        if (failed := self.observer.tally.error) is not None:
            return {"error": failed, "arrays": {}}
        if self.parallel_config.world_size > 1:  # else the session is in this process
            arrays = self.share.to_wire(arrays) if self.share is not None else to_wire(arrays)
        return {"error": None, "arrays": arrays}

    def _device_name(self) -> str:
        device = self.model_runner.device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


class _Later(AsyncModelRunnerOutput):
    """A reply that is still to come, in the form that vLLM's executors wait for between steps."""

    def __init__(self, reply: Callable[[], dict[str, Any]]) -> None:
        self._reply = reply

    def get_output(self) -> Any:
        """Wait for it."""
        return self._reply()

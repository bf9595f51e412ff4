"""A model of lm-evaluation-harness: its own for vLLM, with our workers, so that requests can be edited.

One engine serves all conditions: the harness asks for a model each time that it is called, and gets the one that runs.
"""

import importlib.metadata
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import vllm
from lm_eval.api.model import CacheHook
from lm_eval.api.registry import register_model
from vllm import SamplingParams, TokensPrompt

from fastneurons.config import EngineOptions
from fastneurons.engine.adapters import Adapter, check_judged, check_loaded, check_place
from fastneurons.engine.core import lora_request
from fastneurons.engine.edits import Edits, check_before_loading
from fastneurons.engine.engine import engines_in_use
from fastneurons.engine.environment import engine_environment
from fastneurons.engine.merge import Slice
from fastneurons.engine.observation import ObservationSpec
from fastneurons.engine.patch import PATCH_VERSION
from fastneurons.engine.requests import EDIT_KEY, SAMPLED_KEY
from fastneurons.errors import EngineError, InputError
from fastneurons.neuron_sets import Edit

NAME = "fastneurons"


def _version(name: str, known: Callable[[str], str] = importlib.metadata.version) -> str:
    """The version of an installed package; vLLM's for CPUs is installed under another name."""
    return vllm.__version__ if name == "vllm" else known(name)


# The harness' module keeps the function that it finds while it is imported.
with patch.object(importlib.metadata, "version", _version):
    from lm_eval.models.vllm_causallms import VLLM


@register_model(NAME)
class EditedVLLM(VLLM):
    """lm-evaluation-harness' model for vLLM, whose requests take the edit of the condition in force."""

    edits: Sequence[tuple[str, Edit]] = ()
    adapter: Adapter | None = None  # that all requests use
    condition: int = 0  # 0: the intact model; k: the k-th edit
    _running: "EditedVLLM | None" = None

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict[str, Any], additional_config: Any = None) -> "EditedVLLM":
        """The model that runs; at the first call it is started."""
        if EditedVLLM._running is None:
            others = {k: v for k, v in (additional_config or {}).items() if v is not None}
            EditedVLLM._running = cls(**arg_dict, **others)
        running = EditedVLLM._running
        running.cache_hook = CacheHook(None)
        return running

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: Any = None) -> "EditedVLLM":
        """Likewise, of arguments as a text."""
        from lm_eval.utils import simple_parse_args_string

        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    def __init__(self, pretrained: str, **arguments: Any) -> None:
        if int(arguments.get("data_parallel_size", 1)) > 1:
            raise InputError(
                f"--model_args data_parallel_size={arguments['data_parallel_size']}: engines that lm-eval starts by "
                "itself cannot be edited; leave it out, or use tensor_parallel_size"
            )
        if of_adapters := [name for name in arguments if "lora" in name]:
            raise InputError(
                f"--model_args {of_adapters[0]}: pass the adapter's folder as --lora, which sets vLLM's own arguments"
            )
        arguments.setdefault("enforce_eager", True)  # as everywhere in fastneurons
        options = EngineOptions(revision=arguments.get("revision"))
        check_before_loading(self.edits, pretrained, options)
        self._number = next(n for n in itertools.count() if n not in engines_in_use)
        engines_in_use.add(self._number)
        ranks = int(arguments.get("tensor_parallel_size", 1)) * int(
            arguments.get("pipeline_parallel_size", 1)
        )
        spec = ObservationSpec(
            patch=PATCH_VERSION,
            engine=self._number,
            most_slots=2,
            languages=1,
            edits=max(1, len(self.edits)),
            edit_values=sum(edit.value is not None for _, edit in self.edits),
        )
        from vllm.platforms import current_platform

        on_cpu = current_platform.is_cpu()
        kind = "cpu_worker.CPU" if on_cpu else "gpu_worker.GPU"
        if self.adapter is not None:
            check_place(pretrained, str(self.adapter.folder))
            check_judged(self.adapter)
            arguments |= self.adapter.engine_arguments(on_cpu)
        with engine_environment(ranks, False):
            super().__init__(
                pretrained,
                **arguments,
                worker_cls=f"fastneurons.engine.{kind}NeuronWorker",
                additional_config=spec,
            )
        bank = _Bank(self.model, pretrained)
        if self.adapter is not None:
            named = {"name": self.adapter.fingerprint, "folder": str(self.adapter.folder)}
            loaded = self.model.collective_rpc("fastneurons_load_adapter", kwargs={**named, "judges": True})
            check_loaded(named["folder"], loaded)
            self.lora_request = lora_request(**named)
        self._bank = Edits(bank)  # type: ignore[arg-type]  # has all of an engine that a bank needs
        self._slots = [self._bank.put(edit, name) for name, edit in self.edits]
        self._bank.check()

    def _model_generate(
        self,
        requests: list[list[int]],
        generate: bool = False,
        sampling_params: Any = None,
    ) -> Any:
        """As vLLM's model, with the edit in force: each request gets parameters of its own, which name it."""
        if self.condition == 0:
            return super()._model_generate(requests, generate, sampling_params)
        if not generate or sampling_params is None:
            sampling_params = SamplingParams(temperature=0, prompt_logprobs=1, max_tokens=1, detokenize=False)
        several = sampling_params if isinstance(sampling_params, list) else [sampling_params] * len(requests)
        slot = self._slots[self.condition - 1]
        edited = []
        for parameters in several:
            own = parameters.clone()
            own.extra_args = {**(own.extra_args or {}), EDIT_KEY: slot, SAMPLED_KEY: True}
            edited.append(own)
        return self.model.generate(
            [
                TokensPrompt(prompt_token_ids=ids, cache_salt=self._bank.salt(slot, len(ids)))
                for ids in requests
            ],
            sampling_params=edited,
            use_tqdm=self.batch_size == "auto",
            lora_request=self.lora_request,
        )

    @classmethod
    def close(cls) -> None:
        """Shut the engine down, if one runs."""
        running, EditedVLLM._running = EditedVLLM._running, None
        if running is not None:
            from fastneurons.engine.patch import forget

            running.model.llm_engine.engine_core.shutdown()
            forget(running._number)
            engines_in_use.discard(running._number)


@contextmanager
def edited(
    edits: Sequence[tuple[str, Edit]], adapter: Adapter | None = None
) -> Iterator[Callable[[int], None]]:
    """Within it, the harness' model "fastneurons" has these edits, and an adapter under every condition.

    Yields:
        Puts a condition into force: 0 for the intact model, k for the k-th edit.
    """
    EditedVLLM.edits, EditedVLLM.adapter = edits, adapter

    def choose(condition: int) -> None:
        EditedVLLM.condition = condition

    try:
        yield choose
    finally:
        EditedVLLM.condition, EditedVLLM.edits, EditedVLLM.adapter = 0, (), None
        EditedVLLM.close()


class _Bank:
    """What `Edits` needs of an engine, of vLLM's `LLM`."""

    def __init__(self, llm: Any, model: str) -> None:
        self._llm = llm
        ranks = llm.collective_rpc("fastneurons_describe")
        for rank in ranks:
            if rank["refusal"] is not None:
                raise InputError(f"{model}: {rank['refusal']}")
        self.core = SimpleNamespace(config=llm.llm_engine.vllm_config)
        self.slices = [
            Slice(tuple(rank["layers"]), rank["first_neuron"], rank["neurons"])
            for rank in ranks
            if rank["layers"]
        ]
        self.facts = SimpleNamespace(
            model=model,
            model_fingerprint=None,  # compared before the model was loaded
            layers=tuple(sorted({layer for rank in ranks for layer in rank["layers"]})),
            neurons=ranks[0]["total_neurons"],
        )

    def ask_later(self, method: str, **arguments: Any) -> Callable[[], list[Any]]:
        for reply in self._llm.collective_rpc(method, kwargs=arguments):
            if reply["error"] is not None:
                raise EngineError(f"editing failed: {reply['error']}")
        return list

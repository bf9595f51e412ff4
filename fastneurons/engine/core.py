"""Drive vLLM's engine core, which schedules and runs prompts, without the layers that vLLM puts around it.

`LLMEngine` is made for serving: it checks and copies each request, gives it a detokenizer and an account of its
own, and starts in a second more. Prompts that are only read need none of that; handing them over took longer than
scheduling them.
"""

import contextlib
import copy
import gc
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from fastneurons.engine.processes import DeathWatch, out_of_terminals_reach
from fastneurons.errors import EngineError

# vLLM's number of the adapter of an engine, which has one at most.
ADAPTER_NUMBER = 1


def lora_request(name: str, folder: str) -> Any:
    """vLLM's `LoRARequest` for the engine's adapter; name and folder are part of the keys of its prefix cache."""
    from vllm.lora.request import LoRARequest

    return LoRARequest(lora_name=name, lora_int_id=ADAPTER_NUMBER, lora_path=folder)


class Core:
    """An engine core: in this process, or, for several workers, in a process of its own.

    Args:
        config: vLLM's configuration of the engine.
    Raises:
        Exception: whatever vLLM raises where a model cannot be loaded.
    """

    def __init__(self, config: Any) -> None:
        from vllm import envs
        from vllm.sampling_params import RequestOutputKind, SamplingParams
        from vllm.v1.engine import EngineCoreRequest, FinishReason
        from vllm.v1.engine.core_client import EngineCoreClient
        from vllm.v1.executor import Executor

        self.config = config
        self._watch: DeathWatch | None = None
        self._unfinished = FinishReason.ABORT, FinishReason.ERROR
        self._request = EngineCoreRequest
        self._parameters = SamplingParams(
            max_tokens=1, temperature=0.0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        executor, self._workers_are_here = _executor(config, Executor.get_class(config))
        with out_of_terminals_reach():
            self.client: Any = EngineCoreClient.make_client(
                multiprocess_mode=envs.VLLM_ENABLE_V1_MULTIPROCESSING,
                asyncio_mode=False,
                vllm_config=config,
                executor_class=executor,
                log_stats=False,
            )

    @property
    def is_in_process(self) -> bool:
        """Whether the engine's worker is in this process."""
        return hasattr(self.client, "engine_core")

    @property
    def in_process(self) -> Any:
        """vLLM's `EngineCore`, if it is in this process."""
        return self.client.engine_core

    @property
    def worker(self) -> Any:
        """The only worker, if it is in this process."""
        return self.in_process.model_executor.driver_worker.worker

    def watch(self, pids: Sequence[int]) -> None:
        """Watch for the death of any process of the engine from now on: calls then raise, and `died` names it.

        Args:
            pids: The workers' processes, by rank. On other machines their numbers mean nothing here, and the core
                alone is watched; of an engine in this process nothing is.
        """
        if hasattr(self.client, "utility_results"):
            self._watch = DeathWatch(self.client, pids if self._workers_are_here else ())

    @property
    def died(self) -> str | None:
        """The process that died first, for people; None while all live."""
        return self._watch.died if self._watch is not None else None

    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        from vllm.tokenizers import cached_tokenizer_from_config

        return cached_tokenizer_from_config(self.config.model_config)

    def send(
        self,
        request_id: str,
        token_ids: list[int],
        extra: dict[str, Any],
        parameters: Any = None,
        cache_salt: str | None = None,
        lora: Any = None,
    ) -> None:
        """Queue a prompt; `extra` reaches the workers with it.

        Args:
            lora: vLLM's `LoRARequest`; None for the base model.
            parameters: vLLM's `SamplingParams`; None asks for one token greedily, the least that vLLM takes.
            cache_salt: Prompts share cached prefixes with those of the same salt alone.
        """
        # Copied, because making a new one checks it, which takes longer than everything else here.
        parameters = copy.copy(parameters or self._parameters)
        parameters.extra_args = extra
        self.client.add_request(
            self._request(
                request_id=request_id,
                prompt_token_ids=token_ids,
                mm_features=None,
                sampling_params=parameters,
                pooling_params=None,
                arrival_time=time.time(),
                lora_request=lora,
                cache_salt=cache_salt,
                data_parallel_rank=None,
            )
        )

    def step(self) -> list[Any]:
        """Run one step; return vLLM's output for each request in it. Raises whatever the engine raises."""
        outputs: list[Any] = self.client.get_output().outputs
        # When asked to end, the core replies this for all its requests: they look finished but were not computed.
        if self._watch is not None and any(output.finish_reason in self._unfinished for output in outputs):
            raise EngineError("the engine was ended from outside")
        return outputs

    def abort(self, request_ids: list[str]) -> None:
        """Abort requests that are not finished."""
        self.client.abort_requests(request_ids)

    def ask(self, method: str, **arguments: Any) -> list[Any]:
        """Call a method of all workers; return what each of them returned."""
        replies: list[Any] = self.client.collective_rpc(method, kwargs=arguments)
        return replies

    def ask_later(self, method: str, **arguments: Any) -> Callable[[], list[Any]]:
        """Call a method of all workers, ahead of the steps of later requests, without waiting.

        Returns:
            A function that waits for each worker's result. Steps go on meanwhile.
        """
        if self.is_in_process:
            executor = self.in_process.model_executor
            in_process: Future[list[Any]] = executor.collective_rpc(method, kwargs=arguments, non_block=True)
            return in_process.result
        from vllm.v1.engine import EngineCoreRequestType

        # Like `SyncMPClient.call_utility`, but without waiting.
        call = uuid.uuid1().int >> 64
        replies: Future[list[Any]] = Future()
        self.client.utility_results[call] = replies
        message = (0, call, "collective_rpc", (method, None, (), arguments))
        self.client._send_input(EngineCoreRequestType.UTILITY, message)
        return replies.result

    def close(self) -> None:
        """Stop the engine and free its memory."""
        from vllm.distributed import cleanup_dist_env_and_memory

        if self._watch is not None:
            self._watch.close()
        # Only the single-process executor has a worker here; Ray's, for one, does not.
        core = getattr(self.client, "engine_core", None)
        worker = getattr(getattr(core, "model_executor", None), "driver_worker", None)
        if worker is not None:
            _let_go_of_compiled_code(worker.worker.model_runner.get_model())
        with _one_collection():
            self.client.shutdown()
            del self.client
            cleanup_dist_env_and_memory()


def _executor(config: Any, chosen: Any) -> tuple[Any, bool]:
    """The executor (ours where vLLM's would start processes), and whether all its processes are on this machine."""
    from vllm.v1.executor.multiproc_executor import MultiprocExecutor

    if chosen is not MultiprocExecutor:
        return chosen, False
    from fastneurons.engine.executor import NeuronExecutor

    return NeuronExecutor, config.parallel_config.nnodes_within_dp == 1


@contextlib.contextmanager
def _one_collection() -> Iterator[None]:
    """Collect garbage once instead of the eight times that vLLM asks: each pass visits everything imported so far."""
    collect = gc.collect
    setattr(gc, "collect", lambda *_: 0)  # noqa: B010 - a plain assignment is not a lambda to ruff, and no function to mypy
    try:
        yield
    finally:
        gc.collect = collect
        gc.collect()
        import torch  # here, so that wrong calls are answered before it is imported

        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def _let_go_of_compiled_code(model: Any) -> None:
    """Remove torch.compile's hooks, which would keep a compiled model alive as long as the process."""
    from vllm.compilation.wrapper import TorchCompileWithNoGuardsWrapper

    for module in model.modules():
        if isinstance(module, TorchCompileWithNoGuardsWrapper):
            module.cleanup()

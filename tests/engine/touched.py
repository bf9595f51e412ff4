"""Everything in vLLM that fastneurons relies on, with the assumptions about it: the table, its check, and its page.

python -m tests.engine.touched               # check the vLLM that is installed
python -m tests.engine.touched FOLDER        # check another one: a folder that holds the .py files of a wheel
python -m tests.engine.touched --write       # write the table into docs/engine.md

Sources are parsed, not imported, so another release can be checked without its dependencies and without a GPU.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "engine.md"
BEGIN, END = "<!-- touched: begin -->\n", "<!-- touched: end -->\n"


@dataclass(frozen=True)
class Touch:
    """A name of vLLM's.

    Args:
        module: Where it is imported from.
        name: A function, class or variable; or `Class.member`.
        assumed: Assumption about it, for people.
        passed: Of a function that is called, the names of the arguments that it is given; those of one that is
            replaced are those that its replacement takes. None: its parameters do not matter.
    """

    module: str
    name: str
    assumed: str
    passed: tuple[str, ...] | None = None


def _touches(module: str, rows: dict[str, str]) -> Iterator[Touch]:
    """Touches of one module, written as `name` or `name(argument, ...)`."""
    for signature, assumed in rows.items():
        name, bracket, arguments = signature.partition("(")
        passed = tuple(filter(None, arguments.rstrip(")").replace(" ", "").split(",")))
        yield Touch(module, name, assumed, passed if bracket else None)


# By the file of ours that uses it.
TOUCHED: dict[str, list[Touch]] = {
    "engine/worker.py, worker_replies.py, gpu_worker.py, cpu_worker.py": [
        *_touches("vllm.v1.worker.gpu_worker", {
            "Worker.load_model": "loads all weights of this rank; overridden to patch the model afterwards",
            "Worker.execute_model(scheduler_output)": "every real step passes here first; overridden",
            "Worker.sample_tokens(grammar_output)": "called after each `execute_model` that computed something, before "
            "the next one; the second runner computes logits here; overridden",
            "Worker.compile_or_warm_up_model": "tracing and warm-up come after `load_model`, not in it",
            "Worker.model_runner": "exists once `load_model` begins",
        }),
        *_touches("vllm.v1.worker.cpu_worker", {
            "CPUWorker": "derives from the GPU's worker",
            "CPUWorker.compile_or_warm_up_model": "as the GPU worker's; the tests run the GPU's warm-up here",
        }),
        *_touches("vllm.v1.worker.gpu_model_runner", {
            "GPUModelRunner.intermediate_tensors": "where a pipeline stage gets rows from the one before; None until "
            "the profile run",
            "GPUModelRunner.max_num_tokens": "most rows of a step",
        }),
        *_touches("vllm.model_executor.models.interfaces", {
            "SupportsPP.make_empty_intermediate_tensors": "makes what `intermediate_tensors` holds",
        }),
        *_touches("vllm.v1.worker.worker_base", {
            "WorkerBase.vllm_config": "the engine's configuration, as it was given",
            "WorkerBase.model_config": "of that configuration",
            "WorkerBase.parallel_config": "of that configuration",
            "WorkerBase.scheduler_config": "of that configuration",
            "WorkerWrapperBase.worker": "the worker itself",
        }),
        *_touches("vllm.v1.outputs", {
            "AsyncModelRunnerOutput.get_output": "vLLM asks for such an answer off the worker's main thread",
        }),
        *_touches("vllm.v1.core.sched.output", {
            "SchedulerOutput.scheduled_new_reqs": "requests that begin, those preempted before among them",
            "SchedulerOutput.finished_req_ids": "requests that ended since the last step",
            "SchedulerOutput.num_scheduled_tokens": "by request id: those of the step, and of no other",
            "NewRequestData.req_id": "the id that batches name",
            "NewRequestData.sampling_params": "the request's own, with its `extra_args`",
            "NewRequestData.num_computed_tokens": "tokens taken from the prefix cache",
            "NewRequestData.prompt_token_ids": "the prompt, as it was sent",
        }),
        *_touches("vllm.distributed", {
            "get_pp_group": "`is_last_rank` says whether this rank has the unembedding, `is_first_rank` whether it has "
            "the embedding",
            "get_tp_group": "`all_gather(tensor, dim)` puts ranks side by side in their order",
            "get_tensor_model_parallel_rank": "rank r holds the r-th contiguous slice of the neurons",
        }),
        *_touches("vllm.distributed.parallel_state", {
            "GroupCoordinator.all_gather(input_, dim)": "see `get_tp_group`",
            "GroupCoordinator.is_last_rank": "see `get_pp_group`",
            "GroupCoordinator.is_first_rank": "as of `get_pp_group`; in a tensor-parallel group, its first rank",
        }),
    ],
    "engine/scheduler.py": [
        *_touches("vllm.v1.core.sched.scheduler", {
            "Scheduler.kv_cache_manager": "asked for each request's cached prefix; made in the constructor",
        }),
        *_touches("vllm.v1.core.sched.async_scheduler", {
            "AsyncScheduler": "the scheduler on GPUs: two steps in flight",
        }),
        *_touches("vllm.v1.core.kv_cache_manager", {
            "KVCacheManager.get_computed_blocks(request)": "looks no further than the token before the request's "
            "last, by its `num_tokens`; replaced",
        }),
        *_touches("vllm.v1.request", {
            "Request.num_tokens": "of the prompt, and those generated",
            "Request.sampling_params": "the request's own, with its `extra_args`",
        }),
        *_touches("vllm.config.scheduler", {
            "SchedulerConfig.scheduler_cls": "the scheduler's class, by its name",
            "SchedulerConfig.async_scheduling": "which scheduler it would be otherwise",
        }),
    ],
    "engine/scorer.py, unembedding.py": [
        *_touches("vllm.v1.worker.gpu_model_runner", {
            "GPUModelRunner.execute_model_state": "from the forward pass until its tokens are sampled; None where "
            "nothing is",
            "ExecuteModelState.hidden_states": "of all rows, after the last norm",
        }),
        *_touches("vllm.v1.worker.gpu.model_runner", {
            "GPUModelRunner.execute_model_state": "likewise",
            "ExecuteModelState.hidden_states": "likewise; None but on the last pipeline stage",
        }),
        *_touches("vllm.model_executor.layers.logits_processor", {
            "LogitsProcessor._gather_logits(logits)": "puts the ranks' logits together, between the product and what "
            "removes padding, soft cap and scale; replaced",
        }),
    ],
    "engine/runners.py": [
        *_touches("vllm.v1.worker.gpu_model_runner", {
            "GPUModelRunner._model_forward": "called for real batches alone, once, after their rows' order is final",
            "GPUModelRunner.input_batch": "the batch that is about to run",
            "GPUModelRunner.query_start_loc": "`.np`: where each request's rows begin, and the end of the last",
            "GPUModelRunner.device": "the model's",
            "GPUModelRunner.get_model": "the model, without a CUDA graph's wrapper",
        }),
        *_touches("vllm.v1.worker.gpu_input_batch", {
            "InputBatch.num_reqs": "requests in the batch",
            "InputBatch.req_ids": "in the order of the rows",
            "InputBatch.num_computed_tokens_cpu": "before this step",
            "InputBatch.num_prompt_tokens": "without generated ones",
        }),
        *_touches("vllm.v1.worker.gpu.model_runner", {
            "GPUModelRunner.prepare_inputs": "called for real batches alone, once; the batch in its final order",
            "GPUModelRunner.req_states": "of the requests, by index",
            "GPUModelRunner.device": "the model's",
            "GPUModelRunner.get_model": "the model, without a CUDA graph's wrapper",
        }),
        *_touches("vllm.v1.worker.gpu.input_batch", {
            "InputBatch.num_reqs": "requests in the batch, without padding",
            "InputBatch.req_ids": "in the order of the rows",
            "InputBatch.query_start_loc_np": "where each request's rows begin, and the end of the last",
            "InputBatch.num_computed_tokens_np": "before this step",
            "InputBatch.idx_mapping_np": "each request's index in `req_states`",
        }),
        *_touches("vllm.v1.worker.gpu.states", {
            "RequestState.prompt_len": "`.np`: tokens of the prompt, without generated ones",
        }),
        *_touches("vllm.v1.worker.gpu.buffer_utils", {"UvaBackedTensor.np": "its values on the host"}),
    ],
    "engine/core.py": [
        *_touches("vllm.envs", {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "off: the engine core runs in this process",
        }),
        *_touches("vllm.sampling_params", {
            "SamplingParams(max_tokens, temperature, detokenize, output_kind)": "one token is the least that is taken",
            "SamplingParams.extra_args": "reaches the workers unchanged; copies of the parameters may set it",
            "RequestOutputKind.FINAL_ONLY": "outputs come once, at the end",
        }),
        *_touches("vllm.v1.engine", {
            "EngineCoreRequest(request_id, prompt_token_ids, mm_features, sampling_params, pooling_params, "
            "arrival_time, lora_request, cache_salt, data_parallel_rank)": "taken by the core as it is",
            "EngineCoreOutput.request_id": "the id that was sent",
            "EngineCoreOutput.finished": "whether the request ended",
            "EngineCoreOutputs.outputs": "of the requests that a step concerned",
            "EngineCoreOutput.finish_reason": "why the request ended",
            "FinishReason.ABORT": "the core was told to end; the request was not computed",
            "FinishReason.ERROR": "likewise, after an error",
            "EngineCoreRequestType.UTILITY": "marks a call to the core, which answers with the call's number",
        }),
        *_touches("vllm.v1.engine.core_client", {
            "EngineCoreClient.make_client(multiprocess_mode, asyncio_mode, vllm_config, executor_class, log_stats)":
            "the client in this process or of another one",
            "EngineCoreClient.add_request(request)": "queues; does not run",
            "EngineCoreClient.get_output": "runs a step in this process, or waits for one",
            "EngineCoreClient.abort_requests(request_ids)": "takes requests back",
            "EngineCoreClient.collective_rpc(method, kwargs)": "calls all workers, after the steps that were begun; "
            "results in the order of the ranks",
            "EngineCoreClient.shutdown": "ends the engine",
            "InprocClient.engine_core": "the core, where it is in this process; other clients have no such attribute",
            "SyncMPClient": "the client of a core in another process",
            "SyncMPClient._send_input(request_type, request)": "sends a call without waiting for its answer",
            "SyncMPClient.outputs_queue": "where `get_output` waits; raises exceptions that it holds",
            "MPClient.utility_results": "futures by the number of a call; the client's thread sets them",
            "MPClient.resources": "of the client's processes",
            "BackgroundResources.engine_dead": "the client refuses to work once it is set",
            "BackgroundResources.engine_manager": "its `processes` are those of the core",
        }),
        *_touches("vllm.v1.engine.exceptions", {"EngineDeadError": "raised by a client whose core has died"}),
        *_touches("vllm.v1.engine.core", {
            "EngineCore.model_executor": "holds the worker",
            "EngineCore.scheduler": "the scheduler (tests)",
            "EngineCore.step_with_batch_queue": "the next step is scheduled before the last one's results are taken",
        }),
        *_touches("vllm.v1.executor", {"Executor": "`get_class(config)` chooses the executor"}),
        *_touches("vllm.v1.executor.abstract", {"Executor.get_class(vllm_config)": "see above"}),
        *_touches("vllm.v1.executor.uniproc_executor", {
            "UniProcExecutor.driver_worker": "the one worker's wrapper; executors of several processes may lack it",
        }),
        *_touches("vllm.v1.executor.multiproc_executor", {
            "MultiprocExecutor._init_executor": "starts the workers; runs in the core's process; overridden",
            "MultiprocExecutor.collective_rpc(method, non_block)": "with `non_block` a future, which looks for its "
            "answer when it is asked; answers come in the order of calls; overridden",
            "MultiprocExecutor.futures_queue": "the futures of steps under way",
        }),
        *_touches("vllm.tokenizers", {
            "cached_tokenizer_from_config(model_config)": "the model's tokenizer",
            "get_tokenizer(tokenizer_name, tokenizer_mode, revision, trust_remote_code)": "the same, without an engine",
        }),
        *_touches("vllm.distributed", {"cleanup_dist_env_and_memory": "safe to call after `shutdown`"}),
        *_touches("vllm.compilation.wrapper", {
            "TorchCompileWithNoGuardsWrapper.cleanup": "lets go of compiled code",
        }),
    ],
    "engine/engine.py, starting.py, session.py, vllm_config.py, device.py": [
        *_touches("vllm.engine.arg_utils", {
            "EngineArgs.create_engine_config(usage_context)": "fills in vLLM's defaults; "
            "`fastneurons/engine_arguments.py` decides each argument",
            "EngineArgs.get_batch_defaults": "256 or 1,024 prompts and 8,192 or 16,384 tokens a step on GPUs, which "
            "`engine/device.py` replaces",
        }),
        *_touches("vllm.usage.usage_lib", {"UsageContext.LLM_CLASS": "defaults for offline use"}),
        *_touches("vllm.config", {"VllmConfig": "see below"}),
        *_touches("vllm.config.vllm", {
            "VllmConfig.additional_config": "may be any object with `compute_hash`; crosses to the workers by pickle",
            "VllmConfig.compute_hash": "keys compiled graphs; asks `additional_config` for its hash",
            "VllmConfig.model_config": "of the model",
            "VllmConfig.cache_config": "of the KV cache",
            "VllmConfig.parallel_config": "of the ranks",
            "VllmConfig.scheduler_config": "of steps",
            "VllmConfig.compilation_config": "of torch.compile",
            "VllmConfig.kernel_config": "of kernels",
        }),
        *_touches("vllm.config.model", {
            "ModelConfig.hf_config": "the model's own configuration",
            "ModelConfig.dtype": "a torch dtype, decided",
            "ModelConfig.max_model_len": "longest prompt plus one token",
            "ModelConfig.enforce_eager": "true: nothing is compiled, and no CUDA graph captured",
            "ModelConfig.get_vocab_size": "token ids are below it",
            "ModelConfig.get_layers_start_end_indices(parallel_config)": "decoder layers of this pipeline stage",
            "ModelConfig.get_total_num_hidden_layers": "decoder layers of the model",
            "ModelConfig.get_num_layers(parallel_config)": "those of a rank",
            "ModelConfig.get_num_kv_heads(parallel_config)": "those of a rank",
            "ModelConfig.get_head_size": "numbers of a head",
        }),
        *_touches("vllm.config.scheduler", {
            "SchedulerConfig.max_num_seqs": "prompts of all steps in flight, not of one",
            "SchedulerConfig.max_num_batched_tokens": "most tokens of a step",
        }),
        *_touches("vllm.config.cache", {
            "CacheConfig.block_size": "tokens of a block",
            "CacheConfig.kv_cache_memory_bytes": "size of the KV cache, if set",
        }),
        *_touches("vllm.config.compilation", {
            "CompilationConfig.cudagraph_capture_sizes": "the largest one bounds padding",
        }),
        *_touches("vllm.config.kernel", {
            "KernelConfig.ir_op_priority": "implementations of an operation, best first",
            "IrOpPriorityConfig.rms_norm": "of the RMS norm",
            "IrOpPriorityConfig.fused_add_rms_norm": "of the RMS norm with a residual",
        }),
        *_touches("vllm.platforms", {"current_platform": "the platform that the engine runs on"}),
        *_touches("vllm.platforms.interface", {
            "Platform.is_cpu": "whether it is a CPU",
            "Platform.is_cuda_alike": "whether it is CUDA or ROCm",
            "Platform.get_device_total_memory": "bytes of a GPU; does not initialise CUDA",
            "Platform.import_kernels": "registers vLLM's own kernels",
            "Platform.device_type": "its name",
        }),
    ],
    "engine/loading.py, values.py, unneeded.py, discovery.py": [
        *_touches("vllm.model_executor.model_loader", {
            "get_model_loader(load_config)": "called once for the model, by its name in the runner's module; replaced",
        }),
        *_touches("vllm.model_executor.model_loader.base_loader", {
            "BaseModelLoader.load_weights(model, model_config)": "fills the parameters of a model that is built; "
            "backends repack them afterwards; replaced",
        }),
        *_touches("vllm.config.load", {"LoadConfig.load_format": "`dummy` loads no weights"}),
        *_touches("vllm.model_executor.layers.linear", {
            "LinearBase.input_size": "of the whole layer",
            "LinearBase.output_size": "of the whole layer",
            "LinearBase.tp_size": "ranks that share it",
            "LinearBase.quant_method": "computes it, see `apply`",
            "LinearMethodBase.apply(layer, x, bias)": "the product alone, without bias or communication",
            "UnquantizedLinearMethod": "weights are as in the checkpoint",
            "ReplicatedLinear": "its loader takes whole tensors",
            "ColumnParallelLinear.output_size_per_partition": "of this rank",
            "MergedColumnParallelLinear.output_sizes": "of its parts: gate, then up",
            "QKVParallelLinear.total_num_heads": "with `head_size`, `total_num_kv_heads`, `v_head_size`: its parts",
        }),
        *_touches("vllm.model_executor.layers.vocab_parallel_embedding", {
            "VocabParallelEmbedding.shard_indices": "this rank's token ids",
            "VocabParallelEmbeddingShardIndices.org_vocab_start_index": "the first of them",
            "VocabParallelEmbeddingShardIndices.org_vocab_end_index": "after the last of them",
            "ParallelLMHead": "the unembedding, if it is not tied",
        }),
        *_touches("vllm.model_executor.layers.activation", dict.fromkeys(
            ("SiluAndMul", "GeluAndMul", "FatreluAndMul", "ReLUSquaredActivation", "NewGELU", "FastGELU", "QuickGELU",
             "XIELU"),
            "module between the up and the down projection; its formula is the kernels'",
        )),
        *_touches("vllm.model_executor.layers.fused_moe", {
            "MoERunner": "mixtures of experts come from this package: models with one are refused",
        }),
        *_touches("vllm.model_executor.models.interfaces_base", {
            "VllmModelForTextGeneration.compute_logits(hidden_states)": "the only way to logits; one row for each "
            "request of a step, but where we call it; replaced",
        }),
    ],
    "LoRA adapters: engine/adapters.py, core.py, worker_replies.py, values.py, unembedding.py": [
        *_touches("vllm.lora.request", {
            "LoRARequest(lora_name, lora_int_id, lora_path)": "the adapter of a request; name and path are part of the "
            "keys of the prefix cache",
        }),
        *_touches("vllm.v1.worker.gpu_worker", {
            "Worker.add_lora(lora_request)": "loads an adapter into a slot and raises if it cannot be run",
        }),
        *_touches("vllm.lora.model_manager", {
            "LoRAModelManager.lora_index_to_id": "the adapter's number in each slot",
            "LoRAModelManager.lora_slots": "how many there are; on CPUs, rows of the base model index the last one",
            "LoRAModelManager.modules": "the LoRA layers by path; an adapter's other modules have no effect",
            "LoRAModelManager.list_adapters": "the loaded adapters by number, with `loras` by module",
        }),
        *_touches("vllm.lora.layers", {
            "LogitsProcessorWithLoRA": "around the logits processor, with `base_layer`; adds its part to sampled rows",
            "RowParallelLinearWithLoRA": "around a down projection, with `base_layer`",
        }),
        *_touches("vllm.lora.layers.logits_processor", {
            "LogitsProcessorWithLoRA._get_logits": "what its `forward` calls; that of `base_layer` leaves LoRA out",
        }),
        *_touches("vllm.lora.layers.base_linear", {
            "BaseLinearLayerWithLoRA.lora_a_stacked": "A of each slot [slots, 1, r, inputs], by part of the layer",
            "BaseLinearLayerWithLoRA.lora_b_stacked": "B likewise, times the adapter's scale; zeros in empty slots",
        }),
        *_touches("vllm.config.lora", {
            "LoRAConfig.max_lora_rank": "one of the ranks that `VLLM_RANKS` lists",
        }),
    ],
    "engine/environment.py, failure.py, engine_warnings.py, cpu_norms.py": [
        *_touches("vllm.envs", {
            "VLLM_NO_USAGE_STATS": "set: nothing is reported",
            "VLLM_LOGGING_LEVEL": "read while vLLM is imported",
            "VLLM_CPU_OMP_THREADS_BIND": "cores of each worker",
            "VLLM_ENABLE_STARTUP_PLAN": "off: memory is measured at each start, after the buffers are allocated",
            "VLLM_CACHE_ROOT": "where compiled graphs are kept",
            "VLLM_CONFIG_ROOT": "where settings are kept",
        }),
        *_touches("vllm.v1.engine.exceptions", {"EngineDeadError": "a process of the engine ended"}),
        *_touches("vllm.logger", {"init_logger": "loggers bear the names of their modules"}),
        *_touches("vllm.ir", {"ops": "`rms_norm`, `fused_add_rms_norm`: operations with several implementations"}),
        *_touches("vllm.ir.op", {
            "IrOp.register_impl(provider, supported, supports_args, inplace)": "adds an implementation",
        }),
    ],
    "engine/generation.py": [
        *_touches("vllm.sampling_params", {
            "SamplingParams(max_tokens, temperature, detokenize, output_kind)": "those of all prompts",
            "SamplingParams.update_from_generation_config(generation_config, eos_token_id)":
            "sets the tokens that end a text, as vLLM's input processor does",
            "SamplingParams.eos_token_id": "of these, the tokenizer's",
            "SamplingParams.stop_token_ids": "the others",
            "SamplingParams.seed": "of a request's own random numbers",
        }),
        *_touches("vllm.config.model", {
            "ModelConfig.try_get_generation_config": "of the checkpoint; empty without one",
        }),
        *_touches("vllm.v1.engine", {"EngineCoreOutput.new_token_ids": "those of a step, an end mark included"}),
    ],
    "harness/model.py": [
        *_touches("vllm.entrypoints.llm", {
            "LLM.generate(prompts, sampling_params, use_tqdm, lora_request)": "outputs in the order of the prompts",
            "LLM.collective_rpc(method, kwargs)": "calls all workers; results in the order of the ranks",
            "LLM.llm_engine": "has `vllm_config` and `engine_core`",
        }),
        *_touches("vllm", {
            "SamplingParams": "`clone` makes parameters of a request's own",
            "TokensPrompt": "token ids with a `cache_salt`",
        }),
    ],
    "bench/engine.py": [
        *_touches("vllm.v1.engine.llm_engine", {
            "LLMEngine.from_vllm_config(vllm_config, usage_context, disable_log_stats)": "vLLM alone",
            "LLMEngine.add_request(request_id, prompt, params)": "queues",
            "LLMEngine.step": "runs",
            "LLMEngine.has_unfinished_requests": "whether there is more to run",
            "LLMEngine.engine_core": "the client",
            "LLMEngine.input_processor": "set in its constructor, as all that `plain_engine_of` sets",
            "LLMEngine.output_processor": "likewise",
            "LLMEngine.renderer": "likewise",
        }),
        *_touches("vllm.v1.engine.input_processor", {"InputProcessor": "made of the configuration and a renderer"}),
        *_touches("vllm.v1.engine.output_processor", {
            "OutputProcessor.__init__(tokenizer, log_stats, stream_interval)": "makes outputs",
        }),
        *_touches("vllm.renderers", {"renderer_from_config(config)": "the tokenizer's renderer"}),
        *_touches("vllm.inputs", {"tokens_input(prompt_token_ids)": "a prompt of token ids"}),
    ],
    "tests": [
        *_touches("vllm.v1.worker.gpu.warmup", {
            "warmup_kernels(model_runner, worker_execute_model, worker_sample_tokens)":
            "the second runner's warm-up: whole steps of requests of its own",
        }),
        *_touches("vllm.model_executor.warmup.attention_warmup", {
            "mixed_batch_attention_warmup(worker)": "likewise, of attention",
        }),
        *_touches("vllm.v1.engine", {
            "EngineCoreOutput.new_prompt_logprobs_tensors": "vLLM's own log-probabilities of a prompt, compared with",
        }),
    ],
}  # fmt: skip


# -- checking -----------------------------------------------------------------------------------------


class Source:
    """The source of a vLLM.

    Args:
        root: The folder that holds the package `vllm`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.tree = cache(self._parse)

    def problem(self, touch: Touch) -> str | None:
        """Describe how this vLLM differs from a touch, in one line; None if it does not."""
        where = f"{touch.module}.{touch.name}"
        first, _, member = touch.name.partition(".")
        found = self.find(touch.module, first)
        if found is None:
            return f"{where}: {touch.module} has no {first}"
        module, node = found
        if member:
            if not isinstance(node, ast.ClassDef):
                return f"{where}: {first} is no class"
            members = self._members(module, node)
            if member not in members:
                return f"{where}: {first} has no {member}"
            node = members[member]
        if touch.passed is None:
            return None
        if isinstance(node, ast.ClassDef):
            return self._constructor_problem(where, module, node, touch.passed)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return f"{where}: is no function"
        return _signature_problem(where, node, touch.passed, is_method=bool(member))

    def find(
        self, module: str, name: str, passed_by: frozenset[str] = frozenset()
    ) -> tuple[str, ast.AST] | None:
        """The module that defines a name which another module has, and its definition."""
        tree = self.tree(module)
        if tree is None or module in passed_by:
            return None
        statements = list(_statements(tree.body))
        for node in statements:
            if name in _defined(node):
                return module, node
        passed_by |= {module}
        for node in statements:
            if not isinstance(node, ast.ImportFrom):
                continue
            source = self._imported_from(module, node)
            for alias in node.names:
                if alias.name == "*" or (alias.asname or alias.name) == name:
                    inner = name if alias.name == "*" else alias.name
                    if (found := self.find(source, inner, passed_by)) is not None:
                        return found
        # Names that a module's `__getattr__` finds are there as strings.
        if any(isinstance(node, ast.Constant) and node.value == name for node in ast.walk(tree)):
            return module, tree
        return None

    def _members(self, module: str, node: ast.ClassDef) -> dict[str, ast.AST]:
        members: dict[str, ast.AST] = {}
        for base in node.bases:
            named = base.value if isinstance(base, ast.Subscript) else base
            if isinstance(named, ast.Name) and (found := self.find(module, named.id)) is not None:
                inner, definition = found
                if isinstance(definition, ast.ClassDef):
                    members = self._members(inner, definition) | members
        for statement in _statements(node.body):
            members |= dict.fromkeys(_defined(statement), statement)
            if isinstance(statement, ast.FunctionDef):
                for inside in ast.walk(statement):
                    if isinstance(inside, ast.Attribute) and isinstance(inside.ctx, ast.Store):
                        members.setdefault(inside.attr, inside)
        return members

    def _constructor_problem(
        self, where: str, module: str, node: ast.ClassDef, passed: tuple[str, ...]
    ) -> str | None:
        members = self._members(module, node)
        constructor = members.get("__init__")
        if isinstance(constructor, ast.FunctionDef):
            return _signature_problem(where, constructor, passed, is_method=True)
        fields = {name: field for name, field in members.items() if isinstance(field, ast.AnnAssign)}
        missing = [name for name in passed if name not in fields]
        needed = [name for name, field in fields.items() if field.value is None and name not in passed]
        return _difference(where, missing, needed)

    def _imported_from(self, module: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = module.split(".")
        is_package = (self._path(module) or Path()).name == "__init__.py"
        above = parts[: len(parts) - node.level + is_package]
        return ".".join([*above, *([node.module] if node.module else [])])

    def _path(self, module: str) -> Path | None:
        base = self._root.joinpath(*module.split("."))
        return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)

    def _parse(self, module: str) -> ast.Module | None:
        path = self._path(module)
        return None if path is None else ast.parse(path.read_text())


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements, those under `if` and `try` among them."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _statements([*node.body, *node.orelse])


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _signature_problem(
    where: str, node: ast.FunctionDef | ast.AsyncFunctionDef, passed: tuple[str, ...], is_method: bool
) -> str | None:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    is_static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
    if is_method and not is_static:
        positional = positional[1:]
    names = [a.arg for a in [*positional, *arguments.kwonlyargs]]
    optional = (
        {a.arg for a in positional[len(positional) - len(arguments.defaults) :]}
        if arguments.defaults
        else set()
    )
    optional |= {
        a.arg
        for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is not None
    }
    missing = [name for name in passed if name not in names] if arguments.kwarg is None else []
    needed = [name for name in names if name not in optional and name not in passed]
    return _difference(where, missing, needed)


def _difference(where: str, missing: list[str], needed: list[str]) -> str | None:
    if missing:
        return f"{where}: takes no {', '.join(missing)}"
    return f"{where}: needs {', '.join(needed)} as well" if needed else None


def installed() -> Path | None:
    """The folder that holds the installed `vllm`; None without one."""
    spec = find_spec("vllm")
    return None if spec is None or spec.origin is None else Path(spec.origin).parents[1]


def problems(root: Path) -> list[str]:
    """List the differences between the table and a vLLM, one line each."""
    source = Source(root)
    found = (source.problem(touch) for touches in TOUCHED.values() for touch in touches)
    return [problem for problem in found if problem is not None]


# -- the page -----------------------------------------------------------------------------------------


def table() -> str:
    """The table, in Markdown."""
    lines = ["| vLLM | assumption |", "|---|---|"]
    for used_by, touches in TOUCHED.items():
        lines.append(f"| *{used_by}* | |")
        module = None
        for touch in touches:
            arguments = "" if touch.passed is None else f"({', '.join(touch.passed)})"
            place = f"{touch.module}: " if touch.module != module else ""
            module = touch.module
            lines.append(f"| {place}`{touch.name}{arguments}` | {touch.assumed} |")
    return "\n".join(lines) + "\n"


def page_with_table(page: str) -> str:
    """A page whose table is this one."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


def main(arguments: list[str]) -> int:
    """See the module's text."""
    if arguments == ["--write"]:
        PAGE.write_text(page_with_table(PAGE.read_text()))
        return 0
    root = Path(arguments[0]) if arguments else installed()
    if root is None:
        print("vLLM is not installed", file=sys.stderr)
        return 2
    found = problems(root)
    print("\n".join(found) or f"{sum(map(len, TOUCHED.values()))} names are as the table has them")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

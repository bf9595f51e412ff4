"""vLLM engine arguments that a run refuses, because they change what a row of a step is or make numbers wrong.

Each argument of vLLM's `EngineArgs` has an option of its own, is refused here, or is passed on.
`tests/test_engine_arguments.py` lists the last kind and fails if a release of vLLM adds an argument.
"""

from typing import Any

from fastneurons.errors import InputError

# The patch and the session depend on these; a user's value would make results wrong or the run fail.
OWN = frozenset({"model", "worker_cls", "additional_config", "disable_log_stats", "skip_tokenizer_init"})

_ROWS_ARE_SPLIT = (
    "it divides a prompt's tokens among devices, and each would read a part of them as if it were all"
)
_DRAFTS = "it adds draft tokens to a step, which are rows that belong to no prompt"
_KV_FROM_ELSEWHERE = (
    "tokens whose keys and values come from elsewhere pass through no layer and would not be read"
)
_DATA_PARALLEL = "fastneurons drives a single engine; split the data and run fastneurons once for each part"
_NO_LOGITS = "logits are not computed where prompts are only read"
_ADAPTERS = "pass the adapter's folder as --lora, which sets vLLM's own arguments and has every prompt use the adapter"
_MOVING_WEIGHTS = (
    "it moves weights in and out of the device, and value vectors are views of them; leave it out"
)
_LOST_SPECIFICATION = "vLLM passes it to layers through additional_config, which fastneurons uses itself"

# Refused unless off: a reason for each.
_REFUSED: dict[str, str] = {
    "prefill_context_parallel_size": _ROWS_ARE_SPLIT,
    "decode_context_parallel_size": _ROWS_ARE_SPLIT,
    "enable_dbo": "it divides a step into two that run at once, and rows of one would be read as the other's",
    "ubatch_size": "it divides a step into several that run at once, and rows of one would be read as another's",
    "kv_sharing_fast_prefill": "prompt tokens skip the layers that share keys and values, and would not be read there",
    "speculative_config": _DRAFTS,
    "spec_method": _DRAFTS,
    "spec_model": _DRAFTS,
    "spec_tokens": _DRAFTS,
    "diffusion_config": "a diffusion model computes its tokens several times over, and each pass would be read",
    "kv_transfer_config": _KV_FROM_ELSEWHERE,
    "ec_transfer_config": _KV_FROM_ELSEWHERE,
    "kv_offloading_size": _KV_FROM_ELSEWHERE,
    "data_parallel_size": _DATA_PARALLEL,
    "data_parallel_size_local": _DATA_PARALLEL,
    "data_parallel_rank": _DATA_PARALLEL,
    "data_parallel_start_rank": _DATA_PARALLEL,
    "data_parallel_hybrid_lb": _DATA_PARALLEL,
    "data_parallel_external_lb": _DATA_PARALLEL,
    "data_parallel_multi_port_external_lb": _DATA_PARALLEL,
    "nnodes": "an engine over several nodes was never tried; use one node, or distributed_executor_backend=ray",
    "node_rank": "an engine over several nodes was never tried; use one node, or distributed_executor_backend=ray",
    "enable_elastic_ep": "it rebuilds the model while it runs, and the patch would be lost",
    "enable_fault_tolerance": "it replaces workers while they run, and what they have read would be lost",
    "enable_sleep_mode": "a run never sleeps, and value vectors are views of weights that sleeping frees",
    "weight_transfer_config": "it changes weights while the model runs",
    "offload_group_size": _MOVING_WEIGHTS,
    "mm_encoder_only": "the language model, whose neurons are measured, would not run",
    "model_weights": "weights that are not the model's own would be neither checked nor fingerprinted",
    "scheduler_cls": "only the steps of vLLM's own scheduler are understood",
    "logits_processors": _NO_LOGITS,
    "watermark_config": _NO_LOGITS,
    "return_sampling_mask": _NO_LOGITS,
    "enable_batch_sharded_sampling": _NO_LOGITS,
    "gdn_prefill_backend": _LOST_SPECIFICATION,
    "kda_prefill_backend": _LOST_SPECIFICATION,
    "kda_decode_backend": _LOST_SPECIFICATION,
}  # fmt: skip

# Refused only with these values.
_REFUSED_VALUES: dict[str, dict[str, str]] = {
    "runner": {
        "pooling": "fastneurons reads the prompts of models that generate; leave it out",
        "draft": "fastneurons reads the prompts of models that generate; leave it out",
    },
    "convert": {
        "embed": "fastneurons reads the prompts of models that generate; leave it out",
        "classify": "fastneurons reads the prompts of models that generate; leave it out",
    },
    "offload_backend": {"prefetch": _MOVING_WEIGHTS},
    "distributed_executor_backend": {
        "external_launcher": "each process would run the whole of fastneurons; use mp or ray"
    },
}

# Values that leave an argument off.
_OFF: tuple[Any, ...] = (None, False, 0, "", {}, [])
_ONE_IS_OFF = frozenset(
    {"prefill_context_parallel_size", "decode_context_parallel_size", "data_parallel_size",
     "data_parallel_size_local", "nnodes"}
)  # fmt: skip


def check_engine_arguments(arguments: dict[str, Any]) -> None:
    """Refuse engine arguments that would make results wrong.

    Args:
        arguments: By vLLM's names, as users give them.
    Raises:
        InputError: naming the first one and why.
    """
    for name, value in arguments.items():
        if name in OWN:
            raise InputError(f"--engine-arg {name}: fastneurons sets this itself")
        is_off = any(value is off or value == off for off in _OFF) or (name in _ONE_IS_OFF and value == 1)
        if is_off:
            continue
        reason = _ADAPTERS if "lora" in name else _REFUSED.get(name)
        if reason is None and isinstance(value, str):
            reason = _REFUSED_VALUES.get(name, {}).get(value)
        if reason is not None:
            raise InputError(f"--engine-arg {name}: {reason}")

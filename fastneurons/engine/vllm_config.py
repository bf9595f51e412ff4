"""vLLM's configuration of an engine that reads prompts."""

from dataclasses import asdict
from typing import Any

from fastneurons.config import EngineOptions
from fastneurons.engine.device import device_memory, gpu_defaults
from fastneurons.engine.environment import cpu_computes_bfloat16

# On CPUs, where vLLM's defaults are a server's. Blocks of 128 tokens would have most of a step's prompts leave most of
# theirs empty, in memory that is zeroed before the first prompt, and share no prefix that is shorter; 32 is the least
# that its attention takes. A step of 2,048 tokens is as efficient as one of 4,096 and half as long in coming.
_ON_CPU = {"enforce_eager": True, "block_size": 32, "max_num_batched_tokens": 2048}


def engine_config(model: str, options: EngineOptions, **own: Any) -> Any:
    """vLLM's configuration of an engine that only reads prompts.

    Args:
        model: A folder, or a name on the Hub.
        options: What the user said of it.
        own: Other engine arguments; what the user said goes before them.
    """
    from vllm.engine.arg_utils import EngineArgs
    from vllm.platforms import current_platform
    from vllm.usage.usage_lib import UsageContext

    on_cpu = current_platform.is_cpu()
    given = {name: value for name, value in asdict(options).items() if value is not None}
    extra = given.pop("engine_args")
    given.pop("lora", None)  # the engine reads the adapter and passes vLLM's arguments for it
    if on_cpu and options.dtype == "auto" and not cpu_computes_bfloat16():
        given["dtype"] = "float32"
    memory = device_memory()
    arguments = {
        **(_ON_CPU if on_cpu else {}),
        **(gpu_defaults(memory, own | given | extra) if memory is not None else {}),
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        **own,
        **given,
        "model": model,
        **extra,
    }
    config = EngineArgs(**arguments).create_engine_config(UsageContext.LLM_CLASS)
    if on_cpu and options.gpu_memory_utilization is None and "kv_cache_memory_bytes" not in extra:
        _bound_kv_cache(config)
    return config


def _bound_kv_cache(config: Any) -> None:
    """Reserve the memory that a prefill needs, not the share of the machine's memory that a server would.

    Each prompt of a step starts a block of its own; the longest prompt must fit; and a second step's
    worth keeps the prompts that are scheduled next.
    """
    model, parallel, scheduler = config.model_config, config.parallel_config, config.scheduler_config
    item_bytes = {"float32": 4}.get(str(model.dtype).removeprefix("torch."), 2)
    token_bytes = (
        2
        * model.get_num_layers(parallel)
        * model.get_num_kv_heads(parallel)
        * model.get_head_size()
        * item_bytes
    )
    num_tokens = (
        model.max_model_len
        + 2 * scheduler.max_num_batched_tokens
        + scheduler.max_num_seqs * config.cache_config.block_size
    )
    config.cache_config.kv_cache_memory_bytes = num_tokens * token_bytes

"""Choose defaults for the device: step size, prompts in flight, and memory for buffers.

vLLM's own defaults are for servers. A run that only reads prompts wants every step full, with two of them in flight:
vLLM's asynchronous scheduler counts the prompts of both against `max_num_seqs`, so that its defaults (256 or 1,024)
leave steps of short prompts half empty, or every second step without any.
"""

import os
from typing import Any

# The shortest prompts that still fill two steps. Each prompt of a step costs vLLM's second model runner an int32 for
# each token of the vocabulary, and as much again for logits while memory is profiled.
_SHORTEST_PROMPT = 8
_STEPS_IN_FLIGHT = 2
_FEWEST_SEQS = 256  # vLLM's default for most GPUs

# Rows that should keep a card's multiprocessors busy (not measured). vLLM takes 16,384 on cards of 70 GiB and more,
# which would need twice the prompts in flight.
_TOKENS_OF_A_STEP = 8192
_TOKENS_OF_A_SMALL_CARDS_STEP = 4096
_SMALL_CARD = 36 * 2**30  # an A100 of 40 GB reports 39.5 GiB

# Share of a GPU's memory. vLLM subtracts the buffers before it sizes its KV cache.
_BUFFERS_SHARE = 1 / 10
_BUFFERS_ON_CPU = 2**30
_LARGEST_BUFFERS = 8 * 2**30


def gpu_defaults(memory: int, given: dict[str, Any]) -> dict[str, Any]:
    """Engine arguments for an NVIDIA or AMD GPU.

    Args:
        memory: Bytes of the device's memory.
        given: The engine arguments that users have given.
    Returns:
        `enforce_eager`, `max_num_batched_tokens` and `max_num_seqs`, without those that the user gave.
    """
    tokens = _TOKENS_OF_A_SMALL_CARDS_STEP if memory < _SMALL_CARD else _TOKENS_OF_A_STEP
    defaults: dict[str, Any] = {
        # Steps are larger than any CUDA graph that vLLM captures (512 tokens, on some cards 1,024), and a compiled
        # model cannot leave out the last layer's unread rows: compiling would take a minute for next to nothing.
        "enforce_eager": True,
        # Without chunked prefill, a step must hold the longest prompt: vLLM chooses then.
        **({"max_num_batched_tokens": tokens} if given.get("enable_chunked_prefill", True) else {}),
    }
    tokens = given.get("max_num_batched_tokens", tokens)
    seqs = max(_FEWEST_SEQS, _STEPS_IN_FLIGHT * tokens // _SHORTEST_PROMPT)
    defaults["max_num_seqs"] = min(tokens, seqs)
    return {name: value for name, value in defaults.items() if name not in given}


def observe_memory_of(memory: int | None) -> int:
    """Bytes for a worker's buffers if `--observe-memory` is not given.

    Args:
        memory: Bytes of the device's memory; None for CPUs.
    """
    return _BUFFERS_ON_CPU if memory is None else min(_LARGEST_BUFFERS, int(memory * _BUFFERS_SHARE))


def device_memory() -> int | None:
    """Memory in bytes of the GPU that vLLM would use; None on CPUs, and where vLLM does not report it.

    Does not initialise CUDA, so that worker processes can still be forked.
    """
    from vllm.platforms import current_platform

    if not current_platform.is_cuda_alike():
        return None
    try:
        return int(current_platform.get_device_total_memory())
    except Exception:  # no GPU here, only on the machines of the workers
        return None


def visible_devices() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them; none on CPUs.

    Does not initialise CUDA.
    """
    import torch

    if torch.cuda.device_count() == 0:
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]

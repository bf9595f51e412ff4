"""vLLM's schedulers, which take no token from the prefix cache that a request must compute.

vLLM computes at least the last token of a prompt. Here other tokens may be needed as well: those whose activations are
read, and those whose next token is judged. Cached tokens pass no layer, so nothing would be read of them.
"""

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from fastneurons.engine.requests import first_needed


class NeuronScheduler(Scheduler):
    """vLLM's scheduler."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cap_cached_prefixes(self.kv_cache_manager)


class NeuronAsyncScheduler(AsyncScheduler):
    """vLLM's scheduler that prepares a step while the one before it runs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cap_cached_prefixes(self.kv_cache_manager)


def cap_cached_prefixes(manager: Any) -> None:
    """Have a KV cache manager look for cached prefixes only up to the first token that a request needs."""
    find = manager.get_computed_blocks

    def get_computed_blocks(request: Any) -> Any:
        extra = (request.sampling_params and request.sampling_params.extra_args) or {}
        needed = first_needed(extra)
        return find(request if needed is None else _BeginOf(request, needed))

    manager.get_computed_blocks = get_computed_blocks


class _BeginOf:
    """A request as if it ended with the first token that is needed: vLLM always computes a request's last token."""

    def __init__(self, request: Any, needed: int) -> None:
        self._request = request
        self.num_tokens = min(request.num_tokens, needed + 1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

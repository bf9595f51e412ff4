"""vLLM's executor of several workers on one machine, as the engine's core runs it: questions do not hold up steps."""

from collections.abc import Callable
from typing import Any

from vllm.v1.executor.multiproc_executor import MultiprocExecutor


class NeuronExecutor(MultiprocExecutor):
    """vLLM's executor, which asks workers of this package's without waiting for the steps that are under way.

    By itself it would: answers come in the order of calls, and the core, which waits for one, schedules no step
    meanwhile.
    """

    def collective_rpc(self, method: str | Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a method on all workers; of one of this package's a future, where steps are under way."""
        if not (isinstance(method, str) and method.startswith("fastneurons_")):
            return super().collective_rpc(method, *args, **kwargs)
        ahead = self.futures_queue[0] if self.futures_queue else None
        answer = super().collective_rpc(method, *args, **(kwargs | {"non_block": True}))
        if ahead is None:
            return answer.result()
        # A future of vLLM's looks for its answer when it is asked. The core asks those of steps: this comes next.
        ahead.add_done_callback(lambda _: answer.result())
        return answer

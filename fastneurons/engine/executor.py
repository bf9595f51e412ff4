"""vLLM's executor of several workers on one machine, as the engine's core runs it.

It ends with the session, and questions do not hold up steps.
"""

from collections.abc import Callable
from typing import Any

from vllm.v1.executor.multiproc_executor import MultiprocExecutor

from fastneurons.engine.processes import end_with_parent


class NeuronExecutor(MultiprocExecutor):
    """vLLM's executor, whose process ends with its parent, and which asks workers without waiting for steps."""

    def _init_executor(self) -> None:
        # Here, since the core calls nothing else of ours; and before workers start.
        end_with_parent()
        super()._init_executor()

    def collective_rpc(self, method: str | Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a method on all workers; if it is one of this package's and steps are under way, return a future.

        vLLM's own replies come in the order of calls, and the core, which waits for one, schedules no step meanwhile.
        """
        if not (isinstance(method, str) and method.startswith("fastneurons_")):
            return super().collective_rpc(method, *args, **kwargs)
        ahead = self.futures_queue[0] if self.futures_queue else None
        reply = super().collective_rpc(method, *args, **(kwargs | {"non_block": True}))
        if ahead is None:
            return reply.result()
        # A future of vLLM's looks for its reply when it is asked. The core asks those of steps: this comes next.
        ahead.add_done_callback(lambda _: reply.result())
        return reply

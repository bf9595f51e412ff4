"""vLLM's executor of several workers on one machine, as the engine's core runs it: it ends with the session."""

from vllm.v1.executor.multiproc_executor import MultiprocExecutor

from fastneurons.engine.processes import end_with_parent


class NeuronExecutor(MultiprocExecutor):
    """vLLM's executor, whose process does not outlive the one that it works for."""

    def _init_executor(self) -> None:
        # Here, as the core has no place of its own for it; and before workers are started.
        end_with_parent()
        super()._init_executor()

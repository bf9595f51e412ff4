"""The CPU worker. vLLM gets its qualified name, so that each process of an engine imports it by itself."""

from typing import Any

from vllm.v1.worker.cpu_worker import CPUWorker

from fastneurons.engine import cpu_norms  # noqa: F401 - each process registers what the configuration chooses
from fastneurons.engine.environment import keep_freed_memory
from fastneurons.engine.worker import NeuronWorker


class CPUNeuronWorker(NeuronWorker, CPUWorker):
    """vLLM's CPU worker with its model patched."""

    def load_model(self, *args: Any, **kwargs: Any) -> Any:
        """Before anything large is allocated."""
        keep_freed_memory()
        return super().load_model(*args, **kwargs)

"""The CPU worker. vLLM gets its qualified name, so that each process of an engine imports it by itself."""

from typing import Any

from vllm.distributed import get_pp_group
from vllm.v1.worker.cpu_worker import CPUWorker

from fastneurons.engine import cpu_norms  # noqa: F401 - each process registers what the configuration chooses
from fastneurons.engine.environment import keep_freed_memory
from fastneurons.engine.worker import NeuronWorker


class CPUNeuronWorker(NeuronWorker, CPUWorker):
    """vLLM's CPU worker with its model patched."""

    def load_model(self, *args: Any, **kwargs: Any) -> Any:
        """Load after memory is set up, and make the buffer in which a pipeline stage gets the rows of the one before.

        vLLM makes that buffer in its profile run, which eager engines on CPUs do not have.
        """
        keep_freed_memory()
        loaded = super().load_model(*args, **kwargs)
        runner = self.model_runner
        if not get_pp_group().is_first_rank and runner.intermediate_tensors is None:
            runner.intermediate_tensors = runner.get_model().make_empty_intermediate_tensors(
                batch_size=runner.max_num_tokens, dtype=self.model_config.dtype, device=runner.device
            )
        return loaded

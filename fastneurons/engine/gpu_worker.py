"""The GPU worker, given to vLLM by its qualified name: each process of an engine imports it by itself."""

from vllm.v1.worker.gpu_worker import Worker

from fastneurons.engine.worker import NeuronWorker


class GPUNeuronWorker(NeuronWorker, Worker):
    """vLLM's GPU worker with its model patched."""

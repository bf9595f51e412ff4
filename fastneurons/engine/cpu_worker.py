"""The CPU worker, given to vLLM by its qualified name: each process of an engine imports it by itself."""

from vllm.v1.worker.cpu_worker import CPUWorker

from fastneurons.engine.worker import NeuronWorker


class CPUNeuronWorker(NeuronWorker, CPUWorker):
    """vLLM's CPU worker with its model patched."""

"""Choose the device that contenders compute on."""

import os


def has_gpu() -> bool:
    """Whether PyTorch can use a GPU, found out without starting CUDA.

    vLLM forks its workers, and a process that has asked CUDA itself cannot be forked: its children fail with "Cannot
    re-initialize CUDA in forked subprocess". With this variable PyTorch asks NVML. vLLM sets it, too, but is imported
    later than this is asked.
    """
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch

    return torch.cuda.is_available()


def device_name() -> str:
    """PyTorch's name of the device that contenders use: "cuda" or "cpu"."""
    return "cuda" if has_gpu() else "cpu"

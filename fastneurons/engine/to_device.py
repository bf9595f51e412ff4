"""Copy small arrays to the device without holding up the host."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def page_locked(host: Tensor, device: torch.device) -> Tensor:
    """A tensor that the device can copy by itself; on CPUs the tensor as it is."""
    # The caching allocator keeps the memory until the copy is done.
    return host if device.type == "cpu" else host.pin_memory()


def to_device(array: NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """An array or tensor on the device; the copy is queued."""
    host = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
    return page_locked(host, device).to(device, non_blocking=True)

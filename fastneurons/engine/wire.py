"""Encode arrays for messages between a session and its workers, and hold the constants that both rely on.

Where those are processes of their own, vLLM's messages lose the types of numpy arrays inside containers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Most collections begun and not fetched: one is copied while the one before it is assembled.
MOST_COLLECTIONS = 2

Wired = list[Any]  # dtype, shape, bytes


def to_wire(arrays: dict[str, NDArray[Any]]) -> dict[str, Wired]:
    """Encode arrays as what msgpack carries: names, numbers and bytes."""
    return {name: [a.dtype.str, list(a.shape), a.tobytes()] for name, a in arrays.items()}


def from_wire(wired: dict[str, Wired]) -> dict[str, NDArray[Any]]:
    """Decode arrays as read-only views of the message."""
    return {
        name: np.frombuffer(data, dtype=np.dtype(dtype)).reshape(shape)
        for name, (dtype, shape, data) in wired.items()
    }

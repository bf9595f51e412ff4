"""How bits of the engine compare with the activations of a reference."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Agreement:
    """Bits that agree, and how far from the threshold the worst that does not is."""

    num_bits: int
    num_different: int
    worst_distance: float

    @property
    def share(self) -> float:
        return 1 - self.num_different / self.num_bits


def unpack(activated: np.ndarray, neurons: int) -> np.ndarray:
    """Packed bits as booleans, by numpy alone."""
    return np.unpackbits(activated, axis=-1, count=neurons, bitorder="little").astype(bool)


def agreement(activated: np.ndarray, reference: np.ndarray, threshold: float = 0.0) -> Agreement:
    """Compare packed bits uint8 [..., B] with reference activations float32 [..., I]."""
    bits = unpack(activated, reference.shape[-1])
    different = bits != (reference > threshold)
    distance = np.abs(reference - threshold)[different]
    return Agreement(bits.size, int(different.sum()), float(distance.max(initial=0.0)))

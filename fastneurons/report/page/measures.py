"""temporary: replaced by fastneurons.analysis"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from fastneurons.store import Store


@dataclass
class FromBits:
    language: NDArray[np.int32]  # [G, L, N, I]
    both: NDArray[np.int64]  # [G, N, L, L]
    members: NDArray[np.uint8]  # [M, L]
    set_count: NDArray[np.int64]  # [G, N, M]


def from_bits(store: Store, t: int, most_sets: int = 48) -> FromBits:
    h = store.header
    L, N, I, K = len(h.languages), len(h.layers), h.neurons, len(h.tasks)
    language = np.zeros((K, L, N, I), np.int32)
    both = np.zeros((K, N, L, L), np.int64)
    sets = np.zeros((K, N, 2**L), np.int64)
    weights = 1 << np.arange(L)
    for _, w in store.windows("activated", "task", "outcome"):
        for packed, task, outcome in zip(w["activated"][:, t], w["task"], w["outcome"]):
            if outcome != 1:
                continue
            bits = np.unpackbits(packed, axis=-1, bitorder="little", count=I)  # [L, N, I]
            language[task] += bits
            x = bits.transpose(1, 0, 2).astype(np.float32)
            both[task] += (x @ x.swapaxes(1, 2)).astype(np.int64)
            code = np.tensordot(weights, bits.astype(np.int32), 1)
            for n in range(N):
                sets[task, n] += np.bincount(code[n], minlength=2**L)
    def grouped(a):
        return np.concatenate([a.sum(0, keepdims=True), a]) if K > 1 else a
    language, both, sets = map(grouped, (language, both, sets))
    total = sets[0].sum(0)
    total[0] = 0
    chosen = np.argsort(-total, kind="stable")[:most_sets]
    chosen = chosen[total[chosen] > 0]
    members = (chosen[:, None] >> np.arange(L) & 1).astype(np.uint8)
    return FromBits(language, both, members, sets[:, :, chosen])

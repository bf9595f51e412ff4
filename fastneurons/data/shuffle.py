"""Shuffle any number of examples in little memory: they wait in a temporary file."""

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

# Examples up to this size stay in memory: most data sets never touch the disk.
_MEMORY_BYTES = 64 << 20


def shuffled(examples: Iterable[T], seed: int, type: Any) -> Iterator[T]:
    """The examples in an order that depends only on their number and the seed.

    Memory: 16 bytes an example; the examples themselves past 64 MiB lie in a file that goes away by itself.

    Args:
        examples: Any that msgspec can write.
        seed: 0 to 2**32 - 1.
        type: What msgspec reads them back as.
    """
    import numpy as np

    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(type).decode
    ends = array("Q", [0])
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES) as file:
        for example in examples:
            data = encode(example)
            file.write(data)
            ends.append(ends[-1] + len(data))
        # RandomState: numpy guarantees its stream for good, as it does not for its newer generators.
        for index in np.random.RandomState(seed).permutation(len(ends) - 1):
            file.seek(ends[index])
            yield decode(file.read(ends[index + 1] - ends[index]))

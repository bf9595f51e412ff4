"""Write a store's arrays as a safetensors file, window by window.

The `safetensors` package needs all arrays in memory before it writes, so the file is laid out here: the length of a
JSON header in eight bytes, the header with dtype, shape and place of each array, and the arrays' values.

Source: https://github.com/huggingface/safetensors#format.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastneurons.report.export.formats import written
from fastneurons.report.export.tables import language_counts
from fastneurons.store import CATEGORIES, Store

_DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float16": "F16", "float32": "F32", "float64": "F64",
}  # fmt: skip
# Arrays that take as much as all others together, and more.
LARGE = ("activated", "coefficient", "histogram")
_COUNTS = "neuron_activated_count"
_COUNTS_DIMS = ("task", "threshold", "language", "layer", "neuron")


@dataclass(frozen=True)
class _Tensor:
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    dims: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * prod(self.shape)


def write_safetensors(store: Store, path: Path, large: bool = False) -> None:
    """Write the numeric arrays of a store, and how often each language activates each neuron if it has bits.

    The header's metadata has each array's dimensions and the labels of these; `write_labels` has the examples' ids.

    Args:
        large: Whether to write packed bits, coefficients and histograms, too, if the store has them.
    Raises:
        OutputError: the file cannot be written.
    """
    tensors = _tensors(store, large)
    described: dict[str, Any] = {"__metadata__": _metadata(store, tensors)}
    offset = 0
    for tensor in tensors:
        described[tensor.name] = {
            "dtype": _DTYPES[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    head = json.dumps(described).encode()
    head += b" " * (-len(head) % 8)
    with written(path) as part, part.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for tensor in tensors:
            size = 0
            for values in _values(store, tensor):
                little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
                size += file.write(little.tobytes())
            assert size == tensor.nbytes, tensor.name


def write_labels(store: Store, path: Path) -> None:
    """Write the labels of the arrays' dimensions as JSON: tasks, languages, layers, thresholds and the examples' ids.

    Raises:
        OutputError: the file cannot be written.
    """
    ids = [str(each) for _, window in store.windows("example_id") for each in window["example_id"]]
    labels = {**_labels(store), "example": ids}
    with written(path) as part:
        text = json.dumps(labels, ensure_ascii=False, indent=1)
        part.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _tensors(store: Store, large: bool) -> list[_Tensor]:
    # Those of eight bytes first, so that every array begins where its values are aligned.
    found = []
    for name in store:
        array = store[name]
        if array.dtype.name not in _DTYPES or (name in LARGE and not large):
            continue
        found.append(_Tensor(name, array.dtype, tuple(array.shape), array.dims))
    if store.has_bits:
        h = store.header
        shape = (len(h.tasks), len(h.thresholds), len(h.languages), len(h.layers), h.neurons)
        found.append(_Tensor(_COUNTS, np.dtype(np.int32), shape, _COUNTS_DIMS))
    return sorted(found, key=lambda tensor: (-tensor.dtype.itemsize, tensor.name))


def _values(store: Store, tensor: _Tensor) -> Iterator[NDArray[Any]]:
    if tensor.name == _COUNTS:
        for task in store.header.tasks:
            for threshold in store.header.thresholds:
                yield language_counts(store, task, threshold)[0]
    elif tensor.dims[0] == "example":
        for _, window in store.windows(tensor.name):
            yield window[tensor.name]
    else:
        for k in range(tensor.shape[0]):
            yield np.asarray(store[tensor.name][k])


def _labels(store: Store) -> dict[str, Any]:
    h = store.header
    return {
        "task": h.tasks,
        "language": h.languages,
        "layer": h.layers,
        "threshold": h.thresholds,
        "category": list(CATEGORIES),
        **({"condition": h.conditions} if h.conditions else {}),
    }


def _metadata(store: Store, tensors: list[_Tensor]) -> dict[str, str]:
    """Text by name, as the format wants it; each value is JSON."""
    values = {
        "header": msgspec.to_builtins(store.header),
        "dimensions": {tensor.name: tensor.dims for tensor in tensors},
        "labels": _labels(store),
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}

"""What a store holds: its attributes, arrays and coordinates. The only place that spells array names.

An array of the table below is one line: what position `last` measures is there; what other positions
and attribution measure is a line with its own condition.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

# Raised when a store written now could be misread by an older fastneurons.
FORMAT = 1

CATEGORIES = ("non-activated", "specific", "partial-shared", "all-shared")

# Activations within this distance of a threshold are in `near_threshold_count`: rounding could turn them.
NEAR_THRESHOLD = 1e-3

# An inner chunk, uncompressed, is about this large: a few examples can be read without their whole window.
_CHUNK_BYTES = 2**20


class Outcome(IntEnum):
    """What became of an example."""

    NOT_RUN = 0
    MEASURED = 1
    SKIPPED = 2


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, of what, and how: the store's group attributes.

    Args:
        version: Of the fastneurons that wrote the store.
        layers: The N layer numbers, in the order of the layer axis.
        neurons: I, neurons per layer.
        languages: The L codes, in the order of the language axis.
        tasks: The K tasks that `task` points into.
        position: Which tokens are read: "last".
        signal: The site: "gate" (after the activation function) or "product" (before the down projection).
        window: Examples that are committed at once.
        config: What else the run was told; kept for the record, not compared when a run is resumed.
        created: When the run began, ISO 8601.
        status: "running" or "complete".
        format: Version of the store's layout.
    """

    version: str
    model: str
    revision: str | None = None
    dtype: str
    quantization: str | None = None
    lora: str | None = None
    task: str
    tasks: list[str]
    source: str
    languages: list[str]
    position: str = "last"
    signal: str = "gate"
    thresholds: list[float]
    layers: list[int]
    neurons: int
    top_k: int | None = None
    window: int
    config: dict[str, Any] = {}
    created: str
    status: str = "running"
    format: int = FORMAT


@dataclass(frozen=True)
class ArraySpec:
    """An array of the store.

    Args:
        name: Its name.
        dtype: A numpy dtype, or "string" for variable-length UTF-8.
        dims: Its dimension names; those with "example" first grow with the run.
        fill: The value where nothing was written.
        when: Whether a store has it, from its header and whether bits are kept.
    """

    name: str
    dtype: str
    dims: tuple[str, ...]
    fill: int | str = 0
    when: Callable[[Header, bool], bool] = lambda header, keep_bits: True

    @property
    def grows(self) -> bool:
        """Whether the run adds to it, window by window."""
        return self.dims[0] == "example"

    def shape(self, header: Header, num_examples: int) -> tuple[int, ...]:
        """Its shape in a store of that many examples."""
        sizes = dimension_sizes(header, num_examples)
        return tuple(sizes[dim] for dim in self.dims)

    def chunks(self, header: Header) -> tuple[int, ...]:
        """The least that can be read: a few examples with all that is theirs, or a few layers."""
        shape = self.shape(header, header.window)
        size = 16 if self.dtype == _STRING else np.dtype(self.dtype).itemsize
        chunk: list[int] = []
        for dim, whole in zip(reversed(self.dims), reversed(shape), strict=True):
            if dim in _APART:
                part = 1
            elif self.grows and dim != "example":
                part = whole
            else:
                part = largest_divisor(whole, _CHUNK_BYTES // size)
            chunk.insert(0, part)
            size *= part
        return tuple(chunk)

    def shards(self, header: Header) -> tuple[int, ...] | None:
        """One object of the store: a window of examples; None where every chunk is an object."""
        return (header.window, *self.chunks(header)[1:]) if self.grows else None

    def window_key(self, window: int) -> str:
        """The object that holds a window of a growing array."""
        return f"{self.name}/c.{window}" + ".0" * (len(self.dims) - 1)


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is not above `limit`; 1 where there is none."""
    return next(n for n in range(max(1, min(number, limit)), 0, -1) if number % n == 0) if number else 1


def dimension_sizes(header: Header, num_examples: int) -> dict[str, int]:
    """The size of every dimension."""
    return {
        "example": num_examples,
        "threshold": len(header.thresholds),
        "language": len(header.languages),
        "layer": len(header.layers),
        "neuron": header.neurons,
        "byte": -(-header.neurons // 8),
        "category": len(CATEGORIES),
        "task": len(header.tasks),
        "snapshot": 2,
    }


def coordinates(header: Header) -> dict[str, NDArray[Any]]:
    """The labels of dimensions, by dimension; each is an array of its dimension's name."""
    return {
        "language": np.array(header.languages, np.dtypes.StringDType()),
        "layer": np.array(header.layers, np.int32),
        "threshold": np.array(header.thresholds, np.float64),
        "category": np.array(CATEGORIES, np.dtypes.StringDType()),
    }


def array_specs(header: Header, keep_bits: bool) -> list[ArraySpec]:
    """The arrays of a complete store, coordinates included."""
    return [*COORDINATES, *(spec for spec in ARRAYS if spec.when(header, keep_bits))]


# Arrays that the writer or the reader treats in a way of its own.
ACTIVATED = "activated"
EXAMPLE_ID = "example_id"
OCCUPANCY = "occupancy"
OUTCOME = "outcome"

_STRING = "string"
# Dimensions of which each index is an object of its own, so that one can be written without the others.
_APART = ("snapshot", "task")

COORDINATES = (
    ArraySpec("language", _STRING, ("language",), ""),
    ArraySpec("layer", "int32", ("layer",)),
    ArraySpec("threshold", "float64", ("threshold",)),
    ArraySpec("category", _STRING, ("category",), ""),
)

ARRAYS = (
    ArraySpec(EXAMPLE_ID, _STRING, ("example",), ""),
    ArraySpec("task", "int32", ("example",)),
    ArraySpec(OUTCOME, "uint8", ("example",), Outcome.NOT_RUN),
    ArraySpec("token_count", "int32", ("example", "language")),
    ArraySpec("present", "bool", ("example", "language"), False),
    ArraySpec(
        ACTIVATED, "uint8", ("example", "threshold", "language", "layer", "byte"),
        when=lambda header, keep_bits: keep_bits,
    ),
    ArraySpec("activated_count", "int32", ("example", "threshold", "language", "layer")),
    ArraySpec("near_threshold_count", "int32", ("example", "threshold", "language", "layer")),
    ArraySpec("category_count", "int32", ("example", "threshold", "layer", "category")),
    ArraySpec(OCCUPANCY, "int32", ("task", "threshold", "layer", "neuron", "category")),
)  # fmt: skip

# `occupancy` grows in value, not in size: what is committed must stay while its successor is written. Until
# a store is complete it lies here in two snapshots; the commit mark tells, per task, which one counts.
CHECKPOINT = ArraySpec("occupancy_checkpoint", "int32", ("snapshot", *ARRAYS[-1].dims))

"""The size of a store, from its schema: bytes of every array, and what compression is expected to leave of them."""

from dataclasses import dataclass
from math import prod

from fastneurons.planning.shapes import Model
from fastneurons.store import Header, schema
from fastneurons.store.schema import ArraySpec

# What Zstandard leaves of the bits (benchmarks/results/write_rate.md: 9.12 of 11.5 MB at `last`, 2.92 at `any`). Random
# bits stay as they are, so a store may be as large as its bits.
_BITS_LEFT = {"last": 0.8, "any": 0.25, "answer": 0.5}
# Of counts, in 32 or 64 bits though they need fewer; of scores; of half-precision floats.
_LEFT = {"int32": 0.45, "int64": 0.45, "float32": 0.9, "float64": 0.9, "float16": 0.95, "uint64": 1.0}
_LEFT_OF_FLAGS = 0.05
_ID_BYTES = 10
_BYTES_OF_A_TOKEN = 4.0
_TEXT_LEFT = 0.45


@dataclass(frozen=True)
class StoreSize:
    """Bytes of a complete store.

    Args:
        expected: With what compression is expected to save.
        at_most: If nothing of the bits can be compressed.
        example: Expected bytes of one example.
        arrays: Expected bytes of each array.
    """

    expected: float
    at_most: float
    example: float
    arrays: dict[str, float]


def store_size(header: Header, examples: int, tokens: int, kept: list[str]) -> StoreSize:
    """The size of the store of a run.

    Args:
        header: Of the run.
        examples: How many there will be.
        tokens: Of a prompt.
        kept: Names of the optional and later arrays that it has.
    """
    arrays: dict[str, float] = {}
    at_most = example = 0.0
    for spec in schema.array_specs(header, kept):
        shape = spec.shape(header, examples)
        size, left = _bytes(spec, shape, tokens)
        if spec.name == schema.ACTIVATED:
            left = _BITS_LEFT[header.position]
        arrays[spec.name] = size * left
        at_most += size if spec.name == schema.ACTIVATED else size * left
        if spec.grows:
            example += size * left / max(1, examples)
    return StoreSize(sum(arrays.values()), at_most, example, arrays)


def header_for(
    model: Model,
    layers: int,
    languages: int,
    thresholds: list[float],
    position: str,
    top_k: int | None,
    window: int,
) -> Header:
    """The header of a run that is only planned."""
    return Header(
        version="planned", model=model.name, dtype="bfloat16", task="planned", tasks=["planned"], source="planned",
        languages=[f"l{k}" for k in range(languages)], position=position, thresholds=thresholds,
        layers=list(range(layers)), neurons=model.intermediate_size, top_k=top_k, window=window, created="",
    )  # fmt: skip


def _bytes(spec: ArraySpec, shape: tuple[int, ...], tokens: int) -> tuple[float, float]:
    """An array's bytes in memory, and the share of them that is left."""
    values = prod(shape)
    if spec.name == schema.PROMPT:
        return values * tokens * _BYTES_OF_A_TOKEN, _TEXT_LEFT
    if spec.dtype == "string":
        return values * _ID_BYTES, _TEXT_LEFT
    size = float(spec.bytes_of(shape))
    if spec.dtype in ("bool", "uint8") and spec.name != schema.ACTIVATED:
        return size, _LEFT_OF_FLAGS
    return size, _LEFT.get(spec.dtype, 1.0)

"""Lay out the arrays of `fastneurons/arrays.py` in a store: attributes, chunks, shards, checkpoints, coordinates."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from math import isqrt, prod
from typing import Any

import msgspec
import numpy as np
import zarr
from numpy.typing import NDArray

from fastneurons import arrays
from fastneurons.arrays import CATEGORIES, SIGN_CASES, STRING, Array

# Raised when a store written now could be misread by an older fastneurons.
FORMAT = 2
FORMAT_WITH_MANIFESTS = 2

# Activations within this distance of a threshold are in `near_threshold_count`: rounding could flip them.
NEAR_THRESHOLD = 1e-3

# An inner chunk, uncompressed, is about this large: a few examples can be read without their whole window.
_CHUNK_BYTES = 2**20
# An object is no larger, unless a single example is: zarr holds all of one in memory while it writes it.
_OBJECT_BYTES = 2**28


class Outcome(IntEnum):
    """The outcome of an example."""

    NOT_RUN = 0
    MEASURED = 1
    SKIPPED = 2


# In `Header.config` of a store that `recategorise --out` wrote: the store that it was made from.
RECATEGORISED_FROM = "recategorised_from"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Description of a run, kept in the store's group attributes.

    Args:
        version: Of the fastneurons that wrote the store.
        kind: What the store holds, one of `fastneurons.arrays.KINDS`.
        conditions: The C labels of the condition axis, under which each prompt was run: `intact`, and the edits by
            name. Empty in a store of the kind "measure", which has no such axis.
        edits: How the conditions' edits were made, by the names of the command's options; compared when a run is
            resumed.
        measures: By task, how answers are judged: what `correct` says. Empty where no answer is judged.
        layers: The N layer numbers, in the order of the layer axis.
        neurons: I, neurons per layer.
        languages: The L codes, in the order of the language axis.
        tasks: The K tasks that `task` points into.
        position: Which tokens are read: the prompt's "last", "any" of the prompt's, any of the "answer"'s; or
            "corpus": each token of a text is counted for its language, and there are no categories.
        signal: The site: "gate" (after the activation function) or "product" (before the down projection).
        top_k: Neurons of a layer that count as its most contributing ones; None without attribution.
        bins: Bins of a corpus's histograms; None without them.
        counts_signs: Whether a run with histograms has sign cases: those of gated models do.
        tokens_per_language: Tokens to count of each language of a corpus; None for all that there are.
        tokens: The marks around the texts, and whether they are read: `before` and `after`, the marks that are sent
            with each text; `removed`, those of the tokenizer that are not; `between_texts` of a corpus in blocks;
            `chat_template`, whether prompts are in a chat format; `add_bos_token`, what the user said of it;
            `include_special_tokens`. Empty in stores that were written before there was this field: what the
            tokenizer puts around a text was sent and read.
        window: Examples that are committed at once.
        config: The run's other options; kept for the record, not compared when a run is resumed.
        model_fingerprint: SHA-256 over the model's configuration and its tensors' names, dtypes and shapes; weights
            are not hashed. None in stores of earlier versions.
        lora_fingerprint: SHA-256 over the adapter's configuration and its weights. None without one.
        tokenizer_fingerprint: SHA-256 over the tokenizer's files. None in stores of earlier versions.
        warnings: What the engine warned of that may change results, a line each.
        shard: "I/N" in a store that holds one of N shares of the examples; None where it holds all of them.
        created: When the run began, ISO 8601.
        status: "running" or "complete".
        format: Version of the store's layout.
    """

    version: str
    kind: str = "measure"
    conditions: list[str] = []
    edits: dict[str, Any] = {}
    measures: dict[str, str] = {}
    model: str
    revision: str | None = None
    dtype: str
    quantization: str | None = None
    lora: str | None = None
    lora_fingerprint: str | None = None
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
    bins: int | None = None
    counts_signs: bool = False
    tokens_per_language: int | None = None
    tokens: dict[str, Any] = {}
    window: int
    config: dict[str, Any] = {}
    model_fingerprint: str | None = None
    tokenizer_fingerprint: str | None = None
    warnings: list[str] = []
    shard: str | None = None
    created: str
    status: str = "running"
    format: int = FORMAT

    @property
    def is_corpus(self) -> bool:
        """Whether tokens are counted for each language, instead of comparing languages in each example."""
        return self.position == "corpus"

    @property
    def is_measuring(self) -> bool:
        """Whether the store holds which neurons the unedited model activates."""
        return self.kind == "measure"

    @property
    def has_attribution(self) -> bool:
        """Whether the store holds attribution: how much each category matters for the answer."""
        return self.top_k is not None

    @property
    def includes_special_tokens(self) -> bool | None:
        """Whether the run reads special tokens like text; None for position `last`, which reads a single token."""
        if self.position == "last":
            return None
        return bool(self.tokens.get("include_special_tokens", True))


@dataclass(frozen=True)
class ArraySpec(Array):
    """An array's layout in a store.

    Args:
        apart: Dimensions of which each index is an object of its own.
    """

    apart: tuple[str, ...] = ()

    @property
    def is_checkpoint(self) -> bool:
        """Whether it holds a sum that grows during the run."""
        return "snapshot" in self.dims

    def when(self, header: Header) -> bool:
        """Whether a run with that header may have it."""
        measuring, judging = header.is_measuring, bool(header.measures)
        return {
            "all": True,
            "prompting": not (measuring and header.is_corpus),
            "last": measuring and header.position == "last",
            "comparing": measuring and not header.is_corpus,
            "attributing": measuring and header.has_attribution,
            "counting": measuring and header.is_corpus,
            "binning": header.bins is not None,
            "signing": header.counts_signs,
            "scoring": judging if measuring else header.kind != "generate",
            "judging": judging,
            "deactivate": header.kind == "deactivate",
            "generate": header.kind == "generate",
        }[self.runs]

    def within(self, header: Header) -> "ArraySpec":
        """The array in a store with that header: without the dimension "condition" if that has no conditions."""
        if header.conditions or "condition" not in self.dims:
            return self
        return replace(self, dims=tuple(dim for dim in self.dims if dim != "condition"))

    @property
    def checkpoint(self) -> "ArraySpec":
        """The array that holds a sum during the run.

        It grows in value, not in size: what is committed must stay while its successor is written. So there
        are two snapshots; the commit mark tells, for each index of `summed_by`, which one counts.
        """
        assert self.summed_by is not None
        name, dims = f"{self.name}_checkpoint", ("snapshot", *self.dims)
        return ArraySpec(name, self.dtype, dims, self.runs, apart=("snapshot", self.summed_by))

    def part(self, index: int) -> tuple[slice | int, ...]:
        """The index on a sum's axes of one entry of `summed_by`."""
        assert self.summed_by is not None
        return (*(slice(None) for _ in range(self.dims.index(self.summed_by))), index)

    def parts(self, values: Any) -> Iterator[tuple[int, NDArray[Any]]]:
        """Take a sum apart: each entry of `summed_by` with its index. Those of a stored one are read one by one."""
        assert self.summed_by is not None
        for index in range(values.shape[self.dims.index(self.summed_by)]):
            yield index, np.asarray(values[self.part(index)])

    def shape(self, header: Header, num_examples: int) -> tuple[int, ...]:
        """Its shape in a store of that many examples."""
        sizes = dimension_sizes(header, num_examples)
        return tuple(sizes[dim] for dim in self.dims)

    def chunks(self, header: Header) -> tuple[int, ...]:
        """The unit of reading: a few examples with all their values, or a few layers."""
        shape = self.shape(header, header.window)
        size = self.bytes_of(())
        chunk: list[int] = []
        for dim, whole in zip(reversed(self.dims), reversed(shape), strict=True):
            if dim in self.apart:
                part = 1
            elif self.grows and dim != "example":
                part = whole
            else:
                part = largest_divisor(whole, _CHUNK_BYTES // size)
            chunk.insert(0, part)
            size *= part
        return tuple(chunk)

    def shards(self, header: Header) -> tuple[int, ...] | None:
        """One object of the store: a window of examples, or as much of it as is not too large.

        None where every chunk is an object.
        """
        if not self.grows:
            return None
        chunk = self.chunks(header)
        chunks = largest_divisor(header.window // chunk[0], _OBJECT_BYTES // self.bytes_of(chunk))
        return (chunks * chunk[0], *chunk[1:])

    def bytes_of(self, shape: Sequence[int]) -> int:
        """Bytes of that many values in memory; approximate for strings."""
        string = _PROMPT_BYTES if self.name in (PROMPT, TEXT) else 16
        return prod(shape) * (string if self.dtype == STRING else np.dtype(self.dtype).itemsize)


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` up to `limit`."""
    if number <= limit:
        return max(1, number)
    small = [n for n in range(1, min(limit, isqrt(number)) + 1) if number % n == 0]
    return max((n for one in small for n in (one, number // one) if n <= limit), default=1)


def dimension_sizes(header: Header, num_examples: int) -> dict[str, int]:
    """Return the size of every dimension of a store's arrays, checkpoints included."""
    sizes = arrays.dimension_sizes(
        thresholds=len(header.thresholds),
        languages=len(header.languages),
        layers=len(header.layers),
        neurons=header.neurons,
        tasks=len(header.tasks),
        examples=num_examples,
        conditions=len(header.conditions),
        bins=header.bins or 0,
    )
    return {**sizes, "snapshot": 2}


def coordinates(header: Header) -> dict[str, NDArray[Any]]:
    """The labels of dimensions, by dimension; each is an array of its dimension's name."""
    labels: dict[str, NDArray[Any]] = {
        "language": np.array(header.languages, np.dtypes.StringDType()),
        "layer": np.array(header.layers, np.int32),
        "threshold": np.array(header.thresholds, np.float64),
        "category": np.array(CATEGORIES, np.dtypes.StringDType()),
    }
    if header.counts_signs:
        labels["case"] = np.array(SIGN_CASES, np.dtypes.StringDType())
    if header.conditions:
        labels["condition"] = np.array(header.conditions, np.dtypes.StringDType())
    return labels


def metadata_problem(spec: ArraySpec, metadata: dict[str, Any]) -> str | None:
    """Say why an array's metadata, although of the right shape, is not from this writer; None if it is.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: it is not even zarr's.
    """
    shape = metadata["shape"]
    if metadata["dimension_names"] != list(spec.dims):
        return f"dimensions {metadata['dimension_names']}"
    if metadata["data_type"] != spec.dtype:
        return f"type {metadata['data_type']}"
    outer = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    codecs, grids = metadata["codecs"], [outer]
    if codecs[0]["name"] == "sharding_indexed":
        grids.append(codecs[0]["configuration"]["chunk_shape"])
        codecs = codecs[0]["configuration"]["codecs"]
    for grid in grids:
        if len(grid) != len(shape) or not all(type(size) is int and 0 < size < 2**40 for size in grid):
            return f"chunks {grid}"
    inner = grids[-1]
    if any(size % part for size, part in zip(outer, inner, strict=True)):
        return f"chunks {inner} in shards {outer}"
    # Chunks of one example may be as large as it is; nothing else is larger than what is written.
    if spec.bytes_of(inner) > max(_OBJECT_BYTES, spec.bytes_of([1, *shape[1:]])):
        return f"chunks {inner}"
    if not {codec["name"] for codec in codecs} <= _CODECS:
        return f"codecs {', '.join(str(codec['name']) for codec in codecs)}"
    return None


def object_bytes(spec: ArraySpec, metadata: dict[str, Any]) -> int:
    """The largest size of an array's object, including Zstandard's overhead and the index."""
    shape: list[int] = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    # Nothing tells how long strings are: an id may have a megabyte.
    values: int = _STRINGS_BYTES if spec.dtype == STRING else spec.bytes_of(shape)
    return values + values // 16 + 64 * prod(shape) + 2**20


def examples_per_object(array: "zarr.Array[Any]") -> int:
    """Number of examples in an object of a growing array."""
    return (array.shards or array.chunks)[0]


def array_specs(header: Header, kept: Collection[str]) -> list[ArraySpec]:
    """The arrays of a complete store, coordinates included.

    Args:
        kept: Names, among which are those of the optional and the later arrays that the store has.
    """
    labels = coordinates(header)
    return [
        *(spec for spec in COORDINATES if spec.name in labels),
        *(
            spec.within(header)
            for spec in ARRAYS
            if spec.when(header) and (spec.name in kept or not (spec.optional or spec.later))
        ),
    ]


def constant_specs(header: Header) -> list[ArraySpec]:
    """The arrays that are constants of the model."""
    return [spec for spec in ARRAYS if spec.is_constant and spec.when(header)]


def later_names() -> list[str]:
    """The arrays that stores of an earlier version lack."""
    return [spec.name for spec in ARRAYS if spec.later]


def sum_specs(header: Header) -> list[ArraySpec]:
    """The arrays that are sums over examples."""
    return [spec for spec in ARRAYS if spec.summed_by and spec.when(header)]


def array_spec(name: str, header: Header) -> ArraySpec:
    """The array of that name in a store with that header, coordinates excluded."""
    return next(spec.within(header) for spec in ARRAYS if spec.name == name)


# Arrays that the writer or the reader treats in a way of its own.
ACTIVATED = "activated"
BIN_EDGE = "bin_edge"
COEFFICIENT = "coefficient"
DIGEST = "digest"
EXAMPLE_ID = "example_id"
OUTCOME = "outcome"
FOLD_TOKENS = "fold_tokens"
LAST_TOKEN = "last_token"
PROMPT = "prompt"
TEXT = "text"

# Generous, so that no object of prompts comes near the largest size that is read.
_PROMPT_BYTES = 4096
_STRINGS_BYTES = 2**28
# Those of arrays as the writer makes them.
_CODECS = {"bytes", "vlen-utf8", "zstd", "crc32c"}

COORDINATES = (
    ArraySpec("language", STRING, ("language",), fill=""),
    ArraySpec("layer", "int32", ("layer",)),
    ArraySpec("threshold", "float64", ("threshold",)),
    ArraySpec("category", STRING, ("category",), fill=""),
    ArraySpec("case", STRING, ("case",), "signing", fill=""),
    ArraySpec("condition", STRING, ("condition",), fill=""),
)
ARRAYS = tuple(
    ArraySpec(
        **{f.name: getattr(spec, f.name) for f in fields(spec)},
        # All of these together may be larger than memory: they are written, and read, one after another.
        apart=("fold",) if spec.folds_of else ("language",) if "bin" in spec.dims else (),
    )
    for spec in arrays.ARRAYS
)

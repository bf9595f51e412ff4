"""The root object of a store, `zarr.json`, which is also the commit mark.

It holds the group's attributes and, as zarr's consolidated metadata, the metadata of every array with the
number of examples that are committed. A window counts from the moment at which this one object is
replaced: nothing that opens the store through it, xarray included, sees an example before, and there is
no second object that could contradict it. It is also why the other objects (`skipped.jsonl`, the
checkpoint, the manifests) cause no warnings: with consolidated metadata nothing lists the folder.

It ends the chain of manifests (`manifest.py`) and vouches for itself: the attribute `checksum` is that of all
else that a reader uses of it, so that no figure comes out under another threshold or language unnoticed.
"""

import os
import socket
import uuid
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import zarr
from numpy.typing import NDArray

from fastneurons.arrays import KINDS
from fastneurons.errors import StoreError
from fastneurons.store import schema
from fastneurons.store.manifest import Mark, digest_of
from fastneurons.store.schema import FORMAT, FORMAT_WITH_MANIFESTS, ArraySpec, Header
from fastneurons.store.storage import Storage, one_line

ROOT_KEY = "zarr.json"
SKIPPED_KEY = "skipped.jsonl"
# In place of a root object while stores are merged into one.
MERGING_KEY = "merging.json"

# A root object has some 30 kB, plus a run's options.
_ROOT_BYTES = 2**26


class Writer(msgspec.Struct, frozen=True):
    """The writer of a store."""

    token: str
    host: str
    pid: int
    since: str

    @classmethod
    def this_process(cls) -> "Writer":
        """A new writer, different from any other."""
        return cls(
            uuid.uuid4().hex,
            socket.gethostname(),
            os.getpid(),
            datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def __str__(self) -> str:
        return f"host {self.host}, process {self.pid}, since {self.since}"


class Commit(msgspec.Struct, frozen=True, omit_defaults=True):
    """The extent of a store that is committed.

    Args:
        examples: Examples committed.
        skipped_bytes: Length of `skipped.jsonl` up to these examples.
        writer: Who wrote it.
        occupancy: For each task, the snapshot of the checkpoint that holds these examples.
        activation_count: Likewise for each language.
        corpus_tokens: Likewise for each language.
        neuron_contribution: Likewise for each language; empty in stores that lack the array, as are the next.
        histogram: Likewise.
        signal_sum: Likewise.
        signal_square_sum: Likewise.
        sign_count: Likewise.
        fold_activation_count: Likewise for each fold.
        fold_tokens: Likewise for each fold.
    """

    examples: int
    skipped_bytes: int
    writer: Writer
    occupancy: list[int] = []
    activation_count: list[int] = []
    corpus_tokens: list[int] = []
    neuron_contribution: list[int] = []
    histogram: list[int] = []
    signal_sum: list[int] = []
    signal_square_sum: list[int] = []
    sign_count: list[int] = []
    fold_activation_count: list[int] = []
    fold_tokens: list[int] = []

    @classmethod
    def nothing(cls, header: Header, kept: Collection[str] | None = None) -> "Commit":
        """Make the mark of a store that has just begun.

        Args:
            kept: Names, among which are those of the optional sums that it will have; None for all.
        """
        sizes = schema.dimension_sizes(header, 0)
        sums = [
            spec
            for spec in schema.sum_specs(header)
            if kept is None or spec.name in kept or not spec.optional
        ]
        first = {spec.name: [0] * sizes[spec.summed_by or ""] for spec in sums}
        return cls(0, 0, Writer.this_process(), **first)

    def snapshots(self, spec: ArraySpec) -> list[int]:
        """For each index of a sum's `summed_by`, the valid snapshot."""
        found: list[int] = getattr(self, spec.name)
        return list(found)


class Root(msgspec.Struct, frozen=True):
    """The root object.

    Args:
        header: What was measured.
        commit: What counts.
        arrays: zarr's metadata of each array, by name.
        mark: The last manifest that counts; None where there are none: the store has only begun, or is of
            format 1.
    """

    header: Header
    commit: Commit
    arrays: dict[str, dict[str, Any]]
    mark: Mark | None = None

    @property
    def sums(self) -> list[ArraySpec]:
        """The sums over examples that the store has; those of earlier versions lack the later ones."""
        found = schema.sum_specs(self.header)
        return [spec for spec in found if not spec.later or self.commit.snapshots(spec)]

    def needs(self, key: str) -> bool:
        """Whether an object that a manifest names is still part of the store: old snapshots of sums are not.

        Nor are the sums and the trimmed metadata of a store that was complete once and goes on.
        """
        name, _, rest = key.partition("/")
        if self.header.status != "complete":
            for spec in schema.ARRAYS:
                if name == spec.name and (spec.summed_by or (spec.grows and rest == ROOT_KEY)):
                    return False
        for spec in self.sums:
            if name != spec.checkpoint.name:
                continue
            if self.header.status == "complete":
                return False
            if rest == ROOT_KEY:
                return True
            snapshot, *index = (int(part) for part in rest.split(".")[1:])
            place = index[spec.dims.index(spec.summed_by or "")]
            return self.commit.snapshots(spec)[place] == snapshot
        return True

    def read_sum(self, spec: ArraySpec, checkpoint: "zarr.Array[Any]") -> NDArray[Any]:
        """A sum over the committed examples, from the valid snapshots."""
        values = np.zeros(spec.shape(self.header, 0), spec.dtype)
        for index, part in self.read_parts(spec, checkpoint):
            values[spec.part(index)] = part
        return values

    def read_parts(
        self, spec: ArraySpec, checkpoint: "zarr.Array[Any]"
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Read each entry of a sum's `summed_by` by itself, with its index."""
        for index, snapshot in enumerate(self.commit.snapshots(spec)):
            yield index, np.asarray(checkpoint[snapshot, *spec.part(index)])

    def encode(self) -> bytes:
        """The object's bytes."""
        header = msgspec.to_builtins(self.header)
        tasks = header.pop("tasks")
        attributes = {"fastneurons": header, "tasks": tasks, "commit": msgspec.to_builtins(self.commit)}
        if self.mark is not None:
            attributes["manifest"] = msgspec.to_builtins(self.mark)
        document = {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": attributes,
            "consolidated_metadata": {
                "kind": "inline",
                "must_understand": False,
                "metadata": self.arrays,
            },
        }
        if self.header.format >= FORMAT_WITH_MANIFESTS:
            attributes["checksum"] = _checksum(document)
        return msgspec.json.encode(document)


# Attributes of ours; others may be added by whom it pleases.
_ATTRIBUTES = ("fastneurons", "tasks", "commit", "manifest")


def is_store(data: bytes | None) -> bool:
    """Whether a root object belongs to a fastneurons store, intact or damaged, of any format."""
    try:
        root = msgspec.json.decode(data or b"")
        return "fastneurons" in root["attributes"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return False


def read_root(storage: Storage) -> bytes | None:
    """Read the root object's bytes; None if it does not exist.

    Raises:
        StoreError: something else lies in its place, or it is too long to be one.
    """
    return storage.read_bounded(ROOT_KEY, _ROOT_BYTES)


def decode(data: bytes | None, name: str) -> Root:
    """Decode the root object.

    Raises:
        StoreError: it is not that of a store, or of a newer one, or damaged.
    """
    if data is None:
        raise StoreError(f"{name} is not a fastneurons store")
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(name, one_line(error)) from error
    attributes = document.get("attributes", {}) if isinstance(document, dict) else None
    if not isinstance(attributes, dict):
        raise _damaged(name, "it has no attributes")
    if "fastneurons" not in attributes:
        raise StoreError(f"{name} is not a fastneurons store")
    header = attributes["fastneurons"]
    written = header.get("format") if isinstance(header, dict) else None
    if isinstance(written, int) and written > FORMAT:
        raise StoreError(
            f"{name} has store format {written}, written by fastneurons {header.get('version')}; "
            f"this one reads up to {FORMAT}: upgrade fastneurons"
        )
    try:
        root = Root(
            msgspec.convert({**header, "tasks": attributes["tasks"]}, Header),
            msgspec.convert(attributes["commit"], Commit),
            msgspec.convert(document["consolidated_metadata"]["metadata"], dict[str, dict[str, Any]]),
            msgspec.convert(attributes["manifest"], Mark) if "manifest" in attributes else None,
        )
    except (msgspec.ValidationError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _damaged(name, one_line(error)) from error
    _check(root, name)
    has_checksum = root.header.format >= FORMAT_WITH_MANIFESTS
    if has_checksum != ("checksum" in attributes) or (root.mark is not None and not has_checksum):
        raise _damaged(name, f"it is not as format {root.header.format} has it")
    if has_checksum and attributes["checksum"] != _checksum_or_none(document):
        raise _damaged(name, "its checksum is not that of its content")
    if has_checksum and root.mark is None and (root.commit.examples or root.header.status != "running"):
        raise _damaged(name, "it names no manifest")
    return root


def _damaged(name: str, what: str) -> StoreError:
    return StoreError(f"{name}: its {ROOT_KEY} is damaged: {what}")


def _checksum(document: dict[str, Any]) -> str:
    """The digest of everything that readers use of a root object, whatever its order."""
    attributes = {key: value for key, value in document["attributes"].items() if key in _ATTRIBUTES}
    return digest_of(msgspec.json.encode({**document, "attributes": attributes}, order="sorted"))


def _checksum_or_none(document: dict[str, Any]) -> str | None:
    try:
        return _checksum(document)
    except (OverflowError, RecursionError, TypeError, ValueError):  # what no writer of ours has written
        return None


def _check(root: Root, name: str) -> None:
    """Whether header, commit and the arrays' metadata can be those of one store.

    Raises:
        StoreError: naming what cannot be.
    """
    if root.header.kind not in KINDS:
        raise StoreError(
            f"{name} is of kind {root.header.kind}, written by fastneurons {root.header.version}; this one reads "
            f"{', '.join(KINDS)}: upgrade fastneurons"
        )
    problem = _header_problem(root)
    if problem is not None:
        raise _damaged(name, problem)
    if not root.arrays and root.commit.examples == 0:
        return  # its run has only begun
    for spec in schema.array_specs(root.header, root.arrays):
        if spec.summed_by and root.header.status == "running":
            continue
        metadata = root.arrays.get(spec.name)
        expected = list(spec.shape(root.header, root.commit.examples))
        if metadata is None:
            raise StoreError(f"{name}: array {spec.name} is missing")
        if metadata.get("shape") != expected:
            raise StoreError(
                f"{name}: array {spec.name} has shape {metadata.get('shape')}, should be {expected}"
            )
        try:
            problem = schema.metadata_problem(spec, metadata)
        except (LookupError, TypeError, AttributeError, ValueError):
            problem = "it is not as zarr has it"
        if problem is not None:
            raise StoreError(f"{name}: array {spec.name} has damaged metadata: {problem}")


def _header_problem(root: Root) -> str | None:
    """Say why header and commit contradict each other; None if they do not."""
    header, commit = root.header, root.commit
    if header.status not in ("running", "complete"):
        return f"status {header.status!r}"
    if header.format < 1:
        return f"format {header.format}"
    if (
        len(set(header.conditions)) != len(header.conditions)
        or bool(header.conditions) == header.is_measuring
    ):
        return f"conditions {header.conditions} of kind {header.kind}"
    sizes = schema.dimension_sizes(header, commit.examples)
    for dimension, size in (*sizes.items(), ("window", header.window)):
        lowest = 0 if dimension in ("example", "layer", "threshold", "condition", "bin", "edge") else 1
        if not lowest <= size < 2**40:
            return f"{dimension} of {size}"
    if not 0 <= commit.skipped_bytes < 2**40:
        return f"{commit.skipped_bytes} bytes of skipped examples"
    if header.is_measuring and not header.thresholds:
        return "threshold of 0"
    for spec in root.sums:
        snapshots = commit.snapshots(spec)
        if len(snapshots) != sizes[spec.summed_by or ""] or not set(snapshots) <= {0, 1}:
            return f"snapshots of {spec.name} {snapshots}"
    return None

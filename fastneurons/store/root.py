"""The root object of a store, `zarr.json`, which is also the commit mark.

It holds the group's attributes and, as zarr's consolidated metadata, the metadata of every array with the
number of examples that are committed. A window counts from the moment at which this one object is
replaced: nothing that opens the store through it, xarray included, sees an example before, and there is
no second object that could contradict it. It is also why the other objects (`skipped.jsonl`, the
checkpoint) cause no warnings: with consolidated metadata nothing lists the folder.
"""

import os
import socket
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import zarr
from numpy.typing import NDArray

from fastneurons.errors import StoreError
from fastneurons.store import schema
from fastneurons.store.schema import FORMAT, ArraySpec, Header

ROOT_KEY = "zarr.json"
SKIPPED_KEY = "skipped.jsonl"


class Writer(msgspec.Struct, frozen=True):
    """Who writes a store."""

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
    """What counts in a store.

    Args:
        examples: Examples committed.
        skipped_bytes: Length of `skipped.jsonl` with the rows of these examples.
        writer: Who wrote it.
        occupancy: For each task, the snapshot of the checkpoint that holds these examples.
        activation_count: Likewise for each language.
        corpus_tokens: Likewise for each language.
    """

    examples: int
    skipped_bytes: int
    writer: Writer
    occupancy: list[int] = []
    activation_count: list[int] = []
    corpus_tokens: list[int] = []

    @classmethod
    def nothing(cls, header: Header) -> "Commit":
        """What counts in a store that has only begun."""
        sizes = schema.dimension_sizes(header, 0)
        first = {spec.name: [0] * sizes[spec.summed_by or ""] for spec in schema.sum_specs(header)}
        return cls(0, 0, Writer.this_process(), **first)

    def snapshots(self, spec: ArraySpec) -> list[int]:
        """For each index of a sum's `summed_by`, the snapshot that counts."""
        found: list[int] = getattr(self, spec.name)
        return list(found)


class Root(msgspec.Struct, frozen=True):
    """The root object.

    Args:
        header: What was measured.
        commit: What counts.
        arrays: zarr's metadata of each array, by name.
    """

    header: Header
    commit: Commit
    arrays: dict[str, dict[str, Any]]

    def read_sum(self, spec: ArraySpec, checkpoint: "zarr.Array[Any]") -> NDArray[Any]:
        """A sum over the examples committed, from the snapshots that count."""
        values = np.zeros(spec.shape(self.header, 0), spec.dtype)
        for index, snapshot in enumerate(self.commit.snapshots(spec)):
            values[spec.part(index)] = checkpoint[snapshot, *spec.part(index)]
        return values

    def encode(self) -> bytes:
        """The object's bytes."""
        header = msgspec.to_builtins(self.header)
        tasks = header.pop("tasks")
        return msgspec.json.encode(
            {
                "zarr_format": 3,
                "node_type": "group",
                "attributes": {"fastneurons": header, "tasks": tasks, "commit": self.commit},
                "consolidated_metadata": {
                    "kind": "inline",
                    "must_understand": False,
                    "metadata": self.arrays,
                },
            }
        )


def is_store(data: bytes | None) -> bool:
    """Whether a root object is that of a store of ours, whole or damaged, of whatever format."""
    try:
        root = msgspec.json.decode(data or b"")
    except msgspec.DecodeError:
        return False
    return isinstance(root, dict) and "fastneurons" in (root.get("attributes") or {})


def decode(data: bytes | None, name: str) -> Root:
    """The root object from its bytes.

    Raises:
        StoreError: it is not that of a store, or of a newer one, or damaged.
    """
    if not is_store(data):
        raise StoreError(f"{name} is not a fastneurons store")
    root = msgspec.json.decode(data or b"")
    attributes = root["attributes"]
    header = attributes["fastneurons"]
    written = header.get("format") if isinstance(header, dict) else None
    if isinstance(written, int) and written > FORMAT:
        raise StoreError(
            f"{name} has store format {written}, written by fastneurons {header.get('version')}; "
            f"this one reads up to {FORMAT}: upgrade fastneurons"
        )
    try:
        return Root(
            msgspec.convert({**header, "tasks": attributes["tasks"]}, Header),
            msgspec.convert(attributes["commit"], Commit),
            dict(root["consolidated_metadata"]["metadata"]),
        )
    except (msgspec.ValidationError, KeyError, TypeError) as error:
        raise StoreError(f"{name}: its {ROOT_KEY} is damaged: {error}") from error

"""Take a store without manifests into the layout with them, as a run that continues it does."""

from collections.abc import Iterator, Mapping, Sequence

from fastneurons.errors import StoreError
from fastneurons.store.checked import is_data
from fastneurons.store.manifest import WindowObjects
from fastneurons.store.objects import StoredObject
from fastneurons.store.root import ROOT_KEY, SKIPPED_KEY, Root
from fastneurons.store.schema import ArraySpec
from fastneurons.store.storage import Storage


def objects_as_they_lie(
    storage: Storage, root: Root, specs: Sequence[ArraySpec], inner_chunks: Mapping[str, int]
) -> WindowObjects:
    """Record everything committed in an unfinished store as it is; reads all of it.

    Args:
        specs: The store's arrays.
        inner_chunks: How many inner chunks a shard of each array has.
    Raises:
        StoreError: an object of examples is missing.
    """
    objects: dict[str, StoredObject] = {}
    for spec in specs:
        name = spec.checkpoint.name if spec.summed_by else spec.name
        keys = _growing_keys(storage, root, spec) if spec.grows else _keys(storage, name)
        for key in keys:
            data = storage.read(key) if root.needs(key) else None
            if data is not None:
                objects[key] = StoredObject.of(data, inner_chunks.get(name, 0) if is_data(key) else 0)
    commit = root.commit
    lines = (storage.read(SKIPPED_KEY, 0, commit.skipped_bytes) if commit.skipped_bytes else None) or b""
    if len(lines) < commit.skipped_bytes:
        missing = commit.skipped_bytes - len(lines)
        raise StoreError(f"{storage.name}: {SKIPPED_KEY} is damaged: {missing} bytes are missing")
    return WindowObjects(
        commit.examples, commit.skipped_bytes, objects, StoredObject.of(lines) if lines else None
    )


def _keys(storage: Storage, name: str) -> Iterator[str]:
    for child in sorted(storage.names(name)):
        if child == ROOT_KEY or child.startswith("c."):
            yield f"{name}/{child}"


def _growing_keys(storage: Storage, root: Root, spec: ArraySpec) -> Iterator[str]:
    length = root.arrays[spec.name]["chunk_grid"]["configuration"]["chunk_shape"][0]
    there = storage.names(spec.name)
    for number in range(-(-root.commit.examples // length)):
        name = f"c.{number}" + ".0" * (len(spec.dims) - 1)
        if name not in there:
            last = min((number + 1) * length, root.commit.examples) - 1
            raise StoreError(
                f"{storage.name}: array {spec.name} is damaged: examples {number * length} to {last} are missing"
            )
        yield f"{spec.name}/{name}"

"""Objects as they lie in a store are ordinary Zarr v3, whatever their values, and hold what was given."""

import os
import zipfile
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import xarray
import zarr
from numcodecs.zstd import Zstd

import fastneurons
from fastneurons.store import StoreWriter, Window, frames, local, open_store, place, schema
from fastneurons.store.codec import content_size
from fastneurons.store.frames import frame, stored_frame
from fastneurons.store.layout import Layout
from tests.store.runs import Run, assert_holds, draw, header, raw_arrays

_RAW_BLOCK = 0  # RFC 8878, 3.1.1.2.2


def drawn(num_bytes: int, density: float = 0.5) -> np.ndarray:
    """Packed bits, of which a share is set; at a half nothing can compress them."""
    bits = np.random.default_rng(num_bytes).random((num_bytes, 8)) < density
    return np.packbits(bits.reshape(-1))


# -- frames ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 255, 256, 2**17 - 1, 2**17, 2**17 + 1, 2**18, 1_000_001])
def test_a_stored_frame_is_what_any_decoder_takes(size):
    data = drawn(size)
    encoded = b"".join(stored_frame(data.data if size else memoryview(b"")))
    assert content_size(encoded) == size
    assert len(encoded) == 9 + 3 * max(1, -(-size // 2**17)) + size + 4
    if size == 0:  # numcodecs refuses to decode nothing
        return
    assert bytes(Zstd().decode(encoded)) == data.tobytes()
    for at in {9, 9 + 3, len(encoded) // 2, len(encoded) - 1}:  # a block's header, values, the checksum
        damaged = bytearray(encoded)
        damaged[at] ^= 0x10
        with pytest.raises(RuntimeError):
            Zstd().decode(bytes(damaged))


@pytest.mark.parametrize(("density", "share"), [(0.5, 1.0), (0.45, 1.0), (0.2, 0.8), (0.1, 0.6), (0.0, 0.01)])
def test_what_compresses_is_compressed_and_what_does_not_is_stored(density, share):
    compress = Zstd(level=1, checksum=True).encode
    data = drawn(2**20, density)
    encoded = b"".join(frame(data.data, compress))
    assert len(encoded) / len(data) < share + 0.001
    assert bytes(Zstd().decode(encoded)) == data.tobytes()
    is_raw = encoded[9] >> 1 & 3 == _RAW_BLOCK and len(encoded) > len(data)
    assert is_raw == (density > 0.4)


def test_a_chunk_is_judged_by_all_of_it():
    compress = Zstd(level=1, checksum=True).encode
    data = drawn(2**20)
    data[2**17 :] = 0  # only its first eighth does not compress
    assert sum(map(len, frame(data.data, compress))) < 2**17 + 2**12


# -- layout: against zarr's own pipeline ----------------------------------------------------------------

SPECS = {spec.name: spec for spec in schema.ARRAYS}
ARRAYS = {
    "bits that do not compress": ("activated", lambda shape: drawn(int(np.prod(shape))).reshape(shape)),
    "bits that do": ("activated", lambda shape: drawn(int(np.prod(shape)), 0.1).reshape(shape)),
    "counts": ("activated_count", lambda shape: np.arange(np.prod(shape), dtype=np.int32).reshape(shape)),
    "half floats": ("coefficient", lambda shape: drawn(2 * int(np.prod(shape))).view(np.float16).reshape(shape)),
    "truths": ("present", lambda shape: np.arange(np.prod(shape)).reshape(shape) % 3 == 0),
    "texts": ("example_id", lambda shape: np.array([f"é{i}" for i in range(shape[0])], np.dtypes.StringDType())),
}  # fmt: skip


@pytest.mark.parametrize("examples", [1, 5, 8, 12, 19, 24])  # chunks of 4 in objects of 8 examples
@pytest.mark.parametrize(("name", "make"), ARRAYS.values(), ids=ARRAYS)
def test_objects_are_those_that_zarr_reads(name, make, examples, tmp_path):
    spec, of = SPECS[name], header(neurons=12_001, top_k=3, window=8)
    values = make(spec.shape(of, examples))
    settings: dict[str, Any] = {
        "shape": (32, *values.shape[1:]),
        "dtype": str if spec.dtype == "string" else spec.dtype,
        "shards": (8, *values.shape[1:]),
        "chunks": (4, *values.shape[1:]),
        "compressors": zarr.codecs.ZstdCodec(level=1, checksum=True),
        "chunk_key_encoding": {"name": "default", "separator": "."},
        "fill_value": spec.fill,
    }
    ours = zarr.create_array(str(tmp_path / "ours"), **settings)
    theirs = zarr.create_array(str(tmp_path / "theirs"), **settings)
    layout = Layout.of(spec, ours.metadata.to_dict())
    assert (layout.examples, layout.chunks_per_shard) == (8, 2)
    keys = []
    for key, segments in layout.objects(values):
        (tmp_path / "ours" / key).write_bytes(b"".join(piece for segment in segments for piece in segment))
        assert len(segments) == -(-min(8, examples - 8 * len(keys)) // 4) + 1  # chunks, and the index
        keys.append(key)
    theirs[:examples] = values
    with zarr.config.set({"array.write_empty_chunks": True}):
        assert keys == sorted(path.name for path in (tmp_path / "theirs").glob("c.*"))
    np.testing.assert_array_equal(ours[...], theirs[...])
    np.testing.assert_array_equal(ours[:examples], values)
    np.testing.assert_array_equal(ours[examples - 1], values[examples - 1])


def test_a_shard_ends_in_an_index_of_what_it_has():
    spec = SPECS["task"]
    layout = Layout(spec, (4,), (16,), 1)
    [(key, segments)] = layout.objects(np.arange(6, dtype=np.int32), [32])
    assert key == "c.2"
    *chunks, index = (b"".join(segment) for segment in segments)
    assert [np.frombuffer(Zstd().decode(chunk), "<i4").tolist() for chunk in chunks] == [
        [0, 1, 2, 3],
        [4, 5, 0, 0],
    ]
    first, second = map(len, chunks)
    none = 2**64 - 1
    assert np.frombuffer(index[:-4], "<u8").tolist() == [0, first, first, second, none, none, none, none]
    assert int.from_bytes(index[-4:], "little") == google_crc32c.value(index[:-4])


@pytest.mark.parametrize(
    "change",
    [
        lambda codecs: codecs.append({"name": "crc32c"}),
        lambda codecs: codecs[0]["configuration"].update(index_location="start"),
        lambda codecs: codecs[0]["configuration"]["index_codecs"].pop(),
        lambda codecs: codecs[0]["configuration"]["codecs"].append({"name": "crc32c"}),
        lambda codecs: codecs[0]["configuration"]["codecs"][0].update(configuration={"endian": "big"}),
    ],
)
def test_what_would_be_encoded_otherwise_is_not_continued(change):
    codecs: list[dict[str, Any]] = [
        {"name": "sharding_indexed", "configuration": {
            "chunk_shape": [4], "index_location": "end",
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}},
                       {"name": "zstd", "configuration": {"level": 1, "checksum": True}}],
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        }},
    ]  # fmt: skip
    metadata = {"codecs": codecs, "chunk_grid": {"configuration": {"chunk_shape": [8]}}}
    assert Layout.of(SPECS["task"], metadata) == Layout(SPECS["task"], (4,), (8,), 1)
    change(codecs)
    with pytest.raises(fastneurons.StoreError, match=r"array task has .* cannot be continued"):
        Layout.of(SPECS["task"], metadata)


# -- stores ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["windows of a shard", "windows of shards"])
def divided(request, monkeypatch) -> None:
    """Chunks of an example; objects of a window of four, or of two. No waiting for disks."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(schema, "_CHUNK_BYTES", 3_000)
    monkeypatch.setattr(frames, "_LEAST_BYTES", 2_000)
    if request.param == "windows of shards":
        monkeypatch.setattr(schema, "_OBJECT_BYTES", 7_000)


def wide(skewed: bool) -> Run:
    """A run with 3 KB of bits an example, either close to incompressible or not."""
    run = draw(11, neurons=4_000, thresholds=[0.0])
    if skewed:
        run.activation[...] = np.where(run.activation > 1.2, run.activation, -1)
    return run


@pytest.mark.parametrize(
    ("stops", "skewed"), [((), False), ((4,), True), ((1, 2, 3), False), ((3, 5, 9), True)], ids=str
)
def test_a_store_is_read_by_zarr_and_xarray_wherever_its_run_stopped(skewed, stops, divided, tmp_path):
    run, path = wide(skewed), tmp_path / "run.zarr"
    for stop in stops:
        with StoreWriter.resume(str(path), run.header) as out:
            for first in range(out.committed, stop):
                at = out.committed
                if at < stop:
                    out.commit(run.window(at, min(stop, (at // 4 + 1) * 4)))
                assert first <= out.committed
    run.write(path, resume=True)
    assert_holds(path, run)  # zarr, from each array's own metadata
    assert fastneurons.verify(path).is_whole
    bits = np.packbits(run.bits, axis=-1, bitorder="little")
    with xarray.open_zarr(str(path), consolidated=True, chunks=None) as found:
        np.testing.assert_array_equal(found["activated"].values, bits)
        np.testing.assert_array_equal(found["activated"][9:].values, bits[9:])
    stored = sum(file.stat().st_size for file in (path / "activated").glob("c.*"))
    assert (stored > 0.8 * bits.nbytes) != skewed  # two rows of eleven were skipped


def test_an_object_store_holds_the_same_objects(tmp_path):
    import fsspec

    run = wide(False)
    run.write(tmp_path / "run.zarr")
    run.write("memory://writing/run.zarr")
    files = fsspec.filesystem("memory")
    local = {
        str(file.relative_to(tmp_path / "run.zarr")): file.read_bytes()
        for file in (tmp_path / "run.zarr").rglob("*")
        if file.is_file() and file.name != "zarr.json" and file.parent.name != "manifest"
    }
    root = "/writing/run.zarr"
    remote = {key.removeprefix(f"{root}/"): files.cat_file(key) for key in files.find(root)}
    assert local and {key: remote[key] for key in local} == local
    files.rm(root, recursive=True)


def test_an_object_is_written_in_whatever_parts_the_system_takes(tmp_path, monkeypatch):
    real = local.os.writev
    there = place.storage_at(str(tmp_path / "s"))
    pieces = [bytes([i % 251]) * (i % 7) for i in range(3000)]
    there.write("whole", pieces)
    monkeypatch.setattr(local.os, "writev", lambda file, batch: real(file, [b"".join(batch)[:5]]))
    there.write("slowly", pieces)
    assert there.read("whole") == there.read("slowly") == b"".join(pieces)


def test_sums_are_not_read_back_while_one_task_goes_on(tmp_path, monkeypatch):
    run = draw(40, tasks=[f"task {k}" for k in range(7)])  # six examples each, in windows of four
    path, reads = tmp_path / "run.zarr", []
    with StoreWriter.create(str(path), run.header) as out:
        real = out._store._store.read
        monkeypatch.setattr(
            out._store._store, "read", lambda key, *rest: (reads.append(key), real(key, *rest))[1]
        )
        for window in run.windows():
            out.commit(window)
        assert out.committed == 40
        out.wait()
        # A task's sum is read when the task begins and a window has another one besides.
        assert 0 < len([key for key in reads if key.startswith("occupancy_checkpoint/c.")]) <= 2 * 7
        out.finish()
    assert_holds(path, run)


# -- stores of the version before -----------------------------------------------------------------------


@pytest.fixture
def before(tmp_path) -> Path:
    """Two stores as the writer made them when zarr's pipeline encoded everything: one begun, and one complete."""
    with zipfile.ZipFile(Path(__file__).with_name("before_frames.zip")) as stores:
        stores.extractall(tmp_path)
    return tmp_path


OF_BEFORE = draw(11, top_k=3, thresholds=[0.0], keep_coefficients=True)


def expected_of(path: Path) -> dict[str, np.ndarray]:
    """The run's arrays that the store has: later versions may have more."""
    found = raw_arrays(path)
    return {name: array for name, array in OF_BEFORE.arrays().items() if name in found}


def test_a_store_of_the_version_before_is_read(before):
    store = open_store(str(before / "complete.zarr"), check=True)
    expected = expected_of(before / "complete.zarr")
    assert {"activated", "occupancy", "coefficient", "contribution_share"} <= expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(store[name][...], array, err_msg=name)
    assert fastneurons.verify(before / "complete.zarr").is_whole


@pytest.mark.parametrize("name", ["begun.zarr", "complete.zarr"])
def test_a_store_of_the_version_before_goes_on(name, before):
    run = draw(16, top_k=3, thresholds=[0.0], keep_coefficients=True)
    run = Run(run.header, np.concatenate([OF_BEFORE.activation, run.activation[11:]]), True)
    path = before / name
    with StoreWriter.resume(str(path), run.header, keep_coefficients=True) as out:
        assert out.committed == (6 if name == "begun.zarr" else 11)
        out.reopen()
        for window in run.windows(out.committed):
            given = {
                spec.name: window.arrays[spec.name] for spec in (*out._store._growing, *out._store._sums)
            }
            out.commit(Window(window.first, given, window.skipped))
        out.finish()
    found, expected = raw_arrays(path), run.arrays()
    assert found.keys() >= {"activated", "occupancy", "coefficient"}
    for array in found.keys() & expected.keys():
        np.testing.assert_array_equal(found[array], expected[array], err_msg=array)
    assert fastneurons.verify(path).is_whole

"""How fast does one thread write a store, compared with a plain file, and what do levels of compression save?

    python benchmarks/write_rate.py [--folder /dev/shm] [--rounds 5] [--store run.zarr ...] [--json FILE]

Commits windows of incompressible bits to a store in `--folder`, in the shapes of models of 1B, 8B and 70B parameters
with ten languages. /dev/shm is memory, so no disk limits the rate. Each round also writes the same bits to plain files
there and copies them in memory: the two limits. A rate counts the bits alone, while the time covers whole windows,
with their counts, sums, manifests and commit marks. Time is that of the processor; on a machine that does nothing
else, the clock shows the same, because writing to memory never waits. The JSON has both.

Each `--store` is one that a run has written. Its bits are encoded again, chunk by chunk and for each threshold, the way
the writer does it and at several levels of Zstandard; the table gives sizes and rates of one thread.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import typer
from numcodecs.zstd import Zstd

from fastneurons.store import Header, StoreWriter, Window, open_store
from fastneurons.store.frames import frame
from fastneurons.store.schema import array_spec

LANGUAGES = ["en", "de", "es", "fr", "ru", "th", "tr", "vi", "zh", "pt"]
WINDOW = 256  # what `fastneurons run` commits at a time
LEVELS = (-1, 1, 3)


class Shape(NamedTuple):
    """What a model's bits look like: N layers of I neurons."""

    name: str
    layers: int
    neurons: int


SHAPES = (Shape("1B", 16, 8192), Shape("8B", 32, 14336), Shape("70B", 80, 28672))


def main(
    folder: Annotated[Path, typer.Option(help="Where to write.")] = Path("/dev/shm"),
    rounds: Annotated[int, typer.Option(help="Of each shape.")] = 5,
    windows: Annotated[int, typer.Option(help="Committed in a round.")] = 2,
    store: Annotated[list[Path] | None, typer.Option(help="Stores with bits of real runs.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here, too.")] = None,
) -> None:
    """Measure and print."""
    rates = [measure(shape, folder, rounds, windows) for shape in SHAPES]
    sizes = [row for path in store or [] for row in compressed(path)]
    if json_file is not None:
        about = {"python": platform.python_version(), "machine": platform.machine()}
        json_file.write_text(json.dumps({**about, "rates": rates, "sizes": sizes}, indent=1) + "\n")


# -- rates ----------------------------------------------------------------------------------------------


def measure(shape: Shape, folder: Path, rounds: int, windows: int) -> dict[str, Any]:
    """One shape: rates of the store, a plain file and a copy, in alternating rounds."""
    row_bytes = len(LANGUAGES) * shape.layers * shape.neurons // 8
    header = header_of(shape)
    arrays = drawn(header, WINDOW)
    bits = arrays["activated"]
    target = np.zeros_like(bits)
    found: dict[str, list[float]] = {"store": [], "file": [], "copy": []}
    by_the_clock: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            with StoreWriter.create(f"{place}/run.zarr", header) as writer:
                times = {"store": timed(lambda: stored(writer, arrays, windows))}
            times["file"] = timed(lambda: plain(Path(place), bits, windows))
        times["copy"] = timed(lambda: copied(target, bits, windows))
        for name, (processor, clock) in times.items():
            found[name].append(bits.nbytes * windows / processor)
            by_the_clock[name].append(bits.nbytes * windows / clock)
    ratios = [one / other for one, other in zip(found["store"], found["file"], strict=True)]
    print(f"{shape.name}: {WINDOW} examples a window, {row_bytes:,} bytes each", flush=True)
    for name, rates in found.items():
        print(f"  {name:<6}{spread([rate / 1e6 for rate in rates], '{:,.0f}')} MB/s")
    print(f"  store / file {spread(ratios, '{:.2f}')}", flush=True)
    return {
        "shape": shape._asdict(), "examples": WINDOW, "row_bytes": row_bytes,
        "bytes_per_processor_s": found, "bytes_per_s": by_the_clock, "store_to_file": ratios,
    }  # fmt: skip


def header_of(shape: Shape) -> Header:
    """A run of that shape with one threshold."""
    return Header(
        version="benchmark", model=shape.name, dtype="bfloat16", task="drawn", tasks=["drawn"], source="drawn",
        languages=LANGUAGES, thresholds=[0.0], layers=list(range(shape.layers)), neurons=shape.neurons,
        window=WINDOW, created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def drawn(header: Header, examples: int) -> dict[str, np.ndarray]:
    """A window's arrays: random bits, and counts as their sums would be."""
    rng = np.random.default_rng(0)
    L, N, neurons = len(header.languages), len(header.layers), header.neurons
    per_language = (examples, 1, L, N)
    half = rng.binomial(neurons, 0.5, per_language).astype(np.int32)
    return {
        "example_id": np.array([f"drawn-{i}" for i in range(examples)], np.dtypes.StringDType()),
        "digest": rng.integers(0, 2**64, examples, np.uint64),
        "task": np.zeros(examples, np.int32),
        "outcome": np.ones(examples, np.uint8),
        "token_count": rng.integers(20, 60, (examples, L), np.int32),
        "present": np.ones((examples, L), np.bool_),
        "last_token": rng.integers(0, 100_000, (examples, L), np.int32),
        "activated": np.frombuffer(rng.bytes(examples * L * N * neurons // 8), np.uint8).reshape(
            *per_language, neurons // 8
        ),
        "activated_count": half,
        "near_threshold_count": rng.integers(0, 40, per_language, np.int32),
        "category_count": rng.integers(0, neurons, (examples, 1, N, 4), np.int32),
        "occupancy": rng.binomial(examples, 0.25, (1, 1, N, neurons, 4)).astype(np.int32),
    }


def timed(act: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds that something takes: of the processor, and by the clock."""
    clock, processor = time.perf_counter(), time.process_time()
    act()
    return time.process_time() - processor, time.perf_counter() - clock


def stored(writer: StoreWriter, arrays: dict[str, np.ndarray], windows: int) -> None:
    """Commit some windows to a store."""
    for window in range(windows):
        writer.commit(Window(window * WINDOW, arrays))
    writer.wait()


def plain(place: Path, bits: np.ndarray, windows: int) -> None:
    """Write files of the same bits, one a window."""
    for window in range(windows):
        with (place / str(window)).open("wb", buffering=0) as file:
            left = bits.reshape(-1).data
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())


def copied(target: np.ndarray, bits: np.ndarray, windows: int) -> None:
    """Copy the same bits in memory."""
    for _ in range(windows):
        np.copyto(target, bits)


def spread(values: Sequence[float], how: str) -> str:
    """The median, and the 20th and 80th percentile."""
    low, high = np.percentile(values, [20, 80])
    return f"{how.format(statistics.median(values))} ({how.format(low)} to {how.format(high)})"


# -- sizes ----------------------------------------------------------------------------------------------


def compressed(path: Path) -> list[dict[str, Any]]:
    """Sizes and rates of a store's bits, of each threshold as if it were the only one."""
    found = open_store(str(path))
    spec = array_spec("activated")
    results = []
    for index, threshold in enumerate(found.header.thresholds):
        alone = msgspec.structs.replace(found.header, thresholds=[threshold])
        bits = found["activated"][:, index : index + 1]
        rows = spec.chunks(alone)[0]
        chunks = [np.ascontiguousarray(bits[first : first + rows]) for first in range(0, len(bits), rows)]
        share = np.unpackbits(bits, axis=-1, count=found.header.neurons, bitorder="little").mean()
        print(
            f"{path.name}, above {threshold:g}: {share:.1%} of {len(bits)} x {bits[0].nbytes:,} bytes are set"
        )
        for name, encode in ways().items():
            seconds = []
            for _ in range(3):
                began = time.process_time()
                size = sum(encode(chunk) for chunk in chunks)
                seconds.append(time.process_time() - began)
            rate = bits.nbytes / statistics.median(seconds)
            print(
                f"  {name:<10}{size / 1e6:>8,.2f} MB {bits.nbytes / size:>6.2f} {rate / 1e6:>8,.0f} MB/s",
                flush=True,
            )
            results.append(
                {"store": path.name, "threshold": threshold, "set": float(share), "way": name, "bytes": bits.nbytes,
                 "encoded": size, "bytes_per_processor_s": rate}
            )  # fmt: skip
    return results


def ways() -> dict[str, Callable[[np.ndarray], int]]:
    """Ways to encode a chunk; each returns the length of what it made."""

    def at(level: int) -> Callable[[np.ndarray], int]:
        codec = Zstd(level=level, checksum=True)
        return lambda chunk: len(codec.encode(chunk))

    compress = Zstd(level=1, checksum=True).encode

    def as_written(chunk: np.ndarray) -> int:
        return sum(map(len, frame(chunk.reshape(-1).view(np.uint8).data, compress)))

    return {"as written": as_written, **{f"level {level}": at(level) for level in LEVELS}}


if __name__ == "__main__":
    typer.run(main)

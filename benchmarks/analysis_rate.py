"""How fast do analyses go through the bits of a store, compared with reading and decoding them alone?

    python benchmarks/analysis_rate.py [--examples 10000] [--folder FOLDER] [--rounds N] [--json FILE]

Simulates a store of ten languages and 32 layers of 14,336 neurons, 5.7 GB of bits with 10,000 examples, and deletes it
afterwards. Each analysis runs in a process of its own, and so does one that reads and decodes the same bits and does
nothing with them. Rates are of bits as they are in memory, by the clock and, for machines that are shared, by seconds
of processor time; ratios are to reading alone. Counts of the first examples are first compared with plain numpy. The
memory is the process's peak, less what it held when it had imported everything and opened the store.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fastneurons.analysis.bits import bit_blocks
from fastneurons.analysis.categories import categories
from fastneurons.analysis.compare import compare, matched
from fastneurons.analysis.language_sharing import language_sharing
from fastneurons.analysis.neuron_lists import neuron_list
from fastneurons.analysis.recategorise import by_number_of_languages
from fastneurons.analysis.repeating import repeating
from fastneurons.analysis.selection import Chosen, Selection
from fastneurons.analysis.thresholds import thresholds
from fastneurons.analysis.words import (
    NeuronCounter,
    category_counts,
    category_planes,
    count_bits,
    pair_counts,
    to_packed,
    to_words,
)
from fastneurons.store import Header, Store, StoreWriter, Window, open_store

LANGUAGES = ["en", "de", "fr", "es", "zh", "ja", "th", "sw", "ar", "hi"]
LAYERS, NEURONS = 32, 14_336
_WINDOW = 250
_CHECKED = 3  # examples
_POOL = 40  # planes of random bits, of which examples are put together


def _read(chosen: Chosen) -> None:
    for _ in bit_blocks(chosen, "the benchmark needs it"):
        pass


def _sums(chosen: Chosen) -> None:
    """How often each language activates each neuron."""
    header = chosen.store.header
    counter = NeuronCounter((len(chosen.languages), len(header.layers)), header.neurons)
    for block in bit_blocks(chosen, "the benchmark needs it"):
        counter.add(block.words)
    counter.counts()


def _pairs(chosen: Chosen) -> None:
    for block in bit_blocks(chosen, "the benchmark needs it"):
        pair_counts(block.words)


def _neurons(chosen: Chosen) -> None:
    """A list that counts all neurons, and then reads the bits of those listed: twice the bits."""
    neuron_list(chosen, "specific", "th")


def _compare(chosen: Chosen) -> None:
    """A store with itself: twice the bits."""
    compare(*matched(chosen.store, chosen.store, Selection()))


# By name: what runs, how many of the languages are chosen, and how often the bits are read.
ANALYSES: dict[str, tuple[Callable[[Chosen], object], int, int]] = {
    "read": (_read, 10, 1),
    "categories": (categories, 9, 1),
    "repeating": (repeating, 10, 1),
    "thresholds": (thresholds, 9, 1),
    "recategorise": (by_number_of_languages, 10, 1),
    "compare": (_compare, 10, 2),
    "sums by neuron": (_sums, 10, 1),
    "pairs": (_pairs, 10, 1),
    "sharing": (language_sharing, 10, 1),
    "neurons": (_neurons, 10, 2),
}


def main(
    examples: Annotated[int, typer.Option(help="Number of examples, a multiple of 250.")] = 10_000,
    folder: Annotated[Path | None, typer.Option(help="Where to make the store.")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds of all analyses.")] = 1,
    only: Annotated[str | None, typer.Option(help="Analyses, separated by commas.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures there.")] = None,
    child: Annotated[str | None, typer.Option(hidden=True)] = None,
    store: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Make the store, check a few counts, time each analysis, and delete the store."""
    if child is not None and store is not None:
        print(json.dumps(_measure(child, store)))
        return
    names = [name for name in ANALYSES if name != "read" and (only is None or name in only.split(","))]
    with tempfile.TemporaryDirectory(dir=folder, prefix="analysis-rate-") as made:
        place = str(Path(made) / "simulated.zarr")
        began = time.perf_counter()
        _simulate(place, examples)
        size = sum(file.stat().st_size for file in Path(place, "activated").iterdir())
        print(
            f"{examples:,} examples, {examples * _example_bytes() / 1e9:.2f} GB of bits, {size / 1e9:.2f} GB on disk, "
            f"simulated in {time.perf_counter() - began:.0f} s",
            flush=True,
        )
        _check(open_store(place))
        rows = _rounds(place, names, rounds)
    if json_file is not None:
        json_file.write_text(json.dumps(rows, indent=2))


def _rounds(place: str, names: list[str], rounds: int) -> list[dict[str, Any]]:
    """Time the analyses by turns, reading alone first in each round."""
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for name in ("read", *names):
            found.setdefault(name, []).append(_child(name, place))
    print(f"{'':<16}{'GB/s':>8}{'ratio':>8}{'GB/CPU-s':>10}{'ratio':>8}{'MiB':>8}")
    rows: list[dict[str, Any]] = []
    for name, each in found.items():
        row: dict[str, Any] = {"analysis": name, "mib": max(one["mib"] for one in each)}
        for rate in ("gb_per_s", "gb_per_cpu_s"):
            row[rate] = statistics.median(one[rate] for one in each)
            pairs = zip(each, found["read"], strict=True)
            row[f"{rate}_ratio"] = statistics.median(one[rate] / read[rate] for one, read in pairs)
        rows.append(row)
        print(
            f"{name:<16}{row['gb_per_s']:>8.2f}{row['gb_per_s_ratio']:>8.2f}"
            f"{row['gb_per_cpu_s']:>10.2f}{row['gb_per_cpu_s_ratio']:>8.2f}{row['mib']:>8.0f}"
        )
    return rows


def _child(name: str, place: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", name, "--store", place]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _measure(name: str, place: str) -> dict[str, float]:
    function, languages, times = ANALYSES[name]
    chosen = Selection(languages=LANGUAGES[:languages]).of(open_store(place))
    before, cpu = _forget_peak(), time.process_time()
    began = time.perf_counter()
    function(chosen)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    gb = times * len(chosen) * _example_bytes() / 1e9
    return {"gb_per_s": gb / seconds, "gb_per_cpu_s": gb / cpu, "mib": _peak_mib() - before}


def _forget_peak() -> float:
    """Let the process's peak begin anew, and return what it holds now, in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_mib()


def _peak_mib() -> float:
    # Not getrusage: its peak is that of the process that started this one, if that was larger.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def _example_bytes() -> int:
    return len(LANGUAGES) * LAYERS * NEURONS // 8


# -- the store ----------------------------------------------------------------------------------------------


def _simulate(place: str, examples: int) -> None:
    """A store in which neurons are activated in a quarter of the prompts, and languages share about half of that."""
    if examples % _WINDOW:
        sys.exit(f"--examples {examples}: must be a multiple of {_WINDOW}")
    header = Header(
        version="0", model="simulated", dtype="bfloat16", task="simulated", tasks=["simulated"],
        source="random bits", languages=LANGUAGES, thresholds=[0.0], layers=list(range(LAYERS)),
        neurons=NEURONS, window=_WINDOW, created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    with StoreWriter.create(place, header) as writer:
        for first in range(0, examples, _WINDOW):
            writer.commit(_window(first, rng))
        writer.finish()


def _window(first: int, rng: np.random.Generator) -> Window:
    W, L = NEURONS // 64, len(LANGUAGES)
    pool = rng.integers(0, 2**64, (_POOL, LAYERS, W), np.uint64)
    words = np.empty((_WINDOW, L, LAYERS, W), np.uint64)
    for example in range(_WINDOW):
        a, b, c = (pool[k] for k in rng.integers(0, _POOL, 3))
        common = a & b & c  # an eighth of the neurons
        for language in range(L):
            d, e, f = (pool[k] for k in rng.integers(0, _POOL, 3))
            words[example, language] = common | (np.roll(d, language) & e & f)
    planes = category_planes(words)
    counter = NeuronCounter((3, LAYERS), NEURONS)
    counter.add(planes)
    some, twice, every = counter.counts()
    ones = np.ones((_WINDOW, L), np.int32)
    counts = count_bits(words)[:, None]
    occupancy = np.stack([_WINDOW - some, some - twice, twice - every, every], -1)
    names = [f"{first + k}" for k in range(_WINDOW)]
    arrays: dict[str, Any] = {
        "example_id": np.array(names, np.dtypes.StringDType()),
        "digest": np.arange(first + 1, first + 1 + _WINDOW, dtype=np.uint64),
        "task": np.zeros(_WINDOW, np.int32),
        "outcome": np.ones(_WINDOW, np.uint8),
        "token_count": ones,
        "present": ones.astype(np.bool_),
        "last_token": ones,
        "prompt": np.full((_WINDOW, L), "", np.dtypes.StringDType()),
        "activated": to_packed(words, NEURONS)[:, None],
        "activated_count": counts,
        "near_threshold_count": np.zeros_like(counts),
        "category_count": category_counts(planes, NEURONS)[:, None],
        "occupancy": occupancy[None, None],
    }
    return Window(first, arrays)


def _check(store: Store) -> None:
    """Compare counts of a few examples with those of plain numpy on booleans."""
    bits = store.activated_bits(slice(0, _CHECKED))  # [E, L, N, I]
    number = bits.sum(1)
    L = len(LANGUAGES)
    slow = np.stack([(number == 0), (number == 1), (number > 1) & (number < L), (number == L)], -1).sum(2)
    packed = np.packbits(bits, axis=-1, bitorder="little")
    words = to_words(packed, NEURONS)
    fast = category_counts(category_planes(words), NEURONS)
    both = pair_counts(words)[:, 0, 1]
    if not (np.array_equal(slow, fast) and np.array_equal(both, (bits[:, 0] & bits[:, 1]).sum(-1))):
        sys.exit("the counts differ from numpy's: nothing was timed")


if __name__ == "__main__":
    typer.run(main)

"""Runs of drawn activations divided into stores: shards, or consecutive pieces."""

from pathlib import Path

import msgspec

from fastneurons.shards import Shard
from fastneurons.store import StoreWriter, Window
from tests.store.runs import Run


def write_examples(
    path: Path | str, run: Run, pieces: list[tuple[int, int]], keep_bits: bool = True, **changed
) -> str:
    """A finished store of some of a run's examples: each piece, first and end, is a window of it."""
    header = msgspec.structs.replace(run.header, **changed)
    kept = {
        "keep_bits": keep_bits,
        "keep_coefficients": run.keep_coefficients,
        "keep_prompts": run.keep_prompts,
        "constants": run.constants(),
    }
    done = 0
    with StoreWriter.create(str(path), header, **kept) as writer:
        for first, end in pieces:
            window = run.window(first, end, keep_bits)
            skipped = [example | {"index": example["index"] - first + done} for example in window.skipped]
            writer.commit(Window(done, window.arrays, skipped))
            done += end - first
        writer.finish()
    return str(path)


def shard(path: Path | str, run: Run, number: int, count: int, keep_bits: bool = True, **changed) -> str:
    """The store that `--shard NUMBER/COUNT` of a run leaves."""
    size, total = run.header.window, len(run.activation)
    of = Shard(number, count)
    starts = [first for first in range(0, total, size) if of.owns(first // size)]
    pieces = [(first, min(first + size, total)) for first in starts]
    return write_examples(path, run, pieces, keep_bits, **({"shard": str(of)} | changed))


def consecutive(path: Path | str, run: Run, first: int, end: int, **changed) -> str:
    """The store of examples `first` to `end` of a run."""
    size = run.header.window
    return write_examples(path, run, [(k, min(k + size, end)) for k in range(first, end, size)], **changed)

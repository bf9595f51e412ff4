"""Small runs of drawn activations, with all that a store holds of them computed by numpy from the bits."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from fastneurons.store import Header, StoreWriter, Window

THRESHOLDS = (0.0, 0.5)


def header(**changed: Any) -> Header:
    given: dict[str, Any] = {
        "version": "0.1.0",
        "model": "Qwen/Qwen3-8B",
        "dtype": "float32",
        "task": "capitals",
        "tasks": ["capitals"],
        "source": "facts.jsonl",
        "languages": ["en", "de", "zh"],
        "thresholds": list(THRESHOLDS),
        "layers": [0, 1],
        "neurons": 13,  # not a multiple of 8
        "window": 4,
        "created": "2025-01-01T00:00:00+00:00",
    }
    return Header(**(given | changed))


@dataclass(frozen=True)
class Run:
    """E examples drawn for a header; every fifth, from index 1 on, is skipped."""

    header: Header
    activation: np.ndarray  # float [E, L, N, I]

    @property
    def bits(self) -> np.ndarray:  # [E, S, L, N, I]
        bits = np.stack([self.activation > t for t in self.header.thresholds], 1)
        bits[~self.measured] = False
        return bits

    @property
    def measured(self) -> np.ndarray:
        return np.array([index % 5 != 1 for index in range(len(self.activation))], np.bool_)

    @property
    def task(self) -> np.ndarray:
        return (np.arange(len(self.activation)) // 6 % len(self.header.tasks)).astype(np.int32)

    @property
    def categories(self) -> np.ndarray:  # bool [E, S, N, I, 4], False where skipped
        languages = self.bits.sum(2)
        L = len(self.header.languages)
        masks = [languages == 0, languages == 1, (languages > 1) & (languages < L), languages == L]
        categories = np.stack(masks, -1)
        categories[~self.measured] = False
        return categories

    def skipped(self) -> list[dict[str, Any]]:
        return [
            {"index": int(i), "id": f"é{i}", "where": f"facts.jsonl:{i + 1}", "reason": f"{500 + i} tokens"}
            for i in np.flatnonzero(~self.measured)
        ]

    def arrays(self, rows: slice = slice(None)) -> dict[str, np.ndarray]:
        """What the store must hold."""
        chosen = np.arange(len(self.activation))[rows]
        bits, categories = self.bits[rows], self.categories[rows]
        measured, task = self.measured[rows], self.task[rows]
        present = np.repeat(measured[:, None], len(self.header.languages), 1)
        near = np.stack([(abs(self.activation[rows] - t) < 1e-3) for t in self.header.thresholds], 1).sum(-1)
        near[~measured] = 0
        return {
            "example_id": np.array([f"é{i}" for i in chosen], np.dtypes.StringDType()),
            "task": task,
            "outcome": np.where(measured, 1, 2).astype(np.uint8),
            "token_count": present.astype(np.int32) * (chosen[:, None] + 1).astype(np.int32),
            "present": present,
            "activated": np.packbits(bits, axis=-1, bitorder="little"),
            "activated_count": bits.sum(-1, dtype=np.int32),
            "near_threshold_count": near.astype(np.int32),
            "category_count": categories.sum(3, dtype=np.int32),
            "occupancy": np.stack(
                [categories[task == k].sum(0, dtype=np.int32) for k in range(len(self.header.tasks))]
            ),
        }

    def windows(self, first: int = 0, keep_bits: bool = True) -> Iterator[Window]:
        while first < len(self.activation):
            end = min((first // self.header.window + 1) * self.header.window, len(self.activation))
            yield self.window(first, end, keep_bits)
            first = end

    def window(self, first: int, end: int, keep_bits: bool = True) -> Window:
        arrays: dict[str, Any] = self.arrays(slice(first, end))
        arrays["example_id"] = arrays["example_id"].tolist()
        if not keep_bits:
            arrays["activated"] = None
        return Window(first=first, skipped=[s for s in self.skipped() if first <= s["index"] < end], **arrays)

    def write(self, path: Path | str, resume: bool = False, keep_bits: bool = True) -> None:
        begin = StoreWriter.resume if resume else StoreWriter.create
        with begin(str(path), self.header, keep_bits=keep_bits) as writer:
            for window in self.windows(writer.committed, keep_bits) if not writer.is_complete else ():
                writer.commit(window)
            writer.finish()


def draw(num_examples: int = 11, seed: int = 0, **changed: Any) -> Run:
    of = header(**changed)
    shape = (num_examples, len(of.languages), len(of.layers), of.neurons)
    activation = np.random.default_rng(seed).normal(size=shape)
    activation[..., 0] = of.thresholds[0]  # equal to the threshold is not above it, but near it
    return Run(of, activation)


def raw_arrays(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays as anyone with zarr reads them, from each array's own metadata."""
    group = zarr.open_group(str(path), mode="r")
    return {
        name: np.asarray(zarr.open_array(str(path), path=name, mode="r")[...]) for name in group.array_keys()
    }


def assert_holds(path: Path | str, run: Run, keep_bits: bool = True) -> None:
    """A complete store that holds a run and nothing else."""
    found, expected = raw_arrays(path), run.arrays()
    if not keep_bits:
        del expected["activated"]
    labels = {"language", "layer", "threshold", "category"}
    assert found.keys() == expected.keys() | labels
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert found[name].dtype == array.dtype, name
    attributes: dict[str, Any] = dict(zarr.open_group(str(path), mode="r").attrs)
    assert attributes["fastneurons"]["status"] == "complete"

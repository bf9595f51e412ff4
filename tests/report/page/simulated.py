"""Simulated runs for the page's tests: plausible structure, names in many scripts, text that must be escaped.

Everything a store holds follows from drawn bits by plain numpy. A run is drawn window by window, so that a store of
a large model fits in memory; drawing the same window again gives the same bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastneurons.store import ATTRIBUTION, Header, StoreWriter, Window
from fastneurons.store.schema import ARRAYS

LANGUAGES = ("en", "de", "fr", "tr", "ru", "ar", "hi", "th", "zh", "ja")
# One prompt of each language; the Arabic one is written from right to left.
TEXTS = {
    "en": "The capital of {} is",
    "de": "Die Hauptstadt von {} heißt",
    "fr": "La capitale de {} est",
    "tr": "{} ülkesinin başkenti",
    "ru": "Столица страны {} —",
    "ar": "عاصمة {} هي",
    "hi": "{} की राजधानी है",
    "th": "เมืองหลวงของ{}คือ",
    "zh": "{}的首都是",
    "ja": "{}の首都は",
}
NAMES = (
    "Ελλάδα",
    "日本",
    "ไทย",
    "مصر",
    "भारत",
    "România",
    "<script>alert(1)</script>",
    "</script><b>x",
    "&amp;",
)
# Ids that a careless page would run, in place of ones such as "capital/भारत/17".
AWKWARD_IDS = {2: "<script>window.hacked = true</script>", 5: '"><img src=x onerror="window.hacked = true">'}
HAS_CONTRIBUTIONS = any(spec.name == "neuron_contribution" for spec in ARRAYS)
HAS_PROMPTS = any(spec.name == "prompt" for spec in ARRAYS)


def header(**changed: Any) -> Header:
    given: dict[str, Any] = {
        "version": "0.1.0",
        "model": "org/Simulated-1B",
        "dtype": "bfloat16",
        "task": "capitals",
        "tasks": ["capitals"],
        "source": "facts.jsonl",
        "languages": list(LANGUAGES[:5]),
        "thresholds": [0.0],
        "layers": list(range(6)),
        "neurons": 67,  # not a multiple of 8
        "window": 32,
        "config": {"limit": 60, "engine": {"dtype": "auto"}, "function": "silu", "gated": True},
        "model_fingerprint": "5f" * 32,
        "tokenizer_fingerprint": "a0" * 32,
        "created": "2025-01-01T00:00:00+00:00",
    }
    return Header(**(given | changed))


@dataclass(frozen=True, eq=False)
class Simulated:
    """E examples of a header; every eleventh, from index 4 on, is skipped.

    Args:
        header: What the store says was measured.
        num_examples: E.
        seed: Of the draws.
        shift: Added to the probabilities of the second half of the layers, so that two runs differ.
    """

    header: Header
    num_examples: int
    seed: int = 0
    shift: int = 0
    probability: np.ndarray = field(init=False)  # uint8 [L, N, I], in 256ths

    def __post_init__(self) -> None:
        h, rng = self.header, np.random.default_rng(self.seed)
        L, N, I = len(h.languages), len(h.layers), h.neurons  # noqa: E741
        depth = np.linspace(-1, 1, N)[:, None]
        base = rng.normal(-1.1 + 1.2 * depth**2, 1.4, (N, I))
        family = rng.normal(0, 0.5, (-(-L // 3), N, I)).repeat(3, 0)[:L]  # each three languages are related
        logit = base + family + rng.normal(0, 0.4 + 0.4 * abs(depth), (L, N, I))
        logit[:, :, 0], logit[:, :, 1] = 9, -9  # always and never
        probability = np.clip(256 / (1 + np.exp(-logit)) + self.shift * (depth > 0), 0, 255)
        object.__setattr__(self, "probability", probability.astype(np.uint8))

    def task(self, rows: np.ndarray) -> np.ndarray:
        return (rows * len(self.header.tasks) // max(1, self.num_examples)).astype(np.int32)

    def measured(self, rows: np.ndarray) -> np.ndarray:
        return rows % 11 != 4

    def present(self, rows: np.ndarray) -> np.ndarray:  # bool [E, L]
        return np.repeat(self.measured(rows)[:, None], len(self.header.languages), 1)

    def bits(self, first: int, end: int) -> np.ndarray:  # bool [E, S, L, N, I]
        h = self.header
        shape = (len(h.languages), len(h.layers), h.neurons)
        bits = np.zeros((end - first, len(h.thresholds), *shape), np.bool_)
        for row in range(first, end):
            if not self.measured(np.array(row)):
                continue
            rng = np.random.default_rng([self.seed, row])
            own = np.frombuffer(rng.bytes(int(np.prod(shape))), np.uint8).reshape(shape)
            shared = np.frombuffer(rng.bytes(shape[1] * shape[2]), np.uint8).reshape(shape[1:])
            # Two thirds of the neurons answer to the example, the others to each language by itself.
            drawn = np.where(np.arange(h.neurons) % 3 > 0, shared, own)
            for s in range(len(h.thresholds)):
                bits[row - first, s] = drawn < self.probability // (1 + s)
        return bits

    def ids(self, rows: np.ndarray) -> list[str]:
        return [AWKWARD_IDS.get(int(i), f"capital/{NAMES[i % len(NAMES)]}/{i}") for i in rows]

    def prompts(self, rows: np.ndarray) -> list[list[str]]:
        return [
            [
                TEXTS.get(code, "{}").format(NAMES[i % len(NAMES)]) if there else ""
                for code in self.header.languages
            ]
            for i, there in zip(rows, self.measured(rows), strict=True)
        ]

    def window(self, first: int, end: int) -> Window:
        h, rows = self.header, np.arange(first, end)
        bits, measured, task = self.bits(first, end), self.measured(rows), self.task(rows)
        E, S, L, N, I = bits.shape  # noqa: E741
        languages = bits.sum(2, dtype=np.uint8)
        masks = [languages == 0, languages == 1, (languages > 1) & (languages < L), languages == L]
        categories = np.stack(masks, -1) & measured[:, None, None, None, None]  # [E, S, N, I, 4]
        string = np.dtypes.StringDType()
        arrays: dict[str, np.ndarray] = {
            "example_id": np.array(self.ids(rows), string),
            "digest": np.where(measured, rows + 1, 0).astype(np.uint64),
            "task": task,
            "outcome": np.where(measured, 1, 2).astype(np.uint8),
            "token_count": (self.present(rows) * (5 + (rows[:, None] + np.arange(L)) % 7)).astype(np.int32),
            "present": self.present(rows),
            "last_token": np.where(self.present(rows), 100 + np.arange(L), -1).astype(np.int32),
            "activated": np.packbits(bits, axis=-1, bitorder="little"),
            "activated_count": bits.sum(-1, dtype=np.int32),
            "near_threshold_count": np.zeros((E, S, L, N), np.int32),
            "category_count": categories.sum(3, dtype=np.int32),
            "occupancy": np.stack(
                [categories[task == k].sum(0, dtype=np.int32) for k in range(len(h.tasks))]
            ),
        }
        if h.has_attribution:
            arrays |= self._attribution(rows, arrays["category_count"][:, 0] / I)
            if HAS_CONTRIBUTIONS:
                arrays["neuron_contribution"] = bits[:, 0].sum(0).astype(np.float64)
        if HAS_PROMPTS:
            arrays["prompt"] = np.array(self.prompts(rows), string)
        skipped = [
            {"index": int(i), "id": f"é{i}", "where": f"facts.jsonl:{i + 1}", "reason": f"{500 + i} tokens"}
            for i in rows[~measured]
        ]
        return Window(first, arrays, skipped)

    def _attribution(self, rows: np.ndarray, share: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays [E, L, N, 4]: categories that more languages share contribute more a neuron."""
        rng, h = np.random.default_rng([self.seed, int(rows[0]), 7]), self.header
        shape = (len(rows), len(h.languages), len(h.layers), 4)
        mean = np.array([0.02, 0.1, 0.3, 1.0]) * rng.gamma(20, 1 / 20, shape)
        total = mean * share[:, None] * h.neurons
        found = {
            "contribution_share": total / total.sum(-1, keepdims=True).clip(1e-9),
            "contribution_max": 4 * mean,
            "contribution_mean": mean,
            "contribution_min": 0.1 * mean,
            "contribution_sum": total,
            "effective_max": 0.3 * mean,
            "effective_mean": 0.1 * mean - 0.01,
            "effective_min": -0.3 * mean,
        }
        missing = ~np.isin(rows, rows[self.measured(rows)])
        for array in found.values():
            array[missing] = np.nan
        return {name: found[name].astype(np.float32) for name in ATTRIBUTION if name in found}

    def windows(self, num_examples: int | None = None) -> Iterator[Window]:
        whole = self.num_examples if num_examples is None else num_examples
        for first in range(0, whole, self.header.window):
            yield self.window(first, min(first + self.header.window, whole))

    def write(self, path: Path | str, keep_bits: bool = True, only: int | None = None) -> str:
        """Write the store and return its path; `only` so many examples, not finished, where that is given."""
        kept: dict[str, Any] = {"keep_bits": keep_bits, "keep_coefficients": False}
        if HAS_PROMPTS:
            kept["keep_prompts"] = True
        with StoreWriter.create(str(path), self.header, **kept) as writer:
            for window in self.windows(only):
                if not keep_bits:
                    window.arrays.pop("activated", None)
                writer.commit(window)
            if only is None:
                writer.finish()
        return str(path)


def simulate(num_examples: int = 60, seed: int = 0, shift: int = 0, **changed: Any) -> Simulated:
    return Simulated(header(**changed), num_examples, seed, shift)

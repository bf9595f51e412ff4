"""Small runs of drawn activations, with all that a store holds of them computed by plain numpy from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from fastneurons.arrays import FOLDS
from fastneurons.store import ATTRIBUTION, Header, StoreWriter, Window

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


@dataclass(frozen=True, eq=False)
class Run:
    """E examples drawn for a header; every fifth, from index 1 on, is skipped.

    With attribution, every fifth from index 3 on has no answer in the second language. Of a corpus, every
    example is a text in one language, in turn.
    """

    header: Header
    activation: np.ndarray  # float [E, L, N, I]
    keep_coefficients: bool = False
    keep_prompts: bool = False

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

    @property
    def present(self) -> np.ndarray:  # bool [E, L]
        E, L = self.activation.shape[:2]
        present = np.repeat(self.measured[:, None], L, 1)
        if self.header.is_corpus:
            present &= np.arange(E)[:, None] % L == np.arange(L)
        return present

    @property
    def token_count(self) -> np.ndarray:
        return (self.present * (np.arange(len(self.activation))[:, None] + 1)).astype(np.int32)

    @property
    def last_token(self) -> np.ndarray:  # int32 [E, L]
        E, L = self.activation.shape[:2]
        drawn = np.random.default_rng(0).integers(0, 3, (E, L))  # the same for the first ones of a longer run
        return np.where(self.present, drawn, -1).astype(np.int32)

    @property
    def coefficient(self) -> np.ndarray:  # float32 [E, L, N, I]
        m = (self.activation * np.roll(self.activation, 1, -1)).astype(np.float32)
        m[~self.measured] = np.nan
        return m

    @property
    def value_norm(self) -> np.ndarray:  # float32 [N, I]
        N, neurons = self.activation.shape[2:]
        return np.linspace(0.5, 2, N * neurons, dtype=np.float32).reshape(N, neurons)

    @property
    def value_dot_answer(self) -> np.ndarray:  # float32 [E, L, N, I]; NaN without an answer
        dot = np.roll(self.activation, 2, -1).astype(np.float32)
        dot[3::5, 1] = np.nan
        return dot

    @cache  # noqa: B019
    def attribution(self) -> dict[str, np.ndarray]:
        """The definitions, neuron by neuron; `tests/kernels` has the ones that are tested for ties and the like."""
        E, L, N, _ = self.activation.shape
        found = {name: np.full((E, L, N, 4), np.nan, np.float32) for name in ATTRIBUTION}
        contribution = abs(self.coefficient) * self.value_norm
        effective = self.coefficient * self.value_dot_answer
        for at in np.ndindex(E, L, N):
            e, _, n = at
            if not self.measured[e]:
                continue
            top = np.argsort(-contribution[at], kind="stable")[: self.header.top_k]
            for c in range(4):
                members = self.categories[e, 0, n, :, c]
                found["contribution_share"][at][c] = members[top].mean()
                if members.any():
                    for name, scores in (("contribution", contribution), ("effective", effective)):
                        chosen = scores[at][members]
                        for how in ("max", "mean", "min", "sum"):
                            if f"{name}_{how}" in found:
                                found[f"{name}_{how}"][at][c] = getattr(chosen, how)()
        return found

    def counts(self) -> np.ndarray:
        """int64 [E, S, L, N, I]: tokens of each text that activate each neuron."""
        t = np.array(self.header.thresholds)[:, None, None, None]
        share = 1 / (1 + np.exp(3 * (t - self.activation[:, None])))
        return np.floor(share * self.token_count[:, None, :, None, None]).astype(np.int64)

    @property
    def bin_edge(self) -> np.ndarray:  # float32 [N, B - 1]
        N, bins = len(self.header.layers), self.header.bins or 0
        return (np.linspace(-1, 2, bins - 1) + 0.25 * np.arange(N)[:, None]).astype(np.float32)

    @cache  # noqa: B019
    def signals(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Of a text: the signal and the sign case of each token, float32 and int64 [T, N, I]."""
        N, neurons = self.activation.shape[2:]
        rng = np.random.default_rng(1000 + index)
        shape = (int(self.token_count[index].sum()), N, neurons)
        # Multiples of 1/1024, whose sums and squares are exact.
        signal = np.round(rng.normal(self.activation[index].mean(0), 1.0, shape) * 1024) / 1024
        return signal.astype(np.float32), rng.integers(0, 4, shape)

    def distributions(self, rows: slice) -> dict[str, np.ndarray]:
        """Histograms, sums and sign cases of some texts."""
        L, N, neurons = self.activation.shape[1:]
        found = {
            "histogram": np.zeros((L, N, neurons, self.header.bins or 0), np.int64),
            "signal_sum": np.zeros((L, N, neurons)),
            "signal_square_sum": np.zeros((L, N, neurons)),
            "sign_count": np.zeros((L, N, neurons, 4), np.int64),
        }
        for index in np.arange(len(self.activation))[rows][self.measured[rows]]:
            of, (signal, case) = index % L, self.signals(int(index))
            bins = (signal[..., None] >= self.bin_edge[:, None]).sum(-1)
            for b in range(self.header.bins or 0):
                found["histogram"][of, ..., b] += (bins == b).sum(0)
            for c in range(4):
                found["sign_count"][of, ..., c] += (case == c).sum(0)
            found["signal_sum"][of] += signal.astype(np.float64).sum(0)
            found["signal_square_sum"][of] += (signal.astype(np.float64) ** 2).sum(0)
        if not self.header.counts_signs:
            del found["sign_count"]
        return found

    def skipped(self) -> list[dict[str, Any]]:
        return [
            {"index": int(i), "id": f"é{i}", "where": f"facts.jsonl:{i + 1}", "reason": f"{500 + i} tokens"}
            for i in np.flatnonzero(~self.measured)
        ]

    def arrays(self, rows: slice = slice(None)) -> dict[str, np.ndarray]:
        """What the store must hold."""
        chosen = np.arange(len(self.activation))[rows]
        arrays = {
            "example_id": np.array([f"é{i}" for i in chosen], np.dtypes.StringDType()),
            "digest": np.where(self.measured[rows], 2**64 - 1 - chosen.astype(np.uint64), 0).astype(
                np.uint64
            ),
            "task": self.task[rows],
            "outcome": np.where(self.measured[rows], 1, 2).astype(np.uint8),
            "token_count": self.token_count[rows],
            "present": self.present[rows],
        }
        if self.header.is_corpus:
            tokens = self.token_count[rows].sum(0, dtype=np.int64)
            arrays |= {"activation_count": self.counts()[rows].sum(0), "corpus_tokens": tokens}
            if self.header.bins is not None:
                arrays |= {"bin_edge": self.bin_edge, **self.distributions(rows)}
            fold = chosen // self.header.window % FOLDS
            by_fold = [chosen[fold == k] for k in range(FOLDS)]
            return arrays | {
                "fold_activation_count": np.stack([self.counts()[some].sum(0) for some in by_fold]),
                "fold_tokens": np.stack([self.token_count[some].sum(0, dtype=np.int64) for some in by_fold]),
            }
        if self.header.position == "last":
            arrays["last_token"] = self.last_token[rows]
        arrays |= self._sharing(rows)
        if self.header.has_attribution:
            arrays |= {name: array[rows] for name, array in self.attribution().items()}
            scores = (abs(self.coefficient) * self.value_norm)[rows][self.measured[rows]]
            arrays["neuron_contribution"] = scores.astype(np.float64).sum(0)
            arrays["value_norm"] = self.value_norm
        if self.keep_prompts:
            E, L = self.present[rows].shape
            texts = [[f"Prompt {i} é\n{'🌍' * (i % 3)} {j}" for j in range(L)] for i in chosen]
            texts = np.array(texts, np.dtypes.StringDType()).reshape(E, L)
            arrays["prompt"] = np.where(self.present[rows], texts, "").astype(np.dtypes.StringDType())
        if self.keep_coefficients:
            arrays["coefficient"] = self.coefficient[rows].astype(np.float16)
        return arrays

    def _sharing(self, rows: slice) -> dict[str, np.ndarray]:
        bits, categories, task = self.bits[rows], self.categories[rows], self.task[rows]
        near = np.stack([(abs(self.activation[rows] - t) < 1e-3) for t in self.header.thresholds], 1).sum(-1)
        near[~self.measured[rows]] = 0
        return {
            "activated": np.packbits(bits, axis=-1, bitorder="little"),
            "activated_count": bits.sum(-1, dtype=np.int32),
            "near_threshold_count": near.astype(np.int32),
            "category_count": categories.sum(3, dtype=np.int32),
            "occupancy": np.stack(
                [categories[task == k].sum(0, dtype=np.int32) for k in range(len(self.header.tasks))]
            ),
        }

    def constants(self) -> dict[str, np.ndarray]:
        if self.header.bins is not None:
            return {"bin_edge": self.bin_edge}
        return {"value_norm": self.value_norm} if self.header.has_attribution else {}

    def windows(self, first: int = 0, keep_bits: bool = True) -> Iterator[Window]:
        while first < len(self.activation):
            end = min((first // self.header.window + 1) * self.header.window, len(self.activation))
            yield self.window(first, end, keep_bits)
            first = end

    def window(self, first: int, end: int, keep_bits: bool = True) -> Window:
        arrays = self.arrays(slice(first, end))
        if not keep_bits:
            arrays.pop("activated", None)
        arrays = {name: array for name, array in arrays.items() if not name.startswith("fold_")}
        return Window(first, arrays, [s for s in self.skipped() if first <= s["index"] < end])

    def write(self, path: Path | str, resume: bool = False, keep_bits: bool = True) -> None:
        begin = StoreWriter.resume if resume else StoreWriter.create
        kept: dict[str, Any] = {
            "keep_bits": keep_bits,
            "keep_coefficients": self.keep_coefficients,
            "keep_prompts": self.keep_prompts,
            "constants": self.constants(),
        }
        with begin(str(path), self.header, **kept) as writer:
            if writer.committed < len(self.activation):
                writer.reopen()
                for window in self.windows(writer.committed, keep_bits):
                    writer.commit(window)
            writer.finish()


def draw(
    num_examples: int = 11,
    seed: int = 0,
    keep_coefficients: bool = False,
    keep_prompts: bool = False,
    **changed: Any,
) -> Run:
    of = header(**changed)
    shape = (num_examples, len(of.languages), len(of.layers), of.neurons)
    activation = np.random.default_rng(seed).normal(size=shape)
    activation[..., 0] = of.thresholds[0]  # equal to the threshold is not above it, but near it
    return Run(of, activation, keep_coefficients, keep_prompts)


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
    labels |= {"case"} if run.header.counts_signs else set()
    labels |= {"condition"} if run.header.conditions else set()
    assert found.keys() == expected.keys() | labels
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert found[name].dtype == array.dtype, name
    attributes: dict[str, Any] = dict(zarr.open_group(str(path), mode="r").attrs)
    assert attributes["fastneurons"]["status"] == "complete"

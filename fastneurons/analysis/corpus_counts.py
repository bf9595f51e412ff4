"""Counts of a corpus, read from a store in blocks of layers: whole, or as weighted sums of its parts.

from fastneurons.analysis.corpus_counts import CorpusCounts

counts = CorpusCounts.of(store, languages=("en", "de"))
lape(counts.whole(), counts.tokens)
weights = counts.folds.resampled(rng)         # int64 [L, G, L]: how often each language takes each part
lape(counts.folds.sums(weights), counts.folds.tokens_of(weights))
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.selection import language_indices
from fastneurons.errors import InputError
from fastneurons.store import Store

# A block of layers; at least one layer, whatever its size.
_BLOCK_BYTES = 2**26
# Parts of a corpus are held in memory up to this size, and are otherwise read again each time.
_HELD_BYTES = 2**29


class _Blocks:
    """Blocks of layers that can be read again and again."""

    def __init__(self, read: Any, num_layers: int, layer_bytes: int) -> None:
        self._read, self._num_layers = read, num_layers
        self._step = max(1, _BLOCK_BYTES // max(1, layer_bytes))

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        for first in range(0, self._num_layers, self._step):
            yield self._read(slice(first, min(first + self._step, self._num_layers)))


@dataclass(frozen=True, eq=False)
class CorpusCounts:
    """The counts of some languages of a corpus, at one threshold.

    Args:
        language_index: The L languages' indices on the store's axis; those without tokens are left out.
        tokens: int64 [L].
        without_tokens: Codes of the languages that were chosen and have no tokens.
        threshold_index: The threshold's index on its axis.
    """

    store: Store
    language_index: tuple[int, ...]
    tokens: NDArray[np.int64]
    without_tokens: tuple[str, ...]
    threshold_index: int

    @classmethod
    def of(
        cls, store: Store, languages: Sequence[str] = (), threshold: float | None = None
    ) -> "CorpusCounts":
        """Choose languages and a threshold of a store.

        Args:
            languages: Codes; empty for all.
            threshold: One of the store's; None for its first.
        Raises:
            InputError: the store is of no corpus, has no such language or threshold, or fewer than two of the languages
                have tokens.
            StoreError: an array is damaged.
        """
        store.needs_kind("measure")
        if not store.header.is_corpus:
            raise InputError(f"{store.path} is not of a corpus; measure with --position corpus")
        threshold_index = store.threshold_index(threshold)
        index = language_indices(store, languages)
        tokens = store["corpus_tokens"][...][index]
        names = [store.header.languages[k] for k in index]
        there = tokens > 0
        if there.sum() < 2:
            raise InputError(
                f"{store.path} has tokens in {int(there.sum())} of the languages {', '.join(names)}: neurons are "
                "compared across 2 languages or more"
            )
        return cls(
            store,
            tuple(k for k, has in zip(index, there, strict=True) if has),
            tokens[there],
            tuple(name for name, has in zip(names, there, strict=True) if not has),
            threshold_index,
        )

    @property
    def languages(self) -> tuple[str, ...]:
        """The L codes."""
        return tuple(self.store.header.languages[k] for k in self.language_index)

    @property
    def shape(self) -> tuple[int, int, int]:
        """L, N and I."""
        return len(self.tokens), len(self.store.header.layers), self.store.header.neurons

    @property
    def has_folds(self) -> bool:
        """Whether the store has counted parts of the corpus."""
        return "fold_tokens" in self.store and "fold_activation_count" in self.store

    def whole(self) -> _Blocks:
        """The counts, in blocks int64 [L, n, I]."""
        array, t, chosen = self.store["activation_count"], self.threshold_index, list(self.language_index)
        L, N, neurons = self.shape

        def read(layers: slice) -> NDArray[np.int64]:
            return np.stack([array[t, k, layers] for k in chosen])

        return _Blocks(read, N, 8 * L * neurons)

    def histograms(self) -> Iterator[NDArray[np.int64]]:
        """Histograms of the signal, int64 [L, I, B] for each layer, in order.

        Raises:
            InputError: the store has none.
        """
        if "histogram" not in self.store:
            raise InputError(f"{self.store.path} has no histograms of the signal; measure with --histogram")
        array, (_, N, _) = self.store["histogram"], self.shape
        for layer in range(N):
            yield np.stack([array[k, layer] for k in self.language_index])

    @cached_property
    def folds(self) -> "Folds":
        """The parts of the corpus. The store must have them."""
        array, t, chosen = (
            self.store["fold_activation_count"],
            self.threshold_index,
            list(self.language_index),
        )
        tokens = self.store["fold_tokens"][...][:, chosen]
        L, N, neurons = self.shape

        def read(layers: slice) -> NDArray[np.int64]:
            return np.stack([np.stack([array[g, t, k, layers] for k in chosen]) for g in range(len(tokens))])

        if 8 * len(tokens) * L * N * neurons <= _HELD_BYTES:
            held = read(slice(0, N))
            return Folds(tokens, lambda layers: held[:, :, layers], self.shape)
        return Folds(tokens, read, self.shape)

    def attributes(self) -> dict[str, Any]:
        """Provenance for labelled results."""
        header = self.store.header
        return {
            "store": self.store.path,
            "complete": int(self.store.is_complete),
            "model": header.model,
            "position": header.position,
            "signal": header.signal,
            "threshold": header.thresholds[self.threshold_index],
            "languages": list(self.languages),
            "without_tokens": list(self.without_tokens),
            "tokens": int(self.tokens.sum()),
            "neurons": header.neurons,
        }


@dataclass(frozen=True, eq=False)
class Folds:
    """G parts of a corpus in L languages.

    Args:
        tokens: int64 [G, L], tokens of each part.
        read: Reads the counts of some layers, int64 [G, L, n, I].
        shape: L, N and I.
    """

    tokens: NDArray[np.int64]
    read: Any
    shape: tuple[int, int, int]

    @property
    def parts(self) -> list[NDArray[np.int64]]:
        """For each language, which parts have tokens."""
        return [np.flatnonzero(own) for own in self.tokens.T]

    @property
    def fewest(self) -> int:
        """Number of parts with tokens in the language that has fewest."""
        return min(len(own) for own in self.parts)

    def sums(self, weights: NDArray[np.int64]) -> _Blocks:
        """Weighted sums of the parts, in blocks int64 [L, n, I].

        Args:
            weights: int64 [L, G, L]: in the sum of each language, how often each part of each language counts.
        """
        L, N, neurons = self.shape
        entries = [(at, int(weights[at])) for at in zip(*np.nonzero(weights), strict=True)]

        def read(layers: slice) -> NDArray[np.int64]:
            parts = self.read(layers)
            total = np.zeros((L, *parts.shape[2:]), np.int64)
            for (into, part, language), weight in entries:
                total[into] += parts[part, language] if weight == 1 else weight * parts[part, language]
            return total

        return _Blocks(read, N, 8 * (len(self.tokens) + 1) * L * neurons)

    def tokens_of(self, weights: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of such sums, int64 [L]."""
        tokens: NDArray[np.int64] = np.einsum("kgl,gl->k", weights, self.tokens)
        return tokens

    def resampled(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Weights that draw, for each language by itself, as many of its parts as it has, with replacement."""
        weights = self._no_weights()
        for language, own in enumerate(self.parts):
            drawn = rng.multinomial(len(own), np.full(len(own), 1 / len(own)))
            weights[language, own, language] = drawn
        return weights

    def halves(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Weights of two halves, for each language a random division of its parts."""
        one, other = self._no_weights(), self._no_weights()
        for language, own in enumerate(self.parts):
            order = rng.permutation(own)
            one[language, order[: len(own) // 2], language] = 1
            other[language, order[len(own) // 2 :], language] = 1
        return one, other

    def exchanged(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Weights that give each language as many parts as it has, drawn from those of all languages."""
        cells = rng.permutation([(part, language) for language, own in enumerate(self.parts) for part in own])
        weights, at = self._no_weights(), 0
        for language, own in enumerate(self.parts):
            for part, source in cells[at : at + len(own)]:
                weights[language, part, source] = 1
            at += len(own)
        return weights

    def _no_weights(self) -> NDArray[np.int64]:
        parts, languages = self.tokens.shape
        return np.zeros((languages, parts, languages), np.int64)

"""What a corpus' counts tell: how often a neuron is activated in each language, token by token."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import Floats
from fastneurons.errors import InputError, StoreError
from fastneurons.store import Outcome, Store


@dataclass(frozen=True)
class TokenShares:
    """How many tokens of a corpus activate its model's neurons, at one threshold.

    Args:
        threshold: A neuron is activated where its activation is above.
        num_texts: Texts measured.
        languages: The L codes.
        layers: The N layer numbers.
        texts: int64 [L], texts of each language.
        tokens: int64 [L], their tokens.
        activated: float64 [L, N], share of tokens that activate a neuron, mean over a layer's neurons; also
            the share of a layer's neurons that a token activates, mean over tokens.
        activated_overall: float64 [L], mean over all layers' neurons.
    """

    threshold: float
    num_texts: int
    languages: tuple[str, ...]
    layers: tuple[int, ...]
    texts: NDArray[np.int64]
    tokens: NDArray[np.int64]
    activated: Floats
    activated_overall: Floats


def activation_probability(store: Store) -> Floats:
    """Share of a language's tokens that activate each neuron.

    Args:
        store: A store of a corpus, complete or not.
    Returns:
        float64 [S, L, N, I] in [0, 1]; NaN for a language with no tokens: "not read" is not "never activated".
    Raises:
        InputError: the store is not of a corpus.
        StoreError: a count exceeds its language's tokens, or an array is damaged.
    Source: Tang et al. 2024, arXiv:2402.16438.
    """
    tokens = _tokens(store)
    probability = np.empty(store["activation_count"].shape)
    for language in range(len(tokens)):
        probability[:, language] = _probability(store, language, tokens)
    return probability


def token_shares(store: Store, threshold: float | None = None) -> TokenShares:
    """Means of the activation probability over neurons, a language at a time.

    Args:
        store: A store of a corpus, complete or not.
        threshold: One of the store's thresholds; its first for None.
    Raises:
        InputError: the store is not of a corpus, or has no such threshold.
        StoreError: a count exceeds its language's tokens, or an array is damaged.
    """
    tokens, t = _tokens(store), store.threshold_index(threshold)
    header = store.header
    activated = np.zeros((len(header.languages), len(header.layers)))
    for language in range(len(tokens)):
        activated[language] = _probability(store, language, tokens, slice(t, t + 1))[0].mean(-1)
    texts = np.zeros(len(header.languages), np.int64)
    num_texts = 0
    for _, block in store.windows("outcome", "present"):
        measured = block["outcome"] == Outcome.MEASURED
        num_texts += int(measured.sum())
        texts += block["present"][measured].sum(0)
    return TokenShares(
        threshold=header.thresholds[t],
        num_texts=num_texts,
        languages=tuple(header.languages),
        layers=tuple(header.layers),
        texts=texts,
        tokens=tokens,
        activated=activated,
        activated_overall=activated.mean(1),
    )


def _tokens(store: Store) -> NDArray[np.int64]:
    if not store.header.is_corpus:
        raise InputError(f"{store.path} is not of a corpus; measure with --position corpus")
    return store["corpus_tokens"][...]


def _probability(
    store: Store, language: int, tokens: NDArray[np.int64], thresholds: slice = slice(None)
) -> Floats:
    """float64 [S, N, I] of one language."""
    count = store["activation_count"][thresholds, language]
    if (count > tokens[language]).any():
        raise StoreError(
            f"{store.path}: array activation_count is damaged: {count.max():,} tokens of "
            f"{store.header.languages[language]} activate a neuron, and {tokens[language]:,} were read"
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        probability: Floats = count / tokens[language]
    return probability

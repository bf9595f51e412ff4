"""Analyse a store: read its arrays block by block, pass them to the array functions, label the results."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import REPLICATES, Floats, blocks, bootstrap_generator, poisson_weights
from fastneurons.analysis.checks import ContradictionError
from fastneurons.analysis.contribution import ContributionMeans, ContributionSums
from fastneurons.analysis.corpus import TokenMeans
from fastneurons.analysis.corpus import activation_probability as probability_of_counts
from fastneurons.analysis.last_tokens import LastTokens, largest_groups
from fastneurons.analysis.sharing import ShareMeans, ShareSums
from fastneurons.errors import InputError, StoreError
from fastneurons.store import ATTRIBUTION, CATEGORIES, LAST_TOKEN, Outcome, Store


@dataclass(frozen=True)
class Shares(ShareMeans):
    """Shares of neurons at one threshold, over the measured examples, all or those of one task.

    Args:
        threshold: A neuron is activated where its activation is above.
        task: The task; None for all.
        languages: The L codes.
        layers: The N layer numbers.
    """

    threshold: float
    task: str | None
    languages: tuple[str, ...]
    layers: tuple[int, ...]


@dataclass(frozen=True)
class Attribution(ContributionMeans):
    """Means of the arrays of `fastneurons.store.ATTRIBUTION`, by name, over the measured examples.

    Args:
        top_k: Neurons of a layer that count as its most contributing ones.
        threshold: Threshold of the categories: the store's first.
        languages: The L codes.
        layers: The N layer numbers.
    """

    top_k: int
    threshold: float
    languages: tuple[str, ...]
    layers: tuple[int, ...]


@dataclass(frozen=True)
class TokenShares(TokenMeans):
    """How many tokens of a corpus activate its model's neurons, at one threshold.

    Args:
        threshold: A neuron is activated where its activation is above.
        num_texts: Texts measured.
        languages: The L codes.
        layers: The N layer numbers.
        texts: int64 [L], texts of each language.
    """

    threshold: float
    num_texts: int
    languages: tuple[str, ...]
    layers: tuple[int, ...]
    texts: NDArray[np.int64]


def shares(store: Store, threshold: float | None = None, replicates: int = REPLICATES) -> Shares:
    """Shares of neurons over all examples measured.

    Args:
        store: A store, complete or not.
        threshold: One of the store's thresholds; its first for None.
        replicates: Bootstrap replicates; even.
    Raises:
        InputError: the store has no such threshold, or is of a corpus.
        StoreError: an array is damaged.
    """
    return shares_and_by_task(store, threshold, replicates, by_task=False)[0]


def shares_by_task(
    store: Store, threshold: float | None = None, replicates: int = REPLICATES
) -> dict[str, Shares]:
    """`shares` of each of the store's tasks, by its name."""
    return shares_and_by_task(store, threshold, replicates)[1]


def shares_and_by_task(
    store: Store, threshold: float | None = None, replicates: int = REPLICATES, by_task: bool = True
) -> tuple[Shares, dict[str, Shares]]:
    """`shares` and `shares_by_task`, from one pass over the store; without `by_task`, no tasks."""
    header = store.header
    store.needs_kind("measure")
    if header.is_corpus:
        raise InputError(f"{store.path} is of a corpus: it counts tokens, and has no categories")
    t = store.threshold_index(threshold)
    L, N = len(header.languages), len(header.layers)
    total = ShareSums(L, N, header.neurons, replicates)
    of_tasks = [ShareSums(L, N, header.neurons, replicates) for _ in (header.tasks if by_task else ())]
    counts = ("category_count", "activated_count", "near_threshold_count")
    for examples, block, weights in measured_blocks(store, replicates, "task", "present", *counts):
        with damage_named(store):
            category, activated, near = (block[name][:, t] for name in counts)
            present, task = block["present"], block["task"]
            total.add(category, activated, near, present, weights, examples)
            for k, sums in enumerate(of_tasks):
                rows = task == k
                sums.add(
                    category[rows], activated[rows], near[rows], present[rows], weights[rows], examples[rows]
                )

    def labelled(sums: ShareSums, task: str | None) -> Shares:
        return Shares(
            **vars(sums.means()),
            threshold=header.thresholds[t],
            task=task,
            languages=tuple(header.languages),
            layers=tuple(header.layers),
        )

    tasks = zip(header.tasks, of_tasks, strict=True) if by_task else ()
    return labelled(total, None), {task: labelled(sums, task) for task, sums in tasks}


def attribution(store: Store, replicates: int = REPLICATES) -> Attribution:
    """How much each category matters, over all examples measured.

    Args:
        store: A store, complete or not, of a run with attribution.
        replicates: Bootstrap replicates; even.
    Raises:
        InputError: the run had no attribution.
        StoreError: an array is damaged.
    """
    header = store.header
    store.needs_kind("measure")
    if header.top_k is None:
        raise InputError(f"{store.path} has no attribution; measure with --attribution")
    sums = ContributionSums(
        ATTRIBUTION, len(header.languages), len(header.layers), len(CATEGORIES), replicates
    )
    for examples, block, weights in measured_blocks(store, replicates, "present", *ATTRIBUTION):
        with damage_named(store):
            sums.add(block, weights, block["present"], examples)
    return Attribution(
        **vars(sums.means()),
        top_k=header.top_k,
        threshold=header.thresholds[0],
        languages=tuple(header.languages),
        layers=tuple(header.layers),
    )


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


def last_tokens(store: Store) -> LastTokens | None:
    """How often a store's prompts end in the same token; None if it does not say, or no example has two languages.

    Raises:
        StoreError: an array is damaged.
    """
    if LAST_TOKEN not in store:
        return None
    examples = same = languages = sharing = 0
    for _, block in store.windows(LAST_TOKEN, "present", "outcome"):
        number = block["present"].sum(1)
        chosen = (block["outcome"] == Outcome.MEASURED) & (number > 1)
        largest = largest_groups(block[LAST_TOKEN], block["present"])[chosen]
        examples += int(chosen.sum())
        same += int((largest == number[chosen]).sum())
        languages += int(number[chosen].sum())
        sharing += int(largest.sum())
    if not examples:
        return None
    return LastTokens(examples, same / examples, languages / examples, sharing / examples)


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
        **vars(TokenMeans.of(tokens, activated)),
        threshold=header.thresholds[t],
        num_texts=num_texts,
        languages=tuple(header.languages),
        layers=tuple(header.layers),
        texts=texts,
    )


def measured_blocks(
    store: Store, replicates: int, *names: str
) -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[Any]], NDArray[np.float32]]]:
    """The measured examples, in order, a block at a time.

    Args:
        replicates: R bootstrap replicates; even.
        names: Arrays whose first axis is the example.
    Yields:
        The indices of a block's examples, its part of each array by name, and its weights [E, R].
    """
    rng = bootstrap_generator()
    for first, window in store.windows("outcome", *names):
        for rows in blocks(len(window["outcome"])):
            chosen = rows.start + np.flatnonzero(window["outcome"][rows] == Outcome.MEASURED)
            block = {name: window[name][chosen] for name in names}
            yield first + chosen, block, poisson_weights(rng, len(chosen), replicates)


def _tokens(store: Store) -> NDArray[np.int64]:
    store.needs_kind("measure")
    if not store.header.is_corpus:
        raise InputError(f"{store.path} is not of a corpus; measure with --position corpus")
    return store["corpus_tokens"][...]


def _probability(
    store: Store, language: int, tokens: NDArray[np.int64], thresholds: slice = slice(None)
) -> Floats:
    """float64 [S, N, I] of one language."""
    count = store["activation_count"][thresholds, language]
    code = store.header.languages[language]
    with damage_named(store):
        return probability_of_counts(count[:, None], tokens[language, None], [code])[:, 0]


@contextmanager
def damage_named(store: Store) -> Iterator[None]:
    """Turn a contradiction in a store's arrays into an error that names the store."""
    try:
        yield
    except ContradictionError as error:
        raise StoreError(f"{store.path}: array {error.array} is damaged: {error.reason}") from error

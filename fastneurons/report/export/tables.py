"""A store as tidy tables, a row for each observation, made block by block in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bits import bit_blocks
from fastneurons.analysis.distributions import HISTOGRAM, LEVELS
from fastneurons.analysis.histograms import moments, quantiles
from fastneurons.analysis.selection import Selection
from fastneurons.analysis.words import NeuronCounter
from fastneurons.arrays import ATTRIBUTION, SIGN_CASES
from fastneurons.errors import InputError
from fastneurons.store import CATEGORIES, Outcome, Store

# Rows of a block, about.
_BLOCK_ROWS = 250_000
# Columns of the table of prompts, as far as a store has them and they are not by condition.
_OF_PROMPTS = ("last_token", "log_probability", "judged_count", "correct")
_NO_BITS = "how often each language activates a neuron is in the bits"


@dataclass(frozen=True)
class Labels:
    """A column of text.

    Args:
        codes: For each row, the index of its text; -1 for none.
        names: The texts.
    """

    codes: NDArray[Any]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.codes)


Block = dict[str, "NDArray[Any] | Labels"]


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        name: Its name, and that of its file.
        about: What a row is.
        blocks: Its rows in blocks, all with the same columns; read anew each time.
    """

    name: str
    about: str
    blocks: Callable[[], Iterator[Block]]


def tables(store: Store, texts: bool = True) -> list[Table]:
    """The tables of a store, those of single examples first.

    Args:
        store: A store, complete or not.
        texts: Whether the table of prompts has their texts, if the store keeps them.
    """
    header = store.header
    found = [
        Table("examples", "an example that was read", lambda: _examples(store)),
        Table("prompts", "a prompt: an example in a language", lambda: _prompts(store, texts)),
    ]
    if not header.is_measuring:
        about = "a prompt under a condition, with what the model made of it"
        found.append(Table("outcomes", about, lambda: _outcomes(store, texts)))
        if "neuron_count" in store:
            about = "an example, a condition and a layer, with the neurons that are edited"
            found.append(Table("edited_neurons", about, lambda: _edited_neurons(store)))
    elif header.is_corpus:
        about = "a neuron and a language, with the tokens that activate it, at a threshold"
        found.append(Table("neuron_languages", about, lambda: _neuron_tokens(store)))
        if HISTOGRAM in store:
            about = "a neuron and a language, with mean, standard deviation and quantiles of its signal over tokens"
            found.append(Table("neuron_distributions", about, lambda: _neuron_distributions(store)))
    else:
        about = "an example, a layer and a category, with the neurons in it, at a threshold"
        found.append(Table("category_counts", about, lambda: _category_counts(store)))
        about = "an example, a layer and a language, with the neurons that it activates, at a threshold"
        found.append(Table("activated_counts", about, lambda: _activated_counts(store)))
        if header.has_attribution:
            about = "an example, a language, a layer and a category, with its attribution scores"
            found.append(Table("attribution", about, lambda: _attribution(store)))
        about = "a neuron and a category, with the examples in which it is in it, by task, at a threshold"
        found.append(Table("neuron_categories", about, lambda: _neuron_categories(store)))
        if store.has_bits:
            about = "a neuron and a language, with the examples in which that activates it, by task, at a threshold"
            found.append(Table("neuron_languages", about, lambda: _neuron_languages(store)))
        if "neuron_contribution" in store:
            about = "a neuron and a language, with its contribution scores summed over all examples"
            found.append(Table("neuron_contributions", about, lambda: _neuron_contributions(store)))
    if store.skipped():
        found.append(
            Table("skipped", "a row of the data that was skipped, with the reason", lambda: _skipped(store))
        )
    return found


def chosen_tables(store: Store, names: Sequence[str] = (), texts: bool = True) -> list[Table]:
    """Tables of a store by their names; all of them if none is named.

    Raises:
        InputError: the store has no table of that name.
    """
    found = {table.name: table for table in tables(store, texts)}
    for name in names:
        if name not in found:
            raise InputError(f"{store.path} has no table {name}; it has {', '.join(found)}")
    return [found[name] for name in names] if names else list(found.values())


# -- of examples ------------------------------------------------------------------------------------------


def _examples(store: Store) -> Iterator[Block]:
    for first, window in store.windows("example_id", "task", "outcome"):
        rows = np.arange(len(window["task"]))
        outcome = window["outcome"]
        names = [each.name.lower() for each in Outcome]
        known = {int(each): k for k, each in enumerate(Outcome)}
        yield {
            **_example_columns(store, first, window, rows),
            "outcome": Labels(np.array([known[int(value)] for value in outcome]), names),
        }


def _prompts(store: Store, texts: bool) -> Iterator[Block]:
    names = ["example_id", "task", "present", "token_count"]
    of_prompts = [name for name in _OF_PROMPTS if name in store and "condition" not in store[name].dims]
    names += of_prompts
    names += ["prompt"] if texts and "prompt" in store else []
    for first, window in store.windows(*names):
        rows, languages = np.nonzero(window["present"])
        block = {
            **_example_columns(store, first, window, rows),
            "language": Labels(languages, store.header.languages),
            "token_count": window["token_count"][rows, languages],
        }
        for name in of_prompts:
            block[name] = window[name][rows, languages]
        if "prompt" in window:
            block["prompt"] = Labels(
                np.arange(len(rows)), [str(text) for text in window["prompt"][rows, languages]]
            )
        yield block


def _outcomes(store: Store, texts: bool) -> Iterator[Block]:
    header = store.header
    numbers = [name for name in ("log_probability", "correct", "generated_count") if name in store]
    written = ["text"] if texts and "text" in store else []
    for first, window in _windows(store, "present", *numbers, *written):
        shape = (*window["present"].shape, len(header.conditions))
        rows, language, condition = np.nonzero(np.broadcast_to(window["present"][..., None], shape))
        block = {
            **_example_columns(store, first, window, rows),
            "language": Labels(language, header.languages),
            "condition": Labels(condition, header.conditions),
            **{name: window[name][rows, language, condition] for name in numbers},
        }
        for name in written:
            values = window[name][rows, language, condition]
            block[name] = Labels(np.arange(len(rows)), [str(text) for text in values])
        yield block


def _edited_neurons(store: Store) -> Iterator[Block]:
    for first, window in _windows(store, "neuron_count", "overlap"):
        counts = window["neuron_count"]  # [E, C, N]
        measured = window["outcome"] == Outcome.MEASURED
        rows, condition, layer = np.nonzero(np.broadcast_to(measured[:, None, None], counts.shape))
        yield {
            **_example_columns(store, first, window, rows),
            "condition": Labels(condition, store.header.conditions),
            **_place(store, layer=layer),
            "neurons": counts[rows, condition, layer],
            "in_category": window["overlap"][rows, condition, layer],
        }


def _category_counts(store: Store) -> Iterator[Block]:
    for first, window in _windows(store, "category_count"):
        counts = window["category_count"]  # [E, S, N, 4]
        measured = window["outcome"] == Outcome.MEASURED
        rows, threshold, layer, category = np.nonzero(
            np.broadcast_to(measured[:, None, None, None], counts.shape)
        )
        number = counts[rows, threshold, layer, category]
        yield {
            **_example_columns(store, first, window, rows),
            **_place(store, threshold=threshold, layer=layer),
            "category": Labels(category, CATEGORIES),
            "neurons": number,
            "share": number / store.header.neurons,
        }


def _activated_counts(store: Store) -> Iterator[Block]:
    for first, window in _windows(store, "present", "activated_count", "near_threshold_count"):
        counts = window["activated_count"]  # [E, S, L, N]
        rows, threshold, language, layer = np.nonzero(
            np.broadcast_to(window["present"][:, None, :, None], counts.shape)
        )
        number = counts[rows, threshold, language, layer]
        yield {
            **_example_columns(store, first, window, rows),
            **_place(store, threshold=threshold, layer=layer),
            "language": Labels(language, store.header.languages),
            "neurons": number,
            "near_threshold": window["near_threshold_count"][rows, threshold, language, layer],
            "share": number / store.header.neurons,
        }


def _attribution(store: Store) -> Iterator[Block]:
    for first, window in _windows(store, "present", *ATTRIBUTION):
        shape = window[ATTRIBUTION[0]].shape  # [E, L, N, 4]
        rows, language, layer, category = np.nonzero(
            np.broadcast_to(window["present"][:, :, None, None], shape)
        )
        yield {
            **_example_columns(store, first, window, rows),
            "language": Labels(language, store.header.languages),
            **_place(store, layer=layer),
            "category": Labels(category, CATEGORIES),
            **{name: window[name][rows, language, layer, category] for name in ATTRIBUTION},
        }


def _windows(store: Store, *names: str) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
    """Arrays of examples in blocks of a bounded number of values of the largest, with ids, tasks and outcomes."""
    per_example = max(int(np.prod(store[name].shape[1:])) for name in names)
    step = max(1, _BLOCK_ROWS // per_example)
    for first, window in store.windows("example_id", "task", "outcome", *names):
        for at in range(0, len(window["task"]), step):
            yield first + at, {name: array[at : at + step] for name, array in window.items()}


def _example_columns(store: Store, first: int, window: dict[str, NDArray[Any]], rows: NDArray[Any]) -> Block:
    return {
        "example": first + rows,
        "id": Labels(rows, [str(each) for each in window["example_id"]]),
        "task": Labels(window["task"][rows], store.header.tasks),
    }


def _place(store: Store, **index: NDArray[Any]) -> Block:
    """Values of the thresholds and numbers of the layers at given indices."""
    of = {"threshold": np.array(store.header.thresholds), "layer": np.array(store.header.layers)}
    return {name: of[name][at] for name, at in index.items()}


# -- of neurons -------------------------------------------------------------------------------------------


def _neuron_categories(store: Store) -> Iterator[Block]:
    examples = _measured_by_task(store)
    for k in range(len(store.header.tasks)):
        for t in range(len(store.header.thresholds)):
            for n in range(len(store.header.layers)):
                counts = store["occupancy"][k, t, n]  # [I, 4]
                yield _neuron_block(store, k, t, n, counts, ("category", CATEGORIES), np.full(4, examples[k]))


def _neuron_languages(store: Store) -> Iterator[Block]:
    header = store.header
    for k, task in enumerate(header.tasks):
        for t, threshold in enumerate(header.thresholds):
            counts, present = language_counts(store, task, threshold)
            for n in range(len(header.layers)):
                labels = ("language", header.languages)
                yield _neuron_block(store, k, t, n, counts[:, n].T, labels, present)


def language_counts(store: Store, task: str, threshold: float) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Count the examples of a task in which each language activates each neuron.

    Returns:
        int32 [L, N, I], and int64 [L], the examples that each language has.
    """
    header = store.header
    chosen = Selection(tasks=(task,), threshold=threshold, at_least=1).of(store)
    shape = (len(header.languages), len(header.layers))
    counter = NeuronCounter(shape, header.neurons)
    for block in bit_blocks(chosen, _NO_BITS):
        counter.add(block.words)
    return counter.counts(), chosen.present.sum(0)


def _neuron_block(
    store: Store,
    task: int,
    threshold: int,
    layer: int,
    counts: NDArray[Any],
    labels: tuple[str, Sequence[str]],
    examples: NDArray[Any],
) -> Block:
    """Rows of a layer's neurons, from counts [I, K] of examples, and how many there are [K]."""
    neuron, column = np.indices(counts.shape).reshape(2, -1)
    number = counts.ravel()
    with np.errstate(invalid="ignore", divide="ignore"):
        share = number / examples[column].astype(np.float64)
    return {
        "task": Labels(np.full(len(number), task), store.header.tasks),
        "threshold": np.full(len(number), store.header.thresholds[threshold]),
        "layer": np.full(len(number), store.header.layers[layer]),
        "neuron": neuron,
        labels[0]: Labels(column, labels[1]),
        "examples": number,
        "share": share,
    }


def _neuron_contributions(store: Store) -> Iterator[Block]:
    languages = store.header.languages
    for n, layer in enumerate(store.header.layers):
        sums = store["neuron_contribution"][:, n].T  # [I, L]
        neuron, language = np.indices(sums.shape).reshape(2, -1)
        yield {
            "layer": np.full(sums.size, layer),
            "neuron": neuron,
            "language": Labels(language, languages),
            "contribution": sums.ravel(),
        }


def _neuron_tokens(store: Store) -> Iterator[Block]:
    header = store.header
    tokens = store["corpus_tokens"][:]
    for t, threshold in enumerate(header.thresholds):
        for n, layer in enumerate(header.layers):
            counts = store["activation_count"][t, :, n].T  # [I, L]
            neuron, language = np.indices(counts.shape).reshape(2, -1)
            with np.errstate(invalid="ignore", divide="ignore"):
                share = counts.ravel() / tokens[language].astype(np.float64)
            yield {
                "threshold": np.full(counts.size, threshold),
                "layer": np.full(counts.size, layer),
                "neuron": neuron,
                "language": Labels(language, header.languages),
                "tokens": counts.ravel(),
                "share": share,
            }


def _neuron_distributions(store: Store) -> Iterator[Block]:
    header = store.header
    tokens = store["corpus_tokens"][:]
    for n, layer in enumerate(header.layers):
        mean, deviation = moments(
            store["signal_sum"][:, n], store["signal_square_sum"][:, n], tokens
        )  # [L, I]
        edges = store["bin_edge"][n]
        for k, code in enumerate(header.languages):
            if not tokens[k]:
                continue
            found = quantiles(store[HISTOGRAM][k, n], edges, LEVELS)
            I = header.neurons  # noqa: E741
            block: Block = {
                "layer": np.full(I, layer),
                "neuron": np.arange(I),
                "language": Labels(np.zeros(I, np.int64), [code]),
                "mean": mean[k],
                "deviation": deviation[k],
            }
            block |= {f"quantile_{level:g}": found[:, q] for q, level in enumerate(LEVELS)}
            if "sign_count" in store:
                counts = store["sign_count"][k, n]
                block |= {f"tokens_{case}": counts[:, c] for c, case in enumerate(SIGN_CASES)}
            yield block


def _skipped(store: Store) -> Iterator[Block]:
    rows = store.skipped()
    block: Block = {"example": np.array([row.index for row in rows], np.int64)}
    for name in ("id", "where", "reason"):
        block[name] = Labels(np.arange(len(rows)), [str(getattr(row, name) or "") for row in rows])
    yield block


def _measured_by_task(store: Store) -> NDArray[np.int64]:
    number = np.zeros(len(store.header.tasks), np.int64)
    for _, window in store.windows("task", "outcome"):
        measured = window["task"][window["outcome"] == Outcome.MEASURED]
        number += np.bincount(measured, minlength=len(number))
    return number

"""The edges of a run's histograms: those of the store that it continues, or new ones from a sample of its texts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastneurons.config import Measurement
from fastneurons.data.example import Example
from fastneurons.engine.edges import first_edges, sampled_texts
from fastneurons.engine.facts import ModelFacts
from fastneurons.errors import FastneuronsError
from fastneurons.experiments.source import Source
from fastneurons.progress import RunProgress
from fastneurons.store import open_store

BIN_EDGE = "bin_edge"


class Counting(Protocol):
    """Counts histograms: a session, or the engines of a run of many."""

    @property
    def facts(self) -> ModelFacts:
        """Facts about its model."""

    @property
    def measurement(self) -> Measurement:
        """What it reads."""

    @property
    def languages(self) -> tuple[str, ...]:
        """L codes."""

    def set_edges(self, edges: NDArray[np.float32]) -> None:
        """See `Session`."""

    def choose_edges(self, texts: Sequence[Example], add_special_tokens: bool = True) -> NDArray[np.float32]:
        """See `Session`."""


def set_edges(
    session: Counting, source: Source, out: str, resume: bool, seed: int, progress: RunProgress
) -> tuple[NDArray[np.float32], Source]:
    """Set the edges of a session's histograms before anything is counted.

    Args:
        session: With histograms.
        source: The texts; a sample is drawn from the first of them.
        out: The store.
        resume: Whether the run continues a store, which has its edges.
        seed: Chooses the sample.
        progress: Is told about it.
    Returns:
        float32 [N, B - 1], and a source with all examples, those of the sample included.
    Raises:
        EngineError: the engine failed.
    """
    stored = stored_edges(out) if resume else None
    if stored is not None:
        bins = session.measurement.histogram or 0
        if stored.shape == (len(session.facts.layers), bins - 1):
            session.set_edges(stored)
            return stored, source
        # The store is of another run, which its writer will say.
        return np.tile(first_edges(bins), (len(session.facts.layers), 1)), source
    progress.message("choosing the histograms' bins from a sample of the texts")
    texts, examples = sampled_texts(source.examples, session.languages, seed)
    edges = session.choose_edges(texts, source.add_special_tokens)
    return edges, replace(source, examples=examples)


def stored_edges(out: str) -> NDArray[np.float32] | None:
    """The edges of a store that has counted with them; None where nothing was counted, or there is no store.

    What is wrong with a store is said by its writer.
    """
    try:
        store = open_store(out)
        if store.num_examples and BIN_EDGE in store:
            edges: NDArray[np.float32] = store[BIN_EDGE][...]
            return edges
    except FastneuronsError:
        pass
    return None


def describe_histograms(session: Counting) -> str:
    """Describe in one line what a run's histograms take, before it begins."""
    facts, bins = session.facts, session.measurement.histogram or 0
    counts = len(session.languages) * len(facts.layers) * facts.neurons * bins
    return (
        f"histograms of {bins} bins: {8 * counts / 2**20:,.1f} MiB of counters for two windows, and up to as much "
        "written with each window; with more texts a window (--window), less is written"
    )

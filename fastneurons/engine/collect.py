"""Collect what the workers have read of complete examples, and put it in order among the skipped ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.arrays import Arrays, dimension_sizes, nothing
from fastneurons.config import Measurement
from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.judging import Judge
from fastneurons.engine.placement import InFlight, MeasuredExamples, Placement
from fastneurons.engine.wire import to_wire

# Rows for a few hundred answers a language, in many languages: 100 MB at most for the largest models.
_UNEMBEDDING_ROWS_KEPT = 4096


@dataclass(frozen=True)
class Begun:
    """A collection that has begun and is to be fetched.

    Args:
        first: Index of its first example.
        placement: Its examples.
        arrays: Waits for the arrays of those that were measured.
    """

    first: int
    placement: Placement
    arrays: Callable[[], Arrays]


class Collector:
    """Fetches the readings of groups of complete examples in two calls, so that the engine need not wait in between.

    Args:
        engine: The engine that read them.
        num_languages: L.
        measurement: What is read.
    """

    def __init__(self, engine: PatchedEngine, num_languages: int, measurement: Measurement) -> None:
        self._engine, self._num_languages, self._measurement = engine, num_languages, measurement
        self._top_k = measurement.neurons_in_top(engine.facts.neurons)
        # Rows of the unembedding by token: those of the base model, and those under the adapter.
        self._unembedding: dict[bool, dict[int, NDArray[np.float32]]] = {False: {}, True: {}}

    def begin(self, group: Sequence[InFlight], first: int, keep_bits: bool, adapted: bool = False) -> "Begun":
        """Begin to collect the readings of complete examples; their slots are free for others at once.

        Args:
            group: The examples, all of one task.
            first: Index of the first one.
            keep_bits: Whether `activated` is wanted.
            adapted: Whether they were computed with the engine's adapter.
        Raises:
            EngineError: the engine failed.
        """
        placement = Placement.of(group, self._num_languages)
        if not placement.slot_rows:
            return Begun(first, placement, lambda: self._nothing(keep_bits))
        arguments: dict[str, Any] = {"rows": placement.slot_rows, "keep_bits": keep_bits}
        if self._measurement.attribution:
            arguments["attribution"] = self._attribution(placement, adapted)
        return Begun(first, placement, self._engine.ask_whole_later("fastneurons_collect", **arguments))

    def begin_count(self, group: Sequence[InFlight], first: int, window: int) -> "Begun":
        """Begin to collect the counts of a window of a corpus, which resets its counters to 0.

        Args:
            group: The window's blocks.
            first: Index of the first one.
            window: Blocks of a full window.
        Raises:
            EngineError: the engine failed.
        """
        placement = Placement.of(group, self._num_languages)
        languages = np.flatnonzero(placement.token_count.any(0)).tolist()
        arguments = {"parity": first // window % 2, "languages": languages}
        later = self._engine.ask_whole_later("fastneurons_count", **arguments)
        return Begun(first, placement, lambda: self._of_all_languages(later(), languages))

    def _of_all_languages(self, arrays: Arrays, languages: list[int]) -> Arrays:
        """Add the languages that a window has no tokens of to its distributions."""
        for name in arrays.keys() - {"activation_count"}:
            part = arrays[name]
            # Memory that nothing was written to takes none: a histogram of all languages may be large.
            arrays[name] = np.zeros((self._num_languages, *part.shape[1:]), part.dtype)
            arrays[name][languages] = part
        return arrays

    def fetch(self, begun: "Begun", judge: Judge | None = None) -> MeasuredExamples:
        """Wait for a collection; return the examples with their readings, and with their answers judged.

        Raises:
            EngineError: the engine failed.
        """
        return begun.placement.measured_examples(begun.first, begun.arrays(), judge)

    def _attribution(self, placement: Placement, adapted: bool) -> dict[str, Any]:
        """Arguments that workers need for attribution; see `Observer.begin`."""
        tokens = sorted({token for row in placement.answer_tokens for token in row if token >= 0})
        index_of = {token: index for index, token in enumerate(tokens)}
        return {
            "index": [[index_of.get(token, -1) for token in row] for row in placement.answer_tokens],
            "unembedding": to_wire({"rows": self._unembedding_rows(tokens, adapted)}),
            "top_k": self._top_k,
            "keep_coefficients": self._measurement.keep_coefficients,
            "adapted": adapted,
        }

    def _nothing(self, keep_bits: bool) -> Arrays:
        """The arrays of no examples."""
        sizes = dimension_sizes(
            thresholds=len(self._measurement.thresholds),
            languages=self._num_languages,
            layers=len(self._engine.facts.layers),
            neurons=self._engine.facts.neurons,
        )
        kept = {"activated": keep_bits, "coefficient": self._measurement.keep_coefficients}
        return nothing(
            "attributing" if self._measurement.attribution else "comparing",
            [name for name, wanted in kept.items() if wanted],
            sizes,
        )

    def _unembedding_rows(self, tokens: list[int], adapted: bool) -> NDArray[np.float32]:
        """Rows of the unembedding, float32 [U, H]; those asked for before are kept."""
        if not tokens:
            return np.zeros((0, 0), np.float32)
        known = self._unembedding[adapted]
        unknown = [token for token in tokens if token not in known]
        if unknown:
            if len(known) > _UNEMBEDDING_ROWS_KEPT:
                known.clear()
                unknown = tokens
            replies = self._engine.ask("fastneurons_unembedding", tokens=unknown, adapted=adapted)
            rows: NDArray[np.float32] = np.sum(np.stack([each["rows"] for each in replies]), axis=0)
            known |= dict(zip(unknown, rows, strict=True))
        return np.stack([known[token] for token in tokens])

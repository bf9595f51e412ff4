"""Rows of the source on their way through the engine, and what was read of them in its place among skipped ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.data.example import Example, Skipped
from fastneurons.engine.encode import Tokenised
from fastneurons.engine.merge import ATTRIBUTION, Arrays


@dataclass(frozen=True)
class MeasuredRows:
    """E consecutive rows of one task, measured or skipped, in input order.

    Arrays are those of the store (docs/store.md) for these rows, and None where the run has no such array.
    Of a row that was skipped there are zeros, NaN in `attribution`.
    """

    first: int
    rows: list[Example | Skipped]
    digest: NDArray[np.uint64]  # [E]; 0 for a row that the source skipped
    token_count: NDArray[np.int32]  # [E, L]
    present: NDArray[np.bool_]  # [E, L]
    activated: NDArray[np.uint8] | None = None  # [E, S, L, N, B]
    activated_count: NDArray[np.int32] | None = None  # [E, S, L, N]
    near_threshold_count: NDArray[np.int32] | None = None  # [E, S, L, N]
    category_count: NDArray[np.int32] | None = None  # [E, S, N, 4]
    occupancy: NDArray[np.int32] | None = None  # [S, N, I, 4], over the examples measured
    attribution: Arrays | None = None  # contribution_share and its like, each float32 [E, L, N, 4]
    coefficient: NDArray[np.float16] | None = None  # [E, L, N, I]
    activation_count: NDArray[np.int64] | None = None  # [S, L, N, I], over the rows measured
    corpus_tokens: NDArray[np.int64] | None = None  # [L], over the rows measured


@dataclass
class InFlight:
    """A row that was taken and not yet handed on."""

    row: Tokenised | Skipped
    digest: int
    slot: int = -1
    unfinished: int = 0  # prompts

    @property
    def task(self) -> str | None:
        """The task that it belongs to."""
        return self.row.task if isinstance(self.row, Skipped) else self.row.example.task


@dataclass(frozen=True)
class Placement:
    """Complete rows: which of them were measured, and where the workers hold what was read of them.

    Args:
        rows: All E of them.
        digest: uint64 [E].
        measured: Indices of the M that were not skipped.
        token_count: int32 [E, L].
        slot_rows: For each measured one and language, the row of the workers' buffers; -1 without a prompt.
        answer_tokens: Likewise the first token of the answer; -1 where it has none.
    """

    rows: list[Tokenised | Skipped]
    digest: NDArray[np.uint64]
    measured: list[int]
    token_count: NDArray[np.int32]
    slot_rows: list[list[int]]
    answer_tokens: list[list[int]]

    @classmethod
    def of(cls, group: Sequence[InFlight], num_languages: int) -> "Placement":
        """The placement of rows whose prompts are all done."""
        token_count = np.zeros((len(group), num_languages), np.int32)
        measured, slot_rows, answer_tokens = [], [], []
        for index, item in enumerate(group):
            row = item.row
            if isinstance(row, Skipped):
                continue
            measured.append(index)
            lengths = [len(ids) if ids is not None else 0 for ids in row.token_ids]
            token_count[index] = lengths
            slot_rows.append([item.slot * num_languages + i if n else -1 for i, n in enumerate(lengths)])
            answers = row.answer_token or [None] * num_languages
            answer_tokens.append([-1 if token is None else token for token in answers])
        digest = np.array([item.digest for item in group], np.uint64)
        return cls([item.row for item in group], digest, measured, token_count, slot_rows, answer_tokens)

    def measured_rows(self, first: int, arrays: Arrays) -> MeasuredRows:
        """All rows with what was read, `arrays` of the M measured ones spread over the E."""
        present = self.token_count > 0
        whole: dict[str, Any] = {
            name: array if name in _SUMS else self._spread(array, np.nan if name in ATTRIBUTION else 0)
            for name, array in arrays.items()
        }
        attribution = {name: whole.pop(name) for name in ATTRIBUTION if name in whole}
        if "activation_count" in whole:
            whole["corpus_tokens"] = self.token_count.sum(0, dtype=np.int64)
        return MeasuredRows(
            first=first,
            rows=[row.example if isinstance(row, Tokenised) else row for row in self.rows],
            digest=self.digest,
            token_count=self.token_count,
            present=present,
            attribution=attribution or None,
            **whole,
        )

    def _spread(self, array: NDArray[Any], fill: float) -> NDArray[Any]:
        """`array` [M, ...] at the measured places along an axis of E."""
        if len(self.measured) == len(self.rows):
            return array
        whole = np.full((len(self.rows), *array.shape[1:]), fill, array.dtype)
        whole[self.measured] = array
        return whole


# Over rows, not one each.
_SUMS = ("occupancy", "activation_count")

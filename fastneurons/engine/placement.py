"""Examples of the source on their way through the engine, and their readings, in order among skipped examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.arrays import Arrays, spread
from fastneurons.data.example import Example, Skipped
from fastneurons.engine.encode import Tokenised, without_tokens
from fastneurons.engine.judging import Answering, Judge


@dataclass(frozen=True)
class MeasuredExamples:
    """E consecutive examples of one task, measured or skipped, in input order.

    Args:
        first: The index of the first one in the source; of a corpus, of the first block.
        examples: The examples.
        arrays: By their names (`fastneurons/arrays.py`), those that the run has: for growing arrays E entries, fill
            values where an example was skipped; sums over the examples measured.
    """

    first: int
    examples: list[Example | Skipped]
    arrays: Arrays

    def __getitem__(self, name: str) -> NDArray[Any]:
        """An array by its name. Raises KeyError where the run has no such array."""
        return self.arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays


@dataclass
class InFlight:
    """An example that was taken from the source and not yet handed on."""

    encoded: Tokenised | Skipped
    digest: int
    slot: int = -1
    unread: int = 0  # prompts
    answering: Answering | None = None  # where its answers are judged

    @property
    def is_through(self) -> bool:
        """Whether all its prompts were read, and all its answers are known."""
        return not self.unread and (self.answering is None or not self.answering.unfinished)

    @property
    def task(self) -> str | None:
        """The task that it belongs to."""
        return self.encoded.task if isinstance(self.encoded, Skipped) else self.encoded.example.task


@dataclass(frozen=True)
class Placement:
    """Complete examples: which of them were measured, and where the workers hold their readings.

    Args:
        examples: All E of them.
        digest: uint64 [E].
        measured: Indices of the M that were not skipped.
        token_count: int32 [E, L].
        tokens_read: int32 [E, L].
        last_token: int32 [E, L].
        slot_rows: For each measured one and language, the row of the workers' buffers; -1 without a prompt.
        answer_tokens: Likewise the first token of the answer; -1 where it has none.
        answering: Of each example, where answers are judged.
    """

    examples: list[Tokenised | Skipped]
    digest: NDArray[np.uint64]
    measured: list[int]
    token_count: NDArray[np.int32]
    tokens_read: NDArray[np.int32]
    last_token: NDArray[np.int32]
    slot_rows: list[list[int]]
    answer_tokens: list[list[int]]
    answering: list[Answering | None]

    @classmethod
    def of(cls, group: Sequence[InFlight], num_languages: int) -> "Placement":
        """The placement of examples whose prompts are all done."""
        token_count = np.zeros((len(group), num_languages), np.int32)
        tokens_read, last_token = np.zeros_like(token_count), np.full_like(token_count, -1)
        measured, slot_rows, answer_tokens = [], [], []
        for index, item in enumerate(group):
            encoded = item.encoded
            if isinstance(encoded, Skipped):
                continue
            measured.append(index)
            lengths = [len(ids) if ids is not None else 0 for ids in encoded.token_ids]
            token_count[index] = lengths
            tokens_read[index] = [encoded.num_read(i) for i in range(num_languages)]
            last_token[index] = [ids[-1] if ids else -1 for ids in encoded.token_ids]
            slot_rows.append([item.slot * num_languages + i if n else -1 for i, n in enumerate(lengths)])
            answers = encoded.answer_token or [None] * num_languages
            answer_tokens.append([-1 if token is None else token for token in answers])
        examples = [item.encoded for item in group]
        digest = np.array([item.digest for item in group], np.uint64)
        return cls(
            examples, digest, measured, token_count, tokens_read, last_token, slot_rows, answer_tokens,
            [item.answering for item in group],
        )  # fmt: skip

    def measured_examples(self, first: int, arrays: Arrays, judge: Judge | None = None) -> MeasuredExamples:
        """All examples with their answers and readings: `arrays` of the M measured ones, spread over the E."""
        whole = spread(arrays, self.measured, len(self.examples))
        whole["digest"] = self.digest
        whole["token_count"] = self.token_count
        whole["present"] = self.token_count > 0
        whole["last_token"] = self.last_token
        if "activation_count" in arrays:
            whole["corpus_tokens"] = self.tokens_read.sum(0, dtype=np.int64)
        if judge is not None:
            judged = [
                judge.unanswered() if a is None else judge(a.encoded, a.answers) for a in self.answering
            ]
            whole |= {name: np.stack([each[name] for each in judged]) for name in judged[0]}
        examples = [without_tokens(encoded) for encoded in self.examples]
        return MeasuredExamples(first, examples, whole)

"""Choose the rows to read in a step's batch. Rules only: numpy in, numpy out, no vLLM.

A step's batch is the tokens of its requests one after another. A request's tokens in it are those
from `num_computed_tokens` (computed in earlier steps, or taken from the prefix cache) on. Prompt
tokens come first in a request, then generated ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64] | NDArray[np.int32]


@dataclass(frozen=True)
class Batch:
    """A step's requests, in the order of their rows. Arrays are int [R], R requests."""

    request_ids: list[str]
    query_start: Ints  # first row of each request
    num_scheduled_tokens: Ints
    num_computed_tokens: Ints
    num_prompt_tokens: Ints


def completes_prompt(batch: Batch) -> NDArray[np.bool_]:
    """Requests whose last prompt token is in this step, bool [R].

    True once per prompt: not for the earlier chunks of a chunked prefill, and not for decode steps.
    """
    end = batch.num_computed_tokens + batch.num_scheduled_tokens
    return (batch.num_computed_tokens < batch.num_prompt_tokens) & (batch.num_prompt_tokens <= end)


@dataclass(frozen=True)
class Spans:
    """The tokens to read in a step's requests: arrays int [P] of P spans, in order and disjoint within a request.

    A request may have none. What is past the end of its prompt is never read.
    """

    request: Ints  # index into the batch, ascending
    first: Ints  # first token
    end: Ints  # one past the last

    @classmethod
    def of(cls, spans: Sequence[Sequence[int]]) -> "Spans":
        """Make spans from one list of numbers for each request: first, end, first, end, ..."""
        flat = np.fromiter(chain.from_iterable(spans), np.int64).reshape(-1, 2)
        request = np.repeat(np.arange(len(spans)), [len(numbers) // 2 for numbers in spans])
        return cls(request, flat[:, 0], flat[:, 1])

    @classmethod
    def last_tokens(cls, batch: Batch) -> "Spans":
        """The last prompt token of each request."""
        length = batch.num_prompt_tokens
        return cls(np.arange(len(length)), length - 1, length)

    def after(self, tokens: Ints) -> "Spans":
        """Remove each request's first tokens, as many as given, int [R]."""
        return Spans(self.request, np.maximum(self.first, tokens[self.request]), self.end)


def row_targets(
    batch: Batch, target: NDArray[np.int32], spans: Spans, num_rows: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Buffer row for each row of a step; -1 if the row is not read.

    Args:
        batch: R requests.
        target: int32 [R], what the rows of each request point at; -1: it is not ours.
        spans: The tokens to read of each request.
        num_rows: T, rows of the largest step.
    Returns:
        int32 [T], -1 where a row is not read: other prompt tokens, generated ones, padding; and int64 [R],
        the rows read of each request.
    """
    of = spans.request
    computed = batch.num_computed_tokens[of]
    start, num_read = _in_step(batch, target, spans)
    before = np.cumsum(num_read) - num_read
    # The n-th row to read lies as far into its span's rows as n is past the rows of the spans before it.
    offset = np.repeat(batch.query_start[of] + start - computed - before, num_read)
    targets = np.full(num_rows, -1, np.int32)
    targets[offset + np.arange(offset.size)] = np.repeat(target[of], num_read)
    return targets, _by_request(of, num_read, len(target))


def num_rows_read(batch: Batch, target: NDArray[np.int32], spans: Spans) -> NDArray[np.int64]:
    """Count a step's rows in these spans, int64 [R]; agrees with `row_targets`, without computing targets."""
    return _by_request(spans.request, _in_step(batch, target, spans)[1], len(target))


def _in_step(batch: Batch, target: NDArray[np.int32], spans: Spans) -> tuple[Ints, NDArray[np.int64]]:
    """The first token to read of each span in this step, and how many; int [P]."""
    of = spans.request
    computed = batch.num_computed_tokens
    last = np.minimum(computed + batch.num_scheduled_tokens, batch.num_prompt_tokens)
    start = np.maximum(computed[of], spans.first)
    end = np.minimum(last[of], spans.end)
    return start, np.where(target[of] >= 0, np.maximum(end - start, 0), 0).astype(np.int64)


def _by_request(request: Ints, counts: NDArray[np.int64], num_requests: int) -> NDArray[np.int64]:
    total = np.zeros(num_requests, np.int64)
    np.add.at(total, request, counts)
    return total


def new_prompt_tokens(batch: Batch, already_seen: Ints) -> Ints:
    """Prompt tokens of this step that no earlier step computed, int [R].

    A preempted request starts again from its first token; `already_seen` (int [R], the highest
    number of prompt tokens computed so far) keeps them from being counted twice.
    """
    end = np.minimum(batch.num_computed_tokens + batch.num_scheduled_tokens, batch.num_prompt_tokens)
    start = np.maximum(batch.num_computed_tokens, already_seen)
    new: Ints = np.maximum(end - start, 0)
    return new


@dataclass(frozen=True)
class JudgedRows:
    """The rows of a step that predict a judged token; int64.

    Args:
        rows: [J], rows of the step, request by request.
        places: [J], places in the buffer.
        spans: [R, 2], of each request's judged tokens those, counted from the first of them, that are predicted here.
    """

    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    spans: NDArray[np.int64]


def judged_rows(
    batch: Batch, place: NDArray[np.int64], first: NDArray[np.int64], end: NDArray[np.int64]
) -> JudgedRows:
    """Choose the rows of a step whose next token is judged: token t is predicted by row t - 1.

    Args:
        batch: R requests.
        place: int64 [R], place in the buffer of a request's first judged token.
        first: int64 [R], the first judged token, at least 1.
        end: int64 [R], one past the last, which may be the token after the prompt; `first` where none is judged.
    """
    computed = batch.num_computed_tokens.astype(np.int64)
    start = np.maximum(first, computed + 1)
    stop = np.maximum(np.minimum(end, computed + batch.num_scheduled_tokens + 1), start)
    number = stop - start
    before = np.cumsum(number) - number
    along = np.arange(int(number.sum())) - np.repeat(before, number)
    rows = np.repeat(batch.query_start + start - 1 - computed, number) + along
    places = np.repeat(place + start - first, number) + along
    return JudgedRows(rows, places, np.stack((start, stop), 1) - first[:, None])


def row_edits(
    batch: Batch, slot: NDArray[np.int32], first: NDArray[np.int64], end: NDArray[np.int64], num_rows: int
) -> NDArray[np.int32]:
    """Edit of each row of a step, int32 [T]; -1 where a row has none.

    Args:
        batch: R requests.
        slot: int32 [R], the edit of each request; -1: none.
        first: int64 [R], its first token that is edited, of the prompt or generated.
        end: int64 [R], one past the last.
        num_rows: T, rows of the largest step.
    """
    computed = batch.num_computed_tokens.astype(np.int64)
    start = np.maximum(computed, first)
    stop = np.minimum(computed + batch.num_scheduled_tokens, end)
    number = np.where(slot >= 0, np.maximum(stop - start, 0), 0)
    before = np.cumsum(number) - number
    offset = np.repeat(batch.query_start + start - computed - before, number)
    edits = np.full(num_rows, -1, np.int32)
    edits[offset + np.arange(offset.size)] = np.repeat(slot, number)
    return edits

"""Which rows of a step's batch are read. Rules alone: numpy in, numpy out, no vLLM.

A step's batch is the tokens of its requests one after another. A request's tokens in it are those
from `num_computed_tokens` (computed in earlier steps, or taken from the prefix cache) on. Prompt
tokens come first in a request, then generated ones.
"""

from dataclasses import dataclass

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


def row_targets(
    batch: Batch, target: NDArray[np.int32], first_token: Ints, num_rows: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Whose each row of a step is.

    A request's tokens from `first_token` to the end of its prompt are read. For its last prompt token alone
    that is the prompt's length less one; for all of them 0; where each may be read only once, although a
    preempted request computes them again, the number that were read before.

    Args:
        batch: R requests.
        target: int32 [R], what the rows of each request point at; -1: it is not ours.
        first_token: int [R], the first token that is read.
        num_rows: T, rows of the largest step.
    Returns:
        int32 [T], -1 where a row is not read: other prompt tokens, generated ones, padding; and int64 [R],
        the rows read of each request.
    """
    start = np.maximum(batch.num_computed_tokens, first_token)
    end = np.minimum(batch.num_computed_tokens + batch.num_scheduled_tokens, batch.num_prompt_tokens)
    num_read = np.where(target >= 0, np.maximum(end - start, 0), 0)
    before = np.cumsum(num_read) - num_read
    # The n-th row that is read lies as far into its request's rows as n is past those before it.
    offset = np.repeat(batch.query_start + start - batch.num_computed_tokens - before, num_read)
    targets = np.full(num_rows, -1, np.int32)
    targets[offset + np.arange(offset.size)] = np.repeat(target, num_read)
    return targets, num_read


def new_prompt_tokens(batch: Batch, already_seen: Ints) -> Ints:
    """Prompt tokens of this step that no earlier step computed, int [R].

    A preempted request starts again from its first token; `already_seen` (int [R], the highest
    number of prompt tokens computed so far) keeps them from being counted twice.
    """
    end = np.minimum(batch.num_computed_tokens + batch.num_scheduled_tokens, batch.num_prompt_tokens)
    start = np.maximum(batch.num_computed_tokens, already_seen)
    new: Ints = np.maximum(end - start, 0)
    return new

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


def last_prompt_row(batch: Batch) -> Ints:
    """Row of each request's last prompt token, int [R]; meaningful where `completes_prompt`.

    Not the request's last row: where tokens are speculated, rows follow the prompt in the same step.
    """
    return batch.query_start + batch.num_prompt_tokens - 1 - batch.num_computed_tokens


def new_prompt_tokens(batch: Batch, already_seen: Ints) -> Ints:
    """Prompt tokens of this step that no earlier step computed, int [R].

    A preempted request starts again from its first token; `already_seen` (int [R], the highest
    number of prompt tokens computed so far) keeps them from being counted twice.
    """
    end = np.minimum(batch.num_computed_tokens + batch.num_scheduled_tokens, batch.num_prompt_tokens)
    start = np.maximum(batch.num_computed_tokens, already_seen)
    new: Ints = np.maximum(end - start, 0)
    return new

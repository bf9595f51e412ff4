"""The rules by which a row is read or skipped, each on batches small enough to check by eye."""

import numpy as np

from fastneurons.engine.rows import Batch, completes_prompt, last_prompt_row, new_prompt_tokens


def batch(*requests: tuple[int, int, int]) -> Batch:
    """A batch of (computed before, scheduled now, prompt length) requests."""
    computed, scheduled, prompt = (np.array(column) for column in zip(*requests, strict=True))
    return Batch(
        request_ids=[str(i) for i in range(len(requests))],
        query_start=np.concatenate([[0], np.cumsum(scheduled)[:-1]]),
        num_scheduled_tokens=scheduled,
        num_computed_tokens=computed,
        num_prompt_tokens=prompt,
    )


def test_whole_prompts_are_read_at_their_last_token():
    b = batch((0, 5, 5), (0, 3, 3))
    assert completes_prompt(b).tolist() == [True, True]
    assert last_prompt_row(b).tolist() == [4, 7]


def test_only_the_last_chunk_of_a_chunked_prompt_is_read():
    assert completes_prompt(batch((0, 64, 150))).tolist() == [False]
    assert completes_prompt(batch((64, 64, 150))).tolist() == [False]
    last = batch((128, 22, 150))
    assert completes_prompt(last).tolist() == [True]
    assert last_prompt_row(last).tolist() == [21]


def test_decode_rows_are_not_read():
    assert completes_prompt(batch((5, 1, 5), (9, 1, 5))).tolist() == [False, False]


def test_a_prompt_that_starts_in_the_prefix_cache_is_read_at_its_own_row():
    b = batch((128, 36, 164), (0, 10, 10))
    assert completes_prompt(b).all()
    assert last_prompt_row(b).tolist() == [35, 45]


def test_tokens_after_the_prompt_in_the_same_step_are_not_the_last_prompt_token():
    b = batch((0, 8, 5))
    assert completes_prompt(b).tolist() == [True]
    assert last_prompt_row(b).tolist() == [4]
    assert new_prompt_tokens(b, np.array([0])).tolist() == [5]


def test_a_one_token_prompt_is_read():
    b = batch((0, 1, 1))
    assert completes_prompt(b).tolist() == [True]
    assert last_prompt_row(b).tolist() == [0]


def test_prompt_tokens_computed_again_after_a_preemption_count_once():
    # 100 tokens were computed, the request was preempted, and starts again from its first token.
    assert new_prompt_tokens(batch((0, 64, 150)), np.array([100])).tolist() == [0]
    assert new_prompt_tokens(batch((64, 64, 150)), np.array([100])).tolist() == [28]
    assert new_prompt_tokens(batch((128, 22, 150)), np.array([128])).tolist() == [22]


def test_generated_tokens_are_no_prompt_tokens():
    assert new_prompt_tokens(batch((5, 1, 5)), np.array([5])).tolist() == [0]

"""The rules by which a row is read or skipped, each on batches small enough to check by eye."""

import numpy as np

from fastneurons.engine.rows import Batch, completes_prompt, new_prompt_tokens, row_targets


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


def last(b: Batch, num_rows: int = 200) -> list[int]:
    """Rows read where the last prompt token is, by request."""
    target = np.arange(len(b.request_ids), dtype=np.int32)
    targets, _ = row_targets(b, target, b.num_prompt_tokens - 1, num_rows)
    return [int(np.flatnonzero(targets == k)[0]) if k in targets else -1 for k in target]


def every(b: Batch, num_rows: int = 200) -> list[list[int]]:
    """Rows read where all prompt tokens are, by request."""
    target = np.arange(len(b.request_ids), dtype=np.int32)
    targets, num_read = row_targets(b, target, np.zeros(len(target), int), num_rows)
    assert len(targets) == num_rows
    rows = [np.flatnonzero(targets == k).tolist() for k in target]
    assert [len(r) for r in rows] == num_read.tolist()
    return rows


def test_whole_prompts_are_read_at_their_last_token():
    b = batch((0, 5, 5), (0, 3, 3))
    assert completes_prompt(b).tolist() == [True, True]
    assert last(b) == [4, 7]
    assert every(b) == [[0, 1, 2, 3, 4], [5, 6, 7]]


def test_only_the_last_chunk_of_a_chunked_prompt_is_read_for_its_last_token():
    first, middle, end = batch((0, 64, 150)), batch((64, 64, 150)), batch((128, 22, 150))
    assert [completes_prompt(b).tolist() for b in (first, middle, end)] == [[False], [False], [True]]
    assert [last(b) for b in (first, middle, end)] == [[-1], [-1], [21]]
    assert [len(every(b)[0]) for b in (first, middle, end)] == [64, 64, 22]


def test_decode_rows_are_not_read():
    b = batch((5, 1, 5), (9, 1, 5))
    assert completes_prompt(b).tolist() == [False, False]
    assert last(b) == [-1, -1]
    assert every(b) == [[], []]


def test_a_prompt_that_starts_in_the_prefix_cache_is_read_at_its_own_row():
    b = batch((128, 36, 164), (0, 10, 10))
    assert completes_prompt(b).all()
    assert last(b) == [35, 45]


def test_tokens_after_the_prompt_in_the_same_step_are_not_the_last_prompt_token():
    b = batch((0, 8, 5))
    assert completes_prompt(b).tolist() == [True]
    assert last(b) == [4]
    assert every(b) == [[0, 1, 2, 3, 4]]
    assert new_prompt_tokens(b, np.array([0])).tolist() == [5]


def test_a_one_token_prompt_is_read():
    b = batch((0, 1, 1))
    assert completes_prompt(b).tolist() == [True]
    assert last(b) == [0]
    assert every(b) == [[0]]


def test_a_span_is_read_from_its_first_token_whatever_the_chunks():
    span = np.array([70])
    seen = []
    for b in (batch((0, 64, 150)), batch((64, 64, 150)), batch((128, 22, 150))):
        targets, _ = row_targets(b, np.array([0], np.int32), span, 64)
        seen += (np.flatnonzero(targets == 0) + b.num_computed_tokens[0]).tolist()
    assert seen == list(range(70, 150))


def test_requests_of_others_are_not_read():
    b = batch((0, 3, 3), (0, 4, 4), (0, 2, 2))
    targets, num_read = row_targets(b, np.array([7, -1, 9], np.int32), np.zeros(3, int), 12)
    assert targets.tolist() == [7, 7, 7, -1, -1, -1, -1, 9, 9, -1, -1, -1]
    assert num_read.tolist() == [3, 0, 2]


def test_prompt_tokens_computed_again_after_a_preemption_count_once():
    # 100 tokens were computed, the request was preempted, and starts again from its first token.
    again = (
        (batch((0, 64, 150)), 100, 0),
        (batch((64, 64, 150)), 100, 28),
        (batch((128, 22, 150)), 128, 22),
    )
    for b, seen, new in again:
        assert new_prompt_tokens(b, np.array([seen])).tolist() == [new]
        _, num_read = row_targets(b, np.array([0], np.int32), np.array([seen]), 64)
        assert num_read.tolist() == [new]


def test_generated_tokens_are_no_prompt_tokens():
    assert new_prompt_tokens(batch((5, 1, 5)), np.array([5])).tolist() == [0]


def test_any_batch_against_row_by_row():
    rng = np.random.default_rng(0)
    for _ in range(200):
        requests = []
        for _ in range(int(rng.integers(1, 6))):
            prompt = int(rng.integers(1, 12))
            computed = int(rng.integers(0, prompt + 2))
            requests.append((computed, int(rng.integers(1, 8)), prompt))
        b = batch(*requests)
        target = rng.integers(-1, 9, len(requests)).astype(np.int32)
        first = rng.integers(0, 10, len(requests))
        expected = []
        for (computed, scheduled, prompt), t, f in zip(requests, target, first, strict=True):
            expected += [t if f <= token < prompt else -1 for token in range(computed, computed + scheduled)]
        targets, num_read = row_targets(b, target, first, 64)
        assert targets.tolist() == expected + [-1] * (64 - len(expected))
        assert num_read.sum() == (targets >= 0).sum()

"""The rules by which a row is read or skipped, each on batches small enough to check by eye."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastneurons.engine.rows import (
    Batch,
    Spans,
    completes_prompt,
    new_prompt_tokens,
    num_rows_read,
    row_edits,
    row_targets,
)


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
    targets, _ = row_targets(b, target, Spans.last_tokens(b), num_rows)
    return [int(np.flatnonzero(targets == k)[0]) if k in targets else -1 for k in target]


def whole(b: Batch) -> Spans:
    """All tokens of each request's prompt."""
    return Spans.of([[0, int(length)] for length in b.num_prompt_tokens])


def every(b: Batch, num_rows: int = 200) -> list[list[int]]:
    """Rows read where all prompt tokens are, by request."""
    target = np.arange(len(b.request_ids), dtype=np.int32)
    targets, num_read = row_targets(b, target, whole(b), num_rows)
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
    span = Spans.of([[70, 150]])
    seen = []
    for b in (batch((0, 64, 150)), batch((64, 64, 150)), batch((128, 22, 150))):
        targets, _ = row_targets(b, np.array([0], np.int32), span, 64)
        seen += (np.flatnonzero(targets == 0) + b.num_computed_tokens[0]).tolist()
    assert seen == list(range(70, 150))


def test_requests_of_others_are_not_read():
    b = batch((0, 3, 3), (0, 4, 4), (0, 2, 2))
    targets, num_read = row_targets(b, np.array([7, -1, 9], np.int32), whole(b), 12)
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
        _, num_read = row_targets(b, np.array([0], np.int32), whole(b).after(np.array([seen])), 64)
        assert num_read.tolist() == [new]


def test_generated_tokens_are_no_prompt_tokens():
    assert new_prompt_tokens(batch((5, 1, 5)), np.array([5])).tolist() == [0]


def test_spans_are_read_and_what_stands_between_them_is_not():
    b = batch((0, 9, 9), (0, 3, 3))
    targets, num_read = row_targets(b, np.array([4, 5], np.int32), Spans.of([[1, 3, 5, 8], []]), 14)
    assert targets.tolist() == [-1, 4, 4, -1, -1, 4, 4, 4, -1, -1, -1, -1, -1, -1]
    assert num_read.tolist() == [5, 0]


def test_a_step_whose_requests_have_no_spans_reads_nothing():
    targets, num_read = row_targets(batch((0, 3, 3)), np.array([0], np.int32), Spans.of([[]]), 4)
    assert targets.tolist() == [-1] * 4
    assert num_read.tolist() == [0]


# Up to four spans, in order and disjoint; the last may reach past a prompt's end.
_spans = st.sets(st.integers(0, 16), max_size=8).map(lambda s: sorted(s)[: len(s) // 2 * 2])
_requests = st.lists(
    st.tuples(st.integers(0, 13), st.integers(1, 8), st.integers(1, 12), _spans, st.integers(-1, 9)),
    min_size=1,
    max_size=6,
)


@given(_requests, st.integers(0, 12))
def test_any_batch_against_row_by_row(requests, already):
    b = batch(*[(computed, scheduled, prompt) for computed, scheduled, prompt, *_ in requests])
    target = np.array([request[4] for request in requests], np.int32)
    spans = Spans.of([request[3] for request in requests])
    for seen in (0, already):
        expected, read = [], []
        for computed, scheduled, prompt, numbers, t in requests:
            inside = {
                k for first, end in zip(numbers[::2], numbers[1::2], strict=True) for k in range(first, end)
            }
            rows = [
                t if token in inside and seen <= token < prompt else -1
                for token in range(computed, computed + scheduled)
            ]
            expected += rows
            read.append(sum(row >= 0 for row in rows))
        after = spans.after(np.full(len(requests), seen))
        targets, num_read = row_targets(b, target, after, 64)
        assert targets.tolist() == expected + [-1] * (64 - len(expected))
        assert num_read.tolist() == read == num_rows_read(b, target, after).tolist()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), _spans, st.lists(st.booleans(), max_size=6))
def test_chunks_and_preemptions_count_each_token_of_a_span_once(chunks, numbers, preemptions):
    prompt = 12
    spans, computed, seen, total, rows = Spans.of([numbers]), 0, 0, 0, set()
    while computed < prompt:
        scheduled = min(chunks[computed % len(chunks)], prompt - computed)
        b = batch((computed, scheduled, prompt))
        targets, _ = row_targets(b, np.array([0], np.int32), spans, 16)
        rows |= {computed + int(row) for row in np.flatnonzero(targets == 0)}
        total += int(num_rows_read(b, np.array([0], np.int32), spans.after(np.array([seen]))).sum())
        seen += int(new_prompt_tokens(b, np.array([seen]))[0])
        computed += scheduled
        if computed < prompt and preemptions and preemptions.pop():
            computed = 0  # it starts again
    inside = {
        k
        for first, end in zip(numbers[::2], numbers[1::2], strict=True)
        for k in range(first, min(end, prompt))
    }
    assert rows == inside
    assert total == len(inside)


def test_edited_rows_are_those_of_each_requests_tokens():
    # A chunk in the middle of a prompt, a prompt's end with its first generated token, a decode step, one unedited.
    b = batch((4, 3, 10), (5, 4, 8), (12, 1, 9), (0, 2, 2))
    slot = np.array([7, 2, 5, -1], np.int32)
    prompt = np.array([10, 8, 9, 2])
    zero, never = np.zeros(4, np.int64), np.full(4, 2**62)
    assert row_edits(b, slot, zero, never, 12).tolist() == [7] * 3 + [2] * 4 + [5] + [-1] * 4
    assert row_edits(b, slot, zero, prompt, 12).tolist() == [7] * 3 + [2] * 3 + [-1] * 6
    assert row_edits(b, slot, prompt, never, 12).tolist() == [-1] * 6 + [2, 5] + [-1] * 4

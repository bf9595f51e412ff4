"""Loops on PyTorch's threads: each part once, whatever thread takes it; and the CPU's readers in many parts."""

import numpy as np
import pytest
import torch
from fastneurons_kernels import threads
from fastneurons_kernels.activation import activation_reference
from fastneurons_kernels.activation_cpu import activation_cpu
from fastneurons_kernels.compiled import compiled
from fastneurons_kernels.threads import lock, parts_of, pool, share_out, unlock

from tests.kernels.test_activation import (
    POSITIONS,
    assert_same,
    buffers_of,
    clone,
    make_reading,
    make_x,
)


@pytest.fixture
def two_threads(monkeypatch):
    """Work is divided as for two; where an engine ran before in this process, vLLM lets nobody change their number."""
    torch.set_num_threads(2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    yield
    torch.set_num_threads(1)


@compiled
def _mark(pool, parts, times, total):  # type: ignore[no-untyped-def]
    share_out(pool, parts, _mark_part, (times, total, np.zeros(1, np.int64)))


@compiled
def _mark_part(part, parts, times, total, flag):  # type: ignore[no-untyped-def]
    times[part] += 1
    for _ in range(1000):
        lock(flag)
        total[0] += parts
        unlock(flag)


@pytest.mark.parametrize("parts", [0, 1, 2, 7, 500])
@pytest.mark.parametrize("on_all", [False, True], ids=["this thread", "all threads"])
def test_each_part_is_done_once_and_one_at_a_time_between_locks(parts, on_all, two_threads):
    times, total = np.zeros(max(parts, 1), np.int64), np.zeros(1, np.int64)
    _mark(pool() if on_all else 0, parts, times, total)
    assert times.tolist() == ([1] * parts or [0])
    assert total[0] == 1000 * parts * parts


def test_pytorchs_own_pool_is_found_where_it_has_gnus():
    if "libgomp" not in str(list((threads.Path(torch.__file__).parent / "lib").iterdir())):
        pytest.skip("this PyTorch has another OpenMP")
    assert pool() > 0


def test_little_work_stays_on_its_thread(two_threads, monkeypatch):
    assert parts_of(1000) == 1
    assert parts_of(1 << 17) == 2
    assert parts_of(1 << 30) == 8
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert parts_of(1 << 30) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("position", POSITIONS)
def test_readers_find_in_many_parts_what_they_find_in_one(position, dtype, two_threads, monkeypatch):
    monkeypatch.setattr(threads, "_WORTH_A_PART", 1024)
    neurons, function = 1056, "relu"
    for seed, rows in enumerate((1, 3, 60, 333)):
        x = make_x(seed, rows, 2 * neurons, dtype)
        before = make_reading(
            seed, rows, neurons, [0.0, 0.25, -0.1], 0.8, position, dtype=dtype, coefficients=True
        )
        got, want = clone(before), clone(before)
        activation_cpu(x, got, function=function, gated=True)
        activation_reference(x, want, function=function, gated=True)
        for name, tensor in buffers_of(got).items():
            assert_same(tensor, getattr(want, name), f"{name} of {rows} rows")


def test_counts_of_more_rows_than_sixteen_bits_hold(two_threads):
    rows = 70_000
    x = torch.ones((rows, 2), dtype=torch.bfloat16)
    reading = make_reading(0, rows, 2, [0.5, 2.0], 0.0, "corpus", dtype=torch.bfloat16, layers=2)
    reading.targets.fill_(3)
    reading.counts.zero_()
    activation_cpu(x, reading, function="relu", gated=False)
    assert reading.counts[3].tolist() == [[rows, rows], [0, 0]]
    assert int(reading.counts.sum()) == 2 * rows

"""Arrays from workers in processes of their own: memory that both map, and answers that do not hold up steps."""

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastneurons.engine import shared
from fastneurons.engine.host_memory import copied, room_of
from fastneurons.engine.shared import SessionShare, WorkerShare, folder_to_share, own


@pytest.fixture
def ends():
    with folder_to_share() as folder:
        if folder is None:
            pytest.skip("this system has no /dev/shm")
        worker = WorkerShare(folder, 3, page_lock=False)
        session = SessionShare(folder, [3])
    assert not Path(folder).exists(), "what is open needs no files"
    yield worker, session
    session.close()


def in_block(worker: WorkerShare, **arrays: np.ndarray) -> dict[str, Any]:
    """A worker's answer with these arrays, which it collected into a block."""
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    block = worker.memory.take(room_of(tensors))
    return worker.to_wire(worker.memory.hand_on(copied(tensors, block)))


def test_arrays_cross_in_memory_and_their_message_says_only_where(ends):
    worker, session = ends
    bits = np.random.default_rng(0).integers(0, 256, (7, 2, 3, 5), np.uint8)
    present = np.array([[True, False]])
    wired = in_block(worker, activated=bits, present=present)
    assert all(len(each[2]) == 2 for each in wired.values()), "bytes were sent"
    received = session.from_wire(3, wired)
    np.testing.assert_array_equal(received["activated"], bits)
    np.testing.assert_array_equal(received["present"], present)
    assert not received["activated"].flags.owndata
    assert all(array.flags.owndata for array in own(received).values())


def test_a_block_that_grows_is_found_again(ends):
    worker, session = ends
    for size in [10, 1_000, 300_000, 20]:
        for _ in range(shared._BLOCKS):
            numbers = np.arange(size)
            np.testing.assert_array_equal(session.from_wire(3, in_block(worker, a=numbers))["a"], numbers)


def test_what_the_session_still_reads_is_not_written_to_by_the_collections_it_may_begin_meanwhile(ends):
    worker, session = ends
    first = session.from_wire(3, in_block(worker, a=np.full(100, 1)))["a"]
    for number in range(2, shared._BLOCKS + 1):
        in_block(worker, a=np.full(100, number))
    assert (first == 1).all()
    in_block(worker, a=np.full(100, 9))
    assert (first == 9).all(), "blocks are not taken in turn: the test tests nothing"


def test_where_memory_has_no_room_bytes_are_sent(ends, monkeypatch):
    worker, session = ends

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared.os, "posix_fallocate", full)
    wired = in_block(worker, a=np.arange(5))
    assert isinstance(wired["a"][2], bytes)
    assert session.from_wire(3, wired)["a"].tolist() == [0, 1, 2, 3, 4]


def test_a_worker_on_another_machine_does_not_find_the_folder(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        WorkerShare(str(tmp_path / "not here"), 0, page_lock=False)


class Answers:
    """One worker's answers, in the order of calls."""

    def __init__(self):
        self.waiting = deque()

    def dequeue(self, timeout=None):
        from vllm.v1.executor.multiproc_executor import WorkerProc

        return WorkerProc.ResponseStatus.SUCCESS, self.waiting.popleft()


class Calls:
    """Calls of workers; each is answered with its method's name."""

    def __init__(self, answers):
        self.answers = answers

    def enqueue(self, call):
        self.answers.waiting.append(call[0])


@pytest.fixture
def executor():
    from fastneurons.engine.executor import NeuronExecutor

    made = NeuronExecutor.__new__(NeuronExecutor)
    answers = Answers()
    made.is_failed, made.futures_queue = False, deque()
    made.rpc_broadcast_mq, made.response_mqs = Calls(answers), [answers]
    made.shutting_down = True
    return made


@pytest.mark.engine
def test_an_answer_comes_with_the_step_ahead_of_it_and_nothing_waits_for_it(executor):
    step = executor.collective_rpc("execute_model", non_block=True)
    asked = executor.collective_rpc("fastneurons_collect", None, (), {})
    following = executor.collective_rpc("execute_model", non_block=True)
    assert not asked.done()
    assert step.result() == ["execute_model"]
    assert asked.done(), "nobody will ask for it again if no step follows"
    assert asked.result() == ["fastneurons_collect"]
    assert following.result() == ["execute_model"]


@pytest.mark.engine
def test_without_a_step_under_way_the_answer_is_waited_for(executor):
    assert executor.collective_rpc("fastneurons_tally", None, (), {}) == ["fastneurons_tally"]

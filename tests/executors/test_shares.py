"""The parts of a machine that engines get."""

import pytest

from fastneurons.engine.environment import thread_binding
from fastneurons.errors import InputError
from fastneurons.executors import shares
from fastneurons.executors.shares import core_shares, local_shares


@pytest.fixture
def threads(monkeypatch):
    """Cores of two logical CPUs each: 0 and 8, 1 and 9, ..."""
    monkeypatch.setattr(shares, "threads_of_core", lambda core: [core, core + 8])


@pytest.mark.parametrize(
    ("cores", "number", "expected"),
    [
        ([0, 1, 2, 3], 2, [(0, 1, 8, 9), (2, 3, 10, 11)]),
        ([0, 1, 2, 3, 4], 2, [(0, 1, 2, 8, 9, 10), (3, 4, 11, 12)]),
        ([0, 1], 3, [(0, 8), (1, 9), (0, 8)]),
        ([5], 1, [(5, 13)]),
    ],
)
def test_cores_are_shared_out_with_their_threads(cores, number, expected, threads):
    found = core_shares(cores, number)
    assert [share.cpus for share in found] == expected
    assert all(share.environment == {"VLLM_CPU_OMP_THREADS_BIND": None} for share in found)


def test_gpus_are_shared_out_in_groups(monkeypatch):
    monkeypatch.setattr(shares, "visible_devices", lambda: ["4", "5", "6", "GPU-a", "7"])
    found = [share.environment["CUDA_VISIBLE_DEVICES"] for share in local_shares(2, 2)]
    assert found == ["4,5", "6,GPU-a"]
    assert all(share.cpus == () for share in local_shares(5, 1))
    with pytest.raises(InputError) as refused:
        local_shares(3, 2)
    assert str(refused.value) == ("--engines 3: 3 engines of 2 GPUs each need 6 GPUs, and this machine has 5")


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [([0, 1, 2, 3], 2, "0,1|2,3"), ([0, 1, 2], 2, "0|1"), ([4, 6], 4, "4|6|4|6"), ([3], 2, "3|3")],
)
def test_ranks_of_an_engine_share_its_cores(cores, workers, expected):
    assert thread_binding(cores, workers) == expected

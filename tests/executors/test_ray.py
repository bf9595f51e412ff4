"""Engines in actors of a Ray cluster of this machine, with stand-ins for vLLM."""

import os
import re
import sys
import threading
from pathlib import Path

import pytest

from fastneurons.config import ManyEngines
from fastneurons.errors import InputError
from fastneurons.executors.driver import Driver
from fastneurons.executors.ray_engines import EngineActor, RayEngines, fit
from tests.executors.stand_in import Fault, StandInJob
from tests.executors.threads import ThreadEngines
from tests.executors.writing import EXAMPLES, Told, assert_same, write

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("nodes", "number", "world_size", "expected"),
    [
        ([{"CPU": 8.0}], 2, 1, (4, 0, 2)),
        ([{"CPU": 8.0}], 3, 1, (2, 0, 3)),
        ([{"CPU": 8.0}, {"CPU": 3.0}], 3, 1, (3, 0, 3)),
        ([{"CPU": 8.0}, {"CPU": 8.0}, {}], None, 1, (8, 0, 2)),
        ([{"CPU": 64.0, "GPU": 8.0}] * 2, None, 4, (1, 4, 4)),
        ([{"CPU": 64.0, "GPU": 8.0}] * 2, 3, 4, (1, 4, 3)),
        ([{"CPU": 64.0, "GPU": 3.0}] * 2, None, 2, (1, 2, 2)),  # no engine spans two nodes
    ],
)
def test_engines_fit_into_a_cluster(nodes, number, world_size, expected):
    assert fit(nodes, number, world_size) == expected


@pytest.mark.parametrize(
    ("nodes", "number", "world_size", "message"),
    [
        ([{"CPU": 2.0}], 3, 1, "--num-engines 3: the Ray cluster has 2 cores"),
        ([{"CPU": 64.0, "GPU": 3.0}] * 2, 3, 2, "has room for 2 on 2 nodes with 6 GPUs"),
    ],
)
def test_more_engines_than_fit_are_refused(nodes, number, world_size, message):
    with pytest.raises(InputError, match=message):
        fit(nodes, number, world_size)


@pytest.fixture(scope="module")
def cluster():
    """A cluster of this machine."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'fastneurons[ray]'")
    before = dict(os.environ)
    os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    ray.init(address="local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield ray
    ray.shutdown()
    os.environ.clear()
    os.environ |= before


def test_an_actor_that_is_killed_changes_nothing(cluster, tmp_path):
    expected, _ = write(ThreadEngines(StandInJob(), 1), tmp_path / "one.zarr")
    job = StandInJob(fault=Fault("kill", "objects", 12, tmp_path / "mark"))
    engines = RayEngines(job, ManyEngines("ray", 2), 1)
    assert engines.num_slots == 2
    store, told = write(engines, tmp_path / "run.zarr")
    assert_same(store, expected)
    [message] = told.saying("starting it again")
    assert "its actor on node" in message
    assert told.examples == len(EXAMPLES)


def test_an_actor_that_hangs_is_replaced(cluster, tmp_path):
    expected, _ = write(ThreadEngines(StandInJob(), 1), tmp_path / "one.zarr")
    job = StandInJob(fault=Fault("hang", "before", 8, tmp_path / "mark"))
    store, told = write(RayEngines(job, ManyEngines("ray", 2), 1), tmp_path / "run.zarr", timeout_s=5)
    assert_same(store, expected)
    assert told.saying("said nothing for 5 s (--window-timeout)")


def test_actors_have_a_core_each_and_no_low_priority(cluster):
    with RayEngines(StandInJob(), ManyEngines("ray", 2), 1) as engines:
        report = Driver(engines, Told(), threading.Event(), 60).start()
        # As many engines as cores: each has one.
        [message] = report.messages
        assert re.fullmatch(r"CPUs \[\d+\], None", message)
    actor = cluster.remote(num_cpus=1)(EngineActor).remote()
    node, niceness = cluster.get(actor.where.remote())
    assert node == cluster.get_runtime_context().get_node_id()
    assert niceness == os.getpriority(os.PRIO_PROCESS, 0)
    cluster.kill(actor)


def test_ray_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'fastneurons\[ray\]'"):
        RayEngines(StandInJob(), ManyEngines("ray", 2), 1)

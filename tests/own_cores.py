"""Share the cores out among xdist's workers when imported: two engines of two threads each would wait for each other.

It has to come before torch, which counts the cores once and would run two threads on a worker's only core.
"""

import os


def _take_own_cores() -> None:
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    cores = sorted(os.sched_getaffinity(0))
    if 1 < workers <= len(cores):
        os.sched_setaffinity(0, cores[number::workers])


_take_own_cores()

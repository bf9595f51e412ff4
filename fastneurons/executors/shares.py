"""Share out a machine's processors, or its GPUs, among the engines that run there."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastneurons.engine.device import visible_devices
from fastneurons.engine.environment import allowed_cores, threads_of_core
from fastneurons.errors import InputError


@dataclass(frozen=True)
class Share:
    """The part of a machine that one engine may use.

    Args:
        cpus: Logical CPUs; empty: all.
        environment: Variables to set before the engine is made; None: to remove.
    """

    cpus: tuple[int, ...] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)


def take_share(share: Share) -> None:
    """Keep this thread, and those that it starts, to a share of the machine."""
    if share.cpus:
        os.sched_setaffinity(0, share.cpus)
    for name, value in share.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def local_shares(num_engines: int, world_size: int) -> list[Share]:
    """Shares of this machine: of its GPUs if it has any, else of its cores.

    Args:
        world_size: Devices of an engine.
    Raises:
        InputError: there are not enough GPUs.
    """
    devices = visible_devices()
    if not devices:
        return core_shares(allowed_cores(), num_engines)
    if num_engines * world_size > len(devices):
        each = "" if world_size == 1 else f" of {world_size} GPUs each"
        raise InputError(
            f"--engines {num_engines}: {num_engines} engines{each} need {num_engines * world_size} GPUs, and this "
            f"machine has {len(devices)}"
        )
    return [
        Share(environment={"CUDA_VISIBLE_DEVICES": ",".join(devices[first : first + world_size])})
        for first in range(0, num_engines * world_size, world_size)
    ]


def core_shares(cores: Sequence[int], num_engines: int) -> list[Share]:
    """Shares of physical cores, neighbours together; with more engines than cores, several have the same one.

    The engine binds its threads to the cores that its process may use, so what a user said of that is removed.

    Args:
        cores: One logical CPU of each core.
    """
    shares = []
    for number in range(num_engines):
        if num_engines > len(cores):
            own = [cores[number % len(cores)]]
        else:
            # The first ones have one more, where cores cannot be divided.
            size, more = divmod(len(cores), num_engines)
            begin = number * size + min(number, more)
            own = list(cores[begin : begin + size + (number < more)])
        cpus = sorted({cpu for core in own for cpu in threads_of_core(core)})
        shares.append(Share(tuple(cpus), {"VLLM_CPU_OMP_THREADS_BIND": None}))
    return shares

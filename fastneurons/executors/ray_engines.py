"""Engines in actors of a Ray cluster.

Not Ray Data: the arrays of a window are in the engine's process, which writes them to the store itself. An actor is
never restarted by Ray, which would answer for it as unavailable meanwhile: the driver starts another one.
"""

import contextlib
import os
import queue
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from fastneurons.config import ManyEngines
from fastneurons.engine.environment import allowed_cores
from fastneurons.errors import InputError
from fastneurons.executors.messages import End, Event, Failed, Job, Message
from fastneurons.executors.serve import serve
from fastneurons.executors.shares import Share, core_shares, take_share

# An actor answers at least so often that it has nothing to say.
_HEAR_S = 5.0
# What vLLM needs to shut down, and more.
_END_S = 30.0

# For a cluster that is started here. By itself Ray gives actors the lowest priority but four.
_OF_OWN_CLUSTER = {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}


class EngineActor:
    """The actor of an engine. The engine runs in a thread; messages and events have a thread each."""

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def where(self) -> tuple[str, int]:
        """The node's id, and its niceness."""
        import ray

        return ray.get_runtime_context().get_node_id(), os.getpriority(os.PRIO_PROCESS, 0)

    def begin(self, job: Job, index: int, engines_of_node: int) -> None:
        """Start the engine.

        Args:
            job: What it is to do.
            index: Which share of the node's cores it gets.
            engines_of_node: How many shares there are; 0 where Ray has given it GPUs.
        """
        share = core_shares(allowed_cores(), engines_of_node)[index] if engines_of_node else Share()

        def run() -> None:
            take_share(share)  # in this thread, whose children inherit it
            with contextlib.suppress(BaseException):  # it was said
                serve(job, self._inbox.get, self._events.put)

        self._thread = threading.Thread(target=run, daemon=True, name="fastneurons-engine")
        self._thread.start()

    def send(self, message: Message) -> None:
        """Receive a message."""
        self._inbox.put(message)

    def hear(self) -> list[Event]:
        """The next events, waited for a while."""
        found: list[Event] = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._events.get(block=not found, timeout=_HEAR_S))
        return found

    def finish(self) -> None:
        """Wait until the engine has ended, after `End`."""
        if self._thread is not None:
            self._thread.join(_END_S)


@dataclass
class _Running:
    """An actor, and what it was asked last.

    Args:
        pending: A reference to `where`, and from then on to `hear`.
        node: Where it runs; None until that is known.
        index: Its share of the node.
    """

    actor: Any
    pending: Any
    node: str | None = None
    index: int = 0


class RayEngines:
    """Engines in actors of a Ray cluster.

    Args:
        job: What each is to do.
        wanted: How many, and which cluster.
        world_size: GPUs of an engine, on a cluster that has any.
    Raises:
        InputError: Ray is not installed, the cluster cannot be reached, or it has no room for so many.
    """

    def __init__(self, job: Job, wanted: ManyEngines, world_size: int) -> None:
        try:
            import ray
        except ImportError as error:
            raise InputError(
                f"--engines ray: Ray cannot be imported ({error}); install it with pip install 'fastneurons[ray]'"
            ) from error
        self._ray, self._job = ray, job
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            self._connect(wanted.address)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._cpus, self._gpus, self.num_slots = fit(nodes, wanted.number, world_size)
        # For a node, how many engines share its cores.
        self._engines_of_node = {
            node["NodeID"]: 0 if self._gpus else max(1, int(node["Resources"].get("CPU", 0)) // self._cpus)
            for node in ray.nodes()
        }
        self._running: dict[int, _Running] = {}

    def __enter__(self) -> "RayEngines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(at_once=error is not None)

    def start(self, slot: int) -> None:
        """See `Engines`."""
        made = self._ray.remote(
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            max_restarts=0,
            concurrency_groups={"messages": 1, "events": 1},  # one thread each, which keeps messages in order
        )
        actor = made(EngineActor).remote()
        self._running[slot] = _Running(actor, _in(actor.where, "events").remote())

    def send(self, slot: int, message: Message) -> None:
        """See `Engines`."""
        if slot in self._running:
            _in(self._running[slot].actor.send, "messages").remote(message)

    def receive(self, timeout_s: float) -> list[tuple[int, Event]]:
        """See `Engines`."""
        waiting = {running.pending: slot for slot, running in self._running.items()}
        if not waiting:
            time.sleep(timeout_s)
            return []
        ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=timeout_s)
        # Others that are ready by now as well.
        more, _ = self._ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        found: list[tuple[int, Event]] = []
        for reference in {*ready, *more}:
            slot = waiting[reference]
            found += [(slot, event) for event in self._answer(slot, self._running[slot])]
        return found

    def kill(self, slot: int) -> None:
        """See `Engines`."""
        running = self._running.pop(slot, None)
        if running is not None:
            with contextlib.suppress(Exception):  # it has died meanwhile
                self._ray.kill(running.actor, no_restart=True)

    def close(self, at_once: bool = False) -> None:
        """End all engines; those not killed at once finish what they have and shut down."""
        if not at_once:
            ends = []
            for slot, running in self._running.items():
                self.send(slot, End())
                ends.append(_in(running.actor.finish, "messages").remote())
            if ends:
                self._ray.wait(ends, num_returns=len(ends), timeout=_END_S)
        for slot in list(self._running):
            self.kill(slot)
        if self._is_ours:
            self._ray.shutdown()

    def _connect(self, address: str | None) -> None:
        before = {name: os.environ.get(name) for name in _OF_OWN_CLUSTER}
        for name, value in _OF_OWN_CLUSTER.items():
            os.environ.setdefault(name, value)
        try:
            self._ray.init(address=address, log_to_driver=False, include_dashboard=None if address else False)
        except Exception as error:
            text = " ".join(str(error).split())
            place = "a Ray cluster" if address is None else f"the Ray cluster at {address}"
            raise InputError(f"--engines ray: {place} cannot be reached: {text}") from error
        finally:
            for name, old in before.items():
                if old is None:
                    os.environ.pop(name, None)

    def _answer(self, slot: int, running: _Running) -> list[Event]:
        """What an actor has answered; ask it the next thing."""
        try:
            answer = self._ray.get(running.pending)
        except self._ray.exceptions.RayError as error:
            where = "" if running.node is None else f" on node {running.node[:8]}"
            self.kill(slot)
            return [Failed("death", f"its actor{where} has died: {_in_a_line(error)}")]
        if running.node is None:
            running.node, _ = answer
            engines = self._engines_of_node.get(running.node, 0)
            taken = {other.index for other in self._running.values()
                     if other is not running and other.node == running.node}  # fmt: skip
            running.index = next(index for index in range(len(taken) + 1) if index not in taken)
            _in(running.actor.begin, "messages").remote(self._job, running.index % max(1, engines), engines)
        elif any(isinstance(event, Failed) for event in answer):
            self.kill(slot)
            return list(answer)
        running.pending = _in(running.actor.hear, "events").remote()
        return [] if isinstance(answer, tuple) else list(answer)


def fit(nodes: list[dict[str, float]], number: int | None, world_size: int) -> tuple[int, int, int]:
    """How many engines there will be, and what each is given.

    On a cluster with GPUs an engine has as many of them as it has ranks. Without, it has a share of a node's cores,
    as large as it can be.

    Args:
        nodes: The resources of each node, as Ray names them.
        number: Engines wanted; None: as many as there is room for, or on CPUs one for each node.
        world_size: Ranks of an engine.
    Returns:
        Cores and GPUs of an engine, and engines.
    Raises:
        InputError: there is no room for so many.
    """
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    if sum(gpus):
        room = sum(each // world_size for each in gpus)
        if room < (number or 1):
            raise InputError(
                f"--num-engines {number or 1}: with {world_size} GPUs each, the Ray cluster has room for {room} on "
                f"{len(nodes)} nodes with {sum(gpus)} GPUs"
            )
        return 1, world_size, number or room
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    wanted = number or sum(each > 0 for each in cpus)
    for size in range(max(cpus, default=0), 0, -1):
        if sum(each // size for each in cpus) >= wanted:
            return size, 0, wanted
    raise InputError(
        f"--num-engines {wanted}: the Ray cluster has {sum(cpus)} cores, one is needed for each engine"
    )


def _in(method: Any, group: str) -> Any:
    """A method of an actor that is run in one of its groups of threads."""
    return method.options(concurrency_group=group)


def _in_a_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:297]}..."

"""Engines in threads of this process: for what needs no process to die."""

import queue
import threading
from types import TracebackType
from typing import Any

from fastneurons.executors.messages import End, Event, Failed, Job, Message
from fastneurons.executors.serve import serve


class ThreadEngines:
    """See `Engines`."""

    def __init__(self, job: Job, num_slots: int) -> None:
        self.num_slots = num_slots
        self._job = job
        self._inboxes: dict[int, queue.SimpleQueue[Message | None]] = {}
        self._events: queue.SimpleQueue[tuple[int, Any, Event]] = queue.SimpleQueue()
        self.started: list[int] = []

    def __enter__(self) -> "ThreadEngines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for inbox in self._inboxes.values():
            inbox.put(End())

    def start(self, slot: int) -> None:
        inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._inboxes[slot] = inbox
        self.started.append(slot)

        def receive() -> Message:
            message = inbox.get()
            if message is None:
                raise EOFError
            return message

        arguments = (self._job, receive, lambda event: self._events.put((slot, inbox, event)))
        threading.Thread(target=serve, args=arguments, daemon=True).start()

    def put(self, slot: int, event: Event) -> None:
        """Have an engine say something that it has not said."""
        inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._inboxes[slot] = inbox
        self._events.put((slot, inbox, event))

    def send(self, slot: int, message: Message) -> None:
        if slot in self._inboxes:
            self._inboxes[slot].put(message)

    def receive(self, timeout_s: float) -> list[tuple[int, Event]]:
        found: list[tuple[int, Event]] = []
        try:
            while True:
                slot, inbox, event = self._events.get(block=not found, timeout=timeout_s)
                if self._inboxes.get(slot) is inbox:
                    if isinstance(event, Failed):
                        self._inboxes.pop(slot)
                    found.append((slot, event))
        except queue.Empty:
            return found

    def kill(self, slot: int) -> None:
        inbox = self._inboxes.pop(slot, None)
        if inbox is not None:
            inbox.put(None)

"""The process of an engine on this machine: takes its share, and serves until it is asked to end."""

import contextlib
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from fastneurons.executors.shares import take_share

if TYPE_CHECKING:
    from fastneurons.executors.messages import Message


def main(connection: Connection | int) -> None:
    """Run an engine, as messages on a connection ask.

    Args:
        connection: Or its file descriptor.
    """
    if isinstance(connection, int):
        connection = Connection(connection)
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)  # with all that vLLM starts, so that they can be ended together
    # A batch system sends it to all processes of a run: the driver then asks engines to finish. Not ignored, since
    # processes that vLLM starts would inherit that.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    take_share(connection.recv())

    def receive() -> "Message":
        try:
            message: Message = connection.recv()
        except (EOFError, OSError):
            # The driver has ended: what this engine measures would never be committed.
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(1)
        return message

    job = connection.recv()
    from fastneurons.executors.serve import serve  # here: variables that libraries read are set

    serve(job, receive, connection.send)

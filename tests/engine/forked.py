"""Run a function in a process forked from one that has imported vLLM: an engine starts there in a few seconds."""

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.context import BaseContext, ForkServerContext
from typing import Any

# Of a busy machine.
PATIENCE_S = 600


def context() -> ForkServerContext:
    """The server's; it starts with the first process, and ends with this one."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.engine.fork_server"])
    return found


def in_fork(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a module's function in a process of its own; return what it returns, or raise what it raised."""
    return in_process_of(context(), function, *arguments, **named)


def in_process_of(kind: BaseContext, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Likewise, in a process of this kind."""
    receiver, sender = kind.Pipe(duplex=False)
    process: Any = kind.Process(target=_call, args=(sender, function, arguments, named))
    process.start()
    sender.close()
    try:
        assert receiver.poll(PATIENCE_S), f"{function.__name__} did not return"
        result, error = receiver.recv()
    except EOFError:
        process.join()
        raise AssertionError(f"{function.__name__} ended with status {process.exitcode}") from None
    finally:
        process.join(30)
        process.kill()
    assert error is None, error
    return result


def _call(sender: Any, function: Callable[..., Any], arguments: Any, named: Any) -> None:
    try:
        sender.send((function(*arguments, **named), None))
    except BaseException:
        sender.send((None, traceback.format_exc()))

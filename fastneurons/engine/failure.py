"""Say in one line why an engine failed: find the cause inside vLLM's exceptions, or in its log."""

import re
from collections.abc import Iterator
from pathlib import Path

from fastneurons.errors import EngineError, InputError

_LONGEST = 600
# Follows the name of a process that died.
ENDED = "ended without a word; it may have been killed for want of memory"
# Before the name of a log.
LOG_FOLLOWS = "; vLLM's log: "
# Bytes at the end of a log, where the failure is.
_LOG_BYTES = 4 << 20

# Messages that only point at another one.
_VAGUE = re.compile(
    r"see (the )?root cause|root cause above|check the logs|see (the )?(stack trace|logs?) above"
    r"|failed to be inspected|core (initialization|proc\S*) failed|initialization failed|died unexpectedly"
    r"|executor failed|issue with the (engine|core)|encountered (an issue|a fatal error)|engine ?dead|subprocess"
    r"|returned non-zero exit status|cancelled",
    re.IGNORECASE,
)
# The last line of a traceback, without what a logger puts in front of it.
_RAISED = re.compile(
    r"(?:[A-Za-z_]\w*\.)*(?P<type>\w*(?:Error|Exception|NotFound|Unsupported))(?:: (?P<text>.*))?$"
)
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LOG_PREFIX = re.compile(
    r"^(\([^)]*\)\s*)?((ERROR|WARNING|INFO|CRITICAL)\s+\d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\]\s?)?"
)
_PYDANTIC_NOISE = re.compile(r"\s*(\[type=.*?input_type=\w+\]|For further information visit \S+)", re.DOTALL)


class LoadError(InputError):
    """A model that vLLM could not load; its log may say more."""


def cause(error: BaseException, log: Path | None = None) -> str:
    """Find the cause of a failure and put it into one line.

    Args:
        error: What vLLM raised.
        log: The log of its processes, searched if the exception only points there.
    """
    found = [_message(each) for each in _chain(error)]
    telling = [message for message in found if message and not _VAGUE.search(message)]
    if telling:
        return telling[-1]
    raised = cause_in_log(log) if log is not None else None
    if raised is not None:
        return raised
    if any(re.search(r"dead|died|core|worker|proc", message, re.IGNORECASE) for message in found):
        return f"a process of the engine {ENDED}"
    return found[-1] or type(error).__name__


def is_vague(message: str) -> bool:
    """Whether a message only points at another one."""
    return bool(_VAGUE.search(message))


def with_log(error: InputError | EngineError, log: Path) -> InputError | EngineError:
    """The same error naming the log, and the cause found there if the error itself names none."""
    message = str(error)
    if ENDED in message and not message.endswith(f"a process of the engine {ENDED}"):
        # It has a name, which stays.
        raised = cause_in_log(log)
        if raised is not None:
            message = message.replace(ENDED, f"ended: {raised}")
    elif error.__cause__ is not None and (is_vague(message) or "ended without a word" in message):
        what = message.partition(": ")[0] if isinstance(error, EngineError) else _before_cause(message)
        message = f"{what}: {cause(error.__cause__, log)}"
    return type(error)(f"{message}{LOG_FOLLOWS}{log}")


def cause_in_log(log: Path) -> str | None:
    """The first informative exception in a log; None if it has none.

    Of chained exceptions Python prints the cause first, and of processes the one that failed first writes first.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _LOG_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        plain = _LOG_PREFIX.sub("", _ANSI.sub("", line)).strip()
        match = _RAISED.match(plain)
        message = (match["text"] or "").strip() if match else ""
        if match and message and not _VAGUE.search(message):
            return _shortened(f"{match['type']}: {message}")
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and its causes, the innermost last."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def _message(error: BaseException) -> str:
    """The message of an exception, with its type and place if the message alone says too little."""
    said = _PYDANTIC_NOISE.sub("", str(error))
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if lines and re.match(r"\d+ validation errors? for \w+$", lines[0]):
        lines = lines[1:]
    text = " ".join(
        line.removeprefix("Value error, ").removeprefix("Assertion failed, ") for line in lines[:4]
    )
    name = type(error).__name__
    if isinstance(error, ImportError | OSError | InputError | EngineError) and text:
        return _shortened(text)
    if len(text.split()) < 4 or isinstance(error, KeyError | IndexError | AttributeError | TypeError):
        text = f"{name}: {text}" if text else name
        return _shortened(text + _place(error))
    return _shortened(text)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return f" (in {code.co_name}, {'/'.join(Path(code.co_filename).parts[-2:])}:{trace.tb_lineno})"


def _before_cause(message: str) -> str:
    head, found, _ = message.partition(": vLLM cannot load it")
    return f"{head}: vLLM cannot load it" if found else head


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."

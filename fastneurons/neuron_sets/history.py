"""How a set was made: a list of steps, each of which may take the results of earlier ones.

A list and not a tree: a set that enters an operation twice, or two sets with a common ancestor, do not double it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fastneurons.errors import InputError


class Step(msgspec.Struct, frozen=True):
    """A step in the making of a set.

    Args:
        kind: "category", "layers", "random", "union", ...
        of: Indices of the earlier steps whose sets it takes.
        details: What else it was given; anything that JSON can hold.
    """

    kind: str
    of: tuple[int, ...] = ()
    details: dict[str, Any] = {}


History = tuple[Step, ...]


def history_of(kind: str, details: Mapping[str, Any], *before: History) -> History:
    """The history of a set that a step makes of the sets with the histories `before`.

    Equal steps are kept once.

    Raises:
        TypeError: JSON cannot hold the details.
    """
    steps: list[Step] = []
    place: dict[bytes, int] = {}

    def add(step: Step) -> int:
        key = msgspec.json.encode(step)
        if key not in place:
            place[key] = len(steps)
            steps.append(step)
        return place[key]

    taken = []
    for history in before:
        moved: list[int] = []
        for step in history:
            moved.append(add(Step(step.kind, tuple(moved[k] for k in step.of), step.details)))
        taken.append(moved[-1])
    plain = msgspec.json.decode(
        msgspec.json.encode(dict(details))
    )  # as it will be when it is read from a file
    made = add(Step(kind, tuple(taken), plain))
    return tuple(steps[: made + 1])  # the last step is the one that made the set


def encode_history(history: History) -> str:
    """The history as JSON."""
    return msgspec.json.encode(history).decode()


def decode_history(text: str) -> History:
    """Read a history from JSON.

    Raises:
        InputError: it is none.
    """
    try:
        history = msgspec.json.decode(text.encode(), type=tuple[Step, ...])
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise InputError(f"history: {str(error) or 'is nested too deeply'}") from error
    if not history or any(not 0 <= k < at for at, step in enumerate(history) for k in step.of):
        raise InputError("history: is empty, or a step takes one that is not before it")
    return history


def history_lines(history: Sequence[Step]) -> list[str]:
    """Write a history for people, a line for each step: `3. union of 1 and 2`."""
    return [_line(number, step) for number, step in enumerate(history, 1)]


def _line(number: int, step: Step) -> str:
    of = " and ".join(str(k + 1) for k in step.of)
    details = ", ".join(f"{name} {_plain(value)}" for name, value in step.details.items())
    return f"{number}. {step.kind}" + (f" of {of}" if of else "") + (f": {details}" if details else "")


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)

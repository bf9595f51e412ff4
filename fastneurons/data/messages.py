"""Chat messages: a prompt given as `[{"role": "user", "content": "..."}, ...]`."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastneurons.data.emptiness import emptiness
from fastneurons.data.problems import UnusableError, kind, one_line

ROLES = ("system", "developer", "user", "assistant")
# What a message may have besides, and what would be missing in the prompt without it.
_MORE = ("tool_calls", "function_call", "tool_call_id", "reasoning_content", "reasoning", "thinking")
_MOST = 1000


def are_messages(value: Any) -> bool:
    """Whether a value looks like chat messages: a list that holds only objects."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def chat_messages(value: Sequence[Any], of: str) -> list[dict[str, str]]:
    """Messages with a role and a text each.

    A content in parts becomes one text, with a line feed between the parts' texts. Keys other than `role` and
    `content` are passed over, save those whose absence would change what the model is asked.

    Args:
        value: What stands in the row.
        of: How messages call it: `the prompt in en`.
    Raises:
        UnusableError: a message lacks its role or content, has an unknown role, or something that is no text.
    """
    if len(value) > _MOST:
        raise UnusableError(f"{of} has {len(value):,} messages; at most {_MOST:,} are taken")
    found = []
    for number, message in enumerate(value, 1):
        name = f"message {number} of {of}"
        if not isinstance(message, Mapping):
            raise UnusableError(f"{name} is {kind(message)}; it must be an object with role and content")
        role = message.get("role")
        if role is None:
            hint = "; from and value are called role and content" if "from" in message else ""
            raise UnusableError(f"{name} has no role{hint}")
        if not isinstance(role, str) or role not in ROLES:
            shown = repr(one_line(role)) if isinstance(role, str) else kind(role)
            raise UnusableError(f"{name} has the role {shown}; there are {', '.join(ROLES)}")
        if more := next((key for key in _MORE if message.get(key)), None):
            raise UnusableError(f"{name} has {more}, which is not supported; a message is role and content")
        found.append({"role": role, "content": _content(message.get("content"), name)})
    if not any(message["role"] == "user" for message in found):
        raise UnusableError(f"{of} has no message of a user")
    spoken = [message["role"] for message in found[-2:]]
    if spoken[-1] in ("system", "developer"):
        raise UnusableError(
            f"{of} ends in a message of the {spoken[-1]}; it must end in one of the user or assistant"
        )
    if spoken == ["assistant", "assistant"]:
        raise UnusableError(
            f"{of} ends in two messages of the assistant, of which the last one alone can go on"
        )
    if problem := emptiness(found[-1]["content"]):
        raise UnusableError(f"message {len(found)} of {of}, its last, is {problem}")
    return found


def contents(messages: Sequence[Mapping[str, str]]) -> str:
    """Join the texts of messages."""
    return "\n".join(message["content"] for message in messages)


def _content(value: Any, name: str) -> str:
    if value is None:
        raise UnusableError(f"{name} has no content")
    if isinstance(value, list):
        value = "\n".join(_part(part, name) for part in value)
    if not isinstance(value, str):
        raise UnusableError(f"the content of {name} is {kind(value)}; it must be a text")
    if "\0" in value:
        raise UnusableError(f"{name} holds a NUL character")
    return value


def _part(part: Any, name: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise UnusableError(f"the content of {name} holds {kind(part)}; its parts must be texts")
    text, type_ = part.get("text"), part.get("type", "text")
    if type_ != "text" or not isinstance(text, str):
        shown = one_line(str(type_), 30)
        raise UnusableError(f"the content of {name} has a part of the type {shown!r}; only text is supported")
    return text

"""Search with a user's regular expressions, within a time limit on any text.

`re` decides which patterns are valid; `regex`, which reads the same patterns, searches, since it has a time limit.
"""

import re
from typing import Any

import regex

from fastneurons.data.problems import one_line

MAX_SECONDS = 5.0
_MAX_CHARACTERS = 10_000
# `regex` writes a repeat out: a{1000}{1000} is a million steps, and (a{1000000}) fills memory.
_MAX_STEPS = 20_000
_ITEM = re.compile(
    r"\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|\{(\d{1,9})?,?(\d{1,9})?\}|[()]|.",
    re.DOTALL,
)


class PatternError(ValueError):
    """A pattern cannot be searched for; the message says why."""


class Pattern:
    """A regular expression.

    Args:
        text: As `re` reads it.
    Raises:
        PatternError: `re` refuses it, or it is too large to be searched for.
    """

    def __init__(self, text: str) -> None:
        shown = repr(one_line(text))
        if len(text) > _MAX_CHARACTERS:
            raise PatternError(
                f"the pattern {shown} has {len(text):,} characters; at most {_MAX_CHARACTERS:,} are taken"
            )
        try:
            re.compile(text)
            if _steps(text) > _MAX_STEPS:
                raise PatternError(f"the pattern {shown} repeats more than can be searched for")
            self._search: Any = regex.compile(text).search
        except (re.error, regex.error, OverflowError, RecursionError, MemoryError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise PatternError(f"{shown} is not a regular expression: {reason or 'too large'}") from None

    def found_in(self, text: str) -> bool:
        """Whether it matches anywhere in a text.

        Raises:
            TimeoutError: that is not known after 5 seconds of the process's time.
        """
        return self._search(text, timeout=MAX_SECONDS) is not None


def _steps(pattern: str) -> int:
    """Approximate number of steps of a pattern once its repeats are written out."""
    open_: list[int] = []
    total = last = 0  # of the group that is open, and of the item that a repeat would repeat
    for item in _ITEM.finditer(pattern):
        text = item[0]
        if text == "(":
            open_.append(total)
            total = last = 0
        elif text == ")":
            last = total + 1
            total = (open_.pop() if open_ else 0) + last
        elif text[0] == "{" and (item[1] or item[2]):
            times = max(int(item[1] or 0), int(item[2] or 0), 1)
            total += last * (times - 1)
            last *= times
        else:
            last = 1
            total += 1
    return total

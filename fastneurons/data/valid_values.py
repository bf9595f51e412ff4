"""Rules for single values of a row: ids, texts and numbers."""

import math
from typing import Any

from fastneurons.data.emptiness import emptiness
from fastneurons.data.problems import UnusableError, kind, one_line

MAX_ID_CHARACTERS = 1000


def row_id(value: Any) -> str:
    """An id as text; 1, 1.0 and "1" are the same.

    Raises:
        UnusableError: it is not there, empty, too long, or neither a text nor a whole number.
    """
    if type(value) is str and value[:1].isalnum() and len(value) <= MAX_ID_CHARACTERS and "\0" not in value:
        return value  # nearly every one
    if value is None:
        raise UnusableError("no id")
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)  # a column of whole numbers in which some are missing
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UnusableError(f"the id is {kind(value)}; it must be a text or a whole number")
    id = str(value)
    if problem := id_problem(id):
        raise UnusableError(problem)
    return id


def id_problem(id: str) -> str | None:
    """Say why a text cannot be an id; None if it can."""
    if "\0" in id:
        return "the id holds a NUL character"
    if len(id) > MAX_ID_CHARACTERS:
        return f"the id is {len(id):,} characters long; it may have {MAX_ID_CHARACTERS:,} at most"
    if problem := emptiness(id):
        return f"the id is {problem}"
    return None


def shown_id(value: Any) -> str:
    """The id to show with the reason why its row is skipped; empty if the value is no id."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    try:
        id = str(value)
    except ValueError:  # a number of thousands of digits
        return ""
    if "\0" in id or emptiness(id):
        return ""
    return id if len(id) <= MAX_ID_CHARACTERS else one_line(id)


def text_problem(text: str) -> str | None:
    """Say why a text cannot be measured, to go on after `the prompt in en`; None if it can."""
    if "\0" in text:
        if text.strip():
            return "holds a NUL character"
    elif text[:1].isalnum():  # nearly every text, in a fraction of the time
        return None
    if problem := emptiness(text):
        return f"is {problem}"
    return None


def is_number(value: Any) -> bool:
    """Whether a value is a finite number and not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

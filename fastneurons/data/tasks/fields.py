"""Single fields of a record: texts, keys, numbers and translations, each checked once, as it is taken out."""

from collections.abc import Iterable
from typing import Any

from fastneurons.data.emptiness import BYTE_ORDER_MARK
from fastneurons.data.problems import UnusableError, kind, one_line
from fastneurons.data.readers.data_set import Record
from fastneurons.data.valid_values import is_number, row_id, text_problem
from fastneurons.languages import short_code


class AbsentError(UnusableError):
    """The data set itself marks a text as missing: counted, but no error."""


def text(record: Record, name: str) -> str:
    """A field that must be a text, or a number taken as one.

    Raises:
        UnusableError: it is not there, empty, or something else.
    """
    return checked_text(record.fields.get(name), name)


def checked_text(value: Any, name: str) -> str:
    """A value that must be a text, or a number taken as one; errors name it.

    Raises:
        UnusableError: it is not there, empty, or something else.
    """
    if isinstance(value, str):
        found = value.strip().removeprefix(BYTE_ORDER_MARK)
        if problem := text_problem(found):
            raise UnusableError(f"{name} {text_problem(value) or problem}")
        return found.strip()
    if value is None:
        raise UnusableError(f"no {name}")
    if not is_number(value):
        raise UnusableError(f"{name} is {kind(value)}, not a text")
    return str(value)


def key_text(record: Record, name: str) -> str:
    """A field that names the example, or a part of it: a text, or a whole number, in the same form however stored.

    Raises:
        UnusableError: it is not there, empty, or something else.
    """
    value = record.fields.get(name)
    if isinstance(value, float):
        try:
            return row_id(value)
        except UnusableError:
            pass
    return text(record, name)


def optional_id(record: Record) -> str:
    """A row's `id`; empty if it has none.

    Raises:
        UnusableError: there is one, and it can be none.
    """
    value = record.fields.get("id")
    return "" if value is None or value == "" else row_id(value.strip() if isinstance(value, str) else value)


def whole_number(record: Record, name: str, among: range | None = None) -> int:
    """A field that must be a whole number, however it is written.

    Raises:
        UnusableError: it is none, or not `among` those that can be.
    """
    value = record.fields.get(name)
    if value is None or value == "":
        raise UnusableError(f"no {name}")
    try:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        shown = repr(one_line(str(value), 40)) if isinstance(value, str | int | float) else kind(value)
        raise UnusableError(f"{name} is {shown}, which is not a whole number") from None
    if among is not None and number not in among:
        raise UnusableError(f"{name} is {number}; it must be {among.start} to {among.stop - 1}")
    return number


def by_code(value: Any, name: str) -> dict[str, str]:
    """Texts by short code, from either of the forms that the Hub has for translations.

    They are `{"en": text, ...}`, or `{"language": [codes], "translation": [texts]}`.

    Raises:
        UnusableError: it is neither, or holds something that is no text.
    """
    if isinstance(value, dict) and set(value) == {"language", "translation"}:
        codes, texts = value["language"], value["translation"]
        if not isinstance(codes, list) or not isinstance(texts, list) or len(codes) != len(texts):
            raise UnusableError(f"{name} does not have a text for each language")
        pairs: Iterable[tuple[Any, Any]] = zip(codes, texts, strict=True)
    elif isinstance(value, dict):
        pairs = value.items()
    else:
        raise UnusableError(f"{name} holds no texts by language")
    found: dict[str, str] = {}
    keys: dict[str, str] = {}
    for key, content in pairs:
        code = short_code(key) if isinstance(key, str) else None
        if code is None or content is None or (isinstance(content, str) and not content.strip()):
            continue
        if code in keys:
            raise UnusableError(f"{name} has {code} twice, as {one_line(keys[code])} and {one_line(key)}")
        keys[code] = key
        found[code] = checked_text(content, f"{name} in {code}")
    return found

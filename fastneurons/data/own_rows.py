"""Make examples of a user's own rows, by one set of rules for every format.

    {"id": "capital/FR", "prompts": {"en": "The capital of France is", "de": ...}, "answers": {"en": "Paris"}}

`id` is a text or a whole number. A prompt is a text or a list of chat messages. An answer is a text or a number, or
a list of them: the first is the reference, the others are aliases, which are right as well. null counts as absent.
Nothing else counts as a text: a list, an object, NaN or bytes make the row unusable.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from fastneurons.data.emptiness import BYTE_ORDER_MARK, emptiness
from fastneurons.data.example import Example, Skipped
from fastneurons.data.messages import are_messages, chat_messages, contents
from fastneurons.data.problems import UnusableError, kind, one_line
from fastneurons.data.valid_values import id_problem, is_number, row_id, shown_id, text_problem
from fastneurons.errors import InputError
from fastneurons.languages import short_code

ROWS_CHECKED = 1000


class RowReader:
    """Makes examples of rows.

    Args:
        languages: Short codes. A row's other languages are ignored, as are other keys.
        allow_missing: Whether a row may lack some of them.
        chat: Whether a prompt may be chat messages; only if the caller puts them into the model's format.
        task: The task that the examples belong to.
    """

    def __init__(
        self,
        languages: Sequence[str],
        allow_missing: bool = False,
        chat: bool = True,
        task: str | None = None,
    ) -> None:
        self._languages = tuple(languages)
        self._allow_missing = allow_missing
        self._chat = chat
        self._task = task
        self._asked = _Asked(self._languages)
        self._spelled: dict[
            tuple[str, ...], tuple[tuple[str, str], ...]
        ] = {}  # by the keys of a row's object

    def __call__(self, id: Any, prompts: Any, answers: Any, where: str) -> Example | Skipped:
        """A row's example, or the reason why it is none.

        Args:
            id: The row's `id`, as everything else None where it has none.
            prompts: Its `prompts`.
            answers: Its `answers`.
            where: File and line.
        """
        try:
            name = row_id(id)
            if prompts is None:
                raise UnusableError("no prompts")
            texts, messages = self._prompts(self._by_language(prompts, "prompts"))
            reference, aliases = (
                self._references(self._by_language(answers, "answers")) if answers is not None else ({}, {})
            )
        except UnusableError as error:
            return Skipped(shown_id(id), where, str(error))
        return Example(name, texts, reference, where, self._task, aliases=aliases, messages=messages)

    def _by_language(self, value: Any, field: str) -> dict[str, Any]:
        """The row's values in the languages asked for, by short code, in the order asked; some may be None."""
        values = as_object(value, field)
        if values is None:
            raise UnusableError(
                f"{field} is {kind(value)}; it must be an object with a text for each language"
            )
        keys = tuple(values)
        if keys == self._languages:  # most files spell languages as they are asked for
            return values
        spelled = self._spelled.get(keys)
        if spelled is None:
            spelled = self._spellings(values, field)
            # Not without bound: keys come from the file. A null may hide that a language is there twice.
            if len(self._spelled) < 256 and len(keys) <= 512 and None not in values.values():
                self._spelled[keys] = spelled
        return {language: values[key] for language, key in spelled}

    def _spellings(self, values: dict[str, Any], field: str) -> tuple[tuple[str, str], ...]:
        """Each language asked for that is there, in the order asked, with the key that it has here."""
        found: dict[str, str] = {}
        for key, content in values.items():
            language = self._asked[key]
            if language is None or content is None:
                continue
            if language in found:
                same = [k for k in values if self._asked[k] == language]
                raise UnusableError(f"{field} has {language} twice, as {' and '.join(map(one_line, same))}")
            found[language] = key
        return tuple((language, found[language]) for language in self._languages if language in found)

    def _prompts(self, found: dict[str, Any]) -> tuple[dict[str, str], dict[str, list[dict[str, str]]]]:
        if _are_plain(found) and (len(found) == len(self._languages) or (self._allow_missing and found)):
            return found, {}
        texts: dict[str, str] = {}
        messages: dict[str, list[dict[str, str]]] = {}
        for code in self._languages:
            value = found.get(code)
            if value is None:
                if self._allow_missing:
                    continue
                raise UnusableError(f"no prompt in {code}")
            if isinstance(value, str):
                text = value.removeprefix(BYTE_ORDER_MARK)
                if problem := text_problem(text):
                    # Of a mark alone the mark is what there is to name.
                    raise UnusableError(f"the prompt in {code} {text_problem(value) or problem}")
            elif are_messages(value) and self._chat:
                messages[code] = chat_messages(value, f"the prompt in {code}")
                text = contents(messages[code])
            elif are_messages(value):
                raise UnusableError(
                    f"the prompt in {code} is chat messages, and examples that are read one by one are not put "
                    "into a chat format; it must be a text"
                )
            else:
                also = " or chat messages" if isinstance(value, list) else ""
                raise UnusableError(f"the prompt in {code} is {kind(value)}; it must be a text{also}")
            texts[code] = text
        if not texts:
            raise UnusableError("no prompt in any of the languages")
        return texts, messages

    def _references(self, found: dict[str, Any]) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
        if _are_plain(found):
            return found, {}
        reference: dict[str, str] = {}
        aliases: dict[str, tuple[str, ...]] = {}
        for code, value in found.items():
            if value is None:
                continue
            several = value if isinstance(value, list) else [value]
            for one in several:
                if not isinstance(one, str) and not is_number(one):
                    holds = "is" if several is not value else "is a list that holds"
                    raise UnusableError(f"the answer in {code} {holds} {kind(one)}; it must be a text")
                if isinstance(one, str) and "\0" in one:
                    raise UnusableError(f"the answer in {code} holds a NUL character")
            # What nobody can see is no answer, as null is none.
            texts = dict.fromkeys(str(one).removeprefix(BYTE_ORDER_MARK) for one in several)
            first, *others = [one for one in texts if not emptiness(one)] or [""]
            if first:
                reference[code] = first
            if others:
                aliases[code] = tuple(others)
        return reference, aliases


def _are_plain(values: dict[str, Any]) -> bool:
    """Whether a glance shows that values are usable texts, as nearly all are: each begins with a letter
    or digit and holds no NUL character.
    """
    for value in values.values():  # noqa: SIM110 -- all() takes twice the time
        if type(value) is not str or not value[:1].isalnum() or "\0" in value:
            return False
    return True


def check_usable(
    location: str,
    rows: Iterable[tuple[Example | Skipped, Sequence[str]]],
    languages: Sequence[str],
    noun: str,
) -> None:
    """Check that there is an example among the first 1000 rows.

    Args:
        location: Where the rows come from.
        rows: Its rows, with the languages that each has prompts in, as it spells them; read to the first example.
        languages: Those asked for.
        noun: What a row is called: `lines`.
    Raises:
        InputError: there is nothing; it says which languages there are instead, or what is wrong with the first rows.
    """
    problems: list[str] = []
    there: dict[str, None] = {}
    number = 0
    for row, keys in islice(rows, ROWS_CHECKED):
        if isinstance(row, Example):
            return
        number += 1
        if len(problems) < 3:
            problems.append(f"{row.where}: {row.reason}")
        there |= dict.fromkeys(keys)
    if not number:
        raise InputError(f"{location} is empty")
    which = f"the first {number} {noun}" if number == ROWS_CHECKED else f"its {noun}"
    known = {short_code(key) for key in there}
    missing = [code for code in languages if code not in known]
    if there and missing:
        raise InputError(
            f"{location}: none of {which} has a prompt in {', '.join(missing)}; "
            f"there are prompts in {', '.join(map(one_line, there))}"
        )
    hint = f'; a {noun[:-1]} must be {{"id": ..., "prompts": {{"en": ..., "de": ...}}}}' if not there else ""
    raise InputError(f"{location}: none of {which} is a usable example: {'; '.join(problems)}{hint}")


def checked_examples(rows: Iterable[Any]) -> Iterator[Example | Skipped]:
    """Apply the same rules to examples that a program made; yield those that break them as skipped rows.

    Raises:
        InputError: something is neither an `Example` nor a `Skipped`.
    """
    for number, row in enumerate(rows, 1):
        if isinstance(row, Skipped):
            yield row
        elif not isinstance(row, Example):
            raise InputError(f"example {number} is {kind(row)}; it must be a fastneurons.data.Example")
        elif problem := _example_problem(row):
            yield Skipped(shown_id(row.id), row.where, problem, row.task)
        else:
            yield row


def _example_problem(row: Example) -> str | None:
    if not isinstance(row.id, str):
        return f"the id is {kind(row.id)}; it must be a text"
    if problem := id_problem(row.id):
        return problem
    if row.messages:
        return (
            "its prompts are chat messages, which are put into a chat format where a file or folder is named"
        )
    for field, texts in (("prompt", row.prompts), ("answer", row.answers)):
        for code, text in texts.items():
            if not isinstance(text, str):
                return f"the {field} in {code} is {kind(text)}; it must be a text"
            if field == "prompt" and (problem := text_problem(text)):
                return f"the prompt in {code} {problem}"
            try:
                text.encode()
            except UnicodeEncodeError:
                return f"the {field} in {code} holds half a surrogate pair, which no text can"
    return None


def prompt_keys(prompts: Any) -> list[str]:
    """The languages of a row's prompts, as the row spells them."""
    try:
        values = as_object(prompts, "prompts")
    except UnusableError:
        return []
    return [key for key, prompt in (values or {}).items() if prompt is not None]


def as_object(value: Any, field: str) -> dict[str, Any] | None:
    """A value by language, from an object or from the pairs that Arrow gives for a map; None if it is neither.

    Raises:
        UnusableError: a map has a key twice.
    """
    if isinstance(value, dict):
        return value
    if not isinstance(value, list) or not value:
        return None
    if not all(isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in value):
        return None
    found = dict(value)
    if len(found) < len(value):
        keys = [key for key, _ in value]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UnusableError(f"the key {one_line(twice)!r} is there twice in {field}")
    return found


class _Asked(dict[str, str | None]):
    """The short code for each spelling of a language that is asked for, None for every other key."""

    def __init__(self, languages: tuple[str, ...]) -> None:
        super().__init__((language, language) for language in languages)
        self._languages = frozenset(languages)

    def __missing__(self, key: str) -> str | None:
        code = short_code(key)
        found = code if code in self._languages else None
        if len(self) < 4096:  # not without bound: keys come from the file
            self[key] = found
        return found

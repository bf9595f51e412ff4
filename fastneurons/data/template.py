"""Templates: how the fields of an example become a prompt, its answer and its choices, in one language.

    Template("Question: {question}\\nAnswer:", answer="{answer}")

`{name}` stands for a field, `{{` and `}}` for braces. Users write theirs as TOML or JSON (`--template`):

    [en]
    prompt = "{premise} Therefore: {hypothesis} True or false?"
    choices = ["True", "Unknown", "False"]

by language, or by task and then language; `"*"` is every language without an entry of its own. An entry takes what it
leaves out from the task's own template in that language.
"""

import hashlib
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from fastneurons.data.problems import UnusableError
from fastneurons.data.readers.json_text import decoded
from fastneurons.data.readers.small_file import read_small
from fastneurons.errors import InputError
from fastneurons.languages import language as known_language
from fastneurons.languages import short_code

_MAX_FILE_BYTES = 1 << 20
# Tables, lists and dotted keys within each other: a file of templates has three levels.
_MAX_NESTED = 32
# A text of TOML, in any of its four kinds of quotes, or a comment.
_TOML_TEXT = re.compile(
    rb'"""(?:[^"\\]++|\\.|"(?!""))*+"{0,5}|\'\'\'(?:[^\']++|\'(?!\'\'))*+\'{0,5}'
    rb'|"(?:[^"\\\n]++|\\.)*+"?|\'[^\'\n]*+\'?|#[^\n]*+',
    re.DOTALL,
)
_UNSPACED = frozenset({"Hans", "Hant", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt", "Hani"})


class Template(msgspec.Struct, frozen=True):
    """The wording of a question in one language.

    Args:
        prompt: What the model reads; it ends where the answer begins, with no space.
        answer: The reference answer.
        choices: What the answer is chosen from; the field `gold` is the index of the right one.
        worked: What stands for the answer in a few-shot example, where that is more than the answer.
    """

    prompt: str
    answer: str = ""
    choices: tuple[str, ...] = ()
    worked: str = ""


Filler = Callable[[Mapping[str, Any]], str]


def filler(text: str) -> Filler:
    """A function that puts fields into a text.

    Raises:
        ValueError: the text is not a template; the function raises KeyError for a field that is not there.
    """
    for _, name, spec, conversion in string.Formatter().parse(text):
        if spec or conversion:
            raise ValueError(f"{{{name}}} must be a field's name alone")
        if name is not None and not name.isidentifier():
            raise ValueError(f"{{{name}}} is no field's name; a brace itself is written twice: {{{{ }}}}")
    return text.format_map


def field_names(text: str) -> list[str]:
    """The fields that a template has, in order."""
    return [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]


class Filled(msgspec.Struct, frozen=True, gc=False):
    """A template with an example's fields in it."""

    prompt: str
    answer: str | None
    choices: tuple[str, ...]
    worked: str


class Compiled:
    """A template, ready to be filled many times.

    Args:
        template: The template.
        origin: Where it comes from, for errors: `xnli, template in de`.
        fields: The names that may stand in it.
    Raises:
        InputError: it is no template, or names a field that the task does not have.
    """

    def __init__(self, template: Template, origin: str, fields: Iterable[str]) -> None:
        known = list(fields)
        for text in (template.prompt, template.answer, template.worked, *template.choices):
            try:
                filler(text)
            except ValueError as error:
                raise InputError(f"{origin}: {error}") from error
            for name in field_names(text):
                if name not in known:
                    raise InputError(
                        f"{origin}: there is no field {name!r}; there are {', '.join(sorted(known))}"
                    )
        if not field_names(template.prompt):
            raise InputError(f"{origin}: the prompt has no field, so it would be the same for every example")
        self.template = template
        self._prompt = filler(template.prompt)
        self._answer = filler(template.answer) if template.answer else None
        self._choices = [filler(choice) for choice in template.choices]
        self._worked = filler(template.worked) if template.worked else None

    @property
    def is_bare(self) -> bool:
        """Whether the prompt is one field and nothing else."""
        return self.template.prompt == f"{{{field_names(self.template.prompt)[0]}}}"

    def aliases(self, fields: Mapping[str, Any], others: Sequence[str]) -> tuple[str, ...]:
        """Write other right answers as the template writes the one in the field `answer`."""
        if self._answer is None:
            return ()
        filled = (self._optional(self._answer, {**fields, "answer": other}) for other in others)
        return tuple(answer for answer in filled if answer is not None)

    def __call__(self, fields: Mapping[str, Any]) -> Filled:
        """Raises KeyError for a field that this row lacks."""
        choices = tuple([choice(fields) for choice in self._choices])
        answer = None
        if choices:
            gold = fields.get("gold")
            answer = choices[gold] if gold is not None and 0 <= gold < len(choices) else None
        elif self._answer is not None:
            answer = self._optional(self._answer, fields)
        worked = self._optional(self._worked, fields) if self._worked is not None else answer
        return Filled(self._prompt(fields), answer, choices, worked or "")

    @staticmethod
    def _optional(fill: Filler, fields: Mapping[str, Any]) -> str | None:
        """Data without reference answers is data too."""
        try:
            return fill(fields) or None
        except KeyError:
            return None


def gap(language: str, before: str) -> str:
    """The gap between a prompt and its answer: a space, but nothing in a script that is written without spaces."""
    if not before or before[-1].isspace() or before[-1] in "'’([«“\"":
        return ""
    return "" if known_language(language).script in _UNSPACED else " "


# -- a user's own -------------------------------------------------------------------------------------


class Templates:
    """A user's templates, from a file.

    Args:
        path: TOML, or JSON if it ends in `.json`; at most 1 MiB.

    Attributes:
        digest: SHA-256 of the file, in hexadecimal.

    Raises:
        InputError: the file cannot be read or is not what it should be.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        data = read_small(path, _MAX_FILE_BYTES, f"--template {path}")
        self.digest = hashlib.sha256(data).hexdigest()
        is_json = path.lower().endswith(".json")
        try:
            if is_json:
                self._content = decoded(data.removeprefix(b"\xef\xbb\xbf"))
            else:
                _check_nesting(data)
                self._content = msgspec.toml.decode(data.removeprefix(b"\xef\xbb\xbf"))
        except (msgspec.DecodeError, UnusableError, ValueError) as error:
            raise InputError(f"--template {path}: {' '.join(str(error).split())[:300]}") from error
        except RecursionError:
            raise InputError(f"--template {path}: nested too deeply") from None
        if not isinstance(self._content, dict) or not self._content:
            raise InputError(f'--template {path}: must hold a table for each language: [en] prompt = "..."')

    def of(self, task: str, tasks: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The entries for one task, by short code, and `*` for any other language.

        Args:
            task: Which one.
            tasks: All tasks' names, which tell the two forms of the file from each other.
        Raises:
            InputError: an entry is not what it should be.
        """
        names = set(tasks)
        entries = self._content
        if set(entries) & names:
            stray = [key for key in entries if key not in names]
            if stray:
                raise InputError(
                    f"--template {self.path}: {stray[0]!r} is next to tasks but is none; "
                    "put either tasks at the top, or languages"
                )
            entries = entries.get(task, {})
        found: dict[str, dict[str, Any]] = {}
        for key, entry in entries.items():
            code = "*" if key == "*" else short_code(key)
            if code is None:
                raise InputError(f"--template {self.path}: {key!r} is neither a language nor a task")
            if isinstance(entry, str):
                entry = {"prompt": entry}
            if code in found:
                raise InputError(
                    f"--template {self.path}: {key!r} is one of two entries for {code}; keep one"
                )
            found[code] = self._checked(key, entry)
        return found

    def _checked(self, key: str, entry: Any) -> dict[str, Any]:
        if not isinstance(entry, dict):
            raise InputError(f"--template {self.path}: {key} must be a table with at least a prompt")
        for name, value in entry.items():
            if name not in Template.__struct_fields__:
                raise InputError(
                    f"--template {self.path}: {key} has {name!r}; an entry may have "
                    f"{', '.join(Template.__struct_fields__)}"
                )
            if name == "choices":
                if not isinstance(value, list) or not all(isinstance(choice, str) for choice in value):
                    raise InputError(f"--template {self.path}: choices of {key} must be a list of texts")
            elif not isinstance(value, str):
                raise InputError(f"--template {self.path}: {name} of {key} must be a text")
        return {name: tuple(value) if name == "choices" else value for name, value in entry.items()}


def _check_nesting(data: bytes) -> None:
    """Refuse TOML that would take the parser too much time or depth: it is quadratic in a key's dots.

    Raises:
        ValueError: brackets, or the parts of a key, go deeper than 32 levels.
    """
    # Outside of texts and comments a dot is in a key or a number, and has a level behind it.
    bare = _TOML_TEXT.sub(b"-", data)
    for number, line in enumerate(bare.split(b"\n"), 1):
        if line.count(b".") > _MAX_NESTED:
            dots = max(found.count(b".") for found in re.findall(rb"[^,={}\[\]]+", line))
            if dots > _MAX_NESTED:
                raise ValueError(f"line {number}: a key with {dots:,} dots is nested too deeply")
    depth = 0
    for sign in re.finditer(rb"[\[\]{}]", bare):
        depth = max(0, depth + (1 if sign[0] in b"[{" else -1))
        if depth > _MAX_NESTED:
            number = bare.count(b"\n", 0, sign.start()) + 1
            raise ValueError(f"line {number}: nested too deeply")


def chosen_template(
    own: Template | None, entries: Mapping[str, dict[str, Any]], language: str, origin: str
) -> Template | None:
    """The task's own template with a user's entry over it; None if there is neither.

    Raises:
        InputError: the entry has no prompt, and there is nothing to take it from.
    """
    entry = entries.get(language, entries.get("*"))
    if entry is None:
        return own
    if own is not None:
        return msgspec.structs.replace(own, **entry)
    if "prompt" not in entry:
        raise InputError(f"{origin}: no prompt")
    return Template(**entry)

"""`--select`: choose examples by an expression or by a file of ids.

    task == "xnli" and length(en) < 200
    relation in ("P36", "P37") and "Paris" not in en
    length(de) > 2 * length(en) or genre == "fiction"

A language's code is its prompt, before few-shot examples and chat format; `en.premise` is a field of it,
`answer(en)` the reference answer. `id` and `task` are the example's, any other name is a field in the first
language. What an example does not have is None; a comparison with None is false, except `== None` and
`!= None`. There are `and or not`, comparisons, `in`, `+ - * / %` on numbers, `length()`, `lower()`,
`number()`, `matches(text, "regular expression")`. Languages whose codes are words of Python (`is`, `or`, `as`) are
named like any other.

Expressions are read by Python's parser and then walked: nothing of Python can be reached from them, and they come to
an end, whatever they are.
"""

import ast
import hashlib
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastneurons.data.example import Example
from fastneurons.data.patterns import MAX_SECONDS, Pattern, PatternError
from fastneurons.data.problems import one_line
from fastneurons.data.readers.small_file import is_path, read_small
from fastneurons.data.select_names import as_written, with_names
from fastneurons.errors import InputError
from fastneurons.languages import short_code

Fields = Mapping[str, Mapping[str, Any]]
_Value = Callable[[Example, Fields], Any]

_MAX_CHARACTERS = 256 << 10  # beyond that, ids belong in a file
_MAX_FILE_BYTES = 256 << 20
_MAX_DEPTH = 64
_MAX_INTEGER = 1 << 63
# Of a number of the data: int() of so many digits takes no time.
_MAX_DIGITS = 300


class Selection:
    """The choice of examples that `--select` makes.

    Args:
        text: An expression, or the path of a file with an id on each line.
        languages: The languages asked for.
        fields: The names of the tasks' fields.

    Attributes:
        digest: SHA-256 of the file, in hexadecimal; None for an expression.

    Raises:
        InputError: it is neither, or names something that no task has.
    """

    def __init__(self, text: str, languages: Iterable[str], fields: Iterable[str]) -> None:
        self.text = text
        self._not_found: set[str] = set()
        self._ids: frozenset[str] | None = None
        self.digest: str | None = None
        if is_path(text):
            data = read_small(text, _MAX_FILE_BYTES, f"--select {text}")
            self.digest = hashlib.sha256(data).hexdigest()
            self._ids = frozenset(_ids(text, data))
            self._not_found = set(self._ids)
            self._value: _Value = lambda example, _: example.id in (self._ids or ())
            return
        shown = repr(one_line(text, 200))
        if len(text) > _MAX_CHARACTERS:
            raise InputError(
                f"--select {shown}: {len(text):,} characters; at most {_MAX_CHARACTERS:,} are taken; a list of ids "
                "goes into a file, one on each line"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's opinion of "\d" in a text
                tree = ast.parse(with_names(text.strip()), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
            if isinstance(error, RecursionError | MemoryError):
                reason = "nested too deeply"
            reason = as_written(one_line(reason, 200))
            if re.search(r"[\s=<>(]", text.strip()) is None:
                raise InputError(
                    f"--select {one_line(text, 200)}: no such file, and not an expression ({reason})"
                ) from None
            raise InputError(f"--select {shown}: not an expression: {reason}") from None
        if _depth(tree.body) > _MAX_DEPTH:
            raise InputError(f"--select {shown}: nested too deeply: more than {_MAX_DEPTH} levels")
        self._value = _Compiler(shown, tuple(languages), frozenset(fields)).value(tree.body)

    def __call__(self, example: Example, fields: Fields) -> bool:
        """Whether this example is selected."""
        self._not_found.discard(example.id)
        return bool(self._value(example, fields))

    def start(self) -> None:
        """Begin a new pass over the data."""
        self._not_found = set(self._ids or ())

    def not_found(self) -> list[str]:
        """Ids of the file that no example had, after a whole pass."""
        return sorted(self._not_found)


def _ids(path: str, data: bytes) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"--select {path} cannot be read: {error}") from error
    ids = [line.strip() for line in text.split("\n") if line.strip()]
    if not ids:
        raise InputError(f"--select {path} holds no ids; one must be on each line")
    return ids


def _depth(root: ast.AST) -> int:
    """The number of levels of a tree."""
    deepest = 0
    waiting = [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting.extend((child, depth + 1) for child in ast.iter_child_nodes(node))
    return deepest


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
_FUNCTIONS = ("answer", "length", "lower", "matches", "number")


class _Compiler:
    """Compile an expression's tree into functions of an example."""

    def __init__(self, shown: str, languages: tuple[str, ...], fields: frozenset[str]) -> None:
        self._shown = shown
        self._languages = languages
        self._fields = fields

    def value(self, node: ast.expr) -> _Value:
        match node:
            case ast.Constant(value=int() as constant) if abs(constant) >= _MAX_INTEGER:
                raise self._error("an integer must be less than 2**63")
            case ast.Constant(value=str() | int() | float() | None as constant):
                return lambda example, fields: constant
            case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
                items = [self.value(element) for element in elements]
                return lambda example, fields: [item(example, fields) for item in items]
            case ast.BoolOp(op=ast.And(), values=values):
                parts = [self.value(value) for value in values]
                return lambda example, fields: all(part(example, fields) for part in parts)
            case ast.BoolOp(op=ast.Or(), values=values):
                parts = [self.value(value) for value in values]
                return lambda example, fields: any(part(example, fields) for part in parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.value(operand)
                return lambda example, fields: not inner(example, fields)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as constant)):
                return lambda example, fields: -constant
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self._arithmetic(_ARITHMETIC[type(op)], self.value(left), self.value(right))
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                return self._comparison(left, ops, comparators)
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute(value=ast.Name(id=name), attr=field):
                return self._field(self._language(name), field)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments)
        raise self._error(f"{one_line(as_written(ast.unparse(node)))!r} cannot stand in an expression")

    def _arithmetic(self, operate: Callable[[Any, Any], Any], left: _Value, right: _Value) -> _Value:
        def compute(example: Example, fields: Fields) -> Any:
            a, b = _number(left(example, fields)), _number(right(example, fields))
            try:
                found = None if a is None or b is None else operate(a, b)
            except (ZeroDivisionError, OverflowError):
                return None
            # Integers have no bound of their own; a float of this size is infinite.
            return None if isinstance(found, int) and found.bit_length() > 1024 else found

        return compute

    def _comparison(self, left: ast.expr, ops: list[ast.cmpop], comparators: list[ast.expr]) -> _Value:
        values = [self.value(node) for node in (left, *comparators)]

        def compare(example: Example, fields: Fields) -> bool:
            found = [value(example, fields) for value in values]
            return all(_compared(type(op), a, b) for op, a, b in zip(ops, found[:-1], found[1:], strict=True))

        return compare

    def _name(self, name: str) -> _Value:
        name = as_written(name)
        if name == "id":
            return lambda example, fields: example.id
        if name == "task":
            return lambda example, fields: example.task
        code = short_code(name)
        if name in self._fields:
            first = self._languages

            def field(example: Example, fields: Fields) -> Any:
                return next((fields[code].get(name) for code in first if code in fields), None)

            return field
        if code in self._languages:
            return lambda example, fields: example.prompts.get(code)
        known = ", ".join(["id", "task", *sorted(self._fields), *self._languages])
        raise self._error(f"there is no {name!r}; there are {known}")

    def _language(self, name: str) -> str:
        name = as_written(name)
        code = short_code(name)
        if code is None or code not in self._languages:
            raise self._error(f"{name!r} is none of the languages {', '.join(self._languages)}")
        return code

    def _field(self, code: str, name: str) -> _Value:
        name = as_written(name)
        if name not in self._fields:
            raise self._error(f"there is no field {name!r}; there are {', '.join(sorted(self._fields))}")
        return lambda example, fields: fields.get(code, {}).get(name)

    def _call(self, name: str, arguments: list[ast.expr]) -> _Value:
        name = as_written(name)
        if name not in _FUNCTIONS:
            raise self._error(f"there is no function {name!r}; there are {', '.join(_FUNCTIONS)}")
        if len(arguments) != (2 if name == "matches" else 1):
            raise self._error(f"{name}() takes {'two arguments' if name == 'matches' else 'one argument'}")
        if name == "answer":
            if not isinstance(arguments[0], ast.Name):
                raise self._error("answer() takes a language: answer(en)")
            code = self._language(arguments[0].id)
            return lambda example, fields: example.answers.get(code)
        value = self.value(arguments[0])
        if name == "matches":
            return self._matches(value, arguments[1])
        apply = {"length": _length, "lower": _lower, "number": _number}[name]
        return lambda example, fields: apply(value(example, fields))

    def _matches(self, value: _Value, pattern: ast.expr) -> _Value:
        if not (isinstance(pattern, ast.Constant) and isinstance(pattern.value, str)):
            raise self._error("the pattern of matches() must be a text in quotes")
        try:
            search = Pattern(pattern.value).found_in
        except PatternError as error:
            raise self._error(str(error)) from error
        shown = repr(one_line(pattern.value))

        def matches(example: Example, fields: Fields) -> bool:
            found = value(example, fields)
            try:
                return isinstance(found, str) and search(found)
            except TimeoutError:
                raise self._error(
                    f"the pattern {shown} has not come to an end after {MAX_SECONDS:g} s of computing in the example "
                    f"{one_line(example.id)} ({example.where}); write one that does not repeat what repeats"
                ) from None

        return matches

    def _error(self, reason: str) -> InputError:
        return InputError(f"--select {self._shown}: {reason}")


def _compared(op: type[ast.cmpop], a: Any, b: Any) -> bool:
    if op in (ast.Eq, ast.NotEq, ast.Is, ast.IsNot):
        # A column of a TSV is text, the same column of Parquet a number.
        if isinstance(a, int | float) != isinstance(b, int | float) and None not in (a, b):
            a, b = str(a), str(b)
        return bool(_COMPARISONS[op](a, b))
    if op not in (ast.In, ast.NotIn) and isinstance(a, int | float) != isinstance(b, int | float):
        a, b = _number(a), _number(b)
    if a is None or b is None:
        return False
    try:
        return bool(_COMPARISONS[op](a, b))
    except TypeError:
        return False


def _length(value: Any) -> int | None:
    return len(value) if isinstance(value, str | list | tuple) else None


def _lower(value: Any) -> str | None:
    return value.lower() if isinstance(value, str) else None


def _number(value: Any) -> int | float | None:
    if isinstance(value, int | float):
        return value
    if isinstance(value, str) and len(value) <= _MAX_DIGITS:
        try:
            return float(value) if not value.strip().lstrip("-").isdecimal() else int(value)
        except ValueError:
            return None
    return None

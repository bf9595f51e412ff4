"""Names in an expression of `--select` that are words of Python: `is`, `or`, `as` and `in` are codes of languages.

Where a word stands tells which is meant: in the place of an operand it is a name, in that of an operator it is an
operator. `or or is` is Odia or Icelandic, and nothing else can be meant by it.
"""

import io
import keyword
import tokenize

_MARK = "__python_word"
# Words that begin an operand.
_OPERANDS = frozenset({"None", "True", "False"})
_PREFIXES = frozenset({"not", "lambda", "await", "yield"})
_SKIPPED = frozenset({tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT})


def with_names(text: str) -> str:
    """Replace every Python keyword that an expression uses as a name by a name that Python accepts.

    What cannot be split into words is returned as it is: the parser says what is wrong with it.
    """
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError, IndentationError):
        return text
    lines = text.splitlines(keepends=True)
    operand_next, negated, before = True, False, ""
    changes: list[tuple[int, int]] = []
    for token in tokens:
        if token.type in _SKIPPED or token.type == tokenize.ENDMARKER:
            continue
        word = token.string
        if token.type == tokenize.NAME and keyword.iskeyword(word):
            if before == ".":
                is_name = True
            elif word == "in" and negated:  # `not in`, one operator
                is_name = False
            elif operand_next:
                is_name = word not in _OPERANDS and word not in _PREFIXES
            else:
                is_name = False
            negated = word == "not" and not operand_next
            if is_name:
                changes.append(token.end)
                operand_next = False
            else:
                operand_next = word not in _OPERANDS
        elif token.type == tokenize.OP:
            operand_next = word not in (")", "]", "}")
        else:
            operand_next = False
        negated = negated and word == "not"
        before = word
    for line, column in reversed(changes):
        own = lines[line - 1]
        lines[line - 1] = f"{own[:column]}{_MARK}{own[column:]}"
    return "".join(lines)


def as_written(name: str) -> str:
    """A name, or a text with names in it, as the user wrote it."""
    return name.replace(_MARK, "")

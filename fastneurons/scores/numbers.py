"""Numbers in running text, as people and models write them in any language.

A number is digits of any script (Unicode's decimal digits: Thai, Bengali, Arabic, full-width, ...), perhaps
grouped, perhaps with a fraction, perhaps with a sign:

- Groups of three, all behind the same sign: `.` `,` `'` `٬`, no-break, narrow, thin or figure space; an
  ordinary space only in a language that writes a decimal comma, since elsewhere it parts two numbers.
  Full-width `，` and Arabic `،` are commas. LaTeX's `1{,}234` and `1\\,234` are understood.
- Indian groups, `1,00,000`, in every language: they can mean nothing else.
- A fraction is behind `.`, `,` or `٫`; `.5` is one half.
- So `1.234,5`, `1,234.5`, `1.234.567`, `0,125` and `1234,567` can be read in one way only, and are, in every
  language. One `.` or `,` with one to three digits before it, the first not 0, and three after is not: `1.234`
  is 1234 where the decimal sign is a comma (German), 1.234 where it is a point (English). The language
  decides, by CLDR's signs for digits 0 to 9; `Number.other` keeps the other reading.
- What is joined by `.` or `,` and makes no number this way, such as `12.05.2024`, is as many numbers.
- A minus is any dash but the long one, right before the number or its currency sign. It is none after a
  letter of a script with spaces, a digit or a closing bracket: `COVID-19`, `10-12`, `5 -3`.
- In Chinese and Japanese, and with `만` in Korean, `5万`, `1.2億` and `3万5000` are one number.

Percent and currency signs change no value. Exponents, fractions such as `3/4`, and words (`two`, `5 million`)
are not read; `fastneurons.scores.numerals` reads numbers in Chinese characters where a text has no digits.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from fastneurons.errors import InputError
from fastneurons.languages import language as known_language
from fastneurons.scores.normal_form import UNSPACED
from fastneurons.scores.numerals import last_numeral, multiplier, read_numeral

__all__ = ["Number", "find_numbers", "last_number", "number_match", "read_number", "rewrite_numbers"]


@dataclass(frozen=True, slots=True)
class Number:
    """A number found in a text.

    Args:
        value: As the language reads it.
        other: As a language with the other decimal sign reads it; None if there is only one way.
    """

    value: Decimal
    other: Decimal | None = None


def find_numbers(text: str, language: str) -> list[Number]:
    """All numbers written in digits, in the order of the text, by the rules above.

    Raises:
        InputError: unknown language.
    """
    code = known_language(language).code
    return [number for number, _, _ in _found(_cleaned(text), code)]


def read_number(text: str, language: str) -> Decimal | None:
    """The value of a text that is one number, perhaps with spaces around it and a full stop; None if it is not.

    Raises:
        InputError: unknown language.
    """
    code = known_language(language).code
    bare = _cleaned(text).strip().rstrip(".。｡．।").removeprefix("+")
    for number, start, end in _found(bare, code):
        return number.value if (start, end) == (0, len(bare)) else None
    return read_numeral(bare, code)


def rewrite_numbers(text: str, language: str, write: Callable[[Decimal], str]) -> str:
    """The text with every number replaced by what `write` makes of its value.

    Raises:
        InputError: unknown language.
    """
    code = known_language(language).code
    text, parts, position = _cleaned(text), [], 0
    for number, start, end in _found(text, code):
        parts += [text[position:start], write(number.value)]
        position = end
    return "".join((*parts, text[position:]))


def last_number(text: str, language: str, *, after: Sequence[str] = ()) -> Decimal | None:
    """The last number of a text, which is where a chain of thought ends; None if there is no number.

    Where it is looked for, the first of these that holds a number:

    1. inside the last `\\boxed{...}`;
    2. behind the last occurrence of one of the marks `after` (`####`, `The answer is`; upper and lower case
       are the same), on the first line that is not blank there;
    3. the whole text.

    In Chinese and Japanese, a text without any digit is searched for numbers in characters (`四十二`).

    Raises:
        InputError: unknown language.
    Source: the last number is what MGSM is commonly scored by (Shi et al., arXiv:2210.03057; openai/simple-evals,
    mgsm_eval.py, which knows 0 to 9, the comma for groups and the point for fractions).
    """
    number = _last(text, known_language(language).code, after)
    return None if number is None else number.value


def number_match(
    text: str,
    answer: str | int | float | Decimal,
    language: str,
    *,
    after: Sequence[str] = (),
    either_sign: bool = True,
) -> bool:
    """Whether the last number of a text is the answer, by value: `18`, `18.00` and `๑๘` are the same.

    Args:
        text: The generated text.
        answer: The reference. A string is read as English writes numbers, `5,600`, as MGSM's files do for every
            language.
        after: See `last_number`.
        either_sign: A whole answer is also found in a number that means it with the other decimal sign: `5,600`
            in a German text counts for 5600, and not only for 5.6. Models trained mostly on English write so.
    Raises:
        InputError: unknown language; the answer is not a number.
    """
    wanted = read_number(answer, "en") if isinstance(answer, str) else Decimal(str(answer))
    if wanted is None or not wanted.is_finite():
        raise InputError(f"answer {answer!r} is not a number; write it as 5600, 5,600 or 0.5")
    number = _last(text, known_language(language).code, after)
    if number is None:
        return False
    whole = wanted == wanted.to_integral_value()
    return number.value == wanted or (either_sign and whole and number.other == wanted)


def _last(text: str, code: str, after: Sequence[str]) -> Number | None:
    for part in _places(text, after):
        if found := [number for number, _, _ in _found(_cleaned(part), code)]:
            return found[-1]
    value = last_numeral(text, code)
    return None if value is None else Number(value)


def _places(text: str, after: Iterable[str]) -> Iterator[str]:
    start = text.rfind("\\boxed")
    if start >= 0 and (inside := _braces(text, start + len("\\boxed"))):
        yield inside
    ends = [m.end() for mark in after if mark for m in re.finditer(re.escape(mark), text, re.IGNORECASE)]
    if ends:
        yield next((line for line in text[max(ends) :].splitlines() if line.strip()), "")
    yield text


def _braces(text: str, start: int) -> str:
    """The text between the brace that opens at `start` and the one that closes it."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] == "{":
            depth += 1
        elif text[i] == "}":
            depth -= 1
        if depth == 0:
            return text[start + 1 : i]
    return text[start + 1 :]  # cut off by the limit on tokens


def _cleaned(text: str) -> str:
    """Without direction marks, which may stand between a sign and its digits, and LaTeX's spaces within numbers."""
    text = _INVISIBLE.sub("", text)
    if "\\" in text or "{" in text:
        text = _LATEX_COMMA.sub(",", text)
        text = _LATEX_SPACE.sub("\u202f", text)
    return text


def _found(text: str, code: str) -> Iterator[tuple[Number, int, int]]:
    """Each number with where it begins, sign included, and ends."""
    pattern = _pattern(_base(code) in _DECIMAL_COMMA or _base(code) in _SPACE_BUT_POINT)
    position = 0
    while match := pattern.search(text, position):
        number, position = _read(match, code), match.end()
        if multiplier(text, position, code) is not None:
            number, position = _sum_of_parts(text, match, code)
        minus = _minus(text, match.start())
        if minus is None:
            yield number, match.start(), position
        else:
            yield _negated(number), minus, position


def _sum_of_parts(text: str, match: re.Match[str], code: str) -> tuple[Number, int]:
    """`3万5000` from its `3` on: parts with falling multipliers, the last one perhaps with none."""
    total, least, end = Decimal(0), Decimal("Infinity"), match.start()
    part: re.Match[str] | None = match
    while part is not None:
        factor, behind = multiplier(text, part.end(), code) or (1, part.end())
        value = _read(part, code).value * factor
        if value >= least:
            break
        total, least, end = total + value, Decimal(factor), behind
        if factor == 1:
            break
        spaced = _base(code) == "ko" and text[end : end + 1] == " "  # 3만 5000
        part = match.re.match(text, end + spaced)
    return Number(total), end


def _read(match: re.Match[str], code: str) -> Number:
    """The value of a match's digits, without its sign."""
    for name in ("grouped_fraction", "indian_fraction", "fraction", "bare"):
        if (fraction := match[name]) is not None:
            return Number(Decimal(f"{_digits(match[0][: -len(fraction)]) or 0}.{fraction}"))
    separator = match["separator"]
    if separator not in _EITHER or len(match[0]) > 7:  # more than one group
        return Number(Decimal(_digits(match[0])))
    whole, _, rest = match[0].partition(separator)
    grouped, split = Decimal(whole + rest), Decimal(f"{whole}.{rest}")
    if unicodedata.decimal(whole[0]) == 0:
        return Number(split)
    decimal_sign = "," if _base(code) in _DECIMAL_COMMA else "."
    return Number(split, grouped) if _EITHER[separator] == decimal_sign else Number(grouped, split)


def _minus(text: str, start: int) -> int | None:
    """Index of the minus of a number that begins at `start`; None if it has none."""
    before = text[max(start - _REACH, 0) : start]
    if before[-1:] not in _DASHES:  # perhaps -$5, −€ 5 or -\$5
        before = before.rstrip(_SPACES)
        if before[-1:] not in _CURRENCY:
            return None
        before = before[:-1].removesuffix("\\")
    if before[-1:] not in _DASHES:
        return None
    minus, before = max(start - _REACH, 0) + len(before) - 1, before[:-1]
    last = before[-1:]
    is_letter = last != "" and unicodedata.category(last)[0] in "LM" and not UNSPACED.match(last)
    follows_price = last in _CURRENCY and before[-2:-1].isdecimal()
    if is_letter or last in _CLOSING or last in _DASHES or follows_price:
        return None
    return None if before.rstrip(_SPACES)[-1:].isdecimal() else minus


def _negated(number: Number) -> Number:
    # Not `-value`, which rounds to the context's 28 digits.
    other = None if number.other is None else number.other.copy_negate()
    return Number(number.value.copy_negate(), other)


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdecimal())


def _base(code: str) -> str:
    return code.partition("-")[0]


@cache
def _pattern(ordinary_space: bool) -> re.Pattern[str]:
    space = " " if ordinary_space else ""
    # Digits are matched possessively: what was read as one run is never cut, nor searched twice.
    return re.compile(
        rf"""
        (?<!\d[.,٫٬]) (?:
            \d{{1,3}} (?P<separator>[.,'’ʼ＇٬،，\u00a0\u2007\u2009\u202f{space}]) \d{{3}}
                (?: (?P=separator) \d{{3}} )*+ (?! \d | (?P=separator)\d )
                (?: [.,٫．،] (?P<grouped_fraction> \d++ ) )?+ (?! [.,٫٬]\d )
          | \d{{1,2}} (?P<indian>[,٬،，]) \d\d (?: (?P=indian) \d\d (?!\d) )*+ (?P=indian) \d{{3}} (?!\d)
                (?: [.٫．] (?P<indian_fraction> \d++ ) )?+ (?! [.,٫٬]\d )
          | \d++ [.,٫．،] (?P<fraction> \d++ ) (?! [.,٫٬]\d )
          | (?<! [\w.,)\]}}] ) [.٫] (?P<bare> \d++ ) (?! [.,٫٬]\d )
        )
        | \d++
        """,
        re.VERBOSE,
    )


# Where CLDR's decimal sign for the digits 0 to 9 is a comma, and, for languages it has no signs of, where it is
# one for the language that most of its speakers write as well (Russian, French, Italian, ...).
# Spain's signs are taken for Spanish; Mexico and Central America write a point.
_DECIMAL_COMMA = frozenset(
    """
    af az be bg br bs ca cs cv da de el eo es et eu fi ff fo fr fy gl hr ht hu hy ia id ie is it jv ka kk kl ku ky
    lb ln lo lt lu lv mk nb nl nn no nr pl ps pt rn ro ru rw sc se sg sk sl sq sr ss su sv tg tk tr ts tt uk uz ve
    vi wo ast hsb kab kea lij lld sah tzm vec zgh
    ab an av ba bar ce co crh fur kv lmo ltg mhr myv nds oc os scn szl tyv wa
    """.split()  # noqa: SIM905
)
# Where CLDR groups by spaces, before a decimal point.
_SPACE_BUT_POINT = frozenset(("nso", "xh"))

# What may be either sign. The full-width comma only ever groups, the full-width point only ever splits.
_EITHER = {".": ".", ",": ",", "،": ","}

_SPACES = " \t\u00a0\u2007\u2009\u202f"
# How many characters before a number are looked at for its sign: all before it would make a text's cost quadratic.
_REACH = 12
_DASHES = frozenset("-‐‑‒–−﹣－")
_CLOSING = frozenset(")]}）］｝」』】%٪％‰°")
_CURRENCY = frozenset("$¢£¤¥֏؋৲৳૱௹฿៛﷼﹩＄￠￡￥￦" + "".join(map(chr, range(0x20A0, 0x20C1))))

# Of Unicode's Bidi_Control and the word joiner.
_INVISIBLE = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_LATEX_COMMA = re.compile(r"(?<=\d)\{,\}(?=\d)")
_LATEX_SPACE = re.compile(r"(?<=\d)(?:\\[,;: !]|,\\!|~)(?=\d)")

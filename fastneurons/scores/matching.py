"""Decide whether a generated text is the answer, or begins with it.

Every function takes all accepted answers, the reference and its aliases, and is right if any of them is.
None reads past what it says it reads: a model that answers and then goes on to another question is judged
by `starts_with` of its first line, not by a search for the answer anywhere in its text.
"""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache

from fastneurons.scores.normal_form import normalise, words
from fastneurons.scores.numbers import read_number, rewrite_numbers

__all__ = ["exact_match", "first_line", "first_word", "starts_with", "word_f1"]


def exact_match(text: str, answers: str | Iterable[str], language: str, *, articles: bool = True) -> bool:
    """Whether the whole text is one of the answers.

    It is, if their normal forms are equal once every number in them is written plainly: `1,000 km` is `1000 km`
    and, in German, `1.000 km`; but `1.5` is not `15`, which it would be with the point removed. A text and an
    answer that are nothing but numbers are compared by value, numbers in Chinese characters among them. An
    empty text is right only for an empty answer.

    Args:
        text: The generated text, cut where the task cuts it (`first_line`).
        answers: The reference, or it and its aliases.
        language: Of both, in any spelling of its code.
        articles: Whether `normalise` drops articles. Off, `The Hague` is not `Hague`.
    Raises:
        InputError: unknown language.
    Source: max over ground truths as in SQuAD's and MLQA's scripts; the plain numbers are our addition.
    """
    form, value = _form(text, language, articles), read_number(text, language)
    return any(
        form == _form(answer, language, articles)
        or (value is not None and value == read_number(answer, language))
        for answer in _each(answers)
    )


def word_f1(text: str, answers: str | Iterable[str], language: str) -> float:
    """The best F1 of the text's words against an answer's, both normalised; in [0, 1].

    With n words in common, counted as often as both have them: 2 n / (words of the text + words of the answer).
    Two empty ones score 1. Words are `words` of the normal form: characters, in scripts without spaces.

    Raises:
        InputError: unknown language.
    Source: SQuAD, MLQA.
    """
    found = Counter(words(normalise(text, language)))
    best = 0.0
    for answer in _each(answers):
        wanted = Counter(words(normalise(answer, language)))
        total = found.total() + wanted.total()
        best = max(best, 2 * (found & wanted).total() / total if total else 1.0)
    return best


def starts_with(text: str, answers: str | Iterable[str], language: str, *, whole_words: bool = True) -> bool:
    """Whether the first line of the text begins with one of the answers.

    By default with all its words: `Rome, of course` begins with `Rome`, `Romeo` does not. In scripts without
    spaces every character is a word, so `北京市` begins with `北京`. They are compared as by
    `exact_match`, so an article before the answer is no obstacle. An empty answer, which everything begins
    with, is never right.

    Args:
        whole_words: False lets an answer end within a word, for languages that attach endings: `서울입니다`
            then begins with `서울`, and `Ankara'dır` with `Ankara`; but so does `Romeo` with `Rome`.
    Raises:
        InputError: unknown language.
    """
    found = words(_form(first_line(text), language))
    for answer in _each(answers):
        wanted = words(_form(answer, language))
        if not wanted:
            continue
        if found[: len(wanted)] == wanted:
            return True
        if not whole_words and " ".join(found).startswith(" ".join(wanted)):
            return True
    return False


def first_line(text: str) -> str:
    """The first line that is not blank, without the spaces around it; empty where there is none.

    Lines end where `str.splitlines` ends them.
    """
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def first_word(text: str, language: str) -> str:
    """The first word of the first line, normalised; the first character in a script without spaces.

    For judging an answer that is one word, such as a label. Articles are kept: they may be the label.

    Raises:
        InputError: unknown language.
    """
    return next(iter(words(normalise(first_line(text), language, articles=False))), "")


def _each(answers: str | Iterable[str]) -> Iterable[str]:
    return (answers,) if isinstance(answers, str) else answers


@lru_cache(maxsize=4096)
def _form(text: str, language: str, articles: bool = True) -> str:
    return normalise(rewrite_numbers(text, language, _plainly), language, articles=articles)


def _plainly(value: Decimal) -> str:
    """Digits, with letters of no script, which normalising keeps, for the minus and the point."""
    digits = f"{value:f}"
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return (digits.lstrip("0") or "0").replace("-", "\ue000").replace(".", "\ue001")

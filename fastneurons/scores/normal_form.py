"""The normal form of an answer: what two spellings of the same answer have in common, per language.

The steps are those of the evaluation scripts of SQuAD (Rajpurkar et al., arXiv:1606.05250) and, for seven
languages, MLQA (Lewis et al., arXiv:1910.07475): lower case, no punctuation, no articles, single spaces,
Chinese by characters. What they leave to chance is settled here: full-width and presentation forms, digits
of all scripts, the dotted i, optional vowel signs, letters that keyboards confuse, languages other than
those seven, and answers that consist of nothing but what would be removed.
"""

import re
import unicodedata
from functools import cache, lru_cache

from fastneurons.languages import language as known_language

__all__ = ["UNSPACED", "normalise", "words"]


@lru_cache(maxsize=4096)  # references come again and again: once a prompt, once a condition
def normalise(text: str, language: str, *, articles: bool = True) -> str:
    """The normal form of an answer, in this order:

    1. NFKC (`Ｐａｒｉｓ` is `Paris`, `ﻻ` is `لا`), full case folding (`Straße` is `STRASSE`); in Turkish,
       Azerbaijani, Crimean Tatar, and Kazakh and Tatar in Latin letters, `I` folds to `ı` and `İ` to `i`,
       elsewhere both to `i`. Digits of all scripts become 0 to 9.
    2. Removed: invisible characters (joiners, direction marks, soft hyphens), Arabic vowel signs and tatweel,
       Hebrew points; in Greek the accent, which capitals lack. `ё` is `е` in Russian, `ş` and `ţ` are the letters
       with a comma below in Romanian; Persian and Urdu write `ی` and `ک`, Arabic `ي` and `ك`, whatever the
       keyboard; `أ`, `إ` and `آ` are `ا` in Arabic.
    3. Elided articles and the apostrophe after them (`l'eau`), if articles are to go.
    4. Removed, not replaced by a space, as SQuAD does: characters of Unicode's categories P, and of ASCII
       `$+<=>^`|~`. So `New-York` is `newyork`. Kept where nothing else is left (`%`).
    5. Articles, if they are to go: words in most languages, in Arabic the prefix `ال` of a word that has three
       letters without it. Kept where nothing else is left. A language with no articles, or with none that
       stand apart (Swedish `-en`, Hebrew `ה-`), loses nothing.
    6. `words`, joined by single spaces.

    The steps are repeated until nothing changes, so that a normal form is its own normal form.

    Raises:
        InputError: unknown language.
    Source: github.com/rajpurkar/SQuAD-explorer, github.com/facebookresearch/MLQA (mlqa_evaluation_v1.py).
    """
    code = known_language(language).code
    before = None
    # Two passes as a rule: a mark can join the letter before it once the punctuation between them is gone.
    while text != before:
        before, text = text, _pass(text, code, articles)
    return text


def words(text: str) -> list[str]:
    """The words of a text: runs between spaces, but each character of a script that writes no spaces alone.

    Those are Han, kana, Thai, Lao, Tibetan, Burmese and Khmer, in whatever language they occur; a vowel sign or
    tone mark is a character here. MLQA does so for Han; for exact match, it makes spaces between such
    characters meaningless, and for F1 it counts characters. Korean is written with spaces.
    """
    return _WORD.findall(text)


def _pass(text: str, code: str, articles: bool) -> str:
    base = code.partition("-")[0]
    text = _folded(text, code)
    if articles and base in _ELIDED:
        text = _elided(base).sub("", text) or text
    text = "".join(filter(_is_kept, text)).strip() or text
    found = words(text)
    if articles:
        found = _without_articles(found, base) or found
    return " ".join(found)


def _folded(text: str, code: str) -> str:
    if code in _DOTTED_I:
        text = unicodedata.normalize("NFKC", text).replace("İ", "i").replace("I", "ı")
    # Twice: folding can undo the composition, and compatibility forms can hide capitals (℡ is TEL).
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).casefold()
    base = code.partition("-")[0]
    if base == "el":
        text = unicodedata.normalize("NFD", text).translate(_TONOS)
    text = text.replace("i\u0307", "i").translate(_folds(base))
    if not text.isascii():
        text = "".join(_plain(character) for character in text)
    return unicodedata.normalize("NFKC", text)


def _plain(character: str) -> str:
    """Map a digit to ASCII and an invisible character to nothing; keep any other character."""
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    return "" if category == "Cf" else character


def _is_kept(character: str) -> bool:
    return character not in _ASCII_SYMBOLS and not unicodedata.category(character).startswith("P")


def _without_articles(found: list[str], base: str) -> list[str]:
    if base in _ARABIC:
        return [_without_al(word) for word in found]
    articles = _articles(base)
    return [word for word in found if word not in articles]


def _without_al(word: str) -> str:
    start = 0
    while (
        word.startswith("ال", start) and len(word) - start >= 5
    ):  # again: after folding, `ألعاب` begins so too
        start += 2
    return word[start:]


@cache
def _articles(base: str) -> frozenset[str]:
    return frozenset(_ARTICLES.get(base, "").split())


@cache
def _elided(base: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{_ELIDED[base]})['’ʼ＇]\s*(?=\w)")


@cache
def _folds(base: str) -> dict[int, str | None]:
    folds: dict[int, str | None] = dict.fromkeys(_OPTIONAL_MARKS)
    if base == "ru":
        folds |= _mapped("ё", "е")
    elif base == "ro":
        folds |= _mapped("şţ", "șț")
    elif base in ("fa", "prs", "azb", "ur"):
        folds |= _mapped("يىك", "ییک")
    elif base in _ARABIC:
        folds |= _mapped("یىکأإآٱ", "ييكاااا")
    return folds


def _mapped(letters: str, to: str) -> dict[int, str | None]:
    return dict(zip(map(ord, letters), to, strict=True))


# Unicode's SpecialCasing.txt names tr and az; the others write the same two letters.
_DOTTED_I = frozenset(("tr", "az", "crh", "kk-Latn", "tt-Latn"))

_ARABIC = frozenset(("ar", "arz", "acm", "acq", "aeb", "ajp", "apc", "ars", "ary"))

_TONOS = {0x301: None}

# Not U+0653 to U+0655: with these, hamza and madda, an Arabic letter is another one.
_OPTIONAL_MARKS = (
    0x640,  # tatweel
    *range(0x610, 0x61B),
    *range(0x64B, 0x653),
    *range(0x656, 0x660),
    0x670,  # superscript alef
    *range(0x6D6, 0x6DD),
    *range(0x6DF, 0x6E5),
    0x6E7,
    0x6E8,
    *range(0x6EA, 0x6EE),
    *range(0x591, 0x5BE),  # Hebrew accents and points; the gaps are punctuation
    0x5BF,
    0x5C1,
    0x5C2,
    0x5C4,
    0x5C5,
    0x5C7,
)

# What Python calls string.punctuation and Unicode calls symbols.
_ASCII_SYMBOLS = frozenset("$+<=>^`|~")

_UNSPACED_RANGES = (
    "\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u303b\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
UNSPACED = re.compile(f"[{_UNSPACED_RANGES}]")
_WORD = re.compile(rf"[{_UNSPACED_RANGES}]|[^\s{_UNSPACED_RANGES}]+")

# After folding: lower case, no Greek accents. en, es, de and vi are MLQA's lists to the letter (vi: "of", "is"
# and three classifiers; es lacks the contractions); the others are the articles of the language's grammar.
_ARTICLES = {
    "en": "a an the",
    "es": "un una unos unas el la los las",
    "de": "ein eine einen einem eines einer der die das den dem des",
    "vi": "của là cái chiếc những",
    "af": "n die",
    "an": "un una unos unas o a os as lo",
    "ast": "un una unos unes el la los les lo",
    "ca": "un una uns unes el la els les lo los",
    "cy": "y yr r",
    "da": "en et den det de",
    "el": "ο η το οι τα του τησ των τον τη την τουσ τισ ενασ εναν ενα ενοσ μια μιασ μιαν",
    "eo": "la",
    "fr": "un une des le la les",
    "fy": "de it in",
    "ga": "an na",
    "gd": "an am a na nam nan",
    "gl": "un unha uns unhas o a os as",
    "hu": "a az egy",
    "it": "un uno una il lo la i gli le",
    "lb": "en eng engem enger den déi dat de dem der",
    "nb": "en ei et den det de",
    "nds": "de dat den en een",
    "nl": "de het een n t",
    "nn": "ein ei eit den det dei",
    "no": "en ei et ein eit den det de dei",
    "oc": "un una lo la los las",
    "pt": "um uma uns umas o a os as",
    "ro": "un o unei unui",
    "scn": "un na lu la li",
    "sv": "en ett den det de",
    "yi": "דער די דאס דעם א אן",
}

# Before an apostrophe; the pattern of what to remove.
_ELIDED = {
    "ca": "l|n|s",
    "fr": "l",
    "fur": "l",
    "it": "l|un|gl",
    "lb": "d",
    "lij": "l|un",
    "lmo": "l",
    "oc": "l",
    "scn": "l",
    "vec": "l|un",
}

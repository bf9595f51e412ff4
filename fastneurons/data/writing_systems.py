"""Recognise texts in a script that is not their language's."""

import unicodedata
from collections import Counter
from functools import lru_cache

from fastneurons.languages import language as known_language

# The first word of a letter's Unicode name, where it is not the script's name itself.
_BY_NAME = {
    "ADLAM": "Adlm", "ARABIC": "Arab", "ARMENIAN": "Armn", "BENGALI": "Beng", "BOPOMOFO": "Bopo", "CJK": "Hani",
    "CANADIAN": "Cans", "CYRILLIC": "Cyrl", "DEVANAGARI": "Deva", "ETHIOPIC": "Ethi", "GEORGIAN": "Geor",
    "GREEK": "Grek", "GUJARATI": "Gujr", "GURMUKHI": "Guru", "HANGUL": "Hang", "HEBREW": "Hebr",
    "HIRAGANA": "Hira", "IDEOGRAPHIC": "Hani", "KANNADA": "Knda", "KATAKANA": "Kana", "KHMER": "Khmr",
    "LAO": "Laoo", "LATIN": "Latn", "MALAYALAM": "Mlym", "MEETEI": "Mtei", "MONGOLIAN": "Mong",
    "MYANMAR": "Mymr", "NKO": "Nkoo", "OL": "Olck", "ORIYA": "Orya", "OSMANYA": "Osma", "SINHALA": "Sinh",
    "TAMIL": "Taml", "TELUGU": "Telu", "THAANA": "Thaa", "THAI": "Thai", "TIBETAN": "Tibt", "TIFINAGH": "Tfng",
    "YI": "Yiii",
}  # fmt: skip
_NAMES = {"Latn": "Latin", "Cyrl": "Cyrillic", "Arab": "Arabic", "Hani": "Chinese characters", "Hira": "Hiragana",
          "Kana": "Katakana", "Hang": "Hangul", "Deva": "Devanagari", "Grek": "Greek", "Hebr": "Hebrew",
          "Beng": "Bengali", "Taml": "Tamil", "Telu": "Telugu"}  # fmt: skip
# Scripts that a language's texts consist of, where that is more than one.
_MIXED = {
    "Hans": ("Hani", "Bopo"),
    "Hant": ("Hani", "Bopo"),
    "Jpan": ("Hira", "Kana", "Hani"),
    "Hang": ("Hang", "Hani"),
}
# Of fewer letters nothing is said: names, numbers and formulas are the same everywhere.
_FEWEST = 6
_LEAST_SHARE = 0.3
_MOST_KANA = 0.1


@lru_cache(maxsize=1 << 16)
def script(character: str) -> str | None:
    """The ISO 15924 code of a letter's script; None if it is not a letter."""
    if not character.isalpha():
        return None
    first, _, rest = unicodedata.name(character, "").partition(" ")
    if first in ("FULLWIDTH", "HALFWIDTH"):
        first = rest.partition(" ")[0]
    return _BY_NAME.get(first, first.title()[:4] or None)


def wrong_script(text: str, language: str) -> str | None:
    """The script of a text that is mostly not in its language's script; None if it is.

    A text is suspicious whose letters are the language's in less than 30 of 100, or a Chinese one with Japanese
    syllables. Of fewer than six letters nothing is said. It does not distinguish simplified from traditional Chinese.
    """
    counts = Counter(found for character in text if (found := script(character)) is not None)
    letters = counts.total()
    if letters < _FEWEST:
        return None
    usual = known_language(language).script
    expected = _MIXED.get(usual, (usual,))
    if usual in ("Hans", "Hant") and (counts["Hira"] + counts["Kana"]) / letters > _MOST_KANA:
        return "Japanese"
    if sum(counts[one] for one in expected) / letters >= _LEAST_SHARE:
        return None
    most = counts.most_common(1)[0][0]
    return _NAMES.get(most, most)

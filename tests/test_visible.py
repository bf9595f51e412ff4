"""Untrusted text, made visible."""

import re
import unicodedata

import pytest

from fastneurons.visible import visible

ACTING = {
    "\x1b]0;pwned\x07\x1b[31m": r"\x1b]0;pwned\x07\x1b[31m",
    "a\bb\x7fc\x00": r"a\x08b\x7fc\x00",
    "\x9b31m": r"\x9b31m",  # CSI as one character
    "two\nlines\r\n\ttab": r"two\nlines\r\n\ttab",
    "\u2028line\u2029paragraph\x85": r"\u2028line\u2029paragraph\x85",
    "abc\u202etxt.exe": r"abc\u202etxt.exe",
    "\u2066a\u2069 \u200eb\u200f \u061c": r"\u2066a\u2069 \u200eb\u200f \u061c",
    "pay\u200bpal \u00ad\u2060\ufeff": r"pay\u200bpal \xad\u2060\ufeff",
    "pay\u200cpal\u200d": r"pay\u200cpal\u200d",
    "\U000e0041\U000e007f": r"\U000e0041\U000e007f",  # tags: a second text inside the first
    "a\ufe0f\ufe0f\U000e0101": "a\ufe0f"
    + r"\ufe0f\U000e0101",  # one selector varies a character, more hide data
    b"\xff\xfe.jsonl".decode("utf-8", "surrogateescape"): r"\xff\xfe.jsonl",
    "\ud83d": r"\ud83d",
    "\ufffe\ufdd0": r"\ufffe\ufdd0",
    "\u3164\u115fx": r"\u3164\u115fx",
}

LEGITIMATE = [
    "C:\\new\\x1b [bold] $x_{ b$ 'quoted' & <tag>",
    "naïve café — “quotes”… 100\u00a0% 12\u202f345",
    "日本語の文章、全角\u3000空白。葛\U000e0100城市",
    "می\u200cخواهم کتاب\u200cها را",  # zero width non-joiners in Persian words
    "ශ්\u200dරී ලංකා",  # conjuncts of Sinhala
    "ന്\u200d ക്\u200cഷ",  # a chillu at the end of a word, a separated conjunct
    "क्\u200dष र्\u200dय",
    "ភាសា\u200bខ្មែរ ไทย\u200bดี မြန်မာ\u200bစာ",  # word breaks of scripts without spaces
    "עִבְרִית العَرَبِيَّة ١٢٣",
    "ᠮᠣᠩᠭᠣᠯ ᠠ\u180b",
    "한국어 ᄀ\u1160ᆨ",
    "👩\u200d💻 👩🏽\u200d🚀 ❤\ufe0f\u200d🔥 🏳\ufe0f\u200d🌈 1\ufe0f⃣",
    "ɓàálɓə́ ŋ̀gʷɛ́ ǹ̩",  # combining tones
    "\u0601\u06dd١٢",  # format characters that are drawn
]


@pytest.mark.parametrize(("text", "shown"), ACTING.items(), ids=[shown[:20] for shown in ACTING.values()])
def test_what_acts_or_hides_is_shown_as_text(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("text", LEGITIMATE)
def test_text_of_any_script_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_no_character_by_itself_is_left_to_act() -> None:
    # Every character of Unicode but those that Python's own database calls drawn, spaces, unassigned or private.
    drawn = {0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
    drawn |= set(range(0x13430, 0x13440))  # layout of hieroglyphs
    for code in range(0x110000):
        character = chr(code)
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and code not in drawn:
            shown = visible(character)
            assert shown != character and shown.isascii() and shown.isprintable(), hex(code)
        elif unicodedata.category(character)[0] in "LNPS" and visible(character) != character:
            assert "FILLER" in unicodedata.name(character), hex(code)


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\x1b" * 100, "日" * 101, "a\udcff" * 60])
@pytest.mark.parametrize("limit", [60, 100])
def test_a_limit_keeps_both_ends_and_says_how_much_is_left_out(text: str, limit: int) -> None:
    shown = visible(text, limit=limit)
    assert limit - 20 <= len(shown) <= limit
    head, number, tail = re.fullmatch(r"(.*)\[\.\.\. ([\d,]+) characters \.\.\.\](.*)", shown).groups()
    assert visible(text).startswith(head) and visible(text).endswith(tail)
    ends = [sum(1 for _ in re.finditer(r"\\x..|[^\\]", end)) for end in (head, tail)]
    assert sum(ends) + int(number.replace(",", "")) == len(text)


def test_a_text_within_the_limit_is_whole() -> None:
    assert visible("x" * 60, limit=60) == "x" * 60
    assert visible("\x1b" * 15, limit=60) == r"\x1b" * 15

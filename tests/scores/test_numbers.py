"""Reading numbers: every script's digits, every language's separators, and what is no part of a number."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastneurons.errors import InputError
from fastneurons.languages import _languages, short_code
from fastneurons.scores.normal_form import normalise
from fastneurons.scores.numbers import (
    _CURRENCY,
    _DECIMAL_COMMA,
    _SPACE_BUT_POINT,
    Number,
    find_numbers,
    last_number,
    number_match,
    read_number,
)

babel = pytest.importorskip("babel")
babel_numbers = pytest.importorskip("babel.numbers")

ZEROS = {
    "thai": "๐",
    "bengali": "০",
    "arabic": "٠",
    "persian": "۰",
    "devanagari": "०",
    "telugu": "౦",
    "tamil": "௦",
    "gujarati": "૦",
    "gurmukhi": "੦",
    "kannada": "೦",
    "malayalam": "൦",
    "odia": "୦",
    "khmer": "០",
    "lao": "໐",
    "burmese": "၀",
    "tibetan": "༠",
    "nko": "߀",
    "ol_chiki": "᱐",
    "meetei": "꯰",
    "adlam": "\U0001e950",
    "full_width": "０",
}


def in_digits(text: str, zero: str) -> str:
    return "".join(chr(ord(zero) + int(c)) if c in "0123456789" else c for c in text)


def values(text: str, language: str) -> list[Decimal]:
    return [number.value for number in find_numbers(text, language)]


def spell(number: Decimal | float | int) -> Decimal:
    return Decimal(str(number))


# -- separators -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language", "value"),
    [
        # One way to read it, whatever the language.
        ("1.234,5", "en", 1234.5),
        ("1,234.5", "de", 1234.5),
        ("1.234.567", "en", 1234567),
        ("1,234,567", "de", 1234567),
        ("1,234,567.89", "fr", 1234567.89),
        ("1.234.567,89", "en", 1234567.89),
        ("0,125", "en", 0.125),
        ("0.125", "de", 0.125),
        ("1234,567", "en", 1234.567),
        ("1234.567", "de", 1234.567),
        ("12,5", "en", 12.5),
        ("12.50", "de", 12.5),
        ("1,2345", "en", 1.2345),
        (".5", "en", 0.5),
        ("-.5", "en", -0.5),
        ("$.50", "en", 0.5),
        ("1'234.50", "en", 1234.5),
        ("1’234’567", "de", 1234567),
        ("1\u202f234,5", "en", 1234.5),
        ("1\u00a0234\u00a0567", "en", 1234567),
        ("1\u2009234", "ja", 1234),
        # One or the other.
        ("1.000", "en", 1),
        ("1.000", "de", 1000),
        ("1,000", "en", 1000),
        ("1,000", "de", 1),
        ("1.000", "tr", 1000),
        ("1.000", "vi", 1000),
        ("1.000", "id", 1000),
        ("1.000", "pt", 1000),
        ("1.000", "es", 1000),
        ("1.000", "ru", 1000),
        ("1,000", "ru", 1),
        ("1,000", "th", 1000),
        ("1,000", "sw", 1000),
        ("1,000", "zh", 1000),
        ("1,000", "hi", 1000),
        ("12.345", "ko", 12.345),
        ("1\u060c234", "ar", 1234),
        # Ordinary spaces.
        ("1 234 567,89", "fr", 1234567.89),
        ("12 345", "ru", 12345),
        ("12 345", "pl", 12345),
        ("10 000", "xh", 10000),
        # India.
        ("1,00,000", "hi", 100000),
        ("1,00,000", "de", 100000),
        ("12,34,567.89", "en", 1234567.89),
        ("1,23,45,678", "bn", 12345678),
        # Arabic signs.
        ("١٬٢٣٤٫٥", "ar", 1234.5),
        ("۱٬۲۳۴٬۵۶۷٫۸", "fa", 1234567.8),
        ("١٬٢٣٤٫٥", "en", 1234.5),
        ("٣٫١٤", "ur", 3.14),
        ("٣،٥", "ar", 3.5),
        # Full width.
        ("１，２３４．５", "ja", 1234.5),
        ("１，２３４", "zh", 1234),
        # Multipliers.
        ("5万", "zh", 50000),
        ("1.2億", "ja", 120000000),
        ("1.2 万亿", "zh", 1.2e12),
        ("3万5000", "ja", 35000),
        ("1億2345万6789", "ja", 123456789),
        ("3千万", "zh", 30000000),
        ("5千", "ja", 5000),
        ("3만 5천", "ko", 35000),
        ("5억", "ko", 500000000),
    ],
)
def test_a_number_is_read(text, language, value):
    assert values(text, language) == [spell(value)]
    assert values(f"({text}).", language) == [spell(value)]
    assert values(f"x = {text};", language) == [spell(value)]
    assert last_number(f"12 + 7 = {text}", language) == spell(value)


@pytest.mark.parametrize("zero", ZEROS.values(), ids=list(ZEROS))
@pytest.mark.parametrize(
    ("text", "value"), [("18", 18), ("5,600", 5600), ("1,234.50", 1234.5), ("-7", -7), ("1,00,000", 100000)]
)
def test_digits_of_every_script(zero, text, value):
    assert values(in_digits(text, zero), "en") == [spell(value)]


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [
        ("12.05.2024", "de", [12, 5, 2024]),
        ("2024-05-12", "en", [2024, 5, 12]),
        ("12:30", "en", [12, 30]),
        ("version 1.2.3", "en", [1, 2, 3]),
        ("1,2,3", "en", [1, 2, 3]),
        ("1, 2, 3", "en", [1, 2, 3]),
        ("10、20、30", "ja", [10, 20, 30]),
        ("5万6万", "zh", [50000, 60000]),
        ("3万50000", "zh", [30000, 50000]),
        ("3/4", "en", [3, 4]),
        ("in 2020 300 people", "en", [2020, 300]),
        ("en 2020 300 personnes", "fr", [2020, 300]),
        ("5 600", "en", [5, 600]),
        ("10 20", "fr", [10, 20]),
        ("1 234 56", "fr", [1, 234, 56]),
        ("10 1000", "fr", [10, 1000]),
        ("1,234,56", "en", [1, 234, 56]),
        ("1\n234", "fr", [1, 234]),
        ("10-12", "en", [10, 12]),
        ("10–12", "en", [10, 12]),
        ("10 - 12", "en", [10, 12]),
        ("5 -3", "en", [5, 3]),
        ("(7)-3", "en", [7, 3]),
        ("$5-$10", "en", [5, 10]),
        ("5$-10$", "en", [5, 10]),
        ("10%-12%", "en", [10, 12]),
        ("COVID-19", "en", [19]),
        ("कोविड-19", "hi", [19]),
        ("जी-20", "hi", [20]),
        ("H2O", "en", [2]),
        ("10² m", "en", [10]),  # a superscript is no decimal digit
        ("½", "en", []),
        ("5千克", "zh", [5]),
        ("5万", "en", [5]),
        ("42만큼", "ko", [42]),
        ("none", "en", []),
        ("", "en", []),
    ],
)
def test_what_is_several_numbers_or_none(text, language, found):
    assert values(text, language) == found


@pytest.mark.parametrize("minus", "-‐‑‒–−﹣－")
def test_every_dash_but_the_long_one_is_a_minus(minus):
    assert values(f"is {minus}5", "en") == [-5]
    assert values(f"{minus}$1,234.50", "en") == [Decimal("-1234.50")]
    assert values(f"−€ 5, {minus}\\$7", "en") == [-5, -7]
    assert values(f"${minus}5", "en") == [-5]
    assert values(f"答案是{minus}5", "zh") == [-5]
    assert values(f"คือ{minus}๕", "th") == [-5]
    assert values("so—5", "en") == [5]


@pytest.mark.parametrize("mark", "\u200e\u200f\u061c\u2066")
def test_direction_marks_do_not_part_a_sign_from_its_number(mark):
    assert values(f"الجواب {mark}-{mark}٥", "ar") == [-5]


@pytest.mark.parametrize(
    "text",
    [
        "$42",
        "42$",
        "€ 42",
        "42 €",
        "₹42",
        "US$42",
        "Rs.42",
        "42%",
        "42 %",
        "٪٤٢",
        "42٪",
        "42.",
        "42。",
        "४२।",
        "42!",
        "**42**",
        "`42`",
        "= 42",
        "=42",
        "$42$",
        "42円",
        "第42回",
        "42บาท",
        "42kg",
        "42nd",
        "42,-",
        "42,–",
        "#42",
        "[42]",
        "«42»",
        "„42“",
        "+42",
        "042",
        "42.00",
        "42,0",
        "答え：42。",
        "\\boxed{42}",
        "\\boxed{\\text{42}}",
        "$\\boxed{42}$.",
        "42\\%",
    ],
)
@pytest.mark.parametrize("language", ["en", "de", "hi", "ja"])
def test_what_stands_around_a_number_does_not_matter(text, language):
    assert last_number(text, language) == 42


def test_the_other_reading_is_kept_beside():
    assert find_numbers("5,600", "de") == [Number(Decimal("5.600"), Decimal("5600"))]
    assert find_numbers("-5,600", "en") == [Number(Decimal("-5600"), Decimal("-5.600"))]
    assert find_numbers("5,600,000 0.125 1\u202f234 1,234.5", "en") == [
        Number(Decimal(5600000)),
        Number(Decimal("0.125")),
        Number(Decimal(1234)),
        Number(Decimal("1234.5")),
    ]


def test_long_numbers_lose_no_digit():
    digits = "9" * 60
    assert values(f"{digits}.{digits}", "en") == [Decimal(f"{digits}.{digits}")]
    assert values(f"-{digits}", "en") == [Decimal(f"-{digits}")]


def test_broken_latex():
    assert last_number("\\boxed{1{,}234", "en") == 1234
    assert last_number("\\boxed{}, 7", "en") == 7
    assert last_number("\\boxed", "en") is None
    assert last_number("1\\,234", "en") == 1234
    assert last_number("1,\\!234", "en") == 1234


# -- where the last number is looked for ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language", "value"),
    [
        ("16 - 3 - 4 = 9. 9 * 2 = $18. The answer is 18.", "en", 18),
        ("Sie verkauft 16 − 3 − 4 = 9 Eier. Die Antwort ist 1.234,50 €.", "de", 1234.5),
        ("Всего 5 600 рублей.", "ru", 5600),
        ("La respuesta es 1.250.", "es", 1250),
        ("La réponse est 12 500 €.", "fr", 12500),
        ("คำตอบคือ ๑,๒๐๐ บาท", "th", 1200),
        ("উত্তর হল ১৮।", "bn", 18),
        ("উত্তর ১,২০,০০০ টাকা।", "bn", 120000),
        ("సమాధానం ౧౮.", "te", 18),
        ("Jibu ni 5,600.", "sw", 5600),
        ("答えは3万5000円です。", "ja", 35000),
        ("所以答案是１８。", "zh", 18),
        ("الجواب هو ١٨٫٥ دولار", "ar", 18.5),
        ("پاسخ ۱٬۲۰۰ است.", "fa", 1200),
        ("उत्तर १,००,००० है।", "hi", 100000),
        ("A resposta é 1.000.000", "pt", 1000000),
        ("답은 5,600원입니다.", "ko", 5600),
        ("Cevap 1.200'dür.", "tr", 1200),
        ("Đáp án là 1.200 đồng.", "vi", 1200),
        ("答案是四十二。", "zh", 42),
        ("答えは三千五百円です。", "ja", 3500),
        ("一共有三万五", "zh", 35000),
        ("所以是42个，一共。", "zh", 42),
        ("No number", "en", None),
        ("四十二", "ko", None),
        ("", "en", None),
    ],
)
def test_the_last_number_of_a_chain_of_thought(text, language, value):
    assert last_number(text, language) == (None if value is None else spell(value))


def test_a_box_comes_before_what_follows_it():
    assert last_number("\\boxed{41} no, \\boxed{42}. See step 3.", "en") == 42
    assert last_number("\\boxed{x = 42}. See step 3.", "en") == 42
    assert last_number("\\boxed{x}. See step 3.", "en") == 3


def test_a_mark_comes_before_what_follows_its_line():
    text = "The answer is 6 * 7 = 42.\nQuestion: 3 apples?"
    assert last_number(text, "en") == 3
    assert last_number(text, "en", after=("#### ", "the ANSWER is")) == 42
    assert last_number("#### 1\n####\n\n 42\n3", "en", after=("####",)) == 42
    assert last_number("The answer is unknown. 7", "en", after=("The answer is",)) == 7
    assert last_number("7", "en", after=("",)) == 7


# -- judged against an answer -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer", "language", "is_right"),
    [
        ("It is $18.", "18", "en", True),
        ("It is 18.00", 18, "en", True),
        ("Es sind 18,00", 18.0, "de", True),
        ("๑๘", "18", "th", True),
        ("It is 19.", "18", "en", False),
        ("It is -18.", "18", "en", False),
        ("5.600 Euro", "5,600", "de", True),
        ("5600 Euro", "5,600", "de", True),
        ("5,600 Euro", "5,600", "de", True),
        ("5,600 Euro", 5.6, "de", True),
        ("5.600", "5600", "en", True),
        ("1,234", "1.234", "en", False),  # the other sign is taken for whole answers only
        ("nothing", "0", "en", False),
    ],
)
def test_number_match(text, answer, language, is_right):
    assert number_match(text, answer, language) is is_right


def test_the_other_sign_can_be_refused():
    assert not number_match("5,600 Euro", "5,600", "de", either_sign=False)
    assert number_match("5.600 Euro", "5,600", "de", either_sign=False)


def test_answers_that_are_no_numbers():
    for answer in ("many", "", "3 or 4", float("nan"), float("inf")):
        with pytest.raises(InputError, match="is not a number; write it as 5600"):
            number_match("3", answer, "en")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (" 1,234. ", 1234),
        ("+5", 5),
        ("-5", -5),
        ("๑๘", 18),
        ("18 eggs", None),
        ("1 or 2", None),
        ("$5", None),
        ("ten", None),
        ("", None),
        (".", None),
    ],
)
def test_read_number_takes_a_number_alone(text, value):
    assert read_number(text, "en") == value


def test_unknown_languages_are_told():
    for function in (find_numbers, last_number, read_number):
        with pytest.raises(InputError, match="unknown language 'xx'"):
            function("1", "xx")
    assert last_number("1.000", "deu_Latn") == 1000


# -- against CLDR -----------------------------------------------------------------------------------

# Languages of which CLDR has nothing but the root's signs; see _DECIMAL_COMMA.
WITHOUT_DATA = frozenset(
    "ab an av ba bar ce co crh fur kv lmo ltg mhr myv nds oc os scn szl tyv wa".split()  # noqa: SIM905
)


def latin_symbols(code: str) -> dict[str, str] | None:
    try:
        return dict(babel.Locale.parse(code).number_symbols["latn"])
    except (babel.UnknownLocaleError, ValueError, KeyError):
        return None


CODES = [code for code in _languages() if "-" not in code and latin_symbols(code) is not None]


def test_decimal_signs_are_those_of_cldr():
    comma = {code for code in CODES if latin_symbols(code)["decimal"] == ","}
    assert comma - {"os"} == _DECIMAL_COMMA - WITHOUT_DATA
    spaces = {c for c in CODES if latin_symbols(c)["group"] in "\u00a0\u202f" and c not in comma}
    assert spaces == _SPACE_BUT_POINT
    assert all(short_code(code) == code for code in _DECIMAL_COMMA)


def test_currency_signs_are_those_of_unicode():
    import unicodedata

    assert {unicodedata.category(sign) for sign in _CURRENCY} == {"Sc"}


decimals = st.decimals(-(10**12), 10**12, places=2) | st.integers(-(10**7), 10**7).map(Decimal)


@settings(max_examples=800, deadline=None)
@given(
    number=decimals | st.decimals(-10000, 10000, places=3),
    code=st.sampled_from([code for code in CODES if code not in WITHOUT_DATA]),
    system=st.sampled_from(["latn", "default"]),
    zero=st.sampled_from(["0", *ZEROS.values()]),
    grouped=st.booleans(),
)
def test_what_babel_writes_is_read_back(number, code, system, zero, grouped):
    written = babel_numbers.format_decimal(
        number, locale=code, numbering_system=system, group_separator=grouped
    )
    written = in_digits(written, zero)
    assert values(written, code) == [number], ascii(written)
    assert read_number(written, code) == number
    assert last_number(f"7: {written}.", code) == number
    assert number_match(f"7 = {written}", number, code, either_sign=False)


@settings(deadline=None)
@given(
    number=st.integers(0, 10**16 - 1),
    code=st.sampled_from(["zh", "ja", "zh-Hant", "yue"]),
)
def test_chinese_numerals_are_read_back(number, code):
    assert read_number(in_characters(number), code) == number
    assert last_number(f"答案是{in_characters(number)}。", code) == number


def in_characters(number: int) -> str:
    if number == 0:
        return "零"
    text = ""
    for factor, name in ((10**12, "万"), (10**8, "亿"), (10**4, "万"), (1, "")):
        group = number // factor % 10_000
        if factor == 10**8 and group == 0 and number >= 10**12:
            text += name
        if group:
            text += ("零" if text and group < 1000 else "") + below_myriad(group) + name
    return text


def below_myriad(number: int) -> str:
    text, gap = "", False
    for factor, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // factor % 10
        if digit:
            text += ("零" if gap and text else "") + "零一二三四五六七八九"[digit] + name
            gap = False
        else:
            gap = True
    return text


@pytest.mark.parametrize(
    ("text", "zh", "ja"),
    [
        ("四十二", 42, 42),
        ("十", 10, 10),
        ("二〇二四", 2024, 2024),
        ("一百二", 120, 102),
        ("一百零二", 102, 102),
        ("三万五", 35000, 30005),
        ("两千", 2000, 2000),
        ("壹仟贰佰", 1200, 1200),
        ("五万亿", 5 * 10**12, 5 * 10**12),
        ("负三点五", Decimal("-3.5"), Decimal("-3.5")),
        ("三兆", None, 3 * 10**12),
        ("百千", None, None),
        ("二十二三", None, None),
        ("万", None, None),
        ("亿五", None, None),
        ("点五", None, None),
        ("三点", None, None),
        ("三点十", None, None),
        ("一个", None, None),
    ],
)
def test_chinese_numerals(text, zh, ja):
    assert read_number(text, "zh") == zh
    assert read_number(text, "ja") == ja
    assert read_number(text, "en") is None


@settings(max_examples=500, deadline=None)
@given(
    text=st.text(st.sampled_from("0159.,'٬٫ \u00a0-−$€%x万億千元 5\\{}boxed") | st.characters(), max_size=40),
    language=st.sampled_from(["en", "de", "fr", "ar", "hi", "zh", "ja", "ko"]),
)
def test_any_text_can_be_searched(text, language):
    for number in find_numbers(text, language):
        assert number.value.is_finite()
        assert Fraction(number.value) == Fraction(number.value)
    last_number(text, language, after=("=",))
    read_number(text, language)
    normalise(text, language)


@pytest.mark.parametrize(
    "unit", ["1,234", "1 234", "1.", "1,2", "-", "$", "1万", "1,00", "\\boxed{", "{", "一万", "一", "9", "1 "]
)
def test_long_texts_take_no_more_than_linear_time(unit):
    # By count, not by clock: a text of this length would not end if a search began anew at each place.
    last_number(unit * 5_000, "fr")
    last_number(unit * 5_000, "zh")

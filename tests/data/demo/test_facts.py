"""The demo's facts: enough, real, askable in every language, and the same every time."""

import sys
import unicodedata
from collections import Counter

import pytest

from fastneurons.data.demo import facts as module
from fastneurons.data.demo.facts import DEFAULT_LANGUAGES, FACT_LANGUAGES, RELATIONS, facts
from fastneurons.errors import InputError
from fastneurons.languages import language, parse_languages

babel = pytest.importorskip("babel")

# How Python's character names begin, for each script of ISO 15924.
LETTERS = {
    "Arab": {"ARABIC"},
    "Cyrl": {"CYRILLIC"},
    "Deva": {"DEVANAGARI"},
    "Hang": {"HANGUL"},
    "Hans": {"CJK"},
    "Jpan": {"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "CJK"},
    "Latn": {"LATIN"},
    "Thai": {"THAI"},
}


@pytest.fixture(scope="module")
def rows():
    return list(facts(FACT_LANGUAGES))


def test_there_are_enough_in_ten_languages_of_seven_scripts():
    assert len(DEFAULT_LANGUAGES) == 10
    assert len({language(code).script for code in DEFAULT_LANGUAGES}) == 7
    examples = list(facts())
    assert len(examples) >= 500
    assert set(Counter(e.id.partition("/")[0] for e in examples)) == set(RELATIONS)


def test_languages_are_written_as_everywhere():
    assert parse_languages(",".join(FACT_LANGUAGES)) == FACT_LANGUAGES
    assert set(DEFAULT_LANGUAGES) <= set(FACT_LANGUAGES)


def test_golden_rows(rows):
    by_id = {e.id: e for e in rows}
    paris = by_id["capital/FR"]
    assert (paris.where, paris.task) == ("facts:capital/FR", "capitals")
    assert paris.prompts == {
        "en": "Country: France. Its capital is",
        "de": "Land: Frankreich. Seine Hauptstadt ist",
        "es": "País: Francia. Su capital es",
        "fr": "Pays : France. Sa capitale est",
        "pt": "País: França. A sua capital é",
        "it": "Paese: Francia. La sua capitale è",
        "tr": "Ülke: Fransa. Başkentinin adı",
        "vi": "Thủ đô của Pháp là",
        "id": "Ibu kota Prancis adalah",
        "ru": "Страна: Франция. Её столица —",
        "ar": "عاصمة فرنسا هي",
        "hi": "फ़्रांस की राजधानी का नाम है",
        "th": "เมืองหลวงของฝรั่งเศสคือ",
        "zh": "法国的首都是",
        "ja": "フランスの首都は",
        "ko": "프랑스의 수도는",
    }
    assert [paris.answers[c] for c in ("en", "it", "ru", "ar", "hi", "th", "zh", "ja", "ko")] == [
        "Paris", "Parigi", "Париж", "باريس", "पेरिस", "ปารีส", "巴黎", "パリ", "파리",
    ]  # fmt: skip
    assert by_id["country/GR"].prompts["de"] == "Das Land, dessen Hauptstadt Athen ist, heißt"
    assert by_id["country/GR"].answers["zh"] == "希腊"
    assert by_id["language/AT"].prompts["vi"] == "Ngôn ngữ được nói ở Áo là tiếng"
    assert by_id["language/AT"].answers["vi"] == "Đức"
    assert by_id["currency/JP"].answers["ko"] == "일본 엔화"


def test_every_fact_is_complete_and_can_be_asked(rows):
    for example in rows:
        assert tuple(example.prompts) == tuple(example.answers) == FACT_LANGUAGES
        assert len(set(example.prompts.values())) == len(FACT_LANGUAGES), example
        for code in FACT_LANGUAGES:
            prompt, answer = example.prompts[code], example.answers[code]
            assert prompt == prompt.strip()
            assert answer == answer.strip() != ""
            assert not set("()（）[]") & set(prompt + answer), example
            assert not any(unicodedata.category(c) in ("Cf", "Cc") for c in prompt + answer), example
            assert not any(c.isspace() and c != " " for c in prompt + answer), example


def test_no_answer_can_be_copied(rows):
    names = {code: module._Names(code) for code in FACT_LANGUAGES}
    countries = {row.country: row for row in module._rows()}
    for example in rows:
        relation, _, country = example.id.partition("/")
        for code, answer in example.answers.items():
            subject = names[code].name(RELATIONS[relation][0], countries[country])
            assert subject and subject in example.prompts[code]
            assert answer.casefold() not in subject.casefold()


def test_each_language_is_in_its_script(rows):
    for code in FACT_LANGUAGES:
        expected = LETTERS[language(code).script]
        text = "".join(e.prompts[code] + e.answers[code] for e in rows)
        letters = Counter(unicodedata.name(c, "?").split()[0] for c in text if c.isalpha())
        assert sum(letters[name] for name in expected) > 0.99 * letters.total(), (code, letters)


def test_ids_and_prompts_name_one_fact_each(rows):
    assert len({e.id for e in rows}) == len(rows)
    for code in FACT_LANGUAGES:
        assert len({e.prompts[code] for e in rows}) == len(rows)


def test_the_order_is_the_same_every_time_and_mixed():
    first, second = list(facts()), list(facts())
    assert first == second
    golden = ["country/RU", "currency/MH", "currency/BJ", "country/MD", "language/ZW", "capital/MG"]
    assert [e.id for e in first[:6]] == golden
    assert len({e.id.partition("/")[0] for e in first[:12]}) == len(RELATIONS)
    some = [e.id for e in facts(("en", "de"))]
    common = set(some) & {e.id for e in first}
    assert [i for i in some if i in common] == [e.id for e in first if e.id in common]


def test_languages_come_in_the_order_asked():
    example = next(facts(("th", "en")))
    assert tuple(example.prompts) == ("th", "en")


def test_a_language_without_facts_is_refused_at_once():
    with pytest.raises(InputError, match="no facts in yo, mi; there are in en, de"):
        facts(("en", "yo", "mi"))


def test_without_babel_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "babel", None)
    with pytest.raises(InputError, match=r"pip install 'fastneurons\[demo\]'"):
        facts(("en", "de"))


# The table is this project's own; CLDR and ISO have lists to hold it against.


def test_countries_are_those_of_iso_3166():
    pycountry = pytest.importorskip("pycountry")
    codes = [row.country for row in module._rows()]
    assert len(codes) == len(set(codes)) == 192
    assert set(codes) <= {country.alpha_2 for country in pycountry.countries}


def test_capitals_are_cities_of_their_countries():
    names = module._Names("en")
    for row in module._rows():
        if row.capital:
            assert (row.country, row.capital) in names._zones


def test_currencies_are_legal_tender():
    from babel.numbers import get_territory_currencies

    for row in module._rows():
        if row.currency:
            assert row.currency in get_territory_currencies(row.country), row


def test_languages_are_spoken_there():
    from babel.languages import get_official_languages

    for row in module._rows():
        if row.language:
            official = {c.partition("_")[0] for c in get_official_languages(row.country, de_facto=True)}
            assert row.language in official, (row, official)

"""Expressions: what they mean, and that nothing else can be said in them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastneurons.data.example import Example
from fastneurons.data.select import Selection
from fastneurons.errors import InputError

ROW = Example(
    "17",
    {"en": "The bridge is long.", "de": "Die Brücke ist lang.", "zh-Hant": "橋很長。"},
    {"en": "5,600"},
    "",
    "xnli",
)
FIELDS = {
    "en": {"label": "neutral", "number": "12", "gold": 1, "premise": "The bridge"},
    "de": {"label": "neutral", "number": "12", "gold": 1, "premise": "Die Brücke"},
    "zh-Hant": {"label": "neutral"},
}


def select(text):
    return Selection(text, ("en", "de", "zh-Hant"), ("label", "number", "gold", "premise", "genre"))


@pytest.mark.parametrize(
    "text",
    [
        'task == "xnli" and length(en) < 200',
        'label in ("neutral", "entailment")',
        'label not in ["entailment"]',
        '"bridge" in en and not "brücke" in de',
        '"brücke" in lower(de)',
        "length(de) > length(en) and length(de) < 2 * length(en)",
        'gold == 1 and number == 12 and number == "12"',
        "number > 9",  # as a number, not as a text
        "10 < number <= 12",
        'de.premise == "Die Brücke"',
        "zh_Hant.premise == None",
        "genre == None",
        'genre != "fiction"',
        "not genre > 3 and not genre < 3",
        'answer(en) == "5,600" and answer(de) == None',
        r'matches(en, "^The \\w+ is")',
        "id == 17",
        'id in ("16", "17")',
        "gold % 2 == 1 and gold / 0 == None",
        "-1 < gold",
        "length(zh_Hant) == 4",
        "length(eng_Latn) == 19",
    ],
)
def test_true(text):
    assert select(text)(ROW, FIELDS)


@pytest.mark.parametrize(
    "text",
    ['task == "mgsm"', "length(en) > 200", "genre", "genre == 3", '"x" in genre', "premise < 3", "None", "0"],
)
def test_false(text):
    assert not select(text)(ROW, FIELDS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("labl == 3", "there is no 'labl'; there are id, task, genre, gold"),
        ("length(fr) < 3", "there is no 'fr'"),
        ("fr.premise == 3", "'fr' is none of the languages en, de, zh-Hant"),
        ("en.premis == 3", "there is no field 'premis'"),
        ("en.__class__ == 3", "there is no field '__class__'"),
        ("__import__('os')", "there is no function '__import__'"),
        ("eval('1')", "there is no function 'eval'"),
        ("(lambda: 1)()", "cannot stand in an expression"),
        ("[x for x in en]", "cannot stand in an expression"),
        ("en[0] == 'T'", "cannot stand in an expression"),
        ("en ** 3", "cannot stand in an expression"),
        ("f'{en}'", "cannot stand in an expression"),
        ("length(en, de)", "takes one argument"),
        ("length(en, x=1)", "cannot stand in an expression"),
        ("matches(en, de)", "must be a text in quotes"),
        ('matches(en, "(")', "is not a regular expression"),
        ("label == ", "not an expression"),
        ("no/such/ids.txt", "there is no 'no'|no such file"),
        ("ids file.txt", "not an expression"),
        ("(" * 500 + ")" * 500, "not an expression"),
        ("", "not an expression"),
    ],
)
def test_refused(text, said):
    with pytest.raises(InputError, match=said):
        select(text)


def test_a_name_that_is_a_field_and_a_language_is_the_field():
    row = Example("1", {"en": "x", "id": "Indonesian"}, {})
    assert Selection('id == "1"', ("en", "id"), ())(row, {})


def test_a_file_of_ids(tmp_path):
    path = tmp_path / "ids"
    path.write_bytes(b"\xef\xbb\xbf17\r\n18\r\n")
    found = select(str(path))
    assert found(ROW, FIELDS)
    assert found.not_found() == ["18"]
    path.write_bytes(b"\n")
    with pytest.raises(InputError, match="holds no ids"):
        select(str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        select(str(path))


# -- languages whose codes are words of Python ------------------------------------------------------

WORDY = Example("w", {"en": "One", "is": "Einn", "or": "ଏକ", "as": "এক", "id": "Satu"}, {"as": "q"})
WORDY_FIELDS = {"is": {"text": "Einn"}, "or": {"text": "ଏକ"}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("length(is) < 20", True),
        ("length(isl) < 20", True),
        ("length(is)<4or length(or)==2", True),
        ('or.text == "ଏକ"', True),
        ("or.text == is.text", False),
        ('answer(as) == "q"', True),
        ('"x" in is', False),
        ('"inn" in is and "x" not in or', True),
        ("is is not None", True),
        ("is is None or or is None", False),
        ('as in ("এক", or)', True),
        ("as not in is", True),
        ("not is", False),
        ("not (is) or (or)", True),
        ("(length(is)\n < 5)", True),
        ('"is or as" == "is or as"', True),
    ],
)  # fmt: skip
def test_words_of_python_that_are_languages(text, expected):
    assert Selection(text, ("en", "is", "or", "as"), ("text",))(WORDY, WORDY_FIELDS) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("for == 3", "there is no 'for'; there are id, task"),
        ("length(and)", "there is no 'and'"),
        ("is = 3", "not an expression"),
        ("as as as", "not an expression"),
        ("[is, or][0]", r"'\[is, or\]\[0\]' cannot stand in an expression"),
    ],
)
def test_words_of_python_that_stand_for_nothing(text, said):
    with pytest.raises(InputError, match=said) as caught:
        Selection(text, ("en", "is", "or", "as"), ("text",))
    assert "python_word" not in str(caught.value)


# -- bounds -----------------------------------------------------------------------------------------


def test_an_expression_may_be_longer_than_a_files_name():
    wanted = ", ".join(f'"x{number}"' for number in range(5000))
    assert not select(f"id in ({wanted})")(ROW, FIELDS)
    assert select(f'id in ({wanted}, "17")')(ROW, FIELDS)


@pytest.mark.parametrize(
    "text",
    [
        "10 ** 10 ** 10",
        "9" * 5000,
        "0x" + "f" * 50_000,
        '"a" * 10 ** 9',
        "1" + " + 1" * 5000,
        "not " * 5000 + "1",
        "-" * 5000 + "1",
        "(" * 5000 + "1" + ")" * 5000,
        "en" + ".a" * 5000,
        'id == "' + "x" * 300_000 + '"',
        "matches(en, 'a{99999999999}')",
        "matches(en, 'a{1000000000}')",
        "matches(en, '((a{1000}){1000}){1000}')",
        "matches(en, '" + "(" * 5000 + ")" * 5000 + "')",
        "matches(en, '" + "a" * 20_000 + "')",
        "/dev/zero",
        "/",
        "\ud800",
        "\0",
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_what_has_no_bounds_is_refused_in_one_short_line(text):
    with pytest.raises(InputError) as caught:
        select(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_numbers_of_the_data_cannot_grow_without_bound():
    row = Example("1", {"en": "9" * 250, "de": "9" * 100_000}, {})
    product = " * ".join(["number(en)"] * 50)
    assert Selection(f"{product} == None and number(de) == None", ("en", "de"), ())(row, {})


def test_a_pattern_that_does_not_end_is_an_error_that_names_the_example(monkeypatch):
    monkeypatch.setattr("fastneurons.data.patterns.MAX_SECONDS", 0.2)
    row = Example("r", {"en": "a" * 100_000 + "!"}, {}, "d.jsonl:2")
    found = Selection("matches(en, '(?:(?=a)a)+b')", ("en",), ())
    with pytest.raises(
        InputError, match=r"'\(\?:.* has not come to an end .* in the example r \(d.jsonl:2\)"
    ):
        found(row, {})


def test_patterns_are_what_re_takes_them_for():
    row = Example("r", {"en": "Straße 12, 3rd floor\nnext"}, {})
    for pattern, expected in [
        (r"^Stra\w+ \d{2}", True), (r"floor$", False), (r"(?m)floor$", True), (r"(?i)STRASSE", False),
        (r"\bnext\b", True), (r"(?P<n>\d)(?P=n)", False), (r"(?<=, )3rd", True), (r"a{,3}x", True),
    ]:  # fmt: skip
        assert Selection(f'matches(en, r"{pattern}")', ("en",), ())(row, {}) is expected, pattern


WORDS = st.sampled_from(
    [
        "en",
        "de",
        "label",
        "gold",
        "premise",
        "id",
        "task",
        "==",
        "!=",
        "<",
        ">",
        "<=",
        "and",
        "or",
        "not",
        "in",
        "(",
        ")",
        "[",
        "]",
        ",",
        "'x'",
        "3",
        "0.5",
        "None",
        "+",
        "-",
        "*",
        "/",
        "%",
        ".",
        "length",
        "lower",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=30), st.lists(WORDS, max_size=12).map(" ".join)))
def test_any_text_is_a_selection_or_an_input_error(text):
    try:
        found = select(text)
    except InputError as error:
        assert "\n" not in str(error) or "\n" in text
        return
    assert found(ROW, FIELDS) in (True, False)

"""Every way to write a language leads to one short code, and no two languages to the same."""

import subprocess
import sys

import pytest

from fastneurons.data.template import gap
from fastneurons.errors import InputError
from fastneurons.language_tags import _REGION_IN_LOWER_CASE
from fastneurons.languages import (
    Language,
    Reading,
    _languages,
    _spellings,
    codes_of,
    language,
    parse_languages,
    read_code,
    short_code,
)

# All of FLORES-200 by script.
FLORES_200 = {
    "Arab": "ace acm acq aeb ajp apc arb ars ary arz azb bjn ckb kas knc min pbt pes prs snd uig urd",
    "Armn": "hye",
    "Beng": "asm ben mni",
    "Cyrl": "bak bel bul kaz khk kir mkd rus srp tat tgk ukr",
    "Deva": "awa bho hin hne kas mag mai mar npi san",
    "Ethi": "amh tir",
    "Geor": "kat",
    "Grek": "ell",
    "Gujr": "guj",
    "Guru": "pan",
    "Hang": "kor",
    "Hans": "zho",
    "Hant": "yue zho",
    "Hebr": "heb ydd",
    "Jpan": "jpn",
    "Khmr": "khm",
    "Knda": "kan",
    "Laoo": "lao",
    "Latn": "ace afr aka als arb ast ayr azj bam ban bem bjn bos bug cat ceb ces cjk crh cym dan deu dik dyu "
    "eng epo est eus ewe fao fij fin fon fra fur fuv gaz gla gle glg grn hat hau hrv hun ibo ilo ind "
    "isl ita jav kab kac kam kbp kea kik kin kmb kmr knc kon lij lim lin lit lmo ltg ltz lua lug luo "
    "lus lvs min mlt mos mri nld nno nob nso nus nya oci pag pap plt pol por quy ron run sag scn slk "
    "slv smo sna som sot spa srd ssw sun swe swh szl taq tgl tpi tsn tso tuk tum tur twi umb uzn vec "
    "vie war wol xho yor zsm zul",
    "Mlym": "mal",
    "Mymr": "mya shn",
    "Olck": "sat",
    "Orya": "ory",
    "Sinh": "sin",
    "Taml": "tam",
    "Telu": "tel",
    "Tfng": "taq tzm",
    "Thai": "tha",
    "Tibt": "bod dzo",
}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("de", "de"),
        ("deu", "de"),
        ("ger", "de"),
        ("deu_Latn", "de"),
        ("DEU-latn", "de"),
        (" de ", "de"),
        ("arb_Arab", "ar"),
        ("arb_Latn", "ar-Latn"),
        ("arz_Arab", "arz"),
        ("ast_Latn", "ast"),
        ("cmn_Hans", "zh"),
        ("cz", "cs"),
        ("ces_Latn", "cs"),
        ("du", "nl"),
        ("iw", "he"),
        ("jpn_Jpan", "ja"),
        ("kor_Hang", "ko"),
        ("srp_Cyrl", "sr"),
        ("srp_Latn", "sr-Latn"),
        ("yue_Hant", "yue"),
        ("zh-hans", "zh"),
        ("zh_CN", "zh"),
        ("zh-TW", "zh-Hant"),
        ("zho_Hans", "zh"),
        ("zho_Hant", "zh-Hant"),
        ("zho", "zh"),
        ("", None),
        ("xx", None),
        ("pt-BR", "pt"),
        ("pt_br", "pt"),
        ("fra-CA", "fr"),
        ("zho-TW", "zh-Hant"),
        ("cmn-TW", "zh-Hant"),
        ("zh-hk", "zh-Hant"),
        ("zho-CN", "zh"),
        ("zh_CN.UTF-8", "zh"),
        ("zh-Hans-HK", "zh"),
        ("zh-CHT", "zh-Hant"),
        ("zh-Latn", "zh-Latn"),
        ("hi_rom", "hi-Latn"),
        ("cmn_Hani", "zh"),
        ("zh-yue", "yue"),
        ("zh-min-nan", "nan"),
        ("nan-TW", "nan-Hant"),
        ("yue-CN", "yue-Hans"),
        ("sr-ME", "sr-Latn"),
        ("sr-RS", "sr"),
        ("sr_RS@latin", "sr-Latn"),
        ("sr-Latn-RS", "sr-Latn"),
        ("pa-PK", "pa-Arab"),
        ("uz-AF", "uz-Arab"),
        ("azb-IR", "azb"),
        ("arz-EG", "arz"),
        ("acm-US", "acm"),
        ("ar-EG", "ar"),
        ("es-419", "es"),
        ("en_IN", "en"),
        ("en-in", "en"),
        ("en_UK", "en"),
        ("kor-KR", "ko"),
        ("ko_KR", "ko"),
        ("ko-kore", "ko"),
        ("de_CH@euro", "de"),
        ("de-DE-1996", "de"),
        ("ca-valencia", "ca"),
        ("ca_ES", "ca"),
        ("in_ID", "id"),
        ("deu-x-bible", "de"),
        # Pairs of languages, words, numbers, and subtags that nobody has registered.
        ("ca-es", None),
        ("en-de", None),
        ("EN-DE", None),
        ("en-uk", None),
        ("deu-eng", None),
        ("en-old", None),
        ("en_bali", None),
        ("en-thai", None),
        ("de-01", None),
        ("de-001", None),
        ("de-2020", None),
        ("de_1901", None),
        ("de-XX", None),
        ("de-QQ", None),
        ("zz-CA", None),
        ("my_zaw", None),
        ("c4-zh-Latn", None),
        ("12", None),
        ("de_Cyrl", None),
        ("d\0e", None),
    ],
)
def test_spellings(text, code):
    assert short_code(text) == code


def test_all_of_flores_200_is_known_and_kept_apart():
    codes = {f"{iso}_{script}": script for script, isos in FLORES_200.items() for iso in isos.split()}
    assert len(codes) == 204
    found = {flores: short_code(flores) for flores in codes}
    assert None not in found.values()
    assert len(set(found.values())) == 204
    assert all(language(flores).script == script for flores, script in codes.items())


def test_all_of_iso_639_1_is_known():
    two = [code for code in _languages() if len(code) == 2]
    assert len(two) == 183
    assert len({known.iso_639_3 for code, known in _languages().items() if "-" not in code}) == len(
        [code for code in _languages() if "-" not in code]
    )


def test_short_codes_stand_for_themselves():
    assert all(short_code(code) == code for code in _languages())
    assert set(_spellings().values()) == set(_languages())


def test_no_spelling_belongs_to_two_languages():
    owners: dict[str, str] = {}
    for known in _languages().values():
        base = known.code.partition("-")[0]
        assert owners.setdefault(known.iso_639_3, base) == base


def test_agrees_with_iso_639():
    pycountry = pytest.importorskip("pycountry")
    for known in _languages().values():
        base = known.code.partition("-")[0]
        if base == "ajp":  # ISO made it part of apc in 2023; FLORES-200 has both
            continue
        listed = pycountry.languages.get(alpha_3=known.iso_639_3)
        assert listed is not None, known
        if len(base) == 2:
            assert listed.alpha_2 == base


def test_a_language_has_a_name_and_a_script():
    assert language("zho_Hant") == Language("zh-Hant", "Chinese (Hant)", "Hant", "zho")
    assert language("yue") == Language("yue", "Cantonese", "Hant", "yue")


def test_what_a_tag_says_beyond_language_and_script_is_told():
    assert read_code("pt") == Reading("pt") == read_code("por_Latn")
    assert read_code("por-BR") == Reading("pt", "br")
    assert read_code("zho-TW") == Reading("zh-Hant", "tw", script_of_region=True)
    assert read_code("zh-Hant-TW") == Reading("zh-Hant", "tw")
    assert read_code("de-CH-1996") == Reading("de", "ch-1996")


def test_a_romanised_language_is_one_of_its_own():
    assert language("ja_rom") == Language("ja-Latn", "Japanese (Latn)", "Latn", "jpn")
    assert language("zh-Latn").script == "Latn"
    assert gap("zh-Latn", "a") == " " and gap("zh-Hant", "a") == ""


@pytest.mark.parametrize("code", _REGION_IN_LOWER_CASE)
def test_a_region_in_lower_case_is_one_where_the_language_is_official(code):
    languages = pytest.importorskip("babel.languages")
    spoken = languages.get_official_languages(code.upper(), regional=True, de_facto=True)
    official = {short_code(tag.split("_")[0]) or tag for tag in spoken}
    # By CLDR these have no status there, and tens of millions of speakers.
    assert set(_REGION_IN_LOWER_CASE[code].split()) <= official | {"jv", "su", "ha", "ig"}


def test_two_names_of_one_language_are_refused():
    assert codes_of(["id", "text", "pt-BR", "zh-Hant"], "a:1 has") == {
        "id": "id",
        "pt": "pt-BR",
        "zh-Hant": "zh-Hant",
    }
    with pytest.raises(InputError, match="a:1 has pt-PT and pt-BR, which are both pt here; keep one of them"):
        codes_of(["en", "pt-PT", "pt-BR"], "a:1 has")


def test_languages_are_parsed_in_order():
    assert parse_languages("en, deu_Latn,zh-hans  yue,") == ("en", "de", "zh", "yue")
    assert parse_languages("zho_Hant,zho_Hans") == ("zh-Hant", "zh")
    assert parse_languages("zh-Hant,zh-Latn,pt-BR,zh") == ("zh-Hant", "zh-Latn", "pt", "zh")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("en,xq", "unknown language 'xq'; codes are those of ISO 639-1"),
        ("en,German", r"unknown language 'German'; did you mean de \(German\)\?"),
        ("en,portugese", r"did you mean pt \(Portuguese\)\?"),
        ("en,pt-XX", r"did you mean pt \(Portuguese\)\?"),
        ("en-de", r"unknown language 'en-de'; it looks like two: en,de"),
        ("pt,pt-BR", r"pt and pt-BR, which are the same language \(pt\)"),
        ("zh-TW,zh-Hant", r"which are the same language \(zh-Hant\)"),
        ("en,deu_Lat", r"did you mean de \(German\)\?"),
        ("en,jp", r"did you mean ja \(Japanese\)\?"),
        ("en,de,en", "en twice"),
        ("en,de,deu_Latn", r"de and deu_Latn, which are the same language \(de\)"),
        ("zh,zh-CN", "which are the same language"),
        ("en", "at least two"),
        ("", "at least two"),
        (" , ", "at least two"),
    ],
)
def test_wrong_languages_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_languages(text)


def test_importing_it_loads_no_library():
    code = "import sys, fastneurons.languages as m; m.parse_languages('en,de'); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"babel", "langcodes", "pycountry", "torch", "numpy", "msgspec"} & set(loaded)

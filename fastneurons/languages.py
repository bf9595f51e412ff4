"""Language codes: the spellings that users and files may use, and the short code that fastneurons writes for each.

The short code is ISO 639-1 (`de`), or ISO 639-3 where a language has no such code (`ast`, `yue`, `arz`).
It stands for the language in its usual script; in another one the script is appended (`zh` is written
in Hans, `zh-Hant` is not; `sr` is Cyrillic, `sr-Latn` is not). Understood are these, in any case and
with `_` for `-`:

- FLORES codes: `deu_Latn`, `zho_Hans`, `cmn_Hans`, `zho_Hant`;
- ISO 639-3, and 639-2 where it differs: `deu`, `ger`. The variety that data sets take for a whole
  macrolanguage counts as it: `arb` is `ar`, `pes` is `fa`, `cmn` is `zh`. Its others stay apart;
- whole tags of BCP 47 and POSIX locales: `zh-Latn`, `pt-BR`, `zho-TW`, `zh_CN.UTF-8`, `sr_RS@latin`, `hi_rom`;
- what some data sets write: `zh-CHT`, `cz` for `cs`, `du` for `nl`, ...

A script is kept: `zh-Latn` is not `zh`. Regions are not told apart: `pt-BR` is `pt`, unless CLDR says that the
language has another script there: `zh-TW` is `zh-Hant`, `sr-ME` is `sr-Latn`, `pa-PK` is `pa-Arab`. Where one
source has both `pt` and `pt-BR`, each reader refuses to take one for the other; `Reading` says what was dropped.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache

from fastneurons.errors import InputError
from fastneurons.language_tags import likely_script, regional_scripts, subtags


@dataclass(frozen=True, slots=True)
class Language:
    """A language in one script.

    Args:
        code: The short code.
        name: Its English name, with the script where it is not the usual one.
        script: ISO 15924, as FLORES has it: `Jpan` and `Hang`, and `Hans` or `Hant` for Chinese.
        iso_639_3: Its three-letter code.
    """

    code: str
    name: str
    script: str
    iso_639_3: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The meaning of a spelling of a language's code.

    Args:
        code: The short code.
        dropped: What it says beyond language and script, in lower case: `br` of `pt-BR`, `de-1996` of `de-DE-1996`.
            Two spellings of one code that differ in this are two varieties.
        script_of_region: Whether the code has its script from the region: `zh-TW`.
    """

    code: str
    dropped: str = ""
    script_of_region: bool = False


@lru_cache(maxsize=4096)
def read_code(text: str) -> Reading | None:
    """Interpret a language's code in any spelling; None if it is not one."""
    if known := _spellings().get(_folded(text)):
        return Reading(known)
    tag = subtags(text)
    base = _spellings().get(tag.language) if tag is not None else None
    if tag is None or base is None:
        return None
    dropped = "-".join(part.lower() for part in (tag.region, tag.rest) if part)
    if tag.script is not None:
        code = _in_script(base, tag.script)
        return None if code is None else Reading(code, dropped)
    # CLDR has regions for `zh`, and none for the other Chinese languages, which are written alike.
    usual = _languages()[base].script
    of = "zh" if usual in ("Hans", "Hant") and base != "yue" else base
    script = likely_script(of, tag.region) if tag.region is not None else None
    if script is None or script == likely_script(of):
        return Reading(base, dropped)
    code = _in_script(base, script)
    return Reading(code or base, dropped, script_of_region=code not in (None, base))


def short_code(text: str) -> str | None:
    """Return the short code for any spelling of a language's code; None if it is not one."""
    reading = read_code(text)
    return None if reading is None else reading.code


def language(text: str) -> Language:
    """Return the language of a code in any spelling.

    Raises:
        InputError: it is no code of a language, or not of one that is known here.
    """
    code = short_code(text)
    if code is None:
        raise InputError(_unknown(text))
    listed = _languages().get(code)
    if listed is not None:
        return listed
    base, _, script = code.partition("-")
    known = _languages()[base]
    return Language(code, f"{known.name} ({script})", script, known.iso_639_3)


def codes_of(names: Iterable[str], what: str) -> dict[str, str]:
    """Return the names that are languages, by short code; ignore all others.

    Args:
        names: Columns of a table, keys of an object.
        what: Where they stand, for the error: `a.tsv:1 has the columns`.
    Raises:
        InputError: two of them are the same language.
    """
    found: dict[str, str] = {}
    for name in names:
        code = short_code(name)
        if code is None:
            continue
        if code in found:
            raise InputError(f"{what} {found[code]} and {name}, which are both {code} here; keep one of them")
        found[code] = name
    return found


def all_codes() -> tuple[str, ...]:
    """Return the short codes of all languages, in all their scripts."""
    return tuple(_languages())


def parse_languages(text: str, at_least: int = 2) -> tuple[str, ...]:
    """Parse `"en, deu_Latn,zh-hans"` into short codes, in that order: `("en", "de", "zh")`.

    Args:
        text: Codes, apart by commas or spaces.
        at_least: How many there must be: a corpus needs one, where languages are compared it is two.
    Raises:
        InputError: an unknown code, one language twice, or too few.
    """
    spelled: dict[str, str] = {}
    for given in re.split(r"[,\s]+", text):
        if not given:
            continue
        code = language(given).code
        if code in spelled:
            first = spelled[code]
            both = (
                f"{given} twice"
                if first == given
                else f"{first} and {given}, which are the same language ({code})"
            )
            raise InputError(f"--languages {text}: {both}")
        spelled[code] = given
    if len(spelled) < at_least:
        if at_least == 1:
            raise InputError(f"--languages {text!r}: names no language, e.g. en,de")
        raise InputError(
            f"--languages {text!r}: needs at least two, because neurons are compared across languages, e.g. en,de"
        )
    return tuple(spelled)


def _folded(text: str) -> str:
    return text.strip().replace("_", "-").casefold()


def _in_script(base: str, script: str) -> str | None:
    """Return the short code of a language in a script; None if it is not known to be written in it.

    Every language may be romanised. A script that nobody writes it in is more likely a word: `en-Bali`.
    """
    known = _languages()[base]
    script = {"Hani": known.script, "Kore": "Hang", "Aran": "Arab"}.get(script, script)
    if script == known.script:
        return base
    code = f"{base}-{script}"
    if code in _languages() or script == "Latn" or script in regional_scripts(base):
        return code
    return None


def _unknown(text: str) -> str:
    message = f"unknown language {text.strip()!r}"
    pair = [short_code(part) for part in re.split("[-_]", text.strip())]
    if len(pair) == 2 and all(pair) and (text.islower() or text.isupper()):
        return f"{message}; it looks like two: {pair[0]},{pair[1]}"
    guess = _guess(_folded(text))
    if guess is None:
        return f"{message}; codes are those of ISO 639-1 (en), ISO 639-3 (eng) or FLORES (eng_Latn)"
    return f"{message}; did you mean {guess.code} ({guess.name})?"


def _guess(folded: str) -> Language | None:
    languages = _languages()
    names = {known.name.casefold(): code for code, known in languages.items()}
    if folded in _CONFUSED:
        return languages[_CONFUSED[folded]]
    if folded in names:
        return languages[names[folded]]
    base = short_code(folded.partition("-")[0])
    if base is not None:  # two languages (`en-de`), or a script that the language is not written in
        return languages[base]
    # Of two or three letters, every other code is a close match.
    close = difflib.get_close_matches(folded, [*names, *(s for s in _spellings() if len(s) > 4)], 1, 0.75)
    if close:
        return languages[names.get(close[0]) or _spellings()[close[0]]]
    return None


@cache
def _languages() -> dict[str, Language]:
    known: dict[str, Language] = {}
    for code, iso, scripts, name in _rows():
        usual, *others = scripts
        known[code] = Language(code, name, usual, iso[0])
        for script in others:
            known[f"{code}-{script}"] = Language(f"{code}-{script}", f"{name} ({script})", script, iso[0])
    return known


@cache
def _spellings() -> dict[str, str]:
    """Short codes by every folded spelling."""
    spellings: dict[str, str] = {}
    for code, iso, scripts, _ in _rows():
        for base in (code, *iso):
            spellings[base] = code
            for i, script in enumerate(scripts):
                spellings[f"{base}-{script.casefold()}"] = f"{code}-{script}" if i else code
    for alias, code in _ALIASES.items():
        base, _, script = code.partition("-")
        spellings[alias] = code
        if not script:
            spellings |= {
                alias + known.removeprefix(base): to
                for known, to in tuple(spellings.items())
                if known.startswith(f"{base}-")
            }
    return spellings


def _rows() -> list[tuple[str, list[str], list[str], str]]:
    """Each line of the table: short code, three-letter codes, scripts, name."""
    rows = []
    for line in _TABLE.strip().splitlines():
        code, iso, scripts, name = (field.strip() for field in line.split("|"))
        rows.append((code, iso.split(), scripts.split(), name))
    return rows


_ALIASES = {
    "cz": "cs",  # MzsRE
    "du": "nl",  # MzsRE
    "in": "id",  # withdrawn from ISO 639-1, still written by Java
    "iw": "he",
    "ji": "yi",
    "jw": "jv",
}

# Codes of countries, not of languages; some are the code of no language, and are taken for one.
_CONFUSED = {
    "cn": "zh",
    "dk": "da",
    "gb": "en",
    "gr": "el",
    "jp": "ja",
    "mx": "es",
    "sp": "es",
    "ua": "uk",
    "us": "en",
    "vn": "vi",
}

# Short code | ISO 639-3, the language's own first, then members taken for it and ISO 639-2/B | scripts,
# the usual one first | English name. All of ISO 639-1, and the other languages of FLORES-200 and FLORES+.
_TABLE = """
aa | aar | Latn | Afar
ab | abk | Cyrl | Abkhazian
ae | ave | Avst | Avestan
af | afr | Latn | Afrikaans
ak | aka | Latn | Akan
am | amh | Ethi | Amharic
an | arg | Latn | Aragonese
ar | ara arb | Arab Latn | Arabic
as | asm | Beng | Assamese
av | ava | Cyrl | Avaric
ay | aym ayr | Latn | Aymara
az | aze azj | Latn Cyrl Arab | Azerbaijani
ba | bak | Cyrl | Bashkir
be | bel | Cyrl Latn | Belarusian
bg | bul | Cyrl Latn | Bulgarian
bi | bis | Latn | Bislama
bm | bam | Latn | Bambara
bn | ben | Beng Latn | Bengali
bo | bod tib | Tibt | Tibetan
br | bre | Latn | Breton
bs | bos | Latn Cyrl | Bosnian
ca | cat | Latn | Catalan
ce | che | Cyrl | Chechen
ch | cha | Latn | Chamorro
co | cos | Latn | Corsican
cr | cre | Cans Latn | Cree
cs | ces cze | Latn | Czech
cu | chu | Cyrl | Church Slavonic
cv | chv | Cyrl | Chuvash
cy | cym wel | Latn | Welsh
da | dan | Latn | Danish
de | deu ger | Latn | German
dv | div | Thaa | Divehi
dz | dzo | Tibt | Dzongkha
ee | ewe | Latn | Ewe
el | ell gre | Grek Latn | Greek
en | eng | Latn | English
eo | epo | Latn | Esperanto
es | spa | Latn | Spanish
et | est ekk | Latn | Estonian
eu | eus baq | Latn | Basque
fa | fas pes per | Arab Latn | Persian
ff | ful fuv | Latn Adlm | Fula
fi | fin | Latn | Finnish
fj | fij | Latn | Fijian
fo | fao | Latn | Faroese
fr | fra fre | Latn | French
fy | fry | Latn | Frisian
ga | gle | Latn | Irish
gd | gla | Latn | Scottish Gaelic
gl | glg | Latn | Galician
gn | grn gug | Latn | Guarani
gu | guj | Gujr Latn | Gujarati
gv | glv | Latn | Manx
ha | hau | Latn Arab | Hausa
he | heb | Hebr Latn | Hebrew
hi | hin | Deva Latn | Hindi
ho | hmo | Latn | Hiri Motu
hr | hrv | Latn | Croatian
ht | hat | Latn | Haitian Creole
hu | hun | Latn | Hungarian
hy | hye arm | Armn | Armenian
hz | her | Latn | Herero
ia | ina | Latn | Interlingua
id | ind | Latn | Indonesian
ie | ile | Latn | Interlingue
ig | ibo | Latn | Igbo
ii | iii | Yiii | Sichuan Yi
ik | ipk | Latn | Inupiaq
io | ido | Latn | Ido
is | isl ice | Latn | Icelandic
it | ita | Latn | Italian
iu | iku | Cans Latn | Inuktitut
ja | jpn | Jpan Latn | Japanese
jv | jav | Latn | Javanese
ka | kat geo | Geor | Georgian
kg | kon | Latn | Kongo
ki | kik | Latn | Kikuyu
kj | kua | Latn | Kuanyama
kk | kaz | Cyrl Latn Arab | Kazakh
kl | kal | Latn | Greenlandic
km | khm | Khmr | Khmer
kn | kan | Knda Latn | Kannada
ko | kor | Hang Latn | Korean
kr | kau knc | Latn Arab | Kanuri
ks | kas | Arab Deva | Kashmiri
ku | kur kmr | Latn Arab | Kurdish
kv | kom | Cyrl | Komi
kw | cor | Latn | Cornish
ky | kir | Cyrl Latn | Kyrgyz
la | lat | Latn | Latin
lb | ltz | Latn | Luxembourgish
lg | lug | Latn | Ganda
li | lim | Latn | Limburgish
ln | lin | Latn | Lingala
lo | lao | Laoo | Lao
lt | lit | Latn | Lithuanian
lu | lub | Latn | Luba-Katanga
lv | lav lvs | Latn | Latvian
mg | mlg plt | Latn | Malagasy
mh | mah | Latn | Marshallese
mi | mri mao | Latn | Maori
mk | mkd mac | Cyrl | Macedonian
ml | mal | Mlym Latn | Malayalam
mn | mon khk | Cyrl Mong | Mongolian
mr | mar | Deva Latn | Marathi
ms | msa zsm zlm may | Latn Arab | Malay
mt | mlt | Latn | Maltese
my | mya bur | Mymr | Burmese
na | nau | Latn | Nauru
nb | nob | Latn | Norwegian Bokmål
nd | nde | Latn | North Ndebele
ne | nep npi | Deva Latn | Nepali
ng | ndo | Latn | Ndonga
nl | nld dut | Latn | Dutch
nn | nno | Latn | Norwegian Nynorsk
no | nor | Latn | Norwegian
nr | nbl | Latn | South Ndebele
nv | nav | Latn | Navajo
ny | nya | Latn | Chichewa
oc | oci | Latn | Occitan
oj | oji | Cans Latn | Ojibwa
om | orm gaz | Latn | Oromo
or | ori ory | Orya | Odia
os | oss | Cyrl | Ossetic
pa | pan | Guru Arab | Punjabi
pi | pli | Latn | Pali
pl | pol | Latn | Polish
ps | pus pbt | Arab | Pashto
pt | por | Latn | Portuguese
qu | que quy | Latn | Quechua
rm | roh | Latn | Romansh
rn | run | Latn | Kirundi
ro | ron rum | Latn | Romanian
ru | rus | Cyrl Latn | Russian
rw | kin | Latn | Kinyarwanda
sa | san | Deva Latn | Sanskrit
sc | srd | Latn | Sardinian
sd | snd | Arab Deva | Sindhi
se | sme | Latn | Northern Sami
sg | sag | Latn | Sango
si | sin | Sinh | Sinhala
sk | slk slo | Latn | Slovak
sl | slv | Latn | Slovenian
sm | smo | Latn | Samoan
sn | sna | Latn | Shona
so | som | Latn Osma | Somali
sq | sqi als alb | Latn | Albanian
sr | srp | Cyrl Latn | Serbian
ss | ssw | Latn | Swati
st | sot | Latn | Sesotho
su | sun | Latn | Sundanese
sv | swe | Latn | Swedish
sw | swa swh | Latn | Swahili
ta | tam | Taml Latn | Tamil
te | tel | Telu Latn | Telugu
tg | tgk | Cyrl Latn | Tajik
th | tha | Thai Latn | Thai
ti | tir | Ethi | Tigrinya
tk | tuk | Latn Cyrl | Turkmen
tl | tgl fil | Latn | Tagalog
tn | tsn | Latn | Tswana
to | ton | Latn | Tongan
tr | tur | Latn | Turkish
ts | tso | Latn | Tsonga
tt | tat | Cyrl Latn | Tatar
tw | twi | Latn | Twi
ty | tah | Latn | Tahitian
ug | uig | Arab Cyrl Latn | Uyghur
uk | ukr | Cyrl | Ukrainian
ur | urd | Arab Latn | Urdu
uz | uzb uzn | Latn Cyrl | Uzbek
ve | ven | Latn | Venda
vi | vie | Latn Hani | Vietnamese
vo | vol | Latn | Volapük
wa | wln | Latn | Walloon
wo | wol | Latn Arab | Wolof
xh | xho | Latn | Xhosa
yi | yid ydd | Hebr | Yiddish
yo | yor | Latn | Yoruba
za | zha | Latn | Zhuang
zh | zho cmn chi | Hans Hant | Chinese
zu | zul | Latn | Zulu
ace | ace | Latn Arab | Acehnese
acm | acm | Arab | Mesopotamian Arabic
acq | acq | Arab | Ta’izzi-Adeni Arabic
aeb | aeb | Arab | Tunisian Arabic
ajp | ajp | Arab | South Levantine Arabic
apc | apc | Arab | North Levantine Arabic
ars | ars | Arab | Najdi Arabic
ary | ary | Arab | Moroccan Arabic
arz | arz | Arab | Egyptian Arabic
ast | ast | Latn | Asturian
awa | awa | Deva | Awadhi
azb | azb | Arab | South Azerbaijani
ban | ban | Latn | Balinese
bar | bar | Latn | Bavarian
bem | bem | Latn | Bemba
bho | bho | Deva | Bhojpuri
bjn | bjn | Latn Arab | Banjar
brx | brx | Deva | Bodo
bug | bug | Latn | Buginese
ceb | ceb | Latn | Cebuano
cjk | cjk | Latn | Chokwe
ckb | ckb | Arab Latn | Central Kurdish
crh | crh | Latn Cyrl | Crimean Tatar
dgo | dgo | Deva | Dogri
dik | dik | Latn | Southwestern Dinka
dyu | dyu | Latn | Dyula
fon | fon | Latn | Fon
fur | fur | Latn | Friulian
gom | gom | Deva Latn | Goan Konkani
gsw | gsw | Latn | Swiss German
hak | hak | Hans Hant Latn | Hakka Chinese
haw | haw | Latn | Hawaiian
hmn | hmn | Latn | Hmong
hne | hne | Deva | Chhattisgarhi
hsb | hsb | Latn | Upper Sorbian
ilo | ilo | Latn | Ilocano
kab | kab | Latn | Kabyle
kac | kac | Latn | Jingpho
kam | kam | Latn | Kamba
kbp | kbp | Latn | Kabiyè
kea | kea | Latn | Kabuverdianu
kmb | kmb | Latn | Kimbundu
lij | lij | Latn | Ligurian
lld | lld | Latn | Ladin
lmo | lmo | Latn | Lombard
ltg | ltg | Latn | Latgalian
lua | lua | Latn | Luba-Kasai
luo | luo | Latn | Luo
lus | lus | Latn | Mizo
mag | mag | Deva | Magahi
mai | mai | Deva | Maithili
mhr | mhr | Cyrl | Meadow Mari
min | min | Latn Arab | Minangkabau
mni | mni | Beng Mtei Latn | Manipuri
mos | mos | Latn | Mossi
myv | myv | Cyrl | Erzya
nan | nan | Hans Hant Latn | Min Nan Chinese
nds | nds | Latn | Low German
nqo | nqo | Nkoo | N’Ko
nso | nso | Latn | Northern Sotho
nus | nus | Latn | Nuer
pag | pag | Latn | Pangasinan
pap | pap | Latn | Papiamento
prs | prs | Arab | Dari
sah | sah | Cyrl | Yakut
sat | sat | Olck Beng | Santali
scn | scn | Latn | Sicilian
shn | shn | Mymr | Shan
szl | szl | Latn | Silesian
taq | taq | Latn Tfng | Tamasheq
tpi | tpi | Latn | Tok Pisin
tum | tum | Latn | Tumbuka
tyv | tyv | Cyrl | Tuvinian
tzm | tzm | Tfng Latn | Central Atlas Tamazight
umb | umb | Latn | Umbundu
vec | vec | Latn | Venetian
vmw | vmw | Latn | Makhuwa
war | war | Latn | Waray
wuu | wuu | Hans Hant | Wu Chinese
yue | yue | Hant Hans | Cantonese
zgh | zgh | Tfng | Standard Moroccan Tamazight
"""

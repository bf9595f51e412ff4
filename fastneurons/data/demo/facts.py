"""Real facts in many languages: the demo's data set.

Of each country its capital, the country of a capital, a language that is spoken there, and the currency,
asked for in every language by a sentence that ends where the answer begins. The facts are the table below;
names of countries, cities, languages and currencies are those of Unicode's CLDR, which Babel carries; the
sentences are this module's.

A fact is left out unless it can be asked in all the languages wanted: where a language's CLDR has no name
for the answer, or where the answer can be copied out of the question (Djibouti; `Deutsch` in `Deutschland`;
in Thai, French and France are one word).
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastneurons.data.example import Example
from fastneurons.errors import InputError
from fastneurons.languages import language as language_of

TASK = "capitals"

# Seven scripts, six families; within the Latin script, relatives of English and a language that is none.
DEFAULT_LANGUAGES = ("en", "de", "fr", "tr", "ru", "ar", "hi", "th", "zh", "ja")


def facts(languages: Sequence[str] = DEFAULT_LANGUAGES) -> Iterator[Example]:
    """Facts that can be asked in all of these languages, each with its answers.

    The order is fixed and mixes relations and countries, so that the first ones are a fair sample.

    Args:
        languages: Short codes, of those in `FACT_LANGUAGES`.
    Raises:
        InputError: a language without sentences here, or Babel is not installed.
    """
    unknown = [code for code in languages if code not in _SENTENCES]
    if unknown:
        raise InputError(
            f"there are no facts in {', '.join(unknown)}; there are in {', '.join(FACT_LANGUAGES)}"
        )
    names = {code: _Names(code) for code in languages}
    return _facts(names)


def _facts(names: dict[str, "_Names"]) -> Iterator[Example]:
    wanted = [
        (relation, row)
        for row in _rows()
        for relation, kinds in RELATIONS.items()
        if None not in (getattr(row, kind) for kind in kinds)
    ]
    for relation, row in sorted(wanted, key=lambda fact: _shuffled(_id(*fact))):
        asked_of, asked_for = RELATIONS[relation]
        prompts: dict[str, str] = {}
        answers: dict[str, str] = {}
        for code, known in names.items():
            subject, answer = known.name(asked_of, row), known.name(asked_for, row)
            if subject is None or answer is None or _is_given_away(relation, subject, answer):
                break
            prompts[code] = _SENTENCES[code][relation].format(subject)
            answers[code] = answer
        else:
            id = _id(relation, row)
            yield Example(id, prompts, answers, f"facts:{id}", TASK)


# What is asked: of what, for what.
RELATIONS = {
    "capital": ("country", "capital"),
    "country": ("capital", "country"),
    "language": ("country", "language"),
    "currency": ("country", "currency"),
}


@dataclass(frozen=True, slots=True)
class _Row:
    """A country's facts, as codes; None if there is none to ask for."""

    country: str  # ISO 3166
    capital: str | None  # the last part of its time zone's name
    language: str | None  # ISO 639-1
    currency: str | None  # ISO 4217


def _id(relation: str, row: _Row) -> str:
    return f"{relation}/{row.country}"


def _shuffled(id: str) -> bytes:
    # Not `random`: its shuffle may change with Python's version, and stores are compared by their ids.
    return hashlib.sha256(id.encode()).digest()


def _is_given_away(relation: str, subject: str, answer: str) -> bool:
    subject, answer = subject.casefold(), answer.casefold()
    # A language's name may hold the country's (in Japanese it always does): that still has to be known.
    return answer in subject or (relation in ("capital", "country") and subject in answer)


class _Names:
    """CLDR's names of things in one language."""

    def __init__(self, code: str) -> None:
        try:
            import babel
            from babel.core import get_global
        except ImportError as error:
            raise InputError(
                f"the facts need Babel, which cannot be imported ({error}): pip install 'fastneurons[demo]'"
            ) from error
        self._code = code
        self._is_latin = language_of(code).script == "Latn"
        self._locale: Any = babel.Locale.parse(code)
        # Zones under all their names: CLDR says Asia/Katmandu where the time zone database says Kathmandu.
        self._zones: dict[tuple[str, str], list[str]] = {}
        current = {zone: zone for zone in get_global("zone_territories")} | dict(get_global("zone_aliases"))
        for name, zone in current.items():
            city = (get_global("zone_territories").get(zone), zone.rpartition("/")[2])
            self._zones.setdefault(city, []).append(name)

    def name(self, kind: str, row: _Row) -> str | None:
        """The name of a row's country, capital, language or currency; None if CLDR has none."""
        if kind == "capital":
            assert row.capital is not None
            return self._city(row.country, row.capital)
        if kind == "country":
            return _plain(self._locale.territories.get(row.country))
        if kind == "currency":
            return _plain(self._locale.currencies.get(row.currency))
        name = _plain(self._locale.languages.get(row.language))
        # "Tiếng Pháp": the generic word is in the question.
        return name.removeprefix("Tiếng ") if name and self._code == "vi" else name

    def _city(self, country: str, zone: str) -> str | None:
        """A time zone's city. CLDR leaves out, in Latin script, those spelled like the zone."""
        for name in self._zones[country, zone]:
            if city := self._locale.time_zones.get(name, {}).get("city"):
                return _plain(city)
        return zone.replace("_", " ") if self._is_latin else None


def _plain(name: str | None) -> str | None:
    """A name without parentheses ("Myanmar (Burma)") and without hints for typesetting."""
    if name is None:
        return None
    name = re.sub("[\u00ad\u200b\u200e\u200f]", "", name)  # soft hyphens: "Reyk-ja-vík" in German
    name = re.sub("[\u00a0\u202f]", " ", name)
    return re.sub(r"\s*[(（][^)）]*[)）]", "", name).strip() or None


def _rows() -> list[_Row]:
    fields = (line.split() for entry in _TABLE.strip().splitlines() for line in entry.split(","))
    return [_Row(row[0], *(None if code == "-" else code for code in row[1:])) for row in fields if row]


# Where a language puts a country's name into a sentence without changing it, the sentence does so. Where
# it would need an article or a case ("die Hauptstadt der Schweiz", "столица Франции"), the name
# comes first, by itself, and the sentence refers to it.
_SENTENCES = {
    "en": {
        "capital": "Country: {}. Its capital is",
        "country": "The country whose capital is {} is called",
        "language": "Country: {}. The language spoken there is",
        "currency": "Country: {}. Its currency is the",
    },
    "de": {
        "capital": "Land: {}. Seine Hauptstadt ist",
        "country": "Das Land, dessen Hauptstadt {} ist, heißt",
        "language": "Land: {}. Dort spricht man",
        "currency": "Land: {}. Seine Währung heißt",
    },
    "es": {
        "capital": "País: {}. Su capital es",
        "country": "El país cuya capital es {} se llama",
        "language": "País: {}. Allí se habla",
        "currency": "País: {}. Su moneda se llama",
    },
    "fr": {
        "capital": "Pays : {}. Sa capitale est",
        "country": "Le nom du pays dont la capitale est {} est",
        "language": "Pays : {}. On y parle",
        "currency": "Pays : {}. Le nom de sa monnaie est",
    },
    "pt": {
        "capital": "País: {}. A sua capital é",
        "country": "O país cuja capital é {} se chama",
        "language": "País: {}. Ali se fala",
        "currency": "País: {}. A sua moeda se chama",
    },
    "it": {
        "capital": "Paese: {}. La sua capitale è",
        "country": "Il paese la cui capitale è {} si chiama",
        "language": "Paese: {}. Lì si parla",
        "currency": "Paese: {}. La sua valuta si chiama",
    },
    "tr": {
        "capital": "Ülke: {}. Başkentinin adı",
        "country": "Başkenti {} olan ülkenin adı",
        "language": "Ülke: {}. Orada konuşulan dil",
        "currency": "Ülke: {}. Para biriminin adı",
    },
    "vi": {
        "capital": "Thủ đô của {} là",
        "country": "Quốc gia có thủ đô là {} tên là",
        "language": "Ngôn ngữ được nói ở {} là tiếng",
        "currency": "Đơn vị tiền tệ của {} là",
    },
    "id": {
        "capital": "Ibu kota {} adalah",
        "country": "Negara yang beribu kota {} adalah",
        "language": "Bahasa yang digunakan di {} adalah bahasa",
        "currency": "Mata uang {} adalah",
    },
    "ru": {
        "capital": "Страна: {}. Её столица —",
        "country": "Страна, столица которой — {}, называется",
        "language": "Страна: {}. Язык, на котором там говорят, —",
        "currency": "Страна: {}. Её валюта —",
    },
    "ar": {
        "capital": "عاصمة {} هي",
        "country": "الدولة التي عاصمتها {} هي",
        "language": "اللغة المستخدمة في {} هي",
        "currency": "اسم عملة {} هو",
    },
    "hi": {
        "capital": "{} की राजधानी का नाम है",
        "country": "{} जिस देश की राजधानी है उसका नाम है",
        "language": "{} में बोली जाने वाली भाषा है",
        "currency": "{} की मुद्रा का नाम है",
    },
    "th": {
        "capital": "เมืองหลวงของ{}คือ",
        "country": "ประเทศที่มี{}เป็นเมืองหลวงคือ",
        "language": "ภาษาที่ใช้ใน{}คือภาษา",
        "currency": "สกุลเงินของ{}คือ",
    },
    "zh": {
        "capital": "{}的首都是",
        "country": "首都是{}的国家是",
        "language": "{}使用的语言是",
        "currency": "{}的货币是",
    },
    "ja": {
        "capital": "{}の首都は",
        "country": "{}を首都とする国は",
        "language": "{}で話されている言語は",
        "currency": "{}の通貨は",
    },
    "ko": {
        "capital": "{}의 수도는",
        "country": "수도가 {}인 나라는",
        "language": "{}에서 사용하는 언어는",
        "currency": "{}의 통화는",
    },
}
FACT_LANGUAGES = tuple(_SENTENCES)

# Country, capital, language, currency: the members of the United Nations and the Vatican. The capital is
# given where CLDR names the city, as that of a time zone. Left out ("-"): capitals that are disputed,
# moving or one of several, and Tirana, whose name CLDR lacks in English; a language where none stands
# out; a currency that changed in 2025 or 2026. Of several languages the one that most of the state is run
# in. The two Congos are missing: CLDR tells their names apart by their capitals.
_TABLE = """
AD - ca EUR, AE - ar AED, AF Kabul ps AFN, AG - en XCD, AL - sq ALL, AM Yerevan hy AMD, AO Luanda pt AOA
AR Buenos_Aires es ARS, AT Vienna de EUR, AU - en AUD, AZ Baku az AZN, BA Sarajevo bs BAM, BB - en BBD
BD Dhaka bn BDT, BE Brussels nl EUR, BF Ouagadougou fr XOF, BG Sofia bg -, BH - ar BHD, BI - rn BIF
BJ Porto-Novo fr XOF, BN - ms BND, BO - es BOB, BR - pt BRL, BS Nassau en BSD, BT Thimphu dz BTN
BW Gaborone en BWP, BY Minsk be BYN, BZ - en BZD, CA - en CAD, CF Bangui fr XAF, CH - de CHF, CI - fr XOF
CL Santiago es CLP, CM - fr XAF, CN - zh CNY, CO Bogota es COP, CR - es CRC, CU Havana es CUP, CV - pt CVE
CY Nicosia el EUR, CZ Prague cs CZK, DE Berlin de EUR, DJ Djibouti fr DJF, DK Copenhagen da DKK
DM - en XCD, DO Santo_Domingo es DOP, DZ Algiers ar DZD, EC - es USD, EE Tallinn et EUR, EG Cairo ar EGP
ER Asmara ti ERN, ES Madrid es EUR, ET Addis_Ababa am ETB, FI Helsinki fi EUR, FJ - en FJD, FM - en USD
FR Paris fr EUR, GA Libreville fr XAF, GB London en GBP, GD - en XCD, GE Tbilisi ka GEL, GH Accra en GHS
GM Banjul en GMD, GN Conakry fr GNF, GQ - es XAF, GR Athens el EUR, GT - es GTQ, GW Bissau pt XOF
GY - en GYD, HN Tegucigalpa es HNL, HR Zagreb hr EUR, HT Port-au-Prince fr HTG, HU Budapest hu HUF
ID Jakarta id IDR, IE Dublin en EUR, IL - he ILS, IN - hi INR, IQ Baghdad ar IQD, IR Tehran fa IRR
IS Reykjavik is ISK, IT Rome it EUR, JM - en JMD, JO Amman ar JOD, JP Tokyo ja JPY, KE Nairobi sw KES
KG Bishkek ky KGS, KH Phnom_Penh km KHR, KI - en AUD, KM - ar KMF, KN - en XCD, KP Pyongyang ko KPW
KR Seoul ko KRW, KW - ar KWD, KZ - kk KZT, LA Vientiane lo LAK, LB Beirut ar LBP, LC - en XCD
LI Vaduz de CHF, LK - si LKR, LR Monrovia en LRD, LS Maseru st LSL, LT Vilnius lt EUR
LU Luxembourg lb EUR, LV Riga lv EUR, LY Tripoli ar LYD, MA - ar MAD, MC Monaco fr EUR, MD Chisinau ro MDL
ME Podgorica - EUR, MG Antananarivo mg MGA, MH Majuro en USD, MK Skopje mk MKD, ML Bamako - XOF
MM - my MMK, MN Ulaanbaatar mn MNT, MR Nouakchott ar MRU, MT - mt EUR, MU - en MUR, MV - dv MVR
MW - en MWK, MX Mexico_City es MXN, MY Kuala_Lumpur ms MYR, MZ Maputo pt MZN, NA Windhoek en NAD
NE Niamey - XOF, NG - en NGN, NI Managua es NIO, NL Amsterdam nl EUR, NO Oslo no NOK, NP Kathmandu ne NPR
NR - en AUD, NZ - en NZD, OM Muscat ar OMR, PA - es PAB, PE Lima es PEN, PG Port_Moresby en PGK
PH Manila en PHP, PK - ur PKR, PL Warsaw pl PLN, PT Lisbon pt EUR, PW - en USD, PY Asuncion es PYG
QA - ar QAR, RO Bucharest ro RON, RS Belgrade sr RSD, RU Moscow ru RUB, RW Kigali rw RWF, SA Riyadh ar SAR
SB - en SBD, SC - en SCR, SD Khartoum ar SDG, SE Stockholm sv SEK, SG - en SGD, SI Ljubljana sl EUR
SK Bratislava sk EUR, SL Freetown en SLE, SM - it EUR, SN Dakar fr XOF, SO Mogadishu so SOS
SR Paramaribo nl SRD, SS Juba en SSP, ST Sao_Tome pt STN, SV - es USD, SY Damascus ar SYP, SZ - en SZL
TD Ndjamena fr XAF, TG Lome fr XOF, TH Bangkok th THB, TJ Dushanbe tg TJS, TL Dili pt USD
TM Ashgabat tk TMT, TN Tunis ar TND, TO - to TOP, TR - tr TRY, TT Port_of_Spain en TTD, TV Funafuti en AUD
TZ - sw TZS, UA Kyiv uk UAH, UG Kampala en UGX, US - en USD, UY Montevideo es UYU, UZ Tashkent uz UZS
VA - it EUR, VC - en XCD, VE Caracas es VES, VN - vi VND, VU - bi VUV, WS Apia sm WST, YE - ar YER
ZA - - ZAR, ZM Lusaka en ZMW, ZW Harare en -
"""

"""Language tags as BCP 47 and POSIX locales write them, taken apart: `zho-TW`, `pt_br`, `zh_CN.UTF-8`, `sr@latin`.

The grammar, the register of subtags and CLDR's likely subtags are those of `langcodes`. Which languages
there are, and what they are called here, is in `languages.py`.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache


@dataclass(frozen=True, slots=True)
class Subtags:
    """The parts of a tag.

    Args:
        language: Its primary language in lower case, as it is written: `zho`. Of `zh-yue` it is `yue`.
        script: ISO 15924, where the tag has one: `Latn`.
        region: ISO 3166 in capitals, or a number of UN M.49: `TW`, `419`.
        rest: Variants, extensions and private parts in lower case: `1996`, `x-foo`.
    """

    language: str
    script: str | None = None
    region: str | None = None
    rest: str = ""


# Scripts as others write them: POSIX behind `@`, CC-100 (`hi_rom`), Windows (`zh-CHS`, `zh-CHT`).
_SCRIPTS = {
    "latin": "Latn", "cyrillic": "Cyrl", "devanagari": "Deva", "rom": "Latn", "romanized": "Latn",
    "romanised": "Latn", "chs": "Hans", "cht": "Hant",
}  # fmt: skip
_POSIX = re.compile(r"([^.@]+)(\.(?:[a-z]+-?\d[\w-]*|utf8))?(?:@([a-z]+))?", re.I | re.A)
_PRIVATE_REGION = re.compile(r"AA|Q[M-Z]|X[A-JL-Z]|ZZ|\d\d\d")

# Many codes are both a region's and a language's. In lower case, the region is meant for these languages alone:
# `pt-br` is Brazilian Portuguese, but `en-de` and `ca-es` are what corpora of two languages are called. In each
# entry the language is official in the region, and the pair of languages far-fetched.
_REGION_IN_LOWER_CASE = {
    "ae": "ar", "af": "fa ps uz", "am": "hy", "ar": "es", "ba": "bs hr sr", "be": "de fr nl", "bn": "ms",
    "bo": "ay es qu", "br": "pt", "ca": "fr", "ch": "de fr it rm", "co": "es", "cr": "es", "cu": "es", "cy": "el",
    "cz": "cs", "dz": "ar", "ee": "et", "et": "am", "id": "jv su", "ie": "en",
    "in": "as bn en gu hi kn ks ml mr ne or pa sa sd ta te ur", "kg": "ky", "kr": "ko", "kw": "ar", "la": "lo",
    "lb": "ar", "lu": "de fr lb", "my": "ms", "ng": "ha ig yo", "no": "nb nn se", "om": "ar", "pa": "es",
    "sa": "ar", "se": "sv", "sg": "en ms ta zh", "si": "sl", "sn": "ff wo", "sv": "es", "tn": "ar", "tw": "zh",
    "ve": "es", "za": "af en nr nso ss st tn ts ve xh zu",
}  # fmt: skip


@lru_cache(maxsize=4096)
def subtags(text: str) -> Subtags | None:
    """Split a tag in any case, with `-` or `_`, into its parts; None if it is not a tag.

    Whether its language is one that is known here is not asked. Two languages are no tag (`en-de`, `deu-eng`),
    nor is a code with a number (`de-01`) or a word (`en-old`) behind it.
    """
    from langcodes import Language
    from langcodes.tag_parser import LanguageTagError

    match = _POSIX.fullmatch(text.strip())
    if match is None:
        return None
    body, _, modifier = match.groups()
    parts = re.split(r"[-_]", body)
    scripts = [part for part in [*parts[1:], *([modifier] if modifier else [])] if part.lower() in _SCRIPTS]
    if scripts:
        parts = [part for part in parts if part not in scripts]
        parts.insert(1, _SCRIPTS[scripts[0].lower()])
        if len(scripts) > 1:
            return None
    if not all(re.fullmatch(r"[A-Za-z0-9]+", part) for part in parts):
        return None
    private = ""
    if "x" in parts[1:-1]:  # cut off, as people write longer parts there than the 8 letters that are allowed
        parts, private = parts[: parts.index("x")], "-".join(parts[parts.index("x") :])
        if re.search("-[A-Za-z]{2}(-|$)", private):  # two languages: en_x_de
            return None
    try:
        tag = Language.get("-".join(parts), normalize=False)
    except LanguageTagError:
        return None
    language = (tag.language or "").lower()
    if "-" in language:  # registered as a whole: zh-min-nan, i-klingon
        from langcodes.data_dicts import LANGUAGE_REPLACEMENTS

        language = LANGUAGE_REPLACEMENTS.get(language, "")
    for extended in tag.extlangs or ():
        if not _belongs_to(extended, language):
            return None
        language = extended
    region = tag.territory and _region(tag.territory)
    if tag.territory and region is None:
        return None
    if region is not None and not tag.script and not _region_is_meant(parts[0], parts, region):
        return None
    if region is None and any(variant.isdecimal() for variant in tag.variants or ()):
        return None  # `de_1901` is a numbered file; `de-DE-1901` is an orthography
    script = tag.script and tag.script.title()
    if not all(_is_registered(part) for part in (script, *(tag.variants or ())) if part):
        return None
    if not 2 <= len(language) <= 3:
        return None
    rest = [*(tag.variants or ()), *(tag.extensions or ()), *([private] if private else [])]
    if modifier and modifier not in scripts:
        rest.append(modifier.lower())
    return Subtags(language, script, region, "-".join(rest).lower())


def likely_script(language: str, region: str | None = None) -> str | None:
    """Return a language's most likely script (in a region) by CLDR; None if CLDR does not say.

    Args:
        language: ISO 639-1 where there is such a code, else ISO 639-3.
        region: As in `Subtags`.
    """
    from langcodes import Language
    from langcodes.data_dicts import LIKELY_SUBTAGS

    if language not in LIKELY_SUBTAGS:
        return None
    return Language.make(language=language, territory=region).maximize().script


@cache
def regional_scripts(language: str) -> frozenset[str]:
    """Return the scripts that CLDR gives for a language in any of its regions."""
    from langcodes.data_dicts import LIKELY_SUBTAGS

    return frozenset(
        full.split("-")[1]
        for tag, full in LIKELY_SUBTAGS.items()
        if tag.partition("-")[0] == language and full.count("-") == 2
    )


def is_language(code: str) -> bool:
    """Whether a code of two or three lower-case letters is registered as a language's, known here or not."""
    return 2 <= len(code) <= 3 and code.islower() and _is_registered(code)


def _is_registered(part: str) -> bool:
    from langcodes.data_dicts import VALIDITY

    return VALIDITY.match(part) is not None


def _belongs_to(extended: str, language: str) -> bool:
    """Whether a language can stand behind another one: Cantonese behind Chinese, `zh-yue`."""
    from langcodes.data_dicts import LANGUAGE_ALPHA3, MACROLANGUAGES

    whole = MACROLANGUAGES.get(extended)
    return whole is not None and language in (whole, LANGUAGE_ALPHA3.get(whole))


def _region(text: str) -> str | None:
    region = text.upper()
    if region == "UK":  # what people write for GB
        return "GB"
    if region == "419":  # Latin America; other numbers are those of files
        return region
    return region if _is_registered(region) and not _PRIVATE_REGION.fullmatch(region) else None


def _region_is_meant(language: str, parts: list[str], region: str) -> bool:
    """Whether the second part of a tag is a region and not a second language."""
    written = next(
        (part for part in parts[1:] if part.upper() in (region, "UK" if region == "GB" else "")), ""
    )
    if len(language) != 2 or len(written) != 2:
        return True
    if written.isupper() and not language.isupper():
        return True
    second, first = written.lower(), language.lower()
    if first == second or not (is_language(second) or second == "uk"):
        return True
    return first in _REGION_IN_LOWER_CASE.get(second, "").split()

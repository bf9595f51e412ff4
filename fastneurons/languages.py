"""Language codes: the spellings that users and files may use, and the short code that fastneurons writes for each.

The short code is ISO 639-1 (`de`), or ISO 639-3 where a language has no such code (`ast`, `yue`, `arz`).
It stands for the language in its usual script; in another one the script is appended (`zh` is written
in Hans, `zh-Hant` is not; `sr` is Cyrillic, `sr-Latn` is not). It understands these, in any case and
with `_` for `-`:

- FLORES codes: `deu_Latn`, `zho_Hans`, `cmn_Hans`, `zho_Hant`;
- ISO 639-3, and 639-2 where it differs: `deu`, `ger`. The variety that data sets take for a whole
  macrolanguage counts as it: `arb` is `ar`, `pes` is `fa`, `cmn` is `zh`. Its others stay apart;
- whole tags of BCP 47 and POSIX locales: `zh-Latn`, `pt-BR`, `zho-TW`, `zh_CN.UTF-8`, `sr_RS@latin`, `hi_rom`;
- what some data sets write: `zh-CHT`, `cz` for `cs`, `du` for `nl`, ...

A script is kept: `zh-Latn` is not `zh`. Regions are dropped: `pt-BR` is `pt`, unless CLDR says that the
language has another script there: `zh-TW` is `zh-Hant`, `sr-ME` is `sr-Latn`, `pa-PK` is `pa-Arab`. Where one
source has both `pt` and `pt-BR`, each reader refuses to take one for the other; `Reading` says what was dropped.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache

from fastneurons.errors import InputError
from fastneurons.language_table import ALIASES, CONFUSED, table_rows
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


def codes_of(names: Iterable[str], where: str) -> dict[str, str]:
    """Return the names that are languages, by short code; ignore all others.

    Args:
        names: Columns of a table, keys of an object.
        where: Where they stand, for the error: `a.tsv:1 has the columns`.
    Raises:
        InputError: two of them are the same language.
    """
    found: dict[str, str] = {}
    for name in names:
        code = short_code(name)
        if code is None:
            continue
        if code in found:
            raise InputError(
                f"{where} {found[code]} and {name}, which are both {code} here; keep one of them"
            )
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
    if folded in CONFUSED:
        return languages[CONFUSED[folded]]
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
    for code, iso, scripts, name in table_rows():
        usual, *others = scripts
        known[code] = Language(code, name, usual, iso[0])
        for script in others:
            known[f"{code}-{script}"] = Language(f"{code}-{script}", f"{name} ({script})", script, iso[0])
    return known


@cache
def _spellings() -> dict[str, str]:
    """Short codes by every folded spelling."""
    spellings: dict[str, str] = {}
    for code, iso, scripts, _ in table_rows():
        for base in (code, *iso):
            spellings[base] = code
            for i, script in enumerate(scripts):
                spellings[f"{base}-{script.casefold()}"] = f"{code}-{script}" if i else code
    for alias, code in ALIASES.items():
        base, _, script = code.partition("-")
        spellings[alias] = code
        if not script:
            spellings |= {
                alias + known.removeprefix(base): to
                for known, to in tuple(spellings.items())
                if known.startswith(f"{base}-")
            }
    return spellings

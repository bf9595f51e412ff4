"""Numbers written in Chinese characters, and the multipliers that East Asian languages write behind digits."""

import re
import unicodedata
from decimal import Decimal

__all__ = ["last_numeral", "multiplier", "read_numeral"]


def read_numeral(text: str, code: str) -> Decimal | None:
    """The value of a text that is a number in Chinese characters and nothing else, such as `三千五百` or `二〇二四`.

    Read are the digits, `十` `百` `千` (and the forms used on cheques), `万` `亿`, `兆` but not in Mainland Chinese,
    where it also means a million; `负` before and `点` within. Each multiplier is less than the one before it in
    its group. In Chinese a last digit without a multiplier belongs to the next lower one (`三万五` is 35000);
    in Japanese it is a unit (`百五` is 105).

    Args:
        code: A short code; None is the answer for any but Chinese languages and Japanese.
    """
    family = _family(code)
    if family not in ("zh", "ja"):
        return None
    plain = text.strip().translate(_PLAIN)
    sign = "-" if plain[:1] in ("负", "負") else ""
    whole, point, fraction = plain[len(sign) :].replace("點", "点").partition("点")
    if (point and not fraction.isdecimal()) or (code == "zh" and "兆" in whole):
        return None
    value = _whole(whole, family)
    return None if value is None else Decimal(f"{sign}{value}{'.' if point else ''}{fraction}")


def last_numeral(text: str, code: str) -> Decimal | None:
    """The last run of a text's characters that `read_numeral` reads."""
    if _family(code) not in ("zh", "ja"):
        return None
    for run in reversed(_RUN.findall(text)):
        value = read_numeral(run, code)
        if value is not None:
            return value
    return None


def multiplier(text: str, position: int, code: str) -> tuple[int, int] | None:
    """The multiplier behind a number that ends at `position`, and where it ends; None if there is none.

    Chinese: `万` `亿` and `万亿`, each perhaps after `十` `百` `千`; `千` alone, unless it is part of a unit of
    measure (`5千克`). Japanese: likewise, and `兆`. Korean: `만` `억`, perhaps after `십` `백` `천`; `천` alone. One
    space before it is allowed.
    """
    pattern = _MULTIPLIERS.get(_family(code))
    match = pattern.match(text, position) if pattern is not None else None
    if match is None:
        return None
    factor = 1
    for character in match[0].strip():
        factor *= _KOREAN.get(character) or int(unicodedata.numeric(character))
    return factor, match.end()


def _family(code: str) -> str:
    base = code.partition("-")[0]
    return "zh" if base in ("yue", "wuu", "hak", "nan") else base


def _whole(text: str, family: str) -> Decimal | None:
    if text.isdecimal():
        return Decimal(
            text
        )  # 二〇二四, digit by digit; int() refuses the thousands of a model that repeats itself
    if family == "zh":
        text = _SHORT.sub(lambda match: match[0] + _NEXT_LOWER[text[match.start() - 1]], text)
    groups = _MYRIADS.fullmatch(text)
    if groups is None or (groups["y"] == "" and groups["wy"] is None):
        return None
    total = 0
    for name, factor in (("z", 10**12), ("wy", 10**12), ("y", 10**8), ("w", 10_000), ("rest", 1)):
        value = _below_myriad(groups[name]) if groups[name] else 0
        if value is None:
            return None
        total += value * factor
    return Decimal(total) if total else None


def _below_myriad(text: str) -> int | None:
    digits = _GROUP.fullmatch(text)
    if digits is None:
        return None
    values = [int(digit or 1) if digit is not None else 0 for digit in digits.groups()]
    return sum(value * factor for value, factor in zip(values, (1000, 100, 10, 1), strict=True))


_CHARACTERS = "〇○零一二两兩三四五六七八九壹贰貳叁參肆伍陆陸柒捌玖十百千拾佰仟万萬亿億兆"
_PLAIN = str.maketrans(_CHARACTERS, "00012223456789122334566789十百千十百千万万亿亿兆")
_RUN = re.compile(f"[负負]?[{_CHARACTERS}]+(?:[点點][{_CHARACTERS}]+)?")
# After `_PLAIN`: digits are 0 to 9.
_GROUP = re.compile(r"0?(?:(\d?)千)?0?(?:(\d?)百)?0?(?:(\d?)十)?0?(\d)?")
_MYRIADS = re.compile(
    "(?:(?P<z>[0-9十百千]+)兆)?(?:(?:(?P<wy>[0-9十百千]+)万(?=[0-9十百千]*亿))?(?P<y>[0-9十百千]*)亿)?"
    "(?:(?P<w>[0-9十百千]+)万)?(?P<rest>[0-9十百千]*)"
)
_SHORT = re.compile("(?<=[百千万亿])[1-9]$")
_NEXT_LOWER = {"百": "十", "千": "百", "万": "千", "亿": "千万"}
_KOREAN = {"십": 10, "백": 100, "천": 1000, "만": 10_000, "억": 10**8}
_MULTIPLIERS = {
    # 千 is also kilo: 克 gram, 米 metre, 瓦 watt, 卡 calorie, 字 byte, 赫 hertz, 帕 pascal, 伏 volt, 焦 joule.
    "zh": re.compile(" ?(?:[十百千]?(?:[万萬][亿億]|[万萬亿億])|千(?![克米瓦卡字赫帕伏焦]))"),
    "ja": re.compile(" ?(?:[十百千]?[万億兆]|千(?!葉))"),
    "ko": re.compile(" ?(?:[십백천]?(?:만(?!큼)|억)|천)"),
}

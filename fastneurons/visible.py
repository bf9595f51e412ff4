"""Untrusted text as one line that cannot act on a terminal and hides nothing.

Ids, file names, headers of stores and error messages of libraries come from elsewhere. On a terminal, their control
characters would move the cursor, set colours or titles, or answer on standard input; direction marks would reorder
what stands around them; invisible characters would make two different texts look the same.
"""

import json
import re
from itertools import accumulate
from typing import Any

# Controls (C0, DEL, C1), line and paragraph separators, lone surrogates (bytes that could not be decoded), and
# non-characters, which XML refuses.
_CONTROLS = (
    "\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
)  # fmt: skip
# Characters without a form of their own (Unicode's Default_Ignorable_Code_Point), which includes all marks of
# direction. Not among them: Arabic signs that are drawn below digits, and the layout of hieroglyphs.
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Scripts whose spelling uses joiners: Arabic and its neighbours, the scripts of India and South East Asia, Mongolian.
_JOINING = (
    "\u0600-\u061b\u061d-\u109f\u1700-\u17b3\u17b6-\u180a\u1810-\u1cff\ua800-\uabff\ufb50-\ufdcf\ufdf0-\ufdff"
    "\ufe70-\ufefc\U00010a00-\U00011fff\U0001e900-\U0001e95f"
)
# Scripts written without spaces, in which a zero width space separates words: Thai to Tibetan, Myanmar, Khmer, Tai.
_UNSPACED = "\u0e00-\u109f\u1780-\u17b3\u17b6-\u17ff\u1950-\u19ff\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"
# Pictures, their skin tones, and U+FE0F, which asks for a coloured picture.
_PICTURES = "\u00a9\u00ae\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"

# Legitimate uses of invisible characters, of which each stands alone, after or between what it belongs to:
# a joiner after a letter or sign of a joining script; a zero width space between letters of unspaced scripts;
# a joiner between pictures; a variation selector after what it varies; fillers in syllables of old Korean.
_LEGITIMATE = re.compile(
    f"(?<=[{_JOINING}])[\u200c\u200d]"
    f"|(?<=[{_UNSPACED}])\u200b(?=[{_UNSPACED}])"
    f"|(?<=[{_PICTURES}\ufe0f])\u200d(?=[{_PICTURES}])"
    f"|(?<=[^\\s{_CONTROLS}{_IGNORABLE}])[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]"
    "|(?<=[\u0590-\u05ff])\u034f(?=[\u0590-\u05ff])"
    "|\u115f(?=[\u1161-\u11a7])|(?<=[\u1100-\u115e])\u1160"
)
_HIDDEN = re.compile(f"[{_CONTROLS}{_IGNORABLE}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str, *, limit: int | None = None) -> str:
    r"""Text as one line with nothing hidden: ESC as `\x1b`, U+202E as `\u202e`, an undecodable byte as `\xff`.

    Text in any script stays as it is, with the joiners of Persian and Indic words. Backslashes stay as they are,
    so this is for people to read, not to be parsed.

    Args:
        text: Any string, lone surrogates included.
        limit: At most this many characters, 60 or more: the middle of a longer text gives way to its length.
    """
    if limit is None or len(text) <= limit:
        shown = _HIDDEN.sub(_form, text)
        if limit is None or len(shown) <= limit:
            return shown
    room = limit - len(_left_out(len(text)))
    # No form is shorter than its character, so the ends of a long text are all that has to be looked at.
    head = _fitting(_forms(text[:room]), room - room // 3)
    tail = _fitting(_forms(text[-room:])[::-1], room // 3)[::-1]
    return "".join(head) + _left_out(len(text) - len(head) - len(tail)) + "".join(tail)


def visible_json(value: Any) -> str:
    r"""A value as JSON text, indented, that is safe to print: control characters and the like are `\uXXXX` in it.

    Bytes that are not UTF-8, which no JSON can hold, are text: `"\\xff"`.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return _HIDDEN.sub(_json_form, text)


def _json_form(match: re.Match[str]) -> str:
    character = match[0]
    if character == "\n" or _LEGITIMATE.match(match.string, match.start()):
        return character  # a line's end is of the indentation: those in texts are escaped
    if "\ud800" <= character <= "\udfff":
        return "\\" + escaped(character)
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"


def _form(match: re.Match[str]) -> str:
    if _LEGITIMATE.match(match.string, match.start()):
        return match[0]
    return escaped(match[0])


def escaped(character: str) -> str:
    r"""A character as Python would write it in a string: `\n`, `\x1b`, `\u202e`; a byte that is not UTF-8 as `\xff`."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    if code < 0x100:
        return _SHORT.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _forms(text: str) -> list[str]:
    """Each character as it is shown."""
    found = (_HIDDEN.match(text, index) for index in range(len(text)))
    return [_form(match) if match else text[index] for index, match in enumerate(found)]


def _fitting(forms: list[str], room: int) -> list[str]:
    """The first forms that fit into so many characters."""
    used = accumulate(map(len, forms))
    return [form for form, end in zip(forms, used, strict=True) if end <= room]


def _left_out(characters: int) -> str:
    return f"[... {characters:,} characters ...]"

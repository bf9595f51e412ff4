"""Detect texts without visible characters."""

import re

# White space, control characters, what Unicode calls default-ignorable (DerivedCoreProperties.txt, Unicode 16), the
# marks of interlinear annotations, and the empty Braille pattern, which is drawn as nothing.
_UNSEEN = re.compile(
    "[\\s\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*"
)
BYTE_ORDER_MARK = "\ufeff"


def emptiness(text: str) -> str | None:
    """Say why a text has nothing to read: `empty`, or its invisible characters; None if it has something."""
    if text[:1].isalnum():  # nearly every text, in a fraction of the time
        return None
    if not text or text.isspace():
        return "empty"
    if _UNSEEN.fullmatch(text) is None:
        return None
    there = dict.fromkeys(f"U+{ord(character):04X}" for character in text if not character.isspace())
    shown = ", ".join(list(there)[:4]) + (", ..." if len(there) > 4 else "")
    return f"empty: all its characters are invisible ({shown})"

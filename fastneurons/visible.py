"""Untrusted text as it can stand in a message."""


def visible(text: str) -> str:
    """A text in one line, with control characters and the like shown as escapes: ESC as `\\x1b`.

    White space of any kind and length becomes one space.
    """
    line = " ".join(text.split())
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in line
    )

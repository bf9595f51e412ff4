"""Print tables and styled text on a terminal, so that untrusted text can do nothing but be shown."""

from collections.abc import Iterable
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from fastneurons.visible import visible


class PlainConsole(Console):
    """A console that ignores markup and emoji codes and shows control characters as text.

    Args:
        stream: Output stream.
        plain_width: Width in columns if the stream is not a terminal.
    """

    def __init__(self, stream: TextIO, plain_width: int | None = None) -> None:
        stream = getattr(stream, "trusted", stream)  # that of a StandardOutput
        width = None if stream.isatty() else plain_width
        super().__init__(file=stream, width=width, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **arguments: Any) -> Text:
        """Make a string visible before rich measures it, so that its width is that of what is shown."""
        return super().render_str(_lines(text), **arguments)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the printed segments, with control characters in rich's own objects made visible, too."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(_lines(segment.text), segment.style)


class PlainTable(Table):
    """A table whose cells are single lines."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(box=SIMPLE_HEAD, pad_edge=False, **arguments)

    def add_row(self, *cells: RenderableType | None, **arguments: Any) -> None:
        """Add a row whose strings are shown literally."""
        super().add_row(*(visible(cell) if isinstance(cell, str) else cell for cell in cells), **arguments)


def _lines(text: str) -> str:
    return "\n".join(visible(line) for line in text.split("\n"))

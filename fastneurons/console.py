"""Tables and styled text for a terminal, in which text from elsewhere is text and nothing more."""

from collections.abc import Iterable
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from fastneurons.visible import visible


class PlainConsole(Console):
    """A console on which markup and emoji codes mean nothing, and control characters are shown.

    Args:
        stream: Where to.
        plain_width: Columns, where the stream is no terminal.
    """

    def __init__(self, stream: TextIO, plain_width: int | None = None) -> None:
        stream = getattr(stream, "trusted", stream)  # that of a StandardOutput
        width = None if stream.isatty() else plain_width
        super().__init__(file=stream, width=width, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **arguments: Any) -> Text:
        """A string as it is printed: here, so that it is measured as it will be seen."""
        return super().render_str(_lines(text), **arguments)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is printed, piece by piece: of rich's own objects, no control character is left either."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(_lines(segment.text), segment.style)


class PlainTable(Table):
    """A table whose cells are single lines."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(box=SIMPLE_HEAD, pad_edge=False, **arguments)

    def add_row(self, *cells: RenderableType | None, **arguments: Any) -> None:
        """As rich's, with strings as they are."""
        super().add_row(*(visible(cell) if isinstance(cell, str) else cell for cell in cells), **arguments)


def _lines(text: str) -> str:
    return "\n".join(visible(line) for line in text.split("\n"))

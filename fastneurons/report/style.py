"""The look of figures, and how they are written: the same input gives the same file."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastneurons.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# An account without a home gets a cache in a temporary folder, which is no news to it.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

ENDINGS = (".png", ".svg", ".pdf")

# Okabe and Ito's palette, apart for all common kinds of colour blindness.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#222222")
ACCENT = "#0072b2"
# Of the categories, in their order: grey for what does not fire.
CATEGORY_COLOURS = ("#7f7f7f", "#d55e00", "#0072b2", "#009e73")
INK = "#222222"
FAINT = "#e4e4e4"
_MOST_LUMINANCE = 0.5  # of a colour that text has

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",  # text stays text: it can be searched and edited
    "svg.hashsalt": "fastneurons",  # the same store gives the same file
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a name with dollar signs is a name
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
}
# No date in the file, for the same reason as the salt.
METADATA: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}

DPI = 200


def check_ending(path: Path) -> None:
    """Raise InputError unless the file's ending names a format that figures can be written in."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path}: the ending must be one of {', '.join(ENDINGS)}")


@contextmanager
def quiet_glyphs() -> Iterator[None]:
    """Silence warnings of letters that the fonts lack: a box is drawn for one, as everybody sees."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        yield


def save(figure: "Figure", path: Path) -> None:
    """Write a figure, within `matplotlib.rc_context(STYLE)`.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        with quiet_glyphs():
            figure.savefig(path, dpi=DPI, metadata=METADATA.get(path.suffix.lower()))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def line_colours(number: int) -> list[str]:
    """Colours for that many lines: the palette while it lasts, then a spectrum dark enough for text on white."""
    if number <= len(COLOURS):
        return list(COLOURS[:number])
    from matplotlib import colormaps  # here: it takes a second to load
    from matplotlib.colors import to_hex

    colours = colormaps["turbo"](np.linspace(0.04, 0.96, number))[:, :3]
    # Yellow and light green would hardly be seen as text on white.
    luminance = colours @ (0.2126, 0.7152, 0.0722)
    return [to_hex(colour) for colour in colours * np.minimum(1, _MOST_LUMINANCE / luminance)[:, None]]


def apart(ends: Sequence[float], gap: float, low: float = -inf, top: float = inf) -> list[float]:
    """Places for labels, as near to `ends` as they can be at least `gap` apart, in their order.

    They lie between `low` and `top`; where there is not enough room between those, they go past `top`.
    """
    order = np.argsort(ends, kind="stable")
    steps = gap * np.arange(len(order))
    # Less its step, a place must not be below the one before: pool those that are to their mean.
    pools: list[list[float]] = []
    for end in np.array(ends, np.float64)[order] - steps:
        pools.append([float(end)])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    level = np.concatenate([np.full(len(pool), np.mean(pool)) for pool in pools])
    places = np.empty(len(order))
    places[order] = np.maximum(np.minimum(level, top - steps[-1]), low) + steps
    return [float(place) for place in places]

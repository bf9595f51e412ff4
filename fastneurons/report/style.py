"""How figures look, and how they are written: the same input gives the same file."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastneurons.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg", ".pdf")

# Okabe and Ito's palette, apart for all common kinds of colour blindness.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#222222")
ACCENT = "#0072b2"
INK = "#222222"
FAINT = "#e4e4e4"

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
    """Raises InputError where a figure cannot be written in the form that the file's ending asks for."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path}: the ending must be one of {', '.join(ENDINGS)}")


def save(figure: "Figure", path: Path) -> None:
    """Write a figure, within `matplotlib.rc_context(STYLE)`.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        with warnings.catch_warnings():
            # A box is drawn for a letter that the font lacks; that it is one, everybody sees.
            warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
            figure.savefig(path, dpi=DPI, metadata=METADATA.get(path.suffix.lower()))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error

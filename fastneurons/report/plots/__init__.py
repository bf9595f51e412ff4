"""A figure for each analysis: of the name of its command and of its function, from the dataset that it returns.

from fastneurons.analysis.categories import categories
from fastneurons.report.plots import draw, figure

found = categories(Selection().of(store))
draw("categories", found, "categories.pdf", width=3.3)
figure("categories", found)  # the matplotlib figure itself
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

from fastneurons.errors import InputError
from fastneurons.report.plots.distributions import draw_distributions
from fastneurons.report.plots.language_neurons import draw_lape
from fastneurons.report.plots.languages import draw_alignment, draw_sharing
from fastneurons.report.plots.neurons import draw_contribution, draw_neurons
from fastneurons.report.plots.shares import draw_categories, draw_compare, draw_recategorise, draw_thresholds
from fastneurons.report.plots.sheet import COLUMN, PAGE, PLOT_STYLE, add_fonts
from fastneurons.report.plots.stability import draw_inactive, draw_repeating
from fastneurons.report.style import check_ending, quiet_glyphs, save

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["COLUMN", "FIGURES", "PAGE", "draw", "figure"]

_DRAW: "dict[str, Callable[[xarray.Dataset, float], Figure]]" = {
    "categories": draw_categories,
    "repeating": draw_repeating,
    "thresholds": draw_thresholds,
    "inactive": draw_inactive,
    "sharing": draw_sharing,
    "recategorise": draw_recategorise,
    "alignment": draw_alignment,
    "neurons": draw_neurons,
    "contribution": draw_contribution,
    "compare": draw_compare,
    "lape": draw_lape,
    "distributions": draw_distributions,
}
FIGURES = tuple(_DRAW)
_LEAST, _MOST = 2.5, 20.0  # inches


def figure(name: str, found: "xarray.Dataset", width: float = PAGE) -> "Figure":
    """Draw an analysis as a matplotlib figure; the caller's matplotlib stays as it is.

    Args:
        name: One of `FIGURES`.
        found: The dataset that the analysis of that name returns; for `categories`, also that of `side_by_side`.
        width: Inches: 3.3 for a column, 7 for a page. The height follows.
    Raises:
        InputError: no such figure, or no such width.
    """
    if name not in _DRAW:
        raise InputError(f"there is no figure {name}; there are {', '.join(FIGURES)}")
    if not _LEAST <= width <= _MOST:
        raise InputError(f"a figure {width:g} inches wide: must be {_LEAST:g} to {_MOST:g}")
    add_fonts()
    with matplotlib.rc_context(PLOT_STYLE), quiet_glyphs():
        return _DRAW[name](found, width)


def draw(name: str, found: "xarray.Dataset", path: str | Path, width: float = PAGE) -> None:
    """Draw an analysis into a file, as `figure` does.

    Args:
        path: The picture to write, ending in .png, .svg or .pdf.
    Raises:
        InputError: as `figure`, another ending, or the file cannot be written.
    """
    check_ending(Path(path))
    drawn = figure(name, found, width)
    with matplotlib.rc_context(PLOT_STYLE):
        save(drawn, Path(path))

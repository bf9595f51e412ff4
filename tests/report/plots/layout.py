"""What is drawn in a figure: its texts and where they lie."""

from itertools import combinations

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg

from fastneurons.report.plots.sheet import PLOT_STYLE
from fastneurons.report.style import quiet_glyphs


def texts(figure):
    """Every text that a viewer sees, after drawing, with its place in pixels."""
    canvas = FigureCanvasAgg(figure)
    with matplotlib.rc_context(PLOT_STYLE), quiet_glyphs():
        canvas.draw()
        found = [*figure.texts]
        for axes in figure.axes:
            if not axes.get_visible():
                continue
            found += [axes.title, axes._left_title, axes._right_title, *axes.texts]
            if not axes.axison:
                continue
            found += [axes.xaxis.label, axes.yaxis.label]
            for axis, place in ((axes.xaxis, 0), (axes.yaxis, 1)):
                low, high = sorted(axis.get_view_interval())
                room = 1e-6 * (high - low)
                found += [
                    label
                    for tick in axis.get_major_ticks()
                    for label in (tick.label1,)
                    if label.get_visible() and low - room <= label.get_position()[place] <= high + room
                ]
        shown = [text for text in found if text.get_visible() and text.get_text().strip()]
        return [(text, text.get_window_extent(canvas.get_renderer())) for text in shown]


def problems(figure):
    """Texts that are cut off at the figure's edge, lie over one another, or are too small to read in print."""
    placed = texts(figure)
    edge = figure.bbox
    found = []
    for text, box in placed:
        if box.x0 < edge.x0 - 1 or box.y0 < edge.y0 - 1 or box.x1 > edge.x1 + 1 or box.y1 > edge.y1 + 1:
            found.append(f"cut off: {text.get_text()!r} at {box.extents.round(1)}")
        if text.get_fontsize() < 6.5:
            found.append(f"small: {text.get_text()!r}, {text.get_fontsize()} points")
    for (one, first), (two, second) in combinations(placed, 2):
        width = min(first.x1, second.x1) - max(first.x0, second.x0)
        height = min(first.y1, second.y1) - max(first.y0, second.y0)
        # Boxes have room for accents and descenders, which may overlap where ink does not.
        if width > 1 and height > 0.25 * min(first.height, second.height):
            found.append(f"over each other: {one.get_text()!r} and {two.get_text()!r}")
    return found

"""A page measured in inches from its top left corner, on a figure of the caller's or its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray

from chiqpm.errors import ChiqpmError
from chiqpm.explain.drawing.colours import INK, PAPER
from chiqpm.explain.drawing.typeface import Typeface

NARROW = 6.5
"""Pages narrower than this, in inches, are laid out in one column, to be read on a phone."""
_WIDEST = 100.0

Box: TypeAlias = tuple[float, float, float, float]
"""x, y, width, height; x, y is the top left corner."""


class Page:
    """Draws on one axes that covers the page, in inches; font sizes and line widths are in points.

    Args:
        width: width of the page in inches.
        height: height of the page in inches.
        typeface: the fonts.
        figure: a figure or subfigure to draw in; the page is scaled to fit into it. None makes a figure of
            the page's size.
    """

    def __init__(
        self, width: float, height: float, typeface: Typeface, figure: Figure | SubFigure | None = None
    ) -> None:
        if figure is None:
            figure = Figure(figsize=(width, height), dpi=150, facecolor=PAPER)
            FigureCanvasAgg(figure)
        self.figure = figure
        self.typeface = typeface
        self.width = width
        self.height = height
        box = figure.bbox
        have_width, have_height = box.width / figure.dpi, box.height / figure.dpi
        self.scale = min(have_width / width, have_height / height)
        share_x, share_y = width * self.scale / have_width, height * self.scale / have_height
        axes = figure.add_axes(((1 - share_x) / 2, (1 - share_y) / 2, share_x, share_y))
        axes.set_axis_off()
        axes.set(xlim=(0.0, width), ylim=(height, 0.0), autoscale_on=False)
        self.axes = axes

    def inset(self, box: Box) -> Axes:
        """Return new axes over a box, in letters of the page's font and scale."""
        x, y, width, height = box
        page = self.axes.get_position(original=True)
        share_x, share_y = page.width / self.width, page.height / self.height
        axes = self.figure.add_axes(
            (page.x0 + x * share_x, page.y0 + (self.height - y - height) * share_y, width * share_x, height * share_y)
        )
        axes.patch.set_alpha(0.0)
        return axes

    def text(
        self,
        x: float,
        y: float,
        lines: str | Sequence[str],
        size: float,
        *,
        colour: str = INK,
        bold: bool = False,
        align: str = "left",
        upright: bool = False,
    ) -> None:
        """Write clean lines; y is the middle of the first one, or the lower end of a line that stands upright."""
        for number, line in enumerate([lines] if isinstance(lines, str) else lines):
            if line:
                self.axes.text(
                    x,
                    y + number * line_height(size),
                    line,
                    fontproperties=self.typeface.properties(size * self.scale, bold=bold),
                    color=colour,
                    ha=align,
                    va="bottom" if upright else "center_baseline",
                    rotation=90.0 if upright else 0.0,
                    parse_math=False,
                )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str,
        edge: str | None = None,
        line: float = 1.0,
        rounding: float = 0.05,
        zorder: float = 2.0,
    ) -> None:
        """Draw a box with round corners; x, y is its top left corner."""
        rounding = min(rounding, width / 2, height / 2)
        self.axes.add_artist(
            FancyBboxPatch(
                (x, y),
                width,
                height,
                boxstyle=f"round,pad=0,rounding_size={rounding}",
                facecolor=fill,
                edgecolor=edge or fill,
                linewidth=line * self.scale if edge else 0.0,
                zorder=zorder,
            )
        )

    def line(self, xs: Sequence[float], ys: Sequence[float], *, colour: str, width: float, zorder: float = 1.0) -> None:
        """Draw a line through points."""
        self.axes.add_artist(
            Line2D(xs, ys, color=colour, linewidth=width * self.scale, zorder=zorder, solid_capstyle="round")
        )

    def image(self, box: Box, pixels: NDArray[np.uint8]) -> None:
        """Show an RGB image in a box."""
        x, y, width, height = box
        picture = AxesImage(
            self.axes, extent=(x, x + width, y + height, y), origin="upper", interpolation="antialiased"
        )
        picture.set_data(pixels)
        picture.set_zorder(2.0)
        self.axes.add_image(picture)

    def outline(
        self,
        box: Box,
        values: NDArray[Any],
        level: float,
        *,
        colour: str,
        dashes: Sequence[float],
        opacity: float,
    ) -> None:
        """Draw the contour of values (H, W), spread over a box, with a rim that shows on any picture."""
        x, y, width, height = box
        rows, columns = values.shape
        contour = self.axes.contour(
            x + (np.arange(columns) + 0.5) * width / columns,
            y + (np.arange(rows) + 0.5) * height / rows,
            values,
            levels=[level],
            colors=[colour],
            linewidths=1.6 * self.scale,
            linestyles=[(0.0, tuple(dashes) or None)],
            alpha=opacity,
            zorder=3.1,
        )
        rim = PathCollection(
            contour.get_paths(),
            facecolors="none",
            edgecolors=PAPER,
            linewidths=2.8 * self.scale,
            alpha=opacity,
            transform=self.axes.transData,
            zorder=3.0,
        )
        self.axes.add_artist(rim)


def check_width(width: float) -> float:
    """Return the margin of a page of some width, in inches.

    Raises:
        ChiqpmError: the page is narrower than 3 inches, or wider than 100.
    """
    if not 3.0 <= width <= _WIDEST:
        raise ChiqpmError(f"a page must be at least 3 inches wide and at most {_WIDEST:g}, received {width}")
    return 0.2 if width < NARROW else 0.35


def line_height(size: float) -> float:
    """Return the distance of two lines of text in inches, for a size in points."""
    return size * 1.32 / 72.0


def root(figure: Figure | SubFigure) -> Figure:
    """Return the figure that a subfigure belongs to."""
    while isinstance(figure, SubFigure):
        figure = figure.figure
    return figure

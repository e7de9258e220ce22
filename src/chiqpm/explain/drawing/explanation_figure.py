"""The figure of one explanation: the image, the set, the path with heat maps, where classes leave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure

from chiqpm.explain.drawing.colours import GREY, PALE
from chiqpm.explain.drawing.header import Header
from chiqpm.explain.drawing.heat import panel_image
from chiqpm.explain.drawing.page import NARROW, Page, check_width, line_height, root
from chiqpm.explain.drawing.pictures import overlay
from chiqpm.explain.drawing.tree import TreeRows, tree_height
from chiqpm.explain.drawing.typeface import Typeface
from chiqpm.explain.values import Explanation

_SMALL = 8.5
_CAPTION = (
    "Read downwards, the strongest feature first. A class leaves the path where its own next-strongest "
    "feature is another. Numbers and width of the path: activation; usual: the feature's mean where it is "
    "active. Green with ✓: in the set."
)


def draw_explanation(
    explanation: Explanation,
    image: Any,
    *,
    examples: Mapping[int, Any] | None = None,
    heading: str = "",
    footnote: str = "",
    width: float = 10.0,
    figure: Figure | SubFigure | None = None,
) -> Figure:
    """Draw why an image got its class and which other classes remain.

    Args:
        explanation: what to draw.
        image: the image as the model saw it (its crop, without the normalisation): a Pillow image, or an
            array (H, W) or (H, W, 3 or 4) of bytes or of floats in [0, 1].
        examples: class index -> an image of that class, shown for the classes of the set.
        heading: a line above the prediction.
        footnote: a line or more at the end.
        width: width of the page in inches, at least 3; below 6.5 everything stands in one column, for phones.
        figure: a figure or subfigure to draw in, on the largest part of it that has the page's proportions;
            None makes one. No state of pyplot is read or changed.

    Returns:
        The figure; its `savefig` writes PNG, SVG or PDF.

    Raises:
        ChiqpmError: an image that can't be shown, or too narrow a page.
    """
    margin = check_width(width)
    names = explanation.class_names
    features = [*(f.name for f in explanation.features), *(b.leaving.name for b in explanation.branches)]
    typeface = Typeface([*names, *features, heading, footnote])
    labels = [typeface.clean_name(name, f"class {index}") for index, name in enumerate(names)]
    header = Header(
        explanation, typeface, labels, examples or {}, image=image, heading=heading, width=width, margin=margin
    )
    room = width - 2 * margin
    notes = typeface.wrap(_CAPTION, room, _SMALL, lines=8)
    notes += typeface.wrap(typeface.clean(footnote), room, _SMALL, lines=6)
    top = header.height + 0.3
    bottom = top + tree_height(explanation, width) + 0.25
    page = Page(width, bottom + scale_height(width) + 0.12 + len(notes) * line_height(_SMALL) + 0.15, typeface, figure)
    header.draw(page)
    page.line((margin, width - margin), (top - 0.16, top - 0.16), colour=PALE, width=0.8)
    TreeRows(page, explanation, labels, top=top, margin=margin).draw(panel_image(image))
    opacity_scale(page, margin, bottom)
    page.text(margin, bottom + scale_height(width) + 0.14, notes, _SMALL, colour=GREY)
    return root(page.figure)


def opacity_scale(page: Page, x: float, y: float) -> None:
    """Draw the bar that tells what the opacity of a heat map means, on a narrow page in two lines."""
    narrow = page.width < NARROW
    words = "Opacity of a heat map:"
    page.text(x, y, words, _SMALL, colour=GREY)
    left = x + page.typeface.width(words, _SMALL) + 0.1
    if narrow:
        left, y = x, y + 0.22
    page.text(left, y, "0", _SMALL, colour=GREY)
    ramp = np.linspace(0.0, 1.0, 64, dtype=np.float32)[None].repeat(8, axis=0)
    grey = np.full((8, 64, 3), 200, np.uint8)
    width = 1.0 if narrow else 1.8
    page.image((left + 0.17, y - 0.07, width, 0.14), overlay(grey, ramp, GREY))
    words = "1, usual or more" if narrow else "1, as active as the feature usually is, or more"
    page.text(left + width + 0.25, y, words, _SMALL, colour=GREY)


def scale_height(width: float) -> float:
    """Return the height of `opacity_scale` in inches on a page of some width."""
    return 0.4 if width < NARROW else 0.18

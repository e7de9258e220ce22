"""The figure of one explanation: the image, the set, the path with heat maps, where classes leave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure

from chiqpm.explain.drawing.colours import GREY, PALE
from chiqpm.explain.drawing.header import Header
from chiqpm.explain.drawing.heat import panel_image
from chiqpm.explain.drawing.page import Page, line_height, root
from chiqpm.explain.drawing.pictures import overlay
from chiqpm.explain.drawing.tree import TreeRows, tree_height
from chiqpm.explain.drawing.typeface import Typeface
from chiqpm.explain.values import Explanation

_WIDTH, _MARGIN = 10.0, 0.35
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
        figure: a figure or subfigure to draw in, on the largest part of it that has the page's proportions;
            None makes one, 10 inches wide. No state of pyplot is read or changed.

    Returns:
        The figure; its `savefig` writes PNG, SVG or PDF.

    Raises:
        ChiqpmError: an image that can't be shown.
    """
    names = explanation.class_names
    features = [*(f.name for f in explanation.features), *(b.leaving.name for b in explanation.branches)]
    typeface = Typeface([*names, *features, heading, footnote])
    labels = [typeface.clean_name(name, f"class {index}") for index, name in enumerate(names)]
    header = Header(explanation, typeface, labels, examples or {}, heading=heading, width=_WIDTH, margin=_MARGIN)
    room = _WIDTH - 2 * _MARGIN
    notes = typeface.wrap(_CAPTION, room, _SMALL, lines=3)
    notes += typeface.wrap(typeface.clean(footnote), room, _SMALL, lines=4)
    top = header.height + 0.3
    bottom = top + tree_height(explanation) + 0.25
    page = Page(_WIDTH, bottom + 0.3 + len(notes) * line_height(_SMALL) + 0.15, typeface, figure)
    header.draw(page, image)
    page.line((_MARGIN, _WIDTH - _MARGIN), (top - 0.16, top - 0.16), colour=PALE, width=0.8)
    TreeRows(page, explanation, labels, top=top, margin=_MARGIN).draw(panel_image(image))
    opacity_scale(page, _MARGIN, bottom)
    page.text(_MARGIN, bottom + 0.32, notes, _SMALL, colour=GREY)
    return root(page.figure)


def opacity_scale(page: Page, x: float, y: float) -> None:
    """Draw the bar that tells what the opacity of a heat map means, on a narrow page in two lines."""
    narrow = scale_height(page.width) > 0.2
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
    page.text(left + width + 0.25, y, "1, as active as the feature usually is", _SMALL, colour=GREY)


def scale_height(width: float) -> float:
    """Return the height of `opacity_scale` in inches on a page of some width."""
    return 0.4 if width < 6.5 else 0.18

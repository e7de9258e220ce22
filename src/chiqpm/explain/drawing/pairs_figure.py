"""The figure of the nearest pairs of classes: what separates each, and how well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure, SubFigure

from chiqpm.errors import ChiqpmError
from chiqpm.explain.drawing.chips import HEIGHT, ChipRows
from chiqpm.explain.drawing.colours import GREY, PALE
from chiqpm.explain.drawing.page import NARROW, Page, check_width, line_height, root
from chiqpm.explain.drawing.pictures import as_rgb, fitted, magnified
from chiqpm.explain.drawing.typeface import Typeface
from chiqpm.explain.model_values import ClassPair, ModelExplanation, SeparatingFeature

_TITLE, _BODY, _SMALL = 14.0, 10.5, 8.5
_THUMB, _GAP = 0.85, 0.12
_CAPTION = (
    "Each class with the features that only it has. Separation: how much more active such a feature is in its class "
    "than in the other one, in standard deviations; under 2 the two are easily taken for each other."
)


def draw_pairs(
    model: ModelExplanation,
    *,
    examples: Mapping[int, Any] | None = None,
    most: int = 8,
    width: float = 10.0,
    figure: Figure | SubFigure | None = None,
) -> Figure:
    """Draw the nearest pairs of classes, the least separated first.

    Args:
        model: the values.
        examples: class index -> an image of that class.
        most: how many pairs at most, at least 1.
        width: width of the page in inches, at least 3; below 6.5 the two classes stand below each other.
        figure: a figure or subfigure to draw in; None makes one.

    Returns:
        The figure.

    Raises:
        ChiqpmError: too narrow a page, no pair to draw, or an image that can't be shown.
    """
    margin = check_width(width)
    pairs = model.pairs[: max(0, most)]
    if not pairs:
        raise ChiqpmError(f"there is no pair to draw: {len(model.pairs)} pairs are known, {most} were asked for")
    narrow = width < NARROW
    room = width - 2 * margin
    features = [f for pair in pairs for f in (*pair.only_a, *pair.only_b)]
    typeface = Typeface([*(n for p in pairs for n in (p.name_a, p.name_b)), *(f.name for f in features)])
    shown = len(pairs)
    title = typeface.wrap("Nearest pairs of classes", room, _TITLE, lines=1, bold=True)
    shared = f"{model.num_pairs} pairs share {pairs[0].shared} of {model.features_per_class} features"
    sentence = typeface.wrap(f"{shared}; here {shown}, the least separated first.", room, _BODY, lines=3)
    caption = typeface.wrap(_CAPTION, room, _SMALL, lines=6)
    row = (2 if narrow else 1) * (_THUMB + _GAP) + 0.12
    top = margin + 0.36 + len(sentence) * line_height(_BODY) + 0.1
    below = top + shown * row + 0.12
    page = Page(width, below + len(caption) * line_height(_SMALL) + 0.2, typeface, figure)
    page.text(margin, margin + 0.1, title, _TITLE, bold=True)
    page.text(margin, margin + 0.42, sentence, _BODY)
    side = room if narrow else (room - 0.3) / 2
    for number, pair in enumerate(pairs):
        y = top + number * row
        page.line((margin, width - margin), (y - 0.1, y - 0.1), colour=PALE, width=0.8)
        _Side(page, pair, examples or {}, first=True).draw(margin, y, side)
        x, y = (margin, y + _THUMB + _GAP) if narrow else (margin + side + 0.3, y)
        _Side(page, pair, examples or {}, first=False).draw(x, y, side)
    page.text(margin, below, caption, _SMALL, colour=GREY)
    return root(page.figure)


class _Side:
    """One class of a pair."""

    def __init__(self, page: Page, pair: ClassPair, examples: Mapping[int, Any], *, first: bool) -> None:
        self._page = page
        self._class, name = (pair.class_a, pair.name_a) if first else (pair.class_b, pair.name_b)
        self._name = page.typeface.clean_name(name, f"class {self._class}")
        self._own: Sequence[SeparatingFeature] = pair.only_a if first else pair.only_b
        self._image = examples.get(self._class)

    def draw(self, x: float, y: float, width: float) -> None:
        page, typeface = self._page, self._page.typeface
        if self._image is not None:
            pixels = magnified(as_rgb(self._image, side=200), 100)
            page.image(fitted(pixels, x, y, _THUMB), pixels)
            x, width = x + _THUMB + 0.14, width - _THUMB - 0.14
        name = typeface.wrap(self._name, width, _BODY, lines=2, bold=True, name=True)
        page.text(x, y + 0.1, name, _BODY, bold=True)
        y += len(name) * line_height(_BODY) + 0.06
        chips = ChipRows(typeface, self._own, width, most=1)
        chips.draw(page, x, y)
        known = [f"{feature.separation:.1f}" for feature in self._own if feature.separation is not None]
        if known:
            words = typeface.shorten(f"separation {', '.join(known)}", width, _SMALL)
            page.text(x, y + HEIGHT + 0.11, words, _SMALL, colour=GREY)

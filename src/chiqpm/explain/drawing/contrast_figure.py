"""The figure of two classes: what they share and what separates them, on images of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.figure import Figure, SubFigure

from chiqpm.errors import ChiqpmError
from chiqpm.explain.contrast import Contrast
from chiqpm.explain.drawing.chips import ChipRows
from chiqpm.explain.drawing.colours import GREY, PALE, feature_colour, ink_on
from chiqpm.explain.drawing.contrast_examples import Example, class_examples
from chiqpm.explain.drawing.explanation_figure import opacity_scale, scale_height
from chiqpm.explain.drawing.heat import heat_panel
from chiqpm.explain.drawing.page import NARROW, Page, check_width, line_height, root
from chiqpm.explain.drawing.typeface import Typeface
from chiqpm.explain.values import Feature

_TITLE, _BODY, _SMALL = 14.0, 10.5, 8.5
_OWN_COLUMNS = 3
_GAP = 0.14
_NAME, _CAPTION = 0.3, 0.2


def draw_contrast(
    contrast: Contrast,
    images_a: Sequence[Any],
    maps_a: Any,
    images_b: Sequence[Any],
    maps_b: Any,
    *,
    features_a: Any = None,
    features_b: Any = None,
    active_mean_K: Any = None,
    width: float = 10.0,
    figure: Figure | SubFigure | None = None,
) -> Figure:
    """Draw what two classes share and what separates them, on example images of both.

    Every row is an image: as it is, with all shared features, and with each feature that only one of the
    classes uses, at most three of a class. With activations and active means opacity tells how certain a
    feature is; without them every map is shown at full strength, and the figure says so.

    Args:
        contrast: the two classes.
        images_a: one to four images of the first class, as `draw_explanation` takes them.
        maps_a: their maps (A, K, H, W).
        images_b: one to four images of the second class.
        maps_b: their maps (B, K, H, W).
        features_a: activations (A, K) of the first class's images.
        features_b: activations (B, K) of the second's.
        active_mean_K: mean of every feature where it is active (K,).
        width: width of the page in inches, at least 3; below 6.5 a class shows one of its own features only.
        figure: a figure or subfigure to draw in; None makes one.

    Returns:
        The figure.

    Raises:
        ChiqpmError: no image or more than four of a class, maps or activations that don't fit the images,
            only some of the activations and active means, an image that can't be shown, or too narrow a page.
    """
    margin = check_width(width)
    room = width - 2 * margin
    given = [value is not None for value in (features_a, features_b, active_mean_K)]
    if any(given) and not all(given):
        raise ChiqpmError("features_a, features_b and active_mean_K belong together: give all three or none")
    features = (*contrast.shared, *contrast.only_a, *contrast.only_b)
    num_features = max((feature.index for feature in features), default=0) + 1
    given_a, given_b = (images_a, maps_a, features_a), (images_b, maps_b, features_b)
    examples_a, examples_b = (
        class_examples(name, images, maps, features=activations, active_mean_K=active_mean_K, num_features=num_features)
        for name, (images, maps, activations) in ((contrast.name_a, given_a), (contrast.name_b, given_b))
    )
    typeface = Typeface([contrast.name_a, contrast.name_b, *(feature.name for feature in features)])
    contrast = replace(
        contrast,
        name_a=typeface.clean_name(contrast.name_a, f"class {contrast.class_a}"),
        name_b=typeface.clean_name(contrast.name_b, f"class {contrast.class_b}"),
    )
    grid = _Grid(typeface, contrast, captions=all(given), width=width, margin=margin)
    heading = f"{contrast.name_a}  or  {contrast.name_b}?"
    title = typeface.wrap(heading, room, _TITLE, lines=2, bold=True, name=True)
    short = replace(
        contrast,
        name_a=typeface.shorten_name(contrast.name_a, 2.6, _BODY),
        name_b=typeface.shorten_name(contrast.name_b, 2.6, _BODY),
    )
    sentence = typeface.wrap(typeface.clean(short.sentence()), room, _BODY, lines=8)
    legend = _Legend(typeface, contrast.shared, room)
    sentence_top = margin + len(title) * line_height(_TITLE)
    legend_top = sentence_top + len(sentence) * line_height(_BODY)
    top = legend_top + legend.height + 0.2
    bottom = top + grid.height(len(examples_a), len(examples_b)) + 0.2
    page = Page(width, bottom + scale_height(width) + 0.12, typeface, figure)
    page.text(margin, margin + 0.1, title, _TITLE, bold=True)
    page.text(margin, sentence_top + 0.14, sentence, _BODY)
    legend.draw(page, margin, legend_top + 0.14)
    grid.draw(page, ((contrast.name_a, examples_a), (contrast.name_b, examples_b)), top)
    if all(given):
        opacity_scale(page, margin, bottom)
    else:
        page.text(margin, bottom, "Every heat map is scaled to its own maximum.", _SMALL, colour=GREY)
    return root(page.figure)


@dataclass(frozen=True)
class _Block:
    """Neighbouring columns under one head; a column shows some features together, or none of them."""

    head: str
    columns: tuple[tuple[Feature, ...], ...]
    chips: bool = False


class _Grid:
    """Rows of images, columns of features."""

    def __init__(self, typeface: Typeface, contrast: Contrast, *, captions: bool, width: float, margin: float) -> None:
        self._typeface, self._width, self._margin = typeface, width, margin
        own = _OWN_COLUMNS if width >= NARROW else 1
        self._blocks = [
            _Block("image", ((),)),
            _Block("shared", (contrast.shared,) if contrast.shared else ()),
            _own_block(contrast.name_a, contrast.only_a, own),
            _own_block(contrast.name_b, contrast.only_b, own),
        ]
        self._columns = [column for block in self._blocks for column in block.columns]
        self._side = min(2.2, (width - 2 * margin + _GAP) / len(self._columns) - _GAP)
        self._head_lines = [
            typeface.wrap(block.head, self._span(block), 9.0, lines=3, bold=True, name=True) if block.columns else []
            for block in self._blocks
        ]
        self._chip_top = max(map(len, self._head_lines)) * line_height(9.0) + 0.06
        self._step = self._side + (_CAPTION if captions else 0.0) + 0.08

    def height(self, *rows: int) -> float:
        """Return the height in inches for so many rows of each class."""
        return self._chip_top + 0.39 + sum(_NAME + number * self._step for number in rows)

    def draw(self, page: Page, groups: Sequence[tuple[str, Sequence[Example]]], top: float) -> None:
        """Draw the grid from `top` on."""
        x = self._margin
        for block, lines in zip(self._blocks, self._head_lines, strict=True):
            self._heads(page, block, lines, x=x, y=top)
            x += len(block.columns) * (self._side + _GAP)
        y = top + self._chip_top + 0.39
        for name, examples in groups:
            page.line((self._margin, self._width - self._margin), (y + 0.01, y + 0.01), colour=PALE, width=0.8)
            label = self._typeface.shorten_name(name, self._width - 2 * self._margin, _BODY, bold=True)
            page.text(self._margin, y + 0.15, label, _BODY, bold=True)
            y += _NAME
            for example in examples:
                self._row(page, example, y)
                y += self._step

    def _span(self, block: _Block) -> float:
        return len(block.columns) * (self._side + _GAP) - _GAP

    def _heads(self, page: Page, block: _Block, lines: list[str], *, x: float, y: float) -> None:
        page.text(x, y + 0.1, lines, 9.0, bold=True)
        for column, features in enumerate(block.columns if block.chips else ()):
            left, colour = x + column * (self._side + _GAP), feature_colour(features[0].index)
            label = self._typeface.clean_label(features[0])
            label = self._typeface.shorten_name(label, self._side - 0.14, 9.5, bold=True)
            page.box(left, y + self._chip_top, self._side, 0.25, fill=colour)
            middle = left + self._side / 2
            page.text(middle, y + self._chip_top + 0.125, label, 9.5, bold=True, colour=ink_on(colour), align="center")

    def _row(self, page: Page, example: Example, y: float) -> None:
        for number, features in enumerate(self._columns):
            x = self._margin + number * (self._side + _GAP)
            heat_panel(page, example.image, example.layers(features), x=x, y=y, side=self._side)
            caption = example.caption(features)
            if self._typeface.width(caption, _SMALL) > self._side:
                caption = caption.removesuffix("× usual")
            page.text(x + self._side / 2, y + self._side + 0.11, caption, _SMALL, align="center")


class _Legend:
    """The shared features as chips."""

    def __init__(self, typeface: Typeface, features: Sequence[Feature], room: float) -> None:
        indent = typeface.width("Shared:", _BODY, bold=True) + 0.1
        self._rows = ChipRows(typeface, features, room, indent=indent)
        self.height = self._rows.height + 0.17 if features else 0.05

    def draw(self, page: Page, left: float, top: float) -> None:
        """Draw the chips from `top` on."""
        if self._rows.rows:
            page.text(left, top + 0.1, "Shared:", _BODY, bold=True)
        self._rows.draw(page, left, top)


def _own_block(name: str, features: Sequence[Feature], most: int) -> _Block:
    shown = tuple((feature,) for feature in features[:most])
    note = f" ({len(shown)} of {len(features)})" if len(shown) < len(features) else ""
    return _Block(f"only {name}{note}", shown, chips=True)

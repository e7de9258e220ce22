"""The top of an explanation's figure: the image, the prediction in words, and the set with examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from chiqpm.explain.drawing.colours import GREY, INK, PALE, SET_FILL, SET_GREEN
from chiqpm.explain.drawing.page import NARROW, Box, Page, line_height
from chiqpm.explain.drawing.pictures import as_rgb, fitted, magnified
from chiqpm.explain.drawing.typeface import Typeface
from chiqpm.explain.values import Explanation
from chiqpm.explain.wording import percent, set_sentence

_IMAGE = 2.45
_CARD, _GAP, _CARDS = 1.2, 0.13, 5
_TITLE, _BODY, _NAME = 15.0, 10.5, 8.5
_CHIP_STEP, _CHIP_LINES = 0.25, 4


class Header:
    """Lays the header out on construction, so that its height is known before the page is made.

    Args:
        explanation: what to draw.
        typeface: the fonts.
        class_labels: the classes' names as they can be drawn.
        examples: class index -> an image of that class.
        image: the image.
        heading: a line above the prediction, or "".
        width: width of the page in inches.
        margin: free space at all sides, in inches.
    """

    def __init__(
        self,
        explanation: Explanation,
        typeface: Typeface,
        class_labels: Sequence[str],
        examples: Mapping[int, Any],
        *,
        image: Any,
        heading: str,
        width: float,
        margin: float,
    ) -> None:
        self._explanation = explanation
        self._labels = class_labels
        self._margin = margin
        narrow = width < NARROW
        self._image = magnified(as_rgb(image, side=480), 240)
        x, _, image_width, image_height = fitted(self._image, margin, margin, _IMAGE)
        self._image_box = (margin if narrow else x, margin, image_width, image_height)
        # Beside the image, or on a narrow page below it.
        self._left = margin if narrow else margin + _IMAGE + 0.35
        self._text_top = margin + (image_height + 0.2 if narrow else 0.0)
        self._room = room = width - margin - self._left
        self._cards_shown = max(3, min(_CARDS, int((room + _GAP) / (_CARD + _GAP))))
        self._card = min(_CARD, (room + _GAP) / self._cards_shown - _GAP)
        self._heading = typeface.shorten(typeface.clean(heading), room, 9.5)
        title = f"Predicted: {class_labels[explanation.predicted]}"
        self._title = typeface.wrap(title, room, _TITLE, lines=2, bold=True, name=True)
        self._truth, self._right = self._true_class(typeface)
        self._sentence = typeface.wrap(self._words(typeface), room, _BODY, lines=9 if narrow else 5)
        self._examples = {c: examples[c] for c in explanation.set_classes if c in examples}
        self._set_top = (
            self._text_top
            + (0.24 if heading else 0.0)
            + len(self._title) * line_height(_TITLE)
            + (0.27 if self._truth else 0.06)
            + len(self._sentence) * line_height(_BODY)
            + 0.16
        )
        self.height = (
            max(margin if narrow else margin + _IMAGE, self._set_top + 0.18 + self._set_height(typeface)) + 0.1
        )

    def draw(self, page: Page) -> None:
        """Draw it at the top of a page."""
        page.image(self._image_box, self._image)
        y = self._text_top
        if self._heading:
            page.text(self._left, y + 0.06, self._heading, 9.5, colour=GREY)
            y += 0.24
        page.text(self._left, y + 0.12, self._title, _TITLE, bold=True)
        y += len(self._title) * line_height(_TITLE)
        if self._truth:
            page.text(self._left, y + 0.1, self._truth, _BODY, bold=True, colour=SET_GREEN if self._right else INK)
            y += 0.21
        page.text(self._left, y + 0.16, self._sentence, _BODY)
        self._set(page)

    def _words(self, typeface: Typeface) -> str:
        """The sentence about the set, with names short enough to leave room for what it says of them."""
        names = list(self._labels)
        for index in (self._explanation.predicted, *self._explanation.set_classes[:4]):
            names[index] = typeface.shorten_name(names[index], 2.6, _BODY)
        return typeface.clean(set_sentence(replace(self._explanation, class_names=tuple(names))))

    def _true_class(self, typeface: Typeface) -> tuple[str, bool]:
        true_class = self._explanation.true_class
        if true_class is None:
            return "", False
        right = true_class == self._explanation.predicted
        mark = "✓ right" if right else "✗ wrong"
        if not right and true_class in self._explanation.set_classes:
            mark += ", but in the set ✓"
        room = self._room - typeface.width(f"  {mark}", _BODY, bold=True)
        name = typeface.shorten_name(f"True class: {self._labels[true_class]}", room, _BODY, bold=True)
        return f"{name}  {mark}", right

    def _set_height(self, typeface: Typeface) -> float:
        if not self._explanation.set_classes:
            return 0.1
        if self._examples:
            return self._card + 0.08 + 2 * line_height(_NAME)
        return len(self._chips(typeface)) * _CHIP_STEP

    def _set(self, page: Page) -> None:
        size, total = len(self._explanation.set_classes), len(self._labels)
        words = f"Set at {percent(self._explanation.coverage)}: {size or 'none'} of {total} classes"
        page.text(self._left, self._set_top, words, _BODY, bold=True, colour=SET_GREEN)
        top = self._set_top + 0.18
        if self._examples:
            self._cards(page, top)
            return
        for row, chips in enumerate(self._chips(page.typeface)):
            x, y = self._left, top + row * _CHIP_STEP
            for words, width in chips:
                if words.startswith("✓"):
                    page.box(x, y, width, 0.2, fill=SET_FILL, edge=SET_GREEN, line=1.2)
                page.text(x + width / 2, y + 0.1, words, 9.0, bold=True, colour=SET_GREEN, align="center")
                x += width + 0.08

    def _cards(self, page: Page, top: float) -> None:
        members, card = self._explanation.set_classes, self._card
        shown = members if len(members) <= self._cards_shown else members[: self._cards_shown - 1]
        for number, index in enumerate(shown):
            x = self._left + number * (card + _GAP)
            if index in self._examples:
                pixels = magnified(as_rgb(self._examples[index], side=240), 120)
                box = fitted(pixels, x, top, card)
                page.box(*_rim(box, 0.03), fill=SET_GREEN, rounding=0.0, zorder=1.0)
                page.image(box, pixels)
            else:
                page.box(x, top, card, card, fill=PALE, rounding=0.0)
                page.text(x + card / 2, top + card / 2, "no example", _NAME, colour=GREY, align="center")
            bold = index == self._explanation.predicted
            name = page.typeface.wrap(f"✓ {self._labels[index]}", card + 0.05, _NAME, lines=2, bold=bold, name=True)
            page.text(x + card / 2, top + card + 0.13, name, _NAME, colour=SET_GREEN, bold=bold, align="center")
        if len(shown) < len(members):
            x = self._left + len(shown) * (card + _GAP)
            lines = [f"and {len(members) - len(shown)}", "more classes"]
            page.text(
                x + card / 2,
                top + card / 2 - 0.09,
                lines,
                _BODY,
                bold=True,
                colour=SET_GREEN,
                align="center",
            )

    def _chips(self, typeface: Typeface) -> list[list[tuple[str, float]]]:
        """The set's names in rows, each with its width; what doesn't fit is counted at the end."""
        rows: list[list[tuple[str, float]]] = [[]]
        members, x = self._explanation.set_classes, 0.0
        for number, index in enumerate(members):
            words = typeface.shorten_name(f"✓ {self._labels[index]}", 2.6, 9.0, bold=True)
            width = typeface.width(words, 9.0, bold=True) + 0.14
            # Room for the count is kept free at the end of the last row.
            room = self._room - (1.3 if len(rows) == _CHIP_LINES else 0.0)
            if rows[-1] and x + width > room:
                if len(rows) == _CHIP_LINES:
                    words = f"and {len(members) - number} more"
                    rows[-1].append((words, typeface.width(words, 9.0, bold=True) + 0.06))
                    return rows
                rows.append([])
                x = 0.0
            rows[-1].append((words, width))
            x += width + 0.08
        return rows


def _rim(box: Box, by: float) -> Box:
    x, y, width, height = box
    return x - by, y - by, width + 2 * by, height + 2 * by

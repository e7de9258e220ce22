"""Features as coloured chips: in rows under each other, or one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chiqpm.explain.drawing.colours import GREY, feature_colour, ink_on
from chiqpm.explain.drawing.page import Page
from chiqpm.explain.drawing.typeface import Typeface
from chiqpm.explain.values import Feature

SIZE = 9.0
HEIGHT = 0.2
STEP = 0.25
_PAD, _GAP, _WIDEST = 0.14, 0.08, 2.0


class _Chip(NamedTuple):
    x: float
    row: int
    width: float
    label: str
    feature: int


class ChipRows:
    """Rows of chips, laid out on construction.

    Args:
        typeface: the fonts.
        features: what to show.
        room: width of a row in inches.
        indent: where the first row begins.
        most: how many rows at most; a note at the end counts what is left.
    """

    def __init__(
        self, typeface: Typeface, features: Sequence[Feature], room: float, *, indent: float = 0.0, most: int = 99
    ) -> None:
        self._chips: list[_Chip] = []
        self._note: tuple[float, int, str] | None = None
        x, row = indent, 0
        for number, feature in enumerate(features):
            label = typeface.shorten_name(typeface.clean_label(feature), min(_WIDEST, room - _PAD), SIZE)
            width = typeface.width(label, SIZE) + _PAD
            note = f"+{len(features) - number}"
            last = row == most - 1
            needed = width + (typeface.width(note, SIZE) + _GAP if last and number < len(features) - 1 else 0.0)
            if x > 0 and x + needed > room:
                if last:
                    self._note = (x, row, note)
                    break
                x, row = 0.0, row + 1
            self._chips.append(_Chip(x, row, width, label, feature.index))
            x += width + _GAP
        self.rows = row + 1 if features else 0
        self.height = self.rows * STEP - (STEP - HEIGHT) if features else 0.0

    def draw(self, page: Page, left: float, top: float) -> None:
        """Draw the chips from `top` on."""
        for chip in self._chips:
            draw_chip(
                page, left + chip.x, top + chip.row * STEP, width=chip.width, label=chip.label, index=chip.feature
            )
        if self._note is not None:
            x, row, note = self._note
            page.text(left + x, top + row * STEP + HEIGHT / 2, note, SIZE, colour=GREY)


def draw_chip(page: Page, x: float, y: float, *, width: float, label: str, index: int, bold: bool = False) -> None:
    """Draw one chip; x, y is its top left corner."""
    colour = feature_colour(index)
    page.box(x, y, width, HEIGHT, fill=colour, rounding=0.04)
    page.text(x + width / 2, y + HEIGHT / 2, label, SIZE, bold=bold, colour=ink_on(colour), align="center")

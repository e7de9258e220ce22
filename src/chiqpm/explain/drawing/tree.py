"""The tree of a sample as rows, read downwards: the features of the path, and who leaves before each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chiqpm.explain.drawing.colours import GREY, INK, PALE, PAPER, SET_FILL, SET_GREEN, feature_colour, ink_on
from chiqpm.explain.drawing.heat import Layer, heat_panel
from chiqpm.explain.drawing.page import NARROW, Page
from chiqpm.explain.values import Branch, Explanation, FeatureEvidence
from chiqpm.explain.wording import count

_CHIP_HEIGHT = 0.42
_LINE_STEP = 0.225
_LINES = 5


@dataclass(frozen=True)
class _Geometry:
    """Where things stand, in inches; heights from the top of a row.

    Attributes:
        row: height of a row.
        spine: where the path runs.
        chip_left: left end of the box of a feature.
        chip_width: its width.
        chip_top: its upper end.
        panel_side: side of the heat map's square, which stands at the left margin.
        panel_top: its upper end.
        enters: where the path ends above a feature.
        leaves: where it goes on.
        branch: left end of the classes that leave.
        first: middle of their first line.
    """

    row: float
    spine: float
    chip_left: float
    chip_width: float
    chip_top: float
    panel_side: float
    panel_top: float
    enters: float
    leaves: float
    branch: float
    first: float

    @classmethod
    def of(cls, explanation: Explanation, level: int, width: float, margin: float) -> _Geometry:
        """Three columns on a wide page; on a narrow one a feature stands under the classes that leave before it."""
        if width < NARROW:
            lines = min(_LINES - 1, len(explanation.leaving_at(level)))
            side, top = 1.1, 0.3 + _LINE_STEP * lines
            left = margin + side + 0.15
            return cls(
                row=top + side + 0.13,
                spine=margin + side / 2,
                chip_left=left,
                chip_width=width - margin - left,
                chip_top=top + side / 2 - _CHIP_HEIGHT / 2,
                panel_side=side,
                panel_top=top,
                enters=top + side / 2,
                leaves=top + side / 2,
                branch=left,
                first=0.10,
            )
        row = 1.44 if len(explanation.features) <= 5 else 1.3
        side, spine, chip_top = row - 0.12, margin + 2.7, 0.56
        return cls(
            row=row,
            spine=spine,
            chip_left=spine - 1.15,
            chip_width=2.3,
            chip_top=chip_top,
            panel_side=side,
            panel_top=chip_top + _CHIP_HEIGHT / 2 - side / 2,
            enters=chip_top,
            leaves=chip_top + _CHIP_HEIGHT,
            branch=spine + 1.67,
            first=0.33,
        )


class TreeRows:
    """Draws the rows.

    Args:
        page: the page.
        explanation: what to draw.
        class_labels: the classes' names as they can be drawn.
        top: where the first row begins, in inches.
        margin: free space at both sides, in inches.
    """

    def __init__(
        self, page: Page, explanation: Explanation, class_labels: Sequence[str], *, top: float, margin: float
    ) -> None:
        self._page = page
        self._explanation = explanation
        self._labels = class_labels
        self._members = frozenset(explanation.set_classes)
        self._top = top
        self._margin = margin
        self._at = _Geometry.of(explanation, 0, page.width, margin)
        self._strongest = max([1e-9, *(feature.activation for feature in explanation.features)])

    def draw(self, image: NDArray[np.uint8]) -> None:
        """Draw all rows and the prediction at their end; `image` comes from `panel_image`."""
        y, previous = self._top, self._top + 0.10
        for level, feature in enumerate(self._explanation.features):
            at = self._at = _Geometry.of(self._explanation, level, self._page.width, self._margin)
            self._spine(previous, y + at.enters, feature)
            self._left(level, y)
            self._leavers(level, y)
            self._node(feature, y)
            self._panel(feature, image, y)
            previous, y = y + at.leaves, y + at.row
        end, spine = y, self._at.spine
        colour = SET_GREEN if self._holds_prediction else GREY
        self._page.line((spine, spine), (previous, end + 0.4), colour=colour, width=3.0)
        self._left(len(self._explanation.features), end)
        self._leaf(end + 0.36)

    @property
    def _holds_prediction(self) -> bool:
        return self._explanation.predicted in self._members

    def _spine(self, start: float, end: float, feature: FeatureEvidence) -> None:
        share = max(0.0, feature.activation) / self._strongest
        spine, colour = self._at.spine, feature_colour(feature.index)
        self._page.line((spine, spine), (start, end), colour=colour, width=1.5 + 9.0 * share)

    def _left(self, level: int, y: float) -> None:
        number = self._explanation.classes_left[level]
        words = f"all {number} classes" if level == 0 else f"{count(number, 'class', 'classes')} left"
        if self._page.width < NARROW:
            words = f"all {number}" if level == 0 else f"{number} left"
        page, size, spine = self._page, 9.0, self._at.spine
        width = page.typeface.width(words, size, bold=True) + 0.2
        # On a narrow page the path runs near the margin.
        left = max(self._margin, spine - width / 2)
        page.box(left, y - 0.01, width, 0.22, fill=PAPER, edge=GREY, line=0.8, rounding=0.11)
        page.text(left + width / 2, y + 0.10, words, size, bold=True, align="center")

    def _node(self, feature: FeatureEvidence, y: float) -> None:
        page, colour = self._page, feature_colour(feature.index)
        at, ink = self._at, ink_on(colour)
        left, width, top = at.chip_left, at.chip_width, y + at.chip_top
        middle, under = left + width / 2, top + _CHIP_HEIGHT + 0.045
        page.box(left, top, width, _CHIP_HEIGHT, fill=colour, rounding=0.07)
        label = page.typeface.shorten_name(page.typeface.clean_label(feature), width - 0.16, 10.5, bold=True)
        page.text(middle, top + 0.125, label, 10.5, bold=True, colour=ink, align="center")
        values = f"{feature.activation:.2f}, {feature.strength:.2f}× usual"
        page.text(middle, top + 0.30, values, 9.0, colour=ink, align="center")
        page.box(left, under, width, 0.075, fill=PAPER, edge=PALE, line=0.7, rounding=0.0)
        if feature.strength > 0.0:
            page.box(left, under, width * min(1.0, feature.strength), 0.075, fill=colour, rounding=0.0)

    def _panel(self, feature: FeatureEvidence, image: NDArray[np.uint8], y: float) -> None:
        at, middle = self._at, y + self._at.chip_top + _CHIP_HEIGHT / 2
        ends = (self._margin + at.panel_side / 2, at.chip_left + at.chip_width / 2)
        self._page.line(ends, (middle, middle), colour=feature_colour(feature.index), width=1.2)
        layers = [Layer(feature.index, feature.map_HW, feature.strength)]
        heat_panel(self._page, image, layers, x=self._margin, y=y + at.panel_top, side=at.panel_side)

    def _leavers(self, level: int, y: float) -> None:
        branches = sorted(self._explanation.leaving_at(level), key=lambda branch: not branch.in_set)
        page, first, left = self._page, y + self._at.first, self._at.branch
        leaving = sum(len(branch.classes) for branch in branches)
        if not branches:
            page.text(left, first, "no class leaves here", 9.0, colour=GREY)
            return
        any_in_set = bool(branches[0].in_set)
        page.line(
            (self._at.spine, left - 0.08),
            (first, first),
            colour=SET_GREEN if any_in_set else GREY,
            width=3.0 if any_in_set else 1.0,
            zorder=0.5,
        )
        verb = "leaves" if leaving == 1 else "leave"
        room = page.width - self._margin - left
        words = f"{count(leaving, 'class', 'classes')} {verb} here, going on with:"
        if page.typeface.width(words, 9.0) > room:
            words = f"{count(leaving, 'class', 'classes')} {verb} with:"
        page.text(left, first, words, 9.0, colour=GREY)
        shown = branches if len(branches) < _LINES else branches[: _LINES - 2]
        for number, branch in enumerate(shown, start=1):
            self._branch(branch, first + number * _LINE_STEP)
        rest = branches[len(shown) :]
        if rest:
            hidden = sum(len(branch.classes) for branch in rest)
            marked = sum(len(branch.in_set) for branch in rest)
            words = f"… {hidden} more with {count(len(rest), 'other feature', 'other features')}"
            if page.typeface.width(words + _marked(marked, hidden), 9.0) > room:
                words = f"… {hidden} more"
            colour = SET_GREEN if marked else GREY
            page.text(left, first + (_LINES - 1) * _LINE_STEP, words + _marked(marked, hidden), 9.0, colour=colour)

    def _branch(self, branch: Branch, y: float) -> None:
        page, typeface, size = self._page, self._page.typeface, 9.0
        colour = feature_colour(branch.leaving.index)
        value, left = f" {branch.leaving.activation:.2f}", self._at.branch
        widest = 0.36 * (page.width - self._margin - left)
        label = (
            typeface.shorten_name(typeface.clean_label(branch.leaving), widest - typeface.width(value, 8.5), 8.5)
            + value
        )
        width = typeface.width(label, 8.5) + 0.12
        page.box(left, y - 0.09, width, 0.18, fill=colour, rounding=0.04)
        page.text(left + width / 2, y, label, 8.5, colour=ink_on(colour), align="center")
        members = self._members
        ordered = [*branch.in_set, *(c for c in branch.classes if c not in members)]
        x, end, brief = left + width + 0.08, page.width - self._margin, page.width < NARROW
        for number, index in enumerate(ordered):
            note = _rest(ordered[number + 1 :], members, brief=brief)
            room = end - x - (typeface.width(note, size) + 0.1 if note else 0.0)
            taken = self._class_name(index, x, y, room, must_fit=number > 0)
            if not taken:
                page.text(
                    x,
                    y,
                    _rest(ordered[number:], members, brief=brief),
                    size,
                    colour=SET_GREEN if index in members else GREY,
                )
                return
            x += taken
            if note and index not in members:
                page.text(x - 0.05, y, "·", size, colour=GREY, align="center")
                x += 0.05

    def _class_name(self, index: int, x: float, y: float, room: float, *, must_fit: bool) -> float:
        """Write one class and return the width it took, 0 where it must fit as it is and doesn't."""
        page, size, in_set = self._page, 9.0, index in self._members
        name, pad = ("✓ " if in_set else "") + self._labels[index], 0.12 if in_set else 0.0
        if must_fit and page.typeface.width(name, size, bold=in_set) > room - pad:
            return 0.0
        name = page.typeface.shorten_name(name, room - pad, size, bold=in_set)
        width = page.typeface.width(name, size, bold=in_set) + pad
        if in_set:
            page.box(x, y - 0.095, width, 0.19, fill=SET_FILL, edge=SET_GREEN, line=1.2, rounding=0.05)
        page.text(x + pad / 2, y, name, size, colour=SET_GREEN if in_set else INK, bold=in_set)
        return width + 0.1

    def _leaf(self, y: float) -> None:
        page = self._page
        mark, fill, edge = ("✓ ", SET_GREEN, SET_GREEN) if self._holds_prediction else ("not in the set: ", GREY, GREY)
        spine, end = self._at.spine, page.width - self._margin
        narrow = page.width < NARROW
        room = end - self._margin - 0.3 if narrow else 2 * (spine - self._margin) - 0.3
        name = page.typeface.shorten_name(mark + self._labels[self._explanation.predicted], room, 11.0, bold=True)
        width = page.typeface.width(name, 11.0, bold=True) + 0.3
        left = self._margin if narrow else spine - width / 2
        page.box(left, y, width, 0.32, fill=fill, edge=edge, rounding=0.08)
        page.text(left + width / 2, y + 0.16, name, 11.0, bold=True, colour=PAPER, align="center")


def tree_height(explanation: Explanation, width: float) -> float:
    """Return the height of all rows and the prediction under them on a page of some width, in inches."""
    levels = range(len(explanation.features))
    return sum(_Geometry.of(explanation, level, width, 0.0).row for level in levels) + 0.7


def _marked(in_set: int, hidden: int) -> str:
    if not in_set:
        return ""
    return " (all ✓)" if in_set == hidden else f" ({in_set} of them ✓)"


def _rest(hidden: Sequence[int], members: frozenset[int], *, brief: bool) -> str:
    if not hidden:
        return ""
    marked = sum(c in members for c in hidden)
    if not brief:
        return f"+{len(hidden)} more" + _marked(marked, len(hidden))
    return f"+{len(hidden)}" + (" ✓" if marked == len(hidden) else f" ({marked} ✓)" if marked else "")

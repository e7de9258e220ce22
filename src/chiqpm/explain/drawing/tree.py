"""The tree of a sample as rows, read downwards: the features of the path, and who leaves before each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chiqpm.explain.drawing.colours import GREY, INK, PALE, PAPER, SET_FILL, SET_GREEN, feature_colour, ink_on
from chiqpm.explain.drawing.heat import Layer, heat_panel
from chiqpm.explain.drawing.page import Page
from chiqpm.explain.values import Branch, Explanation, FeatureEvidence
from chiqpm.explain.wording import count

_SPINE = 3.05
_CHIP_WIDTH, _CHIP_HEIGHT = 2.3, 0.42
_CHIP_TOP = 0.56
_LEAVE = 0.33
_BRANCH = 4.72
_LINE_STEP = 0.225
_LINES = 5


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
        self._row = row_height(explanation)
        self._strongest = max([1e-9, *(feature.activation for feature in explanation.features)])

    def draw(self, image: NDArray[np.uint8]) -> None:
        """Draw all rows and the prediction at their end; `image` comes from `panel_image`."""
        previous = self._top + 0.10
        for level, feature in enumerate(self._explanation.features):
            y = self._top + level * self._row
            self._spine(previous, y + _CHIP_TOP, feature)
            self._left(level, y)
            self._leavers(level, y)
            self._node(feature, y)
            self._panel(feature, image, y)
            previous = y + _CHIP_TOP + _CHIP_HEIGHT
        end = self._top + len(self._explanation.features) * self._row
        self._page.line(
            (_SPINE, _SPINE),
            (previous, end + 0.4),
            colour=SET_GREEN if self._holds_prediction else GREY,
            width=3.0,
        )
        self._left(len(self._explanation.features), end)
        self._leaf(end + 0.36)

    @property
    def _holds_prediction(self) -> bool:
        return self._explanation.predicted in self._members

    def _spine(self, start: float, end: float, feature: FeatureEvidence) -> None:
        share = max(0.0, feature.activation) / self._strongest
        self._page.line((_SPINE, _SPINE), (start, end), colour=feature_colour(feature.index), width=1.5 + 9.0 * share)

    def _left(self, level: int, y: float) -> None:
        number = self._explanation.classes_left[level]
        words = f"all {number} classes" if level == 0 else f"{count(number, 'class', 'classes')} left"
        page, size = self._page, 9.0
        width = page.typeface.width(words, size, bold=True) + 0.2
        page.box(_SPINE - width / 2, y - 0.01, width, 0.22, fill=PAPER, edge=GREY, line=0.8, rounding=0.11)
        page.text(_SPINE, y + 0.10, words, size, bold=True, align="center")

    def _node(self, feature: FeatureEvidence, y: float) -> None:
        page, colour = self._page, feature_colour(feature.index)
        ink, left, top = ink_on(colour), _SPINE - _CHIP_WIDTH / 2, y + _CHIP_TOP
        page.box(left, top, _CHIP_WIDTH, _CHIP_HEIGHT, fill=colour, rounding=0.07)
        label = page.typeface.shorten_name(page.typeface.clean_label(feature), _CHIP_WIDTH - 0.16, 10.5, bold=True)
        page.text(_SPINE, top + 0.125, label, 10.5, bold=True, colour=ink, align="center")
        values = f"{feature.activation:.2f}, {feature.strength:.2f} of usual"
        page.text(_SPINE, top + 0.30, values, 9.0, colour=ink, align="center")
        page.box(
            left,
            top + _CHIP_HEIGHT + 0.045,
            _CHIP_WIDTH,
            0.075,
            fill=PAPER,
            edge=PALE,
            line=0.7,
            rounding=0.0,
        )
        if feature.strength > 0.0:
            page.box(
                left,
                top + _CHIP_HEIGHT + 0.045,
                _CHIP_WIDTH * feature.strength,
                0.075,
                fill=colour,
                rounding=0.0,
            )

    def _panel(self, feature: FeatureEvidence, image: NDArray[np.uint8], y: float) -> None:
        side, middle = self._row - 0.12, y + _CHIP_TOP + _CHIP_HEIGHT / 2
        self._page.line(
            (self._margin + side / 2, _SPINE),
            (middle, middle),
            colour=feature_colour(feature.index),
            width=1.2,
        )
        layers = [Layer(feature.index, feature.map_HW, feature.strength)]
        heat_panel(self._page, image, layers, x=self._margin, y=middle - side / 2, side=side)

    def _leavers(self, level: int, y: float) -> None:
        branches = sorted(self._explanation.leaving_at(level), key=lambda branch: not branch.in_set)
        page, first = self._page, y + _LEAVE
        leaving = sum(len(branch.classes) for branch in branches)
        if not branches:
            page.text(_BRANCH, first, "no class leaves here", 9.0, colour=GREY)
            return
        any_in_set = bool(branches[0].in_set)
        page.line(
            (_SPINE, _BRANCH - 0.08),
            (first, first),
            colour=SET_GREEN if any_in_set else GREY,
            width=3.0 if any_in_set else 1.0,
            zorder=0.5,
        )
        verb = "leaves" if leaving == 1 else "leave"
        page.text(
            _BRANCH,
            first,
            f"{count(leaving, 'class', 'classes')} {verb} here, going on with:",
            9.0,
            colour=GREY,
        )
        shown = branches if len(branches) < _LINES else branches[: _LINES - 2]
        for number, branch in enumerate(shown, start=1):
            self._branch(branch, first + number * _LINE_STEP)
        rest = branches[len(shown) :]
        if rest:
            hidden = sum(len(branch.classes) for branch in rest)
            marked = sum(len(branch.in_set) for branch in rest)
            words = (
                f"… {hidden} more with {count(len(rest), 'other feature', 'other features')}{_marked(marked, hidden)}"
            )
            page.text(_BRANCH, first + (_LINES - 1) * _LINE_STEP, words, 9.0, colour=SET_GREEN if marked else GREY)

    def _branch(self, branch: Branch, y: float) -> None:
        page, typeface, size = self._page, self._page.typeface, 9.0
        colour = feature_colour(branch.leaving.index)
        value = f" {branch.leaving.activation:.2f}"
        label = (
            typeface.shorten_name(typeface.clean_label(branch.leaving), 1.6 - typeface.width(value, 8.5), 8.5) + value
        )
        width = typeface.width(label, 8.5) + 0.12
        page.box(_BRANCH, y - 0.09, width, 0.18, fill=colour, rounding=0.04)
        page.text(_BRANCH + width / 2, y, label, 8.5, colour=ink_on(colour), align="center")
        members = self._members
        ordered = [*branch.in_set, *(c for c in branch.classes if c not in members)]
        x, end = _BRANCH + width + 0.08, page.width - self._margin
        for number, index in enumerate(ordered):
            note = _rest(ordered[number + 1 :], members)
            room = end - x - (typeface.width(note, size) + 0.1 if note else 0.0)
            taken = self._class_name(index, x, y, room, must_fit=number > 0)
            if not taken:
                page.text(x, y, _rest(ordered[number:], members), size, colour=SET_GREEN if index in members else GREY)
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
        room = 2 * (_SPINE - self._margin) - 0.3
        name = page.typeface.shorten_name(mark + self._labels[self._explanation.predicted], room, 11.0, bold=True)
        width = page.typeface.width(name, 11.0, bold=True) + 0.3
        page.box(_SPINE - width / 2, y, width, 0.32, fill=fill, edge=edge, rounding=0.08)
        page.text(_SPINE, y + 0.16, name, 11.0, bold=True, colour=PAPER, align="center")


def row_height(explanation: Explanation) -> float:
    """Return the height of one row in inches."""
    return 1.44 if len(explanation.features) <= 5 else 1.3


def tree_height(explanation: Explanation) -> float:
    """Return the height of all rows and the prediction under them, in inches."""
    return len(explanation.features) * row_height(explanation) + 0.7


def _marked(in_set: int, hidden: int) -> str:
    if not in_set:
        return ""
    return " (all ✓)" if in_set == hidden else f" ({in_set} of them ✓)"


def _rest(hidden: Sequence[int], members: frozenset[int]) -> str:
    if not hidden:
        return ""
    return f"+{len(hidden)} more" + _marked(sum(c in members for c in hidden), len(hidden))

"""The page of one feature: where it fires, how strongly, for which classes, and why not to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure, SubFigure

from chiqpm.errors import ChiqpmError
from chiqpm.explain.drawing.colours import GREY, INK, PALE, WARNING, feature_colour, ink_on
from chiqpm.explain.drawing.explanation_figure import opacity_scale, scale_height
from chiqpm.explain.drawing.heat import Layer, heat_panel, panel_image
from chiqpm.explain.drawing.histogram import draw_histogram
from chiqpm.explain.drawing.page import NARROW, Page, check_width, line_height, root
from chiqpm.explain.drawing.pictures import as_rgb, cropped, fitted, magnified
from chiqpm.explain.drawing.typeface import Typeface
from chiqpm.explain.features import FeatureExplanation
from chiqpm.explain.wording import count

_GAP = 0.14
_TITLE, _BODY, _SMALL = 14.0, 10.5, 8.5
_PLOT = 2.0
_LINE = 0.21
_USES, _LINKS = 8, 5


def draw_feature(
    feature: FeatureExplanation,
    images: Sequence[Any] | Mapping[int, Any],
    *,
    width: float = 10.0,
    figure: Figure | SubFigure | None = None,
) -> Figure:
    """Draw what a feature is: its most activating images with their crops, its activations, classes and attributes.

    Args:
        feature: the values.
        images: the first of `feature.top`, or position in `feature.top` -> image, for instance of
            `feature.representatives(6)`; as the model sees them, as `draw_explanation` takes them.
        width: width of the page in inches, at least 3; below 6.5 everything stands in one column, for phones.
        figure: a figure or subfigure to draw in; None makes one.

    Returns:
        The figure.

    Raises:
        ChiqpmError: more images than the feature has, an image that can't be shown, or too narrow a page.
    """
    if len(images) > len(feature.top):
        raise ChiqpmError(f"feature {feature.index} has {len(feature.top)} top images, received {len(images)}")
    by_position = dict(images) if isinstance(images, Mapping) else dict(enumerate(images))
    unknown = [position for position in by_position if not 0 <= position < len(feature.top)]
    if unknown:
        raise ChiqpmError(f"feature {feature.index} has no top image {unknown[0]}; there are {len(feature.top)}")
    return _FeaturePage(feature, by_position, width).draw(figure)


class _FeaturePage:
    def __init__(self, feature: FeatureExplanation, images: Mapping[int, Any], width: float) -> None:
        self._feature, self._width = feature, width
        self._margin = check_width(width)
        self._room = width - 2 * self._margin
        self._columns = 6 if width >= NARROW else 3
        self._side = (self._room + _GAP) / self._columns - _GAP
        shown = self._columns * (1 if width >= NARROW else 2)
        self._images = list(images.items())[:shown]
        names = [use.class_name for use in (*feature.classes, *feature.others)]
        names += [image.class_name for image in feature.top] + [link.name for link in feature.attributes]
        self._type = Typeface([feature.name, *names, *feature.warning_sentences()])
        self._sentence = self._type.wrap(self._type.clean(feature.sentence()), self._room, _BODY, lines=5)
        self._warnings = [
            self._type.wrap(f"⚠ {self._type.clean(sentence)}", self._room, _SMALL + 0.5, lines=5)
            for sentence in feature.warning_sentences()
        ]

        self._captions = [self._caption(position) for position, _ in self._images]

    def draw(self, figure: Figure | SubFigure | None) -> Figure:
        wide = self._width >= NARROW
        warning_lines = sum(len(lines) for lines in self._warnings)
        tiles_top = (
            self._margin + 0.42 + len(self._sentence) * line_height(_BODY) + warning_lines * line_height(9.0) + 0.3
        )
        tile = 2 * self._side + 0.04 + max(map(len, self._captions), default=0) * line_height(_SMALL) + 0.17
        rows = -(-len(self._images) // self._columns)
        below = tiles_top + (0.24 + rows * tile if rows else 0.3) + 0.1
        lists = self._list_height()
        body = max(_PLOT + 0.75, lists) if wide else _PLOT + 0.85 + lists
        page = Page(self._width, below + body + (scale_height(self._width) + 0.3 if rows else 0.15), self._type, figure)
        self._head(page)
        self._tiles(page, tiles_top, tile)
        column = (self._room - 0.6) / 2 if wide else self._room
        self._plot(page, self._margin, below, column)
        x, y = (self._margin + column + 0.6, below) if wide else (self._margin, below + _PLOT + 0.85)
        self._lists(page, x, y, column)
        if rows:
            opacity_scale(page, self._margin, below + body + 0.12)
        return root(page.figure)

    def _head(self, page: Page) -> None:
        colour = feature_colour(self._feature.index)
        label = self._type.shorten_name(self._type.clean_label(self._feature), self._room - 0.3, _TITLE, bold=True)
        width = self._type.width(label, _TITLE, bold=True) + 0.3
        page.box(self._margin, self._margin, width, 0.34, fill=colour, rounding=0.07)
        page.text(
            self._margin + width / 2,
            self._margin + 0.17,
            label,
            _TITLE,
            bold=True,
            colour=ink_on(colour),
            align="center",
        )
        y = self._margin + 0.53
        page.text(self._margin, y, self._sentence, _BODY)
        y += len(self._sentence) * line_height(_BODY) + 0.03
        for lines in self._warnings:
            page.text(self._margin, y, lines, 9.0, colour=WARNING, bold=False)
            y += len(lines) * line_height(9.0)

    def _tiles(self, page: Page, top: float, tile: float) -> None:
        heading = "Most activating images and their peaks" if self._images else "No image to show"
        page.text(self._margin, top, self._type.shorten(heading, self._room, _BODY, bold=True), _BODY, bold=True)
        for number, (position, image) in enumerate(self._images):
            shown = self._feature.top[position]
            x = self._margin + number % self._columns * (self._side + _GAP)
            y = top + 0.24 + number // self._columns * tile
            layers = [Layer(self._feature.index, shown.map_HW, shown.strength)]
            heat_panel(page, panel_image(image), layers, x=x, y=y, side=self._side)
            crop = magnified(cropped(as_rgb(image, side=960), shown.box, side=240), 120)
            page.image(fitted(crop, x, y + self._side + 0.04, self._side), crop)
            caption = self._captions[number]
            page.text(x + self._side / 2, y + 2 * self._side + 0.14, caption, _SMALL, align="center")

    def _caption(self, position: int) -> list[str]:
        image, group = self._feature.top[position], self._feature.group(position)
        name = self._type.clean(image.class_name)
        value = f"group {group}: {image.activation:.2f}" if group else f"{image.activation:.2f}"
        return [*self._type.wrap(name, self._side, _SMALL, lines=2, name=True), value]

    def _plot(self, page: Page, x: float, y: float, width: float) -> None:
        histogram = self._feature.histogram
        silent, active = histogram.components
        page.text(x, y, f"Activation in {count(self._feature.images, 'image', 'images')}", _BODY, bold=True)
        words = "never active"
        if self._feature.active_share > 0:
            states = f"silent {silent.weight:.0%}, active {active.weight:.0%}"
            words = f"{states} around {histogram.active_mean:.2f} (dotted)"
        page.text(x, y + 0.25, self._type.shorten(words, width, _SMALL), _SMALL, colour=GREY)
        axes = page.inset((x + 0.5, y + 0.5, width - 0.55, _PLOT - 0.25))
        draw_histogram(axes, histogram, colour=feature_colour(self._feature.index), scale=page.scale)

    def _list_height(self) -> float:
        feature = self._feature
        lines = len(self._uses())
        return (
            (lines + (2 if feature.others and feature.classes else 1)) * _LINE
            + ((len(feature.attributes[:_LINKS]) + 1) * _LINE + 0.22 if feature.attributes else 0.0)
            + 0.2
        )

    def _uses(self) -> list[tuple[str, float, bool]]:
        """Name, mean and whether assigned of the classes that are shown."""
        feature = self._feature
        shown = [(use.class_name, use.mean, True) for use in feature.classes[:_USES]]
        return shown + [(use.class_name, use.mean, False) for use in feature.others[: 3 if feature.classes else 5]]

    def _lists(self, page: Page, x: float, y: float, width: float) -> None:
        feature = self._feature
        number, shown = len(feature.classes), min(len(feature.classes), _USES)
        heading = f"Classes that use it ({shown} of {number})" if shown < number else "Classes that use it"
        heading = heading if feature.classes else "No class uses it"
        uses = self._uses()
        if uses:
            self._note(page, x, y, width=width, heading=heading, note="mean activation")
        most = max((mean for _, mean, _ in uses), default=1.0)
        page.text(x, y, heading, _BODY, bold=True)
        y += _LINE
        noted = not feature.classes
        for name, mean, assigned in uses:
            if not assigned and not noted:
                page.text(x, y + 0.02, "and in others", _SMALL, colour=GREY)
                y, noted = y + _LINE, True
            self._bar(page, x, y, width=width, name=name, value=mean, share=mean / max(most, 1e-9), filled=assigned)
            y += _LINE
        if feature.attributes:
            y += 0.22
            page.text(x, y, "Attributes it follows", _BODY, bold=True)
            self._note(page, x, y, width=width, heading="Attributes it follows", note="AUC, 0.5 is chance")
            y += _LINE
            for link in feature.attributes[:_LINKS]:
                share = 2 * max(0.0, link.auc - 0.5)
                self._bar(page, x, y, width=width, name=link.name, value=link.auc, share=share, filled=True)
                y += _LINE

    def _note(self, page: Page, x: float, y: float, *, width: float, heading: str, note: str) -> None:
        """Say at the right of a heading what its numbers are, where there is room."""
        taken = self._type.width(heading, _BODY, bold=True) + self._type.width(note, _SMALL)
        if taken + 0.1 <= width:
            page.text(x + width, y, note, _SMALL, colour=GREY, align="right")

    def _bar(
        self, page: Page, x: float, y: float, *, width: float, name: str, value: float, share: float, filled: bool
    ) -> None:
        label = self._type.shorten_name(self._type.clean(name), 0.52 * width, 9.0)
        page.text(x, y, label, 9.0, colour=INK if filled else GREY)
        left, room = x + 0.55 * width, 0.45 * width - 0.5
        colour = feature_colour(self._feature.index)
        page.box(left, y - 0.06, room, 0.12, fill="#FFFFFF", edge=PALE, line=0.7, rounding=0.0)
        if share > 0.01:
            page.box(left, y - 0.06, room * min(1.0, share), 0.12, fill=colour if filled else PALE, rounding=0.0)
        page.text(x + width, y, f"{value:.2f}", 9.0, align="right")

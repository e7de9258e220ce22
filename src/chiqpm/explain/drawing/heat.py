"""One panel: an image with the heat map of one feature over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chiqpm.explain.drawing.colours import feature_colour, feature_dashes
from chiqpm.explain.drawing.page import Page
from chiqpm.explain.drawing.pictures import as_rgb, fitted, magnified, overlay
from chiqpm.explain.saliency import heat_map

_SIDE = 240
_FAINT = 0.05
_STEP = 3
"""Every third pixel is enough for an outline."""


class Layer(NamedTuple):
    """A feature in a panel: its index, its raw map (H, W), and its strength: above 1 it looks like 1."""

    feature: int
    map_HW: NDArray[Any]
    strength: float


def panel_image(image: Any) -> NDArray[np.uint8]:
    """Return an image at the resolution of a panel."""
    return magnified(as_rgb(image, side=_SIDE), _SIDE // 2)


def heat_panel(
    page: Page, image: NDArray[np.uint8], layers: Sequence[Layer], *, x: float, y: float, side: float
) -> None:
    """Draw an image with the heat maps of some features, or as it is if there are none.

    Args:
        page: the page.
        image: from `panel_image`.
        layers: the features.
        x: left end of the square that holds the panel, in inches.
        y: its upper end.
        side: its side.
    """
    box = fitted(image, x, y, side)
    size = (image.shape[0], image.shape[1])
    heats = [heat_map(layer.map_HW, size, activation=layer.strength, active_mean=1.0) for layer in layers]
    pixels = image
    for number, (layer, heat) in enumerate(zip(layers, heats, strict=True)):
        pixels = overlay(pixels, heat, feature_colour(layer.feature), faded=number == 0)
    page.image(box, pixels)
    for layer, heat in zip(layers, heats, strict=True):
        level = 0.5 * float(heat.max())
        # A feature that is hardly active must not look found; a flat map has no contour.
        if layer.strength >= _FAINT and heat.min() < level:
            colour, dashes = feature_colour(layer.feature), feature_dashes(layer.feature)
            coarse = heat[_STEP // 2 :: _STEP, _STEP // 2 :: _STEP] if min(heat.shape) >= 30 * _STEP else heat
            page.outline(box, coarse, level, colour=colour, dashes=dashes, opacity=0.3 + 0.7 * min(1.0, layer.strength))

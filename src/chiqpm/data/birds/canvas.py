"""A picture and, beside it, a map of which part each pixel shows, painted together polygon by polygon."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from chiqpm.data.birds.scene import Colour, Points

_SUPERSAMPLE = 2


class Canvas:
    """Paint polygons from back to front; later ones hide earlier ones, in the picture and in the part map.

    Args:
        background: RGB picture of the final size, square.
        masks: also keep the part map.
    """

    def __init__(self, background: Image.Image, *, masks: bool) -> None:
        self.size = background.width
        side = self.size * _SUPERSAMPLE
        self._picture = background.resize((side, side), Image.Resampling.BILINEAR)
        self._draw = ImageDraw.Draw(self._picture)
        self._labels = Image.new("L", (side, side), 0) if masks else None
        self._label_draw = ImageDraw.Draw(self._labels) if self._labels is not None else None

    def polygon(self, points: Points, colour: Colour, label: int) -> None:
        """Fill a polygon and label what it covers.

        Args:
            points: (N, 2) corners in pixels of the final size.
            colour: RGB.
            label: number in the part map, 0 for what is not the bird.
        """
        corners = (points * _SUPERSAMPLE).ravel().tolist()
        self._draw.polygon(corners, fill=colour)
        if self._label_draw is not None:
            self._label_draw.polygon(corners, fill=label)

    def picture(self) -> Image.Image:
        """The RGB picture at its final size, antialiased."""
        return self._picture.reduce(_SUPERSAMPLE)

    def labels(self) -> NDArray[np.uint8]:
        """The part map (H, W) at the final size; all 0 without masks."""
        if self._labels is None:
            return np.zeros((self.size, self.size), dtype=np.uint8)
        return np.asarray(self._labels.resize((self.size, self.size), Image.Resampling.NEAREST))

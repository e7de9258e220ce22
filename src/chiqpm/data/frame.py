"""How a picture of any shape is laid into the square that the model sees, and the way back for heat maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from chiqpm.errors import ChiqpmError

if TYPE_CHECKING:
    from chiqpm.config import DataConfig


@dataclass(frozen=True)
class Geometry:
    """From the model's square to the original picture: `original = scale * model + offset` on each axis.

    Coordinates are continuous, in pixels, with the corner of the first pixel at 0 and its centre at 0.5.

    Attributes:
        scale_x: Original pixels per model pixel, horizontally.
        scale_y: The same vertically.
        offset_x: Where the model's left edge lies in the original; negative where the picture was padded.
        offset_y: Where the model's upper edge lies.
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    def to_original(self, x: float, y: float) -> tuple[float, float]:
        """The place in the original picture of a place in the model's square."""
        return self.scale_x * x + self.offset_x, self.scale_y * y + self.offset_y

    def to_model(self, x: float, y: float) -> tuple[float, float]:
        """The place in the model's square of a place in the original picture."""
        return (x - self.offset_x) / self.scale_x, (y - self.offset_y) / self.scale_y


def geometry(config: DataConfig, width: int, height: int) -> Geometry:
    """Where the model's square lies on an original picture.

    Args:
        config: `resize`, `centre_share` and `image_size` are used.
        width: Of the picture as `load_image` returns it, in pixels.
        height: Likewise.

    Raises:
        ChiqpmError: A size or kind of resizing that isn't possible.

    >>> from chiqpm.config import DataConfig
    >>> geometry(DataConfig(image_size=100, resize="crop"), 400, 200)
    Geometry(scale_x=2.0, scale_y=2.0, offset_x=100.0, offset_y=0.0)
    """
    side = config.image_size
    if side < 1 or width < 1 or height < 1:
        raise ChiqpmError(f"sizes must be 1 or more; received image_size = {side} and a picture of {width}×{height}")
    if config.centre_share != 1 and config.resize != "crop":
        raise ChiqpmError(f"centre_share goes with resize = 'crop' only; received {config.resize!r}")
    if config.resize == "squash":
        return Geometry(width / side, height / side, 0.0, 0.0)
    if config.resize == "crop":
        share = config.centre_share
        if not 0 < share <= 1:
            raise ChiqpmError(f"centre_share must be in (0, 1]; received {share}")
        short = min(width, height) * share
        return Geometry(short / side, short / side, (width - short) / 2, (height - short) / 2)
    if config.resize == "pad":
        inner_width, inner_height, left, top = _inside(side, width, height)
        scale_x, scale_y = width / inner_width, height / inner_height
        return Geometry(scale_x, scale_y, -left * scale_x, -top * scale_y)
    raise ChiqpmError(f"resize must be squash, crop or pad; received {config.resize!r}")


def to_square(config: DataConfig, image: Image.Image, fill: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """The picture in the model's square, as `geometry` describes it.

    Args:
        config: `resize`, `centre_share` and `image_size` are used.
        image: An upright RGB image.
        fill: Colour of the borders that `pad` adds.

    Returns:
        An RGB image of `image_size` × `image_size`.
    """
    side = config.image_size
    place = geometry(config, *image.size)
    if config.resize == "pad":
        inner_width, inner_height, left, top = _inside(side, *image.size)
        square = Image.new("RGB", (side, side), fill)
        square.paste(image.resize((inner_width, inner_height), Image.Resampling.BILINEAR), (left, top))
        return square
    start_x, start_y = place.to_original(0, 0)
    # Rounding must not carry the box a hair beyond the picture, which Pillow refuses.
    right, bottom = (min(end, limit) for end, limit in zip(place.to_original(side, side), image.size, strict=True))
    return image.resize((side, side), Image.Resampling.BILINEAR, box=(start_x, start_y, right, bottom))


def _inside(side: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Width, height, left and top of a whole picture centred in the square."""
    longest = max(width, height)
    inner_width, inner_height = max(1, round(width * side / longest)), max(1, round(height * side / longest))
    return inner_width, inner_height, (side - inner_width) // 2, (side - inner_height) // 2

"""Images as the figures show them: small, RGB, and with a feature's heat map laid over them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chiqpm.errors import ChiqpmError
from chiqpm.explain.drawing.colours import rgb


def as_rgb(image: Any, *, side: int) -> NDArray[np.uint8]:
    """Return an image as (H, W, 3) in 0..255, no side longer than `side` pixels; a transparent one on white.

    Args:
        image: a Pillow image or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); bytes, or floats in [0,
            1].
        side: the longest side in pixels.

    Raises:
        ChiqpmError: the array has another shape, another type, or floats outside [0, 1].
    """
    picture = image if isinstance(image, Image.Image) else _from_array(np.asarray(image))
    if max(picture.size) > side:
        scale = side / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.convert("RGBA" if _transparent(picture) else "RGB").resize(size, Image.Resampling.BOX)
    if _transparent(picture):
        picture = picture.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "white")
        paper.alpha_composite(picture)
        picture = paper
    return np.asarray(picture.convert("RGB"))


def overlay(
    image: NDArray[np.uint8], heat: NDArray[np.float32], colour: str, *, faded: bool = True
) -> NDArray[np.uint8]:
    """Lay a heat map (H, W) in [0, 1] over an image (H, W, 3): the hotter, the more opaque the colour.

    Args:
        image: the image.
        heat: the heat map, of the image's size.
        colour: the feature's colour.
        faded: take most of the image's own colours away first, so that the feature's stands out.
    """
    base = image.astype(np.float32)
    if faded:
        grey = base @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        base = 0.3 * base + 0.7 * (0.8 * grey + 38.0)[..., None]
    opacity = 0.85 * heat[..., None]
    blended = base * (1.0 - opacity) + np.array(rgb(colour), dtype=np.float32) * opacity
    return np.clip(blended + 0.5, 0.0, 255.0).astype(np.uint8)


def cropped(image: NDArray[np.uint8], box: tuple[float, float, float, float], *, side: int) -> NDArray[np.uint8]:
    """Return a part of an image, widened to a square as far as the image goes, at most `side` pixels long.

    Args:
        image: the image.
        box: top, left, bottom, right as fractions of height and width.
        side: the longest side in pixels.
    """
    height, width = image.shape[:2]
    top, left, bottom, right = box[0] * height, box[1] * width, box[2] * height, box[3] * width
    half = max(bottom - top, right - left) / 2
    y, x = (top + bottom) / 2, (left + right) / 2
    rows = slice(max(0, round(y - half)), max(1, round(y + half)))
    columns = slice(max(0, round(x - half)), max(1, round(x + half)))
    part = image[rows, columns]
    return as_rgb(part if part.size else image, side=side)


def magnified(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Repeat the pixels of a small image until its longest side has at least `side` of them."""
    times = -(-side // max(image.shape[:2]))
    return image.repeat(times, axis=0).repeat(times, axis=1) if times > 1 else image


def fitted(image: NDArray[np.uint8], x: float, y: float, side: float) -> tuple[float, float, float, float]:
    """Return x, y, width and height of an image centred in a square box, its proportions kept."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    # A sliver is widened until it can be seen.
    box_width, box_height = max(width * scale, 0.03 * side), max(height * scale, 0.03 * side)
    return x + (side - box_width) / 2, y + (side - box_height) / 2, box_width, box_height


def _transparent(picture: Image.Image) -> bool:
    return picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info


def _from_array(array: NDArray[Any]) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in {3, 4})):
        raise ChiqpmError(
            f"an image must have shape (H, W), (H, W, 3) or (H, W, 4), received {array.shape}; "
            "move the channels of a tensor to the end"
        )
    if array.dtype.kind == "f":
        if not (array.min() >= 0.0 and array.max() <= 1.0):
            raise ChiqpmError("an image of floats must lie in [0, 1]; undo the normalisation before drawing")
        array = np.round(array * 255.0).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ChiqpmError(f"an image must hold bytes or floats in [0, 1], received dtype {array.dtype}")
    return Image.fromarray(array)

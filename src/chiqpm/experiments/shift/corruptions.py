"""Pictures that are no longer like those of the calibration: corrupted in five ways and three severities."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from chiqpm.errors import ChiqpmError

SEVERITIES = (1, 2, 3)
Pixels = NDArray[np.float64]


def blur(picture: Image.Image, severity: int) -> Image.Image:
    """Blur with a Gaussian whose radius is 1%, 2% or 3.5% of the width."""
    radius = (0.01, 0.02, 0.035)[severity - 1] * picture.width
    return picture.filter(ImageFilter.GaussianBlur(radius))


def noise(picture: Image.Image, severity: int, generator: np.random.Generator) -> Image.Image:
    """Add normal noise with a standard deviation of 8%, 16% or 30% of the range."""
    pixels = np.asarray(picture, dtype=np.float64)
    pixels = pixels + 255 * (0.08, 0.16, 0.3)[severity - 1] * generator.standard_normal(pixels.shape)
    return _picture(pixels)


def contrast(picture: Image.Image, severity: int) -> Image.Image:
    """Lower the contrast to 60%, 35% or 15%."""
    return ImageEnhance.Contrast(picture).enhance((0.6, 0.35, 0.15)[severity - 1])


def colour(picture: Image.Image, severity: int) -> Image.Image:
    """Turn the hue by 20, 60 or 120 degrees."""
    hue, saturation, value = picture.convert("HSV").split()
    turn = round((20, 60, 120)[severity - 1] * 256 / 360)
    turned = Image.fromarray(((np.asarray(hue, dtype=np.int64) + turn) % 256).astype(np.uint8))
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def background(
    picture: Image.Image, severity: int, generator: np.random.Generator, bird: NDArray[np.bool_]
) -> Image.Image:
    """Put the bird before another background: a plain one, a gradient of two colours, or stripes of two colours.

    Args:
        picture: the picture.
        severity: 1, 2 or 3.
        generator: source of the colours and directions.
        bird: pixels of the bird (H, W).
    """
    height, width = bird.shape
    first, second = generator.uniform(0, 255, (2, 3))
    angle = generator.uniform(0, np.pi)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    along = np.cos(angle) * x + np.sin(angle) * y
    if severity == 1:
        mix = np.zeros_like(along)
    elif severity == 2:
        mix = (along - along.min()) / max(float(np.ptp(along)), 1e-9)
    else:
        mix = (np.floor(along * generator.uniform(10, 20)) % 2).astype(np.float64)
    scene = first * (1 - mix[..., None]) + second * mix[..., None]
    return _picture(np.where(bird[..., None], np.asarray(picture, dtype=np.float64), scene))


_PLAIN: Mapping[str, Callable[[Image.Image, int], Image.Image]] = {"blur": blur, "contrast": contrast, "colour": colour}
CORRUPTIONS = ("blur", "noise", "contrast", "colour", "background")


def corrupt(picture: Image.Image, name: str, severity: int, *, bird: NDArray[np.bool_], seed: int) -> Image.Image:
    """Corrupt a picture.

    Args:
        picture: RGB.
        name: one of `CORRUPTIONS`.
        severity: one of `SEVERITIES`.
        bird: pixels of the bird (H, W), which keep their place before a new background.
        seed: of what is drawn.

    Raises:
        ChiqpmError: an unknown corruption or severity.
    """
    if name not in CORRUPTIONS or severity not in SEVERITIES:
        raise ChiqpmError(
            f"corruptions are {', '.join(CORRUPTIONS)} with severities {SEVERITIES}; received {name!r}, {severity!r}"
        )
    generator = np.random.default_rng([seed, CORRUPTIONS.index(name), severity])
    if name == "noise":
        return noise(picture, severity, generator)
    if name == "background":
        return background(picture, severity, generator, bird)
    return _PLAIN[name](picture, severity)


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))

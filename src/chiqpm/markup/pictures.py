"""Pictures inside a page: small, compressed, with a feature's heat map over them."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chiqpm.explain.drawing.colours import feature_colour, rgb
from chiqpm.explain.drawing.pictures import as_rgb, magnified, overlay
from chiqpm.explain.saliency import heat_map
from chiqpm.explain.values import FeatureEvidence

_QUALITY = 82
_FAINT = 0.05


def data_url(image: Any, *, side: int = 240) -> str:
    """Return an image as a JPEG inside a URL.

    Args:
        image: a Pillow image or an array, as `chiqpm.explain.drawing` takes them.
        side: its longest side in pixels, at most.
    """
    content = io.BytesIO()
    Image.fromarray(as_rgb(image, side=side)).save(content, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"


def panel(image: Any, *, side: int = 200) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) as large as a heat map needs to look smooth, no side longer than `side`."""
    return magnified(as_rgb(image, side=side), side // 2)


def heat_picture(panel_HW3: NDArray[np.uint8], feature: int, map_HW: NDArray[Any], strength: float) -> str:
    """Lay a feature's heat map over an image, outline where it is above half its maximum, and return the URL.

    Args:
        panel_HW3: from `panel`.
        feature: its index, which gives the colour.
        map_HW: its raw map.
        strength: activation over active mean; up to 1 it scales the opacity.
    """
    heat = heat_map(map_HW, (panel_HW3.shape[0], panel_HW3.shape[1]), activation=strength, active_mean=1.0)
    pixels = overlay(panel_HW3, heat, feature_colour(feature))
    if strength >= _FAINT and heat.min() < 0.5 * heat.max():
        pixels[_edge(heat >= 0.5 * heat.max())] = rgb(feature_colour(feature))
    return data_url(pixels, side=max(pixels.shape))


def place_words(peak: tuple[float, float]) -> str:
    """Say where a map is strongest.

    >>> place_words((0.1, 0.9)), place_words((0.5, 0.5)), place_words((0.5, 0.1))
    ('at the upper right', 'in the middle', 'at the left')
    """
    rows, columns = ("upper", "", "lower"), ("left", "", "right")
    row, column = rows[min(2, int(3 * peak[0]))], columns[min(2, int(3 * peak[1]))]
    if not row and not column:
        return "in the middle"
    return f"at the {row} {column or 'middle'}".replace("  ", " ")


def map_words(feature: FeatureEvidence) -> str:
    """Describe a feature's map for a screen reader."""
    if feature.activation <= 0.0:
        return f"{feature.words}: not active in this image"
    return (
        f"{feature.words}: activation {feature.activation:.2f}, {feature.strength:.2f} times its usual strength, "
        f"strongest {place_words(feature.peak)} of the image"
    )


def _edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The two outermost pixels of a region."""
    padded = np.pad(inside, 2, mode="edge")
    core = inside.copy()
    for step in (-2, 2):
        core &= np.roll(padded, step, axis=0)[2:-2, 2:-2] & np.roll(padded, step, axis=1)[2:-2, 2:-2]
    return inside & ~core

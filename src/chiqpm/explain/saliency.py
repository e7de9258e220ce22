"""Where a feature was seen: heat maps that depend on one image alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.errors import ChiqpmError


def heat_map(
    map_HW: Any, size: tuple[int, int], *, activation: float, active_mean: float, gamma: float = 1.0
) -> NDArray[np.float32]:
    """Enlarge a feature map to an image's size, with values that say how certain the feature is.

    `min(1, strength(f)) * (map / max(map)) ** gamma`, with strength f / active mean. The map is scaled by its
    own maximum: the result never depends on the other images of a batch, unlike the published one
    (arXiv 2511.20779).

    Args:
        map_HW: the raw map on its grid; negative cells count as 0.
        size: height and width of the result in pixels.
        activation: the feature's value f in this image.
        active_mean: mean of the feature where it is active (the larger mean of a two-component mixture).
        gamma: above 1 the weaker cells fade.

    Returns:
        Values in [0, 1] (size), interpolated bilinearly between the centres of the cells.

    Raises:
        ChiqpmError: the map isn't a finite matrix, the size isn't positive, or a number can't be used.

    >>> heat_map([[0.0, 2.0]], (1, 4), activation=1.0, active_mean=2.0).tolist()
    [[0.0, 0.125, 0.375, 0.5]]
    """
    values = np.asarray(map_HW, dtype=np.float32)
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
        raise ChiqpmError(f"a feature map must be a finite matrix (H, W), received shape {values.shape}")
    height, width = size
    if height < 1 or width < 1:
        raise ChiqpmError(f"the size of a heat map must be at least 1×1 pixel, received {height}×{width}")
    if not gamma > 0.0:
        raise ChiqpmError(f"gamma must be positive, received {gamma}")
    values = np.maximum(values, 0.0)
    largest = float(values.max())
    certainty = min(1.0, strength(activation, active_mean))
    if largest == 0.0 or certainty == 0.0:
        return np.zeros((height, width), dtype=np.float32)
    rows, columns = _interpolation(values.shape[0], height), _interpolation(values.shape[1], width)
    enlarged = rows @ (values / largest) @ columns.T
    return (certainty * np.clip(enlarged, 0.0, 1.0) ** gamma).astype(np.float32)


def strength(activation: float, active_mean: float) -> float:
    """Return an activation relative to the feature's active mean: 0 or more, and 1 where it is as active as usual.

    Where the active mean isn't positive, because the feature was never seen active, any positive activation
    counts as 1.

    Args:
        activation: the feature's value in an image.
        active_mean: mean of the feature where it is active.

    Raises:
        ChiqpmError: either is NaN or infinite.

    >>> strength(1.0, 4.0), strength(9.0, 4.0), strength(-1.0, 4.0), strength(0.1, 0.0)
    (0.25, 2.25, 0.0, 1.0)
    """
    if not (math.isfinite(activation) and math.isfinite(active_mean)):
        raise ChiqpmError(f"activation and active mean must be finite, received {activation}, {active_mean}")
    return max(0.0, activation) / active_mean if active_mean > 0.0 else float(activation > 0.0)


def peak(map_HW: NDArray[Any]) -> tuple[float, float]:
    """Return the centre (y, x) of the largest cell, the first on ties, as fractions of height and width.

    >>> peak(np.array([[0.0, 0.0], [0.0, 1.0]]))
    (0.75, 0.75)
    """
    row, column = np.unravel_index(int(map_HW.argmax()), map_HW.shape)
    return (float(row) + 0.5) / map_HW.shape[0], (float(column) + 0.5) / map_HW.shape[1]


def _interpolation(cells: int, pixels: int) -> NDArray[np.float32]:
    """Weights (pixels, cells) of linear interpolation between cell centres, constant outside them."""
    place = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0.0, cells - 1.0)
    return np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(cells)[None, :])).astype(np.float32)

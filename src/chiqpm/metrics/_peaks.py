"""Where a feature map peaks, as a place in the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chiqpm.errors import ChiqpmError
from chiqpm.metrics._arrays import ArrayOrTensor, as_tensor, check_shape


def map_peaks(maps_BKHW: ArrayOrTensor) -> npt.NDArray[np.float64]:
    """Peak of each bilinearly upsampled map, whatever the size it is upsampled to.

    Bilinear interpolation never exceeds the highest cell and reaches it at that cell's centre, so the centre
    is the peak, without upsampling anything. Where cells tie, the one nearest to the mean of them all is
    taken: a plateau peaks in its middle, and a map without any activation in the middle of the image.

    Args:
        maps_BKHW: Feature maps (B, K, H, W).

    Returns:
        Places (B, K, 2), y then x, in fractions of the image's height and width; (0, 0) is the upper left
        corner of the image and (0.5 / H, 0.5 / W) the centre of the first cell.

    Raises:
        ChiqpmError: On a wrong shape or values that aren't finite.
        TypeError: If the maps aren't real numbers.

    Example:
        >>> maps = np.zeros((1, 1, 2, 4))
        >>> maps[0, 0, 1, 2] = 3.0
        >>> map_peaks(maps).tolist()
        [[[0.75, 0.625]]]
    """
    maps = as_tensor(maps_BKHW)
    if maps.is_complex():
        raise TypeError(f"maps_BKHW must be real numbers; received {maps.dtype}.")
    check_shape(tuple(maps.shape), "maps_BKHW", "BKHW", {})
    if not bool(maps.isfinite().all()):
        raise ChiqpmError("maps_BKHW holds values that aren't finite (NaN or infinity); leave those images out.")
    height, width = maps.shape[2:]
    flat = maps.flatten(2)
    tied = (flat == flat.amax(dim=2, keepdim=True)).cpu().numpy()
    y, x = np.divmod(np.arange(height * width), width)
    centres = np.stack([(y + 0.5) / height, (x + 0.5) / width], axis=1)
    peaks: npt.NDArray[np.float64] = centres[tied.argmax(axis=2)]
    for b, k in np.argwhere(tied.sum(axis=2) > 1):
        candidates = centres[tied[b, k]]
        # Rounding keeps the choice among equally near cells with the first.
        distance = np.square(candidates - candidates.mean(axis=0)).sum(axis=1).round(12)
        peaks[b, k] = candidates[distance.argmin()]
    return peaks

"""Similarity of feature maps before and after something changed, by rank."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from chiqpm.metrics._arrays import ArrayOrTensor, floats


def map_similarity(first: ArrayOrTensor, second: ArrayOrTensor) -> npt.NDArray[np.float64]:
    """Spearman's rank correlation of maps with maps, cell by cell.

    For sanity checks of saliency by randomised parameters (Adebayo et al., NeurIPS 2018): maps that stay alike when
    the model forgets what it learned show the image, not the model.

    Args:
        first: Maps (B, K, H, W).
        second: Maps of the same shape.

    Returns:
        Correlations (B, K) in [-1, 1]; 0 where one of the two maps is the same everywhere.

    Raises:
        ChiqpmError: On shapes that don't fit together or values that aren't finite.

    Example:
        >>> maps = np.arange(4.0).reshape(1, 1, 2, 2)
        >>> map_similarity(maps, maps).tolist(), map_similarity(maps, -maps).tolist()
        ([[1.0]], [[-1.0]])
    """
    first_BKHW = floats(first, "first", "BKHW")
    sizes = dict(zip("BKHW", first_BKHW.shape, strict=True))
    second_BKHW = floats(second, "second", "BKHW", **sizes)
    batch, kept = first_BKHW.shape[:2]
    rank_BKP, other_BKP = (
        _centred(rankdata(maps.reshape(batch, kept, -1), axis=2)) for maps in (first_BKHW, second_BKHW)
    )
    product_BK = (rank_BKP * other_BKP).sum(axis=2)
    norm_BK = np.sqrt((rank_BKP**2).sum(axis=2) * (other_BKP**2).sum(axis=2))
    similarity_BK: npt.NDArray[np.float64] = np.where(norm_BK > 0, product_BK / np.maximum(norm_BK, 1e-12), 0.0)
    return similarity_BK


def _centred(rank_BKP: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    centred: npt.NDArray[np.float64] = rank_BKP - rank_BKP.mean(axis=2, keepdims=True)
    return centred

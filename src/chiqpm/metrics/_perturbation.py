"""Deletion and insertion: does what a map points at matter to the prediction?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chiqpm.errors import ChiqpmError
from chiqpm.metrics._arrays import ArrayOrTensor, floats


@dataclass(frozen=True, kw_only=True)
class PerturbationCurve:
    """Mean score as more and more of the images is taken away or shown.

    Attributes:
        fractions: shares of the image, ascending from 0 to 1.
        means: mean score over the images at each share.
        auc: area under the mean curve.
        standard_error: of the area, over images; 0 with a single image.
        images: number of images.
    """

    fractions: tuple[float, ...]
    means: tuple[float, ...]
    auc: float
    standard_error: float
    images: int


def perturbation_curve(fractions: ArrayOrTensor, scores: ArrayOrTensor) -> PerturbationCurve:
    """Average the curves of deletion or insertion (Petsiuk et al., RISE, BMVC 2018) and take the area under them.

    Deletion: the score with the most salient share of the image taken away; a small area is good. Insertion: the score
    with nothing but that share; a large area is good. Either means little without the same curve for orders that don't
    know the map.

    Args:
        fractions: Shares of the image (S,), ascending from 0 to 1.
        scores: Score of each image at each share (N, S), for instance the probability of the class that was predicted
            for the whole image.

    Returns:
        The mean curve and its area by the trapezoidal rule.

    Raises:
        ChiqpmError: On shapes that don't fit, values that aren't finite, or shares that don't ascend from 0 to 1.

    Example:
        >>> curve = perturbation_curve(np.array([0.0, 0.5, 1.0]), np.array([[1.0, 0.5, 0.0]]))
        >>> curve.auc, curve.standard_error
        (0.5, 0.0)
    """
    fractions_S = floats(fractions, "fractions", "S")
    scores_NS = floats(scores, "scores", "NS", S=len(fractions_S))
    if len(fractions_S) < 2 or fractions_S[0] != 0 or fractions_S[-1] != 1 or (np.diff(fractions_S) <= 0).any():
        raise ChiqpmError(f"fractions must ascend from 0 to 1; received {fractions_S.tolist()}.")
    area_N = _areas(fractions_S, scores_NS)
    images = len(area_N)
    return PerturbationCurve(
        fractions=tuple(fractions_S.tolist()),
        means=tuple(scores_NS.mean(axis=0).tolist()),
        auc=float(area_N.mean()),
        standard_error=float(area_N.std(ddof=1) / np.sqrt(images)) if images > 1 else 0.0,
        images=images,
    )


def _areas(fractions_S: npt.NDArray[np.float64], scores_NS: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Area under each curve (N,) by the trapezoidal rule."""
    width_S = np.diff(fractions_S)
    area_N: npt.NDArray[np.float64] = ((scores_NS[:, 1:] + scores_NS[:, :-1]) / 2) @ width_S
    return area_N

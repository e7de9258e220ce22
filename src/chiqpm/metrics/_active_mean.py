"""Active mean: how active a feature usually is where it is active."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chiqpm.metrics._arrays import ArrayOrTensor
from chiqpm.metrics._mixture import fit_mixtures


def active_mean(features: ArrayOrTensor, seed: int) -> npt.NDArray[np.float64]:
    """The larger mean of each feature's two-component Gaussian mixture (arXiv 2511.20779).

    An activation over the active mean says how certain a feature is. The mean of a constant feature is its
    value, so a feature that is always silent has active mean 0: check before dividing.

    Args:
        features: Features of the training images (N, K), on the scale of the standardised model head, N at
            least 2.
        seed: Seed of the mixtures' random starts; with the same seed these are the mixtures of
            `contrastiveness`.

    Returns:
        The active mean of each feature (K,).

    Raises:
        ChiqpmError: On a wrong shape, a single sample or values that aren't finite.

    Example:
        >>> active_mean(np.array([[0.0], [0.0], [1.9], [2.1]]), seed=0).round(3).tolist()
        [2.0]
    """
    return fit_mixtures(features, seed).mean_K2[:, 1]

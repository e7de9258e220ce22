"""Attribute AUC: does a feature detect an attribute, on images that had no say in which one?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from chiqpm.errors import ChiqpmError
from chiqpm.metrics._arrays import ArrayOrTensor, flags, floats


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributeAUC:
    """How well each feature detects its attribute."""

    mean: float
    """Mean of the test AUC over the features that have one; NaN where none has."""
    attribute_K: npt.NDArray[np.int64]
    """The attribute of each feature, chosen on the training images."""
    auc_K: npt.NDArray[np.float64]
    """AUC on the test images; NaN where the attribute is present in all of them or in none."""


def attribute_auc(
    train_features: ArrayOrTensor,
    train_attributes: ArrayOrTensor,
    test_features: ArrayOrTensor,
    test_attributes: ArrayOrTensor,
) -> AttributeAUC:
    """Area under the ROC curve of each feature as a detector of the attribute that suits it best.

    The attribute with the largest AUC on the training images is chosen (the first on ties), then scored on
    the test images, so that choosing among many attributes does not inflate the value. Only presence counts:
    a feature that falls silent where an attribute is present scores below 0.5.

    Args:
        train_features: Features of the training images (N, K).
        train_attributes: Their attributes (N, A), true where present.
        test_features: Features of the test images (M, K).
        test_attributes: Their attributes (M, A).

    Returns:
        The chosen attributes, their test AUC, and its mean; 0.5 is chance.

    Raises:
        ChiqpmError: On shapes that don't fit together, values that aren't finite, or no attribute that varies
            among the training images.

    Example:
        >>> features, attributes = np.array([[0.1], [0.9], [0.8]]), np.array([[1, 0], [0, 1], [0, 1]])
        >>> result = attribute_auc(features, attributes, features, attributes)
        >>> result.mean, result.attribute_K.tolist()
        (1.0, [1])
    """
    train_NK = floats(train_features, "train_features", "NK")
    train_NA = flags(train_attributes, "train_attributes", "NA", N=len(train_NK))
    test_MK = floats(test_features, "test_features", "MK", K=train_NK.shape[1])
    test_MA = flags(test_attributes, "test_attributes", "MA", M=len(test_MK), A=train_NA.shape[1])

    train_KA = _auc(train_NK, train_NA)
    if np.isnan(train_KA).all():
        raise ChiqpmError("no attribute is present in some training images and absent in others; none can be chosen.")
    attribute_K = np.nanargmax(train_KA, axis=1).astype(np.int64)
    auc_K = _auc(test_MK, test_MA)[np.arange(len(attribute_K)), attribute_K]
    scored = auc_K[~np.isnan(auc_K)]
    return AttributeAUC(
        mean=float(scored.mean()) if scored.size else float("nan"), attribute_K=attribute_K, auc_K=auc_K
    )


def _auc(features_NK: npt.NDArray[np.float64], present_NA: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """AUC (K, A) of features for attributes by the rank sum; ties count half, NaN where undefined."""
    rank_NK = rankdata(features_NK, axis=0)
    present_A = present_NA.sum(axis=0).astype(np.float64)
    pairs_A = present_A * (len(present_NA) - present_A)
    wins_KA = rank_NK.T @ present_NA.astype(np.float64) - present_A * (present_A + 1) / 2
    return np.where(pairs_A > 0, wins_KA / np.maximum(pairs_A, 1.0), np.nan)

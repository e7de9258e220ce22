"""Feature alignment: how much more active is a feature where an attribute is present?"""

from __future__ import annotations

import numpy as np

from chiqpm.errors import ChiqpmError
from chiqpm.metrics._arrays import ArrayOrTensor, flags, floats


def feature_alignment(features: ArrayOrTensor, attributes: ArrayOrTensor) -> float:
    """Each feature's gain on the attribute that suits it best, mean over features (arXiv 2511.20779).

    The gain is the mean activation where the attribute is present minus the mean where it is absent, over the
    mean activation above the feature's minimum. A constant feature gains 0. Attributes that all samples have,
    or none, are ignored.

    Args:
        features: Features (N, K).
        attributes: Attributes of each image (N, A), true where present.

    Returns:
        The mean over features of the largest gain; it has no upper bound, and 0 means no relation.

    Raises:
        ChiqpmError: On shapes that don't fit together, values that aren't finite, or no attribute that
            varies.

    Example:
        >>> attributes = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])
        >>> feature_alignment(np.array([[2.0], [2.0], [0.0], [0.0]]), attributes)
        2.0
    """
    features_NK = floats(features, "features", "NK")
    present_NA = flags(attributes, "attributes", "NA", N=len(features_NK)).astype(np.float64)
    count_A = present_NA.sum(axis=0)
    varies = (count_A > 0) & (count_A < len(present_NA))
    if not varies.any():
        raise ChiqpmError("no attribute is present in some samples and absent in others; nothing can be compared.")
    present_NA, count_A = present_NA[:, varies], count_A[varies]

    activation_NK = features_NK - features_NK.min(axis=0)
    mean_K = activation_NK.mean(axis=0)
    # Shifting a feature by its minimum leaves the difference of two of its means as it is.
    sum_KA = activation_NK.T @ present_NA
    rest_KA = activation_NK.sum(axis=0)[:, None] - sum_KA
    gain_KA = sum_KA / count_A - rest_KA / (len(present_NA) - count_A)
    return float((gain_KA.max(axis=1) / np.where(mean_K > 0, mean_K, 1.0)).mean())

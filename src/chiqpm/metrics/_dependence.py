"""Dependence: does a prediction rest on one feature alone?"""

from __future__ import annotations

import numpy as np

from chiqpm.metrics._arrays import ArrayOrTensor, floats, integers


def dependence(features: ArrayOrTensor, weight: ArrayOrTensor, predicted: ArrayOrTensor) -> float:
    """Share of the largest contribution in all contributions to the predicted class, mean over samples.

    A feature contributes its activation times its weight, in absolute value (arXiv 2511.20779). Samples to
    whose prediction nothing contributes are left out.

    Args:
        features: Features (N, K).
        weight: Class weights or assignment (C, K).
        predicted: Predicted classes (N,), integers.

    Returns:
        A number in (0, 1]; 1 where every prediction rests on one feature, NaN where no sample has a
        contribution.

    Raises:
        ChiqpmError: On shapes that don't fit together, values that aren't finite or classes out of range.
        TypeError: If the classes aren't integers.

    Example:
        >>> dependence(np.array([[3.0, 1.0, 9.0]]), np.array([[1.0, 1.0, 0.0]]), np.array([0]))
        0.75
    """
    features_NK = floats(features, "features", "NK")
    weight_CK = floats(weight, "weight", "CK", K=features_NK.shape[1])
    predicted_N = integers(predicted, "predicted", "N", limit=len(weight_CK), N=len(features_NK))
    contribution_NK = np.abs(features_NK * weight_CK[predicted_N])
    total_N = contribution_NK.sum(axis=1)
    largest_N = contribution_NK.max(axis=1)
    counted = total_N > 0
    return float((largest_N[counted] / total_N[counted]).mean()) if counted.any() else float("nan")

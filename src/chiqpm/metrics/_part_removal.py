"""Part removal: does a feature fall when the part it should rest on is gone?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chiqpm.errors import ChiqpmError
from chiqpm.metrics._arrays import ArrayOrTensor, floats, integers


@dataclass(frozen=True, kw_only=True)
class PartRemoval:
    """How a feature and the prediction react to a removed part, and to another part removed instead."""

    samples: int
    """Number of images."""
    falls: float
    """Share in which the feature fell by more than half."""
    kept_activation: float
    """Mean activation that is left, as a share of the original one."""
    prediction_changes: float
    """Share in which the prediction became another class."""
    control_falls: float
    """Share in which the feature fell by more than half although another part was removed."""
    control_kept_activation: float
    """Mean activation that is left when another part is removed."""
    control_prediction_changes: float
    """Share in which the prediction became another class although another part was removed."""


def part_removal(
    *,
    before: ArrayOrTensor,
    removed: ArrayOrTensor,
    control: ArrayOrTensor,
    feature: ArrayOrTensor,
    predicted: ArrayOrTensor,
    removed_predicted: ArrayOrTensor,
    control_predicted: ArrayOrTensor,
) -> PartRemoval:
    """Compare features of images without a part with those of the originals.

    Give one row an image in which the feature is active, rendered as it is, without the part that the feature should
    rest on, and without another part.

    Args:
        before: Features of the original images (N, K).
        removed: Features without the part (N, K).
        control: Features without another part (N, K).
        feature: The feature in question (N,), integers; it must be active in the original.
        predicted: Predicted class of the originals (N,), integers.
        removed_predicted: Predicted class without the part (N,), integers.
        control_predicted: Predicted class without the other part (N,), integers.

    Returns:
        Shares of images and of activation.

    Raises:
        ChiqpmError: On shapes that don't fit together, values that aren't finite, indices out of range, or a feature
            that isn't active in the original.
        TypeError: If indices or classes aren't integers.

    Example:
        >>> result = part_removal(
        ...     before=np.array([[2.0]]), removed=np.array([[0.5]]), control=np.array([[1.8]]), feature=np.array([0]),
        ...     predicted=np.array([1]), removed_predicted=np.array([3]), control_predicted=np.array([1]),
        ... )
        >>> result.falls, result.kept_activation, result.control_falls, result.prediction_changes
        (1.0, 0.25, 0.0, 1.0)
    """
    before_NK = floats(before, "before", "NK")
    samples, kept = before_NK.shape
    removed_NK = floats(removed, "removed", "NK", N=samples, K=kept)
    control_NK = floats(control, "control", "NK", N=samples, K=kept)
    feature_N = integers(feature, "feature", "N", limit=kept, N=samples)
    predicted_N = integers(predicted, "predicted", "N", N=samples)
    row_N = np.arange(samples)
    start_N = before_NK[row_N, feature_N]
    if (start_N <= 0).any():
        raise ChiqpmError(
            f"the feature is not active in {int((start_N <= 0).sum())} of {samples} original images; leave those out."
        )
    values = {}
    for prefix, after_NK, after_predicted, name in (
        ("", removed_NK, removed_predicted, "removed_predicted"),
        ("control_", control_NK, control_predicted, "control_predicted"),
    ):
        share_N = after_NK[row_N, feature_N] / start_N
        changed_N = integers(after_predicted, name, "N", N=samples) != predicted_N
        values[prefix + "falls"] = float((share_N < 0.5).mean())
        values[prefix + "kept_activation"] = float(share_N.mean())
        values[prefix + "prediction_changes"] = float(changed_N.mean())
    return PartRemoval(samples=samples, **values)

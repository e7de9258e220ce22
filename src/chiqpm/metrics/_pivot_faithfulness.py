"""Pivot faithfulness: does the one feature that separates two siblings follow the attribute that does?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chiqpm.errors import ChiqpmError
from chiqpm.metrics._arrays import ArrayOrTensor, floats, integers


@dataclass(frozen=True, kw_only=True)
class PivotFaithfulness:
    """Shares of images in which the features moved as they should, and in which a control moved them."""

    samples: int
    """Number of images."""
    own_falls: float
    """Share in which the own class's pivot fell."""
    sibling_rises: float
    """Share in which the sibling's pivot rose."""
    faithful: float
    """Share in which both happened."""
    flip_rate: float
    """Share in which the prediction became the sibling."""
    control_own_falls: float
    """Share in which the own class's pivot fell although another part was changed."""
    control_sibling_rises: float
    """Share in which the sibling's pivot rose although another part was changed."""
    control_faithful: float
    """Share in which both happened although another part was changed."""
    control_flip_rate: float
    """Share in which the prediction became the sibling although another part was changed."""


def pivot_faithfulness(
    *,
    before: ArrayOrTensor,
    swapped: ArrayOrTensor,
    control: ArrayOrTensor,
    own_pivot: ArrayOrTensor,
    sibling_pivot: ArrayOrTensor,
    sibling: ArrayOrTensor,
    swapped_predicted: ArrayOrTensor,
    control_predicted: ArrayOrTensor,
    margin: float = 1e-6,
) -> PivotFaithfulness:
    """Compare features of re-rendered images with those of the originals.

    For classes that share all features but one, the pivot is the feature that only one of the two has. Give
    one row an image that is classified correctly and has such a sibling: rendered as it is, with the
    attribute that separates the two classes replaced by the sibling's, and with an attribute of another part
    changed.

    Args:
        before: Features of the original images (N, K).
        swapped: Features after the separating attribute became the sibling's (N, K).
        control: Features after an attribute of another part was changed (N, K).
        own_pivot: Feature that the true class has and the sibling lacks (N,), integers.
        sibling_pivot: Feature that the sibling has and the true class lacks (N,), integers.
        sibling: Sibling class (N,), integers.
        swapped_predicted: Predicted class after the swap (N,), integers.
        control_predicted: Predicted class after the control change (N,), integers.
        margin: A feature moved where it changed by more than this; by default more than rounding noise.

    Returns:
        Shares of images, for the swap and for the control.

    Raises:
        ChiqpmError: On shapes that don't fit together, values that aren't finite, indices out of range, equal
            pivots or a negative margin.
        TypeError: If indices or classes aren't integers.

    Example:
        >>> result = pivot_faithfulness(
        ...     before=np.array([[1.0, 0.0]]), swapped=np.array([[0.2, 0.7]]), control=np.array([[1.0, 0.1]]),
        ...     own_pivot=np.array([0]), sibling_pivot=np.array([1]), sibling=np.array([5]),
        ...     swapped_predicted=np.array([5]), control_predicted=np.array([4]),
        ... )
        >>> result.faithful, result.flip_rate, result.control_faithful, result.control_flip_rate
        (1.0, 1.0, 0.0, 0.0)
    """
    before_NK = floats(before, "before", "NK")
    samples, kept = before_NK.shape
    swapped_NK = floats(swapped, "swapped", "NK", N=samples, K=kept)
    control_NK = floats(control, "control", "NK", N=samples, K=kept)
    own_N = integers(own_pivot, "own_pivot", "N", limit=kept, N=samples)
    other_N = integers(sibling_pivot, "sibling_pivot", "N", limit=kept, N=samples)
    sibling_N = integers(sibling, "sibling", "N", N=samples)
    if (own_N == other_N).any():
        raise ChiqpmError(
            "own_pivot equals sibling_pivot in some rows; a pivot belongs to only one of the two classes."
        )
    if margin < 0:
        raise ChiqpmError(f"margin is {margin}; it must be 0 or more.")

    row_N = np.arange(samples)
    shares = {}
    for prefix, after_NK, predicted, name in (
        ("", swapped_NK, swapped_predicted, "swapped_predicted"),
        ("control_", control_NK, control_predicted, "control_predicted"),
    ):
        change_NK = after_NK - before_NK
        falls_N = change_NK[row_N, own_N] < -margin
        rises_N = change_NK[row_N, other_N] > margin
        shares[prefix + "own_falls"] = float(falls_N.mean())
        shares[prefix + "sibling_rises"] = float(rises_N.mean())
        shares[prefix + "faithful"] = float((falls_N & rises_N).mean())
        shares[prefix + "flip_rate"] = float((integers(predicted, name, "N", N=samples) == sibling_N).mean())
    return PivotFaithfulness(samples=samples, **shares)

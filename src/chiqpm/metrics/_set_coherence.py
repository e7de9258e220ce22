"""Set coherence: are the classes of one prediction set alike?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chiqpm.metrics._arrays import ArrayOrTensor, flags, floats

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class SetCoherence:
    """How similar the classes within a prediction set are; NaN where no set holds two classes."""

    pair_pooled: float
    """Mean similarity over all pairs of all sets together, as published: a large set weighs more."""
    per_set: float
    """Mean over sets of the mean similarity of the set's pairs: every set weighs the same."""
    sets: int
    """Number of sets with at least two classes; only these count."""


def set_coherence(sets: ArrayOrTensor, class_similarity: ArrayOrTensor) -> SetCoherence:
    """Mean true similarity of the distinct classes that share a prediction set (arXiv 2511.20779).

    Args:
        sets: Prediction sets (B, C), true where the class belongs to the set.
        class_similarity: True similarity (C, C); its diagonal is ignored.

    Returns:
        The pair-pooled and the per-set mean.

    Raises:
        ChiqpmError: On shapes that don't fit together or values that aren't finite.

    Example:
        >>> similarity = np.array([[1.0, 0.8, 0.2], [0.8, 1.0, 0.2], [0.2, 0.2, 1.0]])
        >>> result = set_coherence(np.array([[1, 1, 0], [1, 1, 1], [0, 0, 1]]), similarity)
        >>> round(result.pair_pooled, 2), round(result.per_set, 2), result.sets
        (0.5, 0.6, 2)
    """
    sets_BC = flags(sets, "sets", "BC")
    classes = sets_BC.shape[1]
    similarity_CD = floats(class_similarity, "class_similarity", "CD", C=classes, D=classes).copy()
    np.fill_diagonal(similarity_CD, 0.0)
    size_B = sets_BC.sum(axis=1)
    sets_BC, size_B = sets_BC[size_B >= 2], size_B[size_B >= 2]
    if not len(sets_BC):
        return SetCoherence(pair_pooled=float("nan"), per_set=float("nan"), sets=0)

    sum_B = np.empty(len(sets_BC))
    for start in range(0, len(sets_BC), _ROWS_AT_ONCE):
        rows = sets_BC[start : start + _ROWS_AT_ONCE].astype(np.float64)
        sum_B[start : start + _ROWS_AT_ONCE] = ((rows @ similarity_CD) * rows).sum(axis=1)
    pairs_B = size_B * (size_B - 1)
    return SetCoherence(
        pair_pooled=float(sum_B.sum() / pairs_B.sum()),
        per_set=float((sum_B / pairs_B).mean()),
        sets=len(sets_BC),
    )

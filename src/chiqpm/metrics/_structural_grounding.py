"""Structural grounding: do classes that look alike share features?"""

from __future__ import annotations

import numpy as np

from chiqpm.errors import ChiqpmError
from chiqpm.metrics._arrays import ArrayOrTensor, floats
from chiqpm.metrics._cosine import cosine_of_rows


def structural_grounding(weight: ArrayOrTensor, class_similarity: ArrayOrTensor, entries: int = 50) -> float:
    """The model's similarity of the most similar classes over their true similarity (arXiv 2511.20779).

    The model's similarity is the cosine of the rows of the weight. Both are summed over the largest entries
    of the true similarity off the diagonal; every pair of classes has two entries. Entries that tie for the
    last places share them equally, so that the value doesn't depend on the order of the classes.

    Args:
        weight: Class weights or assignment (C, K).
        class_similarity: True similarity (C, C), for instance the cosine of class attributes; its diagonal is
            ignored.
        entries: Number of entries, at least 1; all C * (C - 1) where there are fewer.

    Returns:
        The ratio: 1 where the model is as similar as the truth on these pairs; NaN where the true sum is 0.

    Raises:
        ChiqpmError: On shapes that don't fit together, fewer than two classes or entries below 1.

    Example:
        >>> weight = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
        >>> truth = np.array([[1.0, 0.8, 0.1], [0.8, 1.0, 0.2], [0.1, 0.2, 1.0]])
        >>> round(structural_grounding(weight, truth, entries=2), 3)
        0.625
    """
    weight_CK = floats(weight, "weight", "CK")
    classes = len(weight_CK)
    truth_CD = floats(class_similarity, "class_similarity", "CD", C=classes, D=classes)
    if classes < 2:
        raise ChiqpmError("weight holds one class; at least two are needed to compare them.")
    if entries < 1:
        raise ChiqpmError(f"entries is {entries}; it must be at least 1 (the published number is 50).")

    off_diagonal = ~np.eye(classes, dtype=bool)
    truth = truth_CD[off_diagonal]
    model = cosine_of_rows(weight_CK)[off_diagonal]
    entries = min(entries, truth.size)
    last = np.partition(truth, truth.size - entries)[truth.size - entries]
    # Equal attributes give cosines that differ in the last digits.
    tied = np.isclose(truth, last, rtol=0, atol=1e-9)
    above = (truth > last) & ~tied
    share = (entries - np.count_nonzero(above)) / np.count_nonzero(tied)
    model_sum = model[above].sum() + share * model[tied].sum()
    truth_sum = truth[above].sum() + share * truth[tied].sum()
    return float(model_sum / truth_sum) if truth_sum else float("nan")

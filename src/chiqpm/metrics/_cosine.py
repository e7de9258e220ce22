"""Cosine of the rows of a matrix, and of classes by their attributes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chiqpm.metrics._arrays import ArrayOrTensor, floats


def class_similarity(attributes_CA: ArrayOrTensor) -> npt.NDArray[np.float64]:
    """Ground-truth similarity of classes: the cosine of their attributes (arXiv 2511.20779).

    Args:
        attributes_CA: Attributes of each class (C, A): flags, or any numbers such as frequencies.

    Returns:
        Similarity (C, C), symmetric, 1 on the diagonal; 0 everywhere for a class without any attribute.

    Raises:
        ChiqpmError: On a wrong shape or values that aren't finite.

    Example:
        >>> class_similarity(np.array([[1, 1, 0], [0, 1, 1]])).round(2).tolist()
        [[1.0, 0.5], [0.5, 1.0]]
    """
    return cosine_of_rows(floats(attributes_CA, "attributes_CA", "CA"))


def cosine_of_rows(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cosine of every two rows (R, S) -> (R, R); a zero row has cosine 0 with all."""
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    # Dividing by the largest entry first keeps the squares of tiny and huge rows in range.
    scaled = matrix / np.where(largest > 0, largest, 1.0)
    norm = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit = scaled / np.where(norm > 0, norm, 1.0)
    return np.clip(unit @ unit.T, -1.0, 1.0)

"""Which classes are similar, and which share all but one of their features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

_BLOCK = 512


def nearest_class_pairs(similarity_FC: NDArray[np.floating], pair_density: float) -> NDArray[np.int64]:
    """The int(pair_density · C) pairs of classes whose columns of A are nearest in Euclidean distance.

    Args:
        similarity_FC: A, similarity of features and classes (F,C).
        pair_density: rho, pairs per class, in [0, 1].

    Returns:
        Class indices (P,2), the smaller index of a pair first, nearest pair first. Memory is O(C · block).

    Example:
        >>> nearest_class_pairs(np.array([[0.0, 5.0, 1.0, 9.0]]), 0.5)
        array([[0, 2],
               [1, 2]])
    """
    columns_CF = np.ascontiguousarray(np.asarray(similarity_FC, dtype=np.float64).T)
    num_classes = len(columns_CF)
    count = min(int(pair_density * num_classes), num_classes * (num_classes - 1) // 2)
    pairs_P2 = np.empty((0, 2), dtype=np.int64)
    distance_P = np.empty(0)
    if count == 0:
        return pairs_P2
    for start in range(0, num_classes, _BLOCK):
        distance_BC = cdist(columns_CF[start : start + _BLOCK], columns_CF)
        row, column = np.triu_indices(len(distance_BC), 1 + start, num_classes)
        pairs_P2 = np.concatenate([pairs_P2, np.stack([row + start, column], axis=1)])
        distance_P = np.concatenate([distance_P, distance_BC[row, column]])
        nearest_P = np.argsort(distance_P, kind="stable")[:count]
        pairs_P2, distance_P = pairs_P2[nearest_P], distance_P[nearest_P]
    return pairs_P2


def components(pairs_P2: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """The connected component of each class in the graph of pairs (C,), numbered from 0."""
    ones = np.ones(len(pairs_P2), dtype=np.int8)
    graph = sparse.coo_matrix((ones, (pairs_P2[:, 0], pairs_P2[:, 1])), shape=(num_classes, num_classes))
    _, component_C = connected_components(graph, directed=False)
    return np.asarray(component_C, dtype=np.int64)


def sharing_pairs(weight_CK: NDArray[np.integer], at_least: int) -> NDArray[np.int64]:
    """All pairs of classes that share at least so many features.

    Args:
        weight_CK: binary assignment (C,K).
        at_least: number of shared features.

    Returns:
        Class indices (P,2), the smaller index first, in lexical order.
    """
    weight_CK = np.asarray(weight_CK, dtype=np.float32)
    first, second = np.nonzero(np.triu(weight_CK @ weight_CK.T >= at_least, 1))
    return np.stack([first, second], axis=1).astype(np.int64)

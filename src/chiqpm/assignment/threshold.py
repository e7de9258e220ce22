"""The redundancy from which two selected features are penalised (arXiv 2511.20779)."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment.cliques import find_clique, greedy_clique_size

_LOG = logging.getLogger(__name__)
_STEPS = 100


def redundancy_threshold(redundancy_FF: NDArray[np.floating], kept_features: int) -> float:
    """Threshold tau such that `kept_features` features without any redundancy R >= tau among them are known to exist.

    The rule walks down a grid of 100 thresholds between the density at which Turán's theorem promises a clique of K
    mutually non-redundant features and the entries that are zero; it stops where a greedy estimate of the largest such
    group no longer exceeds K, and walks back up (beyond its start where needed) until such a group is actually
    constructed. It is a rule and not the smallest possible threshold: a smaller one would make another problem.

    Args:
        redundancy_FF: non-negative redundancy (F,F), symmetric or upper triangular; its diagonal is ignored.
        kept_features: K, the number of features that are to be selected.

    Returns:
        tau. Infinite when nothing is redundant, K = 1, or no such group was found; the smallest positive entry
        when so many entries are zero that
        the zeros alone hold such a group.
    """
    symmetric_FF = np.triu(redundancy_FF, 1)
    symmetric_FF = symmetric_FF + symmetric_FF.T
    positive = symmetric_FF[symmetric_FF > 0]
    num_features, target = len(symmetric_FF), kept_features
    if positive.size == 0 or target == 1:
        return float("inf")
    zeros = symmetric_FF.size - positive.size
    promised = num_features**2 * (target - 2) / (target - 1)
    if promised <= zeros:
        return float(positive.min())

    ordered = np.sort(symmetric_FF, axis=None)
    step = (promised - zeros) / _STEPS

    def at(i: int) -> float:
        return float(ordered[min(int(promised) - int(i * step), ordered.size - 1)])

    def graph(threshold: float) -> NDArray[np.bool_]:
        joined_FF = symmetric_FF < threshold
        np.fill_diagonal(joined_FF, False)
        return joined_FF

    chosen, previous = _STEPS - 1, None
    for i in range(_STEPS):
        joined_FF = graph(at(i))
        edges = int(joined_FF.sum())
        if edges == previous:
            continue
        previous = edges
        estimate = greedy_clique_size(joined_FF, target)
        if estimate <= target:
            chosen = i if estimate == target else max(i - 1, 0)
            break
    tried = None
    for i in range(chosen, chosen - _STEPS, -1):
        threshold = at(i)
        if threshold != tried and find_clique(graph(threshold), target) is not None:
            return threshold
        tried = threshold
    _LOG.info("No group of %d mutually non-redundant features was found; no pair is penalised.", target)
    return float("inf")

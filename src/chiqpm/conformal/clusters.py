"""Clusters of classes with alike scores, for clustered conformal prediction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chiqpm.conformal.arrays import Array
from chiqpm.conformal.scores import Score
from chiqpm.conformal.scoring import require_one_variant, score_labels
from chiqpm.conformal.uniform import Generator
from chiqpm.errors import ChiqpmError

_QUANTILES = (0.5, 0.6, 0.7, 0.8, 0.9)


def cluster_classes(
    score: Score,
    logits_MC: Array,
    labels_M: Array,
    features_MK: Array | None = None,
    *,
    num_clusters: int,
    seed: int,
    min_count: int = 5,
    generator: Generator | None = None,
) -> NDArray[np.int64]:
    """Group classes whose true images have alike scores, for `MondrianPredictor(score, "class", cells_C=...)`.

    Each class is described by a few quantiles of its scores, and k-means, weighted by the square root of its
    images, groups them (Ding et al., 2023, "Class-conditional conformal prediction with many classes"). Use
    images apart from those that calibrate afterwards: only then does the promise hold within each cluster.

    Args:
        score: any score; a level-limited one needs a given level.
        logits_MC: logits of the images.
        labels_M: their true classes, 0 .. C - 1.
        features_MK: their features, for a score that reads them.
        num_clusters: >= 1; no more are made than there are classes with enough images.
        seed: of the k-means starts.
        min_count: classes with fewer images make a cluster of their own together.
        generator: source of the draws, for a randomised score.

    Returns:
        The cluster (C,) of each class; 0 for those with too few images, else from 1.

    Raises:
        TypeError: as `ConformalPredictor.calibrate`.
        ChiqpmError: as `ConformalPredictor.calibrate`; also for numbers out of range.
    """
    if num_clusters < 1 or min_count < 1:
        raise ChiqpmError(f"num_clusters and min_count must be 1 or more; got {num_clusters} and {min_count}.")
    require_one_variant(score)
    # Imported here, since it takes longer than all the rest of the room.
    from sklearn.cluster import KMeans

    scores_VM, labels, num_classes = score_labels(score, logits_MC, labels_M, features_MK, generator)
    counts = np.bincount(labels, minlength=num_classes)
    cells_C = np.zeros(num_classes, dtype=np.int64)
    enough = np.flatnonzero(counts >= min_count)
    if enough.size == 0:
        return cells_C
    finite = np.where(np.isfinite(scores_VM[0]), scores_VM[0], np.finfo(np.float32).max)
    described = np.array([np.quantile(finite[labels == c], _QUANTILES) for c in enough])
    distinct = len(np.unique(described, axis=0))
    means = KMeans(n_clusters=min(num_clusters, distinct), n_init=10, random_state=seed)
    cells_C[enough] = 1 + means.fit_predict(described, sample_weight=np.sqrt(counts[enough]))
    return cells_C

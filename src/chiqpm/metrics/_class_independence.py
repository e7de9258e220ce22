"""Class independence: is a feature shared, or the private detector of one class?"""

from __future__ import annotations

import numpy as np

from chiqpm.metrics._arrays import ArrayOrTensor, floats, integers


def class_independence(features: ArrayOrTensor, labels: ArrayOrTensor) -> float:
    """One minus the share of a feature's activation that its main class holds (arXiv 2511.20779).

    The mean over features is returned. Activations are taken above the feature's own minimum; a feature
    without any counts as independent.

    Args:
        features: Features of the training images (N, K).
        labels: Their classes (N,), integers from 0.

    Returns:
        A number in [0, 1]; the larger, the less a feature belongs to one class.

    Raises:
        ChiqpmError: On shapes that don't fit together, values that aren't finite or negative labels.
        TypeError: If the labels aren't integers.

    Example:
        >>> class_independence(np.array([[1.0], [1.0], [0.0], [2.0]]), np.array([0, 1, 1, 2]))
        0.5
    """
    features_NK = floats(features, "features", "NK")
    labels_N = integers(labels, "labels", "N", N=len(features_NK))
    main_share = 0.0
    for values in features_NK.T:
        class_sums = np.bincount(labels_N, weights=values - values.min())
        main_share += class_sums.max() / max(class_sums.sum(), 1e-8)
    return float(1 - main_share / features_NK.shape[1])

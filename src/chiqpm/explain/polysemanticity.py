"""Does a feature stand for two things? What its most activating images have in common, and what not.

Axis letters: C classes, A attributes, T top images, K features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chiqpm.explain.clusters import two_clusters
from chiqpm.explain.features import Cluster, Polysemanticity
from chiqpm.explain.observations import Observations

_SMALLEST_CLUSTER = 0.2
_Z = 3.0
_SHARE_DIFFERENCE = 0.5
_ALIKE = 0.1


def polysemanticity(
    observations: Observations,
    feature: int,
    class_names: Sequence[str],
    attribute_names: Sequence[str],
    present_CA: NDArray[np.bool_],
    *,
    auc_A: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> Polysemanticity | None:
    """Look for two kinds among a feature's top images, by what the other features show where this one peaks.

    Args:
        observations: from a pass over images.
        feature: index of the feature.
        class_names: C names.
        attribute_names: A names; none where nothing is known about the classes.
        present_CA: attributes of the classes.
        auc_A: how well the feature detects each attribute: of attributes that differ alike between the groups the one
            that it follows best is named.
        seed: of the clusters.

    Returns:
        The evidence, or None: the images are too few or of one kind, one group is smaller than a fifth, or, where
        attributes are known, none is at least half more frequent in one group than in the other. The clusters name
        images by their position among the T.
    """
    kept = observations.top_KT[feature] >= 0
    labels_T = observations.top_label_KT[feature][kept]
    # The feature itself is high in all of them. The others count by their direction, the strong ones among them damped.
    others_TK = np.sqrt(np.maximum(np.delete(observations.top_context_KTK[feature][kept], feature, axis=1), 0.0))
    length_T1 = np.linalg.norm(others_TK, axis=1, keepdims=True)
    found = two_clusters(others_TK / np.maximum(length_T1, 1e-12), seed=seed)
    members = (~found.second_T, found.second_T)
    if found.z < _Z or found.second_T.sum() < _SMALLEST_CLUSTER * len(labels_T):
        return None
    attribute, shares = "", (0.0, 0.0)
    if present_CA.shape[1]:
        share_2A = np.stack([present_CA[labels_T[member_T]].mean(axis=0) for member_T in members])
        apart_A = np.abs(share_2A[0] - share_2A[1])
        follows_A = np.zeros_like(apart_A) if auc_A is None else np.nan_to_num(auc_A, nan=0.5)
        most = int(np.where(apart_A >= apart_A.max() - _ALIKE, follows_A, -1.0).argmax())
        attribute, shares = attribute_names[most], (float(share_2A[0, most]), float(share_2A[1, most]))
        if abs(shares[0] - shares[1]) < _SHARE_DIFFERENCE:
            return None
    first, second = (
        Cluster(
            images=tuple(np.flatnonzero(member_T).tolist()),
            size=int(member_T.sum()),
            classes=tuple(class_names[c] for c, _ in Counter(labels_T[member_T].tolist()).most_common(3)),
        )
        for member_T in members
    )
    return Polysemanticity((first, second), found.index, found.expected, found.z, attribute, shares)

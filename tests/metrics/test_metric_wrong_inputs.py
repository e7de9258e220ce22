"""Every public metric says what it received and what it needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from chiqpm import metrics
from chiqpm.errors import ChiqpmError

X = np.ones((4, 3))
Y = np.array([0, 1, 1, 0])
M = np.ones((4, 3, 2, 2))
W = np.ones((2, 3))
ROOT = np.zeros((4, 3), dtype=np.int64)
NAN = np.full((4, 3), np.nan)
PEAKS = np.full((4, 3, 2), 0.5)
MASKS = np.ones((4, 2, 5, 5), dtype=bool)
PARTS = np.array([0, 1, -1])
PIVOT = {
    "before": X,
    "swapped": X,
    "control": X,
    "own_pivot": Y,
    "sibling_pivot": Y + 1,
    "sibling": Y,
    "swapped_predicted": Y,
    "control_predicted": Y,
}


def pivot(**changed: object) -> object:
    return metrics.pivot_faithfulness(**{**PIVOT, **changed})


def ground(**changed: object) -> object:
    given = {"peaks": PEAKS, "masks": MASKS, "active": X, "parts": PARTS, **changed}
    return metrics.part_grounding(**given)


CASES: dict[str, tuple[Callable[[], object], str]] = {
    "sid: maps without batch": (
        lambda: metrics.spatial_diversity(M[0], W, Y, 2),
        r"maps has shape \(3, 2, 2\)",
    ),
    "sid: weight of other features": (lambda: metrics.spatial_diversity(M, W[:, :2], Y, 2), "with K = 3"),
    "sid: predictions of other images": (lambda: metrics.spatial_diversity(M, W, Y[:3], 2), "with B = 4"),
    "sid: class out of range": (
        lambda: metrics.spatial_diversity(M, W, Y + 1, 2),
        "between 0 and 1; received values",
    ),
    "sid: negative class": (lambda: metrics.spatial_diversity(M, W, Y - 1, 2), "from -1 to 0"),
    "sid: k too large": (
        lambda: metrics.spatial_diversity(M, W, Y, 4),
        "k is 4; it must lie between 1 and 3",
    ),
    "sid: k beyond the assignment": (
        lambda: metrics.spatial_diversity(M, np.eye(2, 3), Y, 2),
        "between 1 and 1",
    ),
    "sid: k zero": (lambda: metrics.spatial_diversity(M, W, Y, 0), "k is 0"),
    "sid: nan": (lambda: metrics.spatial_diversity(M * np.nan, W, Y, 2), "aren't finite"),
    "sid: no images": (lambda: metrics.spatial_diversity(M[:0], W, Y[:0], 2), "maps is empty"),
    "independence: labels": (lambda: metrics.class_independence(X, Y[:2]), r"labels has shape \(2,\).*N = 4"),
    "independence: negative": (lambda: metrics.class_independence(X, Y - 1), "labels must be 0 or more"),
    "independence: nan": (lambda: metrics.class_independence(NAN, Y), "features holds 12 values"),
    "contrastiveness: one sample": (lambda: metrics.contrastiveness(X[:1], 0), "one sample"),
    "contrastiveness: nan": (lambda: metrics.contrastiveness(NAN, 0), "aren't finite"),
    "active mean: vector": (lambda: metrics.active_mean(X[0], 0), r"must be \(N, K\)"),
    "mixtures: empty": (lambda: metrics.fit_mixtures(X[:, :0], 0), "features is empty"),
    "correlation: one feature": (lambda: metrics.correlation(X[:, :1]), "one feature"),
    "correlation: infinite": (lambda: metrics.correlation(X * np.inf), "aren't finite"),
    "similarity: vector": (lambda: metrics.class_similarity(X[0]), r"must be \(C, A\)"),
    "grounding: sizes": (lambda: metrics.structural_grounding(X, np.eye(3)), "C = 4, D = 4"),
    "grounding: one class": (lambda: metrics.structural_grounding(X[:1], np.eye(1)), "one class"),
    "grounding: entries": (lambda: metrics.structural_grounding(X, np.eye(4), 0), "entries is 0"),
    "coherence: sizes": (lambda: metrics.set_coherence(X == 1, np.eye(4)), "C = 3"),
    "coherence: not flags": (lambda: metrics.set_coherence(X * 0.5, np.eye(3)), "sets must be true or false"),
    "coverage: labels": (lambda: metrics.coverage(X == 1, Y[:2]), "B = 4"),
    "coverage: range": (lambda: metrics.coverage(X == 1, Y + 2), "labels must be between 0 and 2"),
    "coverage: confidence": (lambda: metrics.coverage(X == 1, Y, confidence=95), "got 95"),
    "coverage: groups": (lambda: metrics.coverage_by_group(X == 1, Y, Y[:2]), r"groups has shape \(2,\)"),
    "hierarchy: tree": (lambda: metrics.set_hierarchy(X, ROOT[:2], ROOT), "shared has shape"),
    "hierarchy: no prediction": (lambda: metrics.set_hierarchy(X, ROOT, ROOT), "-1 for the predicted"),
    "hierarchy: superclasses": (lambda: metrics.set_hierarchy(X, ROOT, ROOT, Y), "superclass has shape"),
    "dependence: weight": (lambda: metrics.dependence(X, np.ones((2, 4)), Y), "weight has shape"),
    "dependence: class": (lambda: metrics.dependence(X, W, Y + 1), "between 0 and 1"),
    "alignment: nothing varies": (lambda: metrics.feature_alignment(X, X == 1), "no attribute"),
    "alignment: not flags": (lambda: metrics.feature_alignment(X, X * 2), "attributes must be true or false"),
    "auc: nothing varies": (lambda: metrics.attribute_auc(X, X == 1, X, X == 1), "no attribute"),
    "auc: other features": (lambda: metrics.attribute_auc(X, X == 1, X[:, :2], X == 1), "test_features"),
    "auc: other attributes": (lambda: metrics.attribute_auc(X, X == 1, X, X[:, :1]), "test_attributes"),
    "peaks: shape": (lambda: metrics.map_peaks(X), "maps_BKHW has shape"),
    "peaks: nan": (lambda: metrics.map_peaks(M * np.nan), "aren't finite"),
    "parts: peaks in pixels": (lambda: metrics.modal_parts(PEAKS * 100, MASKS, X), "from 50 to 50"),
    "parts: flat masks": (lambda: metrics.modal_parts(PEAKS, MASKS[:, 0], X), "masks has shape"),
    "grounding: parts beyond": (lambda: ground(parts=PARTS + 1), "parts must be between -1 and 1"),
    "grounding: parts below": (lambda: ground(parts=PARTS - 1), "from -2 to 0"),
    "grounding: visible": (lambda: ground(visible=X), "P = 2"),
    "grounding: explaining": (lambda: ground(explaining=X[:2]), "explaining has shape"),
    "grounding: objects": (lambda: ground(objects=MASKS[:, 0, :3]), "objects has shape"),
    "grounding: tolerance": (lambda: ground(tolerance=-0.1), "tolerance is -0.1"),
    "grounding: tolerance nan": (lambda: ground(tolerance=np.nan), "tolerance is nan"),
    "pivots: same": (lambda: pivot(sibling_pivot=Y), "own_pivot equals sibling_pivot"),
    "pivots: beyond": (lambda: pivot(sibling_pivot=Y + 2), "sibling_pivot must be between 0 and 2"),
    "pivots: sizes": (lambda: pivot(swapped=X[:2]), "swapped has shape"),
    "pivots: predictions": (lambda: pivot(control_predicted=Y[:1]), "control_predicted has shape"),
    "pivots: margin": (lambda: pivot(margin=-1), "margin is -1"),
}

TYPES: dict[str, Callable[[], object]] = {
    "sid: integer maps": lambda: metrics.spatial_diversity(M.astype(int), W, Y, 2),
    "sid: float predictions": lambda: metrics.spatial_diversity(M, W, Y.astype(float), 2),
    "independence: float labels": lambda: metrics.class_independence(X, Y.astype(float)),
    "independence: text": lambda: metrics.class_independence(X.astype(str), Y),
    "correlation: complex": lambda: metrics.correlation(X.astype(complex)),
    "coverage: bool labels": lambda: metrics.coverage(X == 1, Y == 1),
    "peaks: complex": lambda: metrics.map_peaks(torch.ones(1, 1, 2, 2, dtype=torch.complex64)),
    "grounding: float parts": lambda: ground(parts=PARTS.astype(float)),
    "pivots: float pivots": lambda: pivot(own_pivot=Y.astype(float)),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_value(case: str) -> None:
    call, message = CASES[case]
    with pytest.raises(ChiqpmError, match=message):
        call()


@pytest.mark.parametrize("case", TYPES)
def test_wrong_type(case: str) -> None:
    with pytest.raises(TypeError, match=r"received"):
        TYPES[case]()


def test_everything_public_is_documented_and_listed() -> None:
    for name in metrics.__all__:
        assert getattr(metrics, name).__doc__

"""A level for the level-limited score, chosen on images of its own."""

from __future__ import annotations

from chiqpm.conformal.arrays import Array
from chiqpm.conformal.predictor import ConformalPredictor
from chiqpm.conformal.scores import HierarchicalScore


def deepest_level(weight_CK: Array, logits_MC: Array, labels_M: Array, features_MK: Array, *, coverage: float) -> int:
    """Return the deepest level below which the true classes of enough images stay.

    Give it to `HierarchicalScore(weight_CK, "level_limited", level=...)` and calibrate that with other images: the
    level is then a constant, the score like any other, and its classes have p-values. If the level turns out too deep
    for the calibration images, the sets hold every class.

    Args:
        weight_CK: binary assignment.
        logits_MC: logits of the images that choose.
        labels_M: their true classes, 0 .. C - 1.
        features_MK: their features.
        coverage: probability, in (0, 1), with which the truth is to be in the set.

    Warns:
        SmallCalibrationWarning: too few images for the coverage; the level is 0.

    Raises:
        TypeError: as `ConformalPredictor.calibrate`.
        ChiqpmError: as `ConformalPredictor.calibrate` and `ConformalPredictor.threshold`.
    """
    predictor = ConformalPredictor(HierarchicalScore(weight_CK, "level_limited"))
    return predictor.calibrate(logits_MC, labels_M, features_MK).threshold(coverage).variant

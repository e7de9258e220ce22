"""Weighted conformal prediction: coverage under a known covariate shift."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm.conformal import storage
from chiqpm.conformal.arrays import Array, as_kind, as_numpy, empty_like_kind
from chiqpm.conformal.quantile import SmallCalibrationWarning, check_coverage
from chiqpm.conformal.scores import Score
from chiqpm.conformal.scoring import (
    check_scored,
    not_calibrated,
    require_one_variant,
    score_classes,
    score_labels,
)
from chiqpm.conformal.uniform import Generator
from chiqpm.errors import ChiqpmError


class WeightedPredictor:
    """Prediction sets for images that are drawn otherwise than those of the calibration, in a known way.

    The weight of an image is the ratio of its probability (density) where the sets are used to that where the
    calibration images come from, up to a common factor: with twice as many night images in use as in the calibration,
    2 for a night image and the matching smaller number by day. The threshold of a test image is the smallest
    calibration score whose images, with all below, have the share `coverage` of the weight of all calibration images
    and the test image itself. If the labels depend on the images alike in both places and the weights are right, the
    truth is in the set with at least the requested probability (Tibshirani, Barber, Candès and Ramdas, 2019, "Conformal
    prediction under covariate shift"). Equal weights give `ConformalPredictor`.
    """

    def __init__(self, score: Score) -> None:
        """Wrap a score.

        Raises:
            ChiqpmError: the score chooses a level for each coverage.
        """
        self.score = require_one_variant(score)
        self._num_classes: int | None = None
        self._sorted_M: NDArray[np.float64] | None = None
        self._weights_M = np.zeros(0)

    def calibrate(
        self,
        logits_MC: Array,
        labels_M: Array,
        features_MK: Array | None = None,
        *,
        weights_M: Array,
        generator: Generator | None = None,
    ) -> WeightedPredictor:
        """Keep the scores and weights of the calibration images; arguments as `ConformalPredictor.calibrate`.

        Args:
            logits_MC: logits of the calibration images.
            labels_M: their true classes, 0 .. C - 1.
            features_MK: their features, for a score that reads them.
            weights_M: their weights, finite, >= 0, not all 0.
            generator: source of the draws, for a randomised score.

        Returns:
            The predictor itself.

        Raises:
            TypeError: as `ConformalPredictor.calibrate`.
            ChiqpmError: as `ConformalPredictor.calibrate`; also for weights that aren't allowed.
        """
        scores_VM, labels, num_classes = score_labels(self.score, logits_MC, labels_M, features_MK, generator)
        weights = _check_weights(weights_M, len(labels))
        if weights.sum() == 0:
            raise ChiqpmError("at least one calibration image must have a weight above 0.")
        order = np.argsort(scores_VM[0], kind="stable")
        self._sorted_M, self._weights_M, self._num_classes = scores_VM[0][order], weights[order], num_classes
        return self

    @property
    def effective_images(self) -> float:
        """How many equally weighted images the calibration is worth: (Σ w)² / Σ w²; 0 before `calibrate`."""
        total = float((self._weights_M**2).sum())
        return float(self._weights_M.sum()) ** 2 / total if total else 0.0

    def predict_set(
        self,
        logits_BC: Array,
        features_BK: Array | None = None,
        *,
        coverage: float,
        weights_B: Array,
        generator: Generator | None = None,
    ) -> Array:
        """Return the prediction sets.

        Args:
            logits_BC: logits of the images.
            features_BK: their features, for a score that reads them.
            coverage: probability, in (0, 1), with which the truth is to be in the set.
            weights_B: weights of the images, on the scale of those of the calibration.
            generator: source of the draws, for a randomised score.

        Returns:
            True where a class is in the set, (B, C), in the kind of array that `logits_BC` has.

        Warns:
            SmallCalibrationWarning: for some images the calibration weighs too little; their sets hold every class.

        Raises:
            TypeError: an array isn't numeric, or coverage is no number.
            ChiqpmError: as `ConformalPredictor.predict_set`; also for weights that aren't allowed.
        """
        coverage = check_coverage(coverage)
        if self._sorted_M is None:
            raise not_calibrated()
        logits, features = check_scored(self.score, logits_BC, features_BK, self._num_classes)
        weights_B = _check_weights(weights_B, logits.shape[0])
        through_M = self._weights_M.cumsum()
        needed_B = coverage * (through_M[-1] + weights_B)
        # The same allowance for rounding as in the rank of equally weighted images.
        at_B = np.searchsorted(through_M, needed_B - 1e-9 * through_M[-1] / len(through_M))
        limits_B = torch.from_numpy(np.append(self._sorted_M, np.inf)[at_B])
        short = int((at_B == len(through_M)).sum())
        if short:
            warnings.warn(
                f"the calibration images weigh too little for coverage {coverage:g} of {short} image(s): their sets "
                "contain every class. Add calibration images like them or ask for less coverage.",
                SmallCalibrationWarning,
                stacklevel=2,
            )
        sets_BC = empty_like_kind(logits, tuple(logits.shape), torch.bool)
        for rows, scores in score_classes(self.score, logits, features, generator):
            sets_BC[rows] = scores[0] <= limits_B[rows, None].to(scores[0])
        return as_kind(sets_BC, logits)

    def state(self) -> dict[str, Any]:
        """Return all that makes the predictor again: plain values, and NumPy arrays under `arrays`."""
        if self._sorted_M is None:
            raise not_calibrated()
        state = storage.to_state(self.score, self._sorted_M[None], self._num_classes)
        state["arrays"]["calibration_weights_M"] = self._weights_M.copy()
        return state

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> WeightedPredictor:
        """Make the predictor that `state` describes.

        Raises:
            ChiqpmError: something is missing, unknown or of another version; the message names it.
        """
        arrays = dict(state.get("arrays", {}))
        if "calibration_weights_M" not in arrays:
            raise ChiqpmError("this is no state of a WeightedPredictor; calibrate again with this version.")
        weights = np.array(arrays.pop("calibration_weights_M"), dtype=np.float64)
        score, sorted_VM, num_classes = storage.from_state({**state, "arrays": arrays})
        predictor = cls(score)
        predictor._sorted_M, predictor._num_classes = sorted_VM[0], num_classes
        predictor._weights_M = _check_weights(weights, sorted_VM.shape[1])
        return predictor


def _check_weights(weights: Array, num_images: int) -> NDArray[np.float64]:
    column = as_numpy(weights).astype(np.float64)
    if column.shape != (num_images,):
        raise ChiqpmError(f"weights must be one number per image, shape ({num_images},); got shape {column.shape}.")
    if not (np.isfinite(column).all() and (column >= 0).all()):
        raise ChiqpmError("weights must be finite and not negative.")
    return column

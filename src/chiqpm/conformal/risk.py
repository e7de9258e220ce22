"""Conformal risk control: a bound on what missed classes cost, rather than on how often they are missed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm.conformal import storage
from chiqpm.conformal.arrays import Array, as_kind, as_numpy, empty_like_kind
from chiqpm.conformal.quantile import SmallCalibrationWarning
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


class RiskControlPredictor:
    """Prediction sets whose expected cost of a missed truth is at most the requested risk.

    Every class has a cost of being missed. The threshold is the smallest calibration score λ for which the costs of the
    calibration images with a larger score, plus the largest cost once more, are at most risk · (m + 1). If calibration
    and test images are exchangeable, the expected cost of a test image is then at most the risk (Angelopoulos, Bates,
    Fisch, Lei and Schuster, 2024, "Conformal risk control"). With all costs 1, risk 1 - a is coverage a. With 1 for
    dangerous classes and 0 for the others, the risk is the share of all images that show a dangerous class which is
    missed.
    """

    def __init__(self, score: Score, cost_C: Sequence[float] | Array) -> None:
        """Wrap a score.

        Args:
            score: any score; a level-limited one needs a given level.
            cost_C: cost of missing each class, finite, >= 0, not all 0.

        Raises:
            ChiqpmError: the score chooses a level for each coverage, or the costs aren't allowed.
        """
        require_one_variant(score)
        costs = as_numpy(cost_C).astype(np.float64)
        if costs.ndim != 1 or not np.isfinite(costs).all() or (costs < 0).any() or not (costs > 0).any():
            raise ChiqpmError("cost_C must be one finite number per class, none negative and at least one above 0.")
        if score.num_classes not in (None, len(costs)):
            raise ChiqpmError(f"cost_C must have one cost per class, {score.num_classes}; got {len(costs)}.")
        self.score = score
        self._cost_C: NDArray[np.float64] = costs
        self._sorted_M: NDArray[np.float64] | None = None
        self._cost_M = np.zeros(0)

    def calibrate(
        self,
        logits_MC: Array,
        labels_M: Array,
        features_MK: Array | None = None,
        *,
        generator: Generator | None = None,
    ) -> RiskControlPredictor:
        """Keep the scores and costs of the true classes; arguments and errors as `ConformalPredictor.calibrate`."""
        logits, _ = check_scored(self.score, logits_MC, features_MK, len(self._cost_C))
        scores_VM, labels, _ = score_labels(self.score, logits, labels_M, features_MK, generator)
        order = np.argsort(scores_VM[0], kind="stable")
        self._sorted_M, self._cost_M = scores_VM[0][order], self._cost_C[labels][order]
        return self

    def threshold(self, risk: float) -> float:
        """Return the largest admitted score at this risk.

        Args:
            risk: bound on the expected cost of a test image, above 0.

        Warns:
            SmallCalibrationWarning: too few calibration images for the risk; the threshold is infinite.

        Raises:
            ChiqpmError: the risk isn't a positive number, or not calibrated.
        """
        if not (isinstance(risk, int | float) and 0 < risk < math.inf):
            raise ChiqpmError(f"risk must be a number above 0, on the scale of the costs; got {risk!r}.")
        if self._sorted_M is None:
            raise not_calibrated()
        largest, num_images = float(self._cost_C.max()), len(self._sorted_M)
        allowed = risk * (num_images + 1) - largest + 1e-9 * largest
        if allowed < 0:
            warnings.warn(
                f"{num_images} calibration image(s) are too few for risk {risk:g}: the prediction sets contain every "
                "class. At "
                f"least {math.ceil(largest / risk - 1 - 1e-9)} are needed; add images or allow more risk.",
                SmallCalibrationWarning,
                stacklevel=2,
            )
            return math.inf
        # Equal scores are missed together: the cost above a score leaves out all of its ties.
        beyond_M = np.append(self._cost_M[::-1].cumsum()[::-1], 0.0)
        above_M = beyond_M[np.searchsorted(self._sorted_M, self._sorted_M, side="right")]
        return float(self._sorted_M[np.flatnonzero(above_M <= allowed)[0]])

    def predict_set(
        self,
        logits_BC: Array,
        features_BK: Array | None = None,
        *,
        risk: float,
        generator: Generator | None = None,
    ) -> Array:
        """Return the prediction sets.

        Args:
            logits_BC: logits of the images.
            features_BK: their features, for a score that reads them.
            risk: bound on the expected cost of a test image, above 0.
            generator: source of the draws, for a randomised score.

        Returns:
            True where a class is in the set, (B, C), in the kind of array that `logits_BC` has.

        Warns:
            SmallCalibrationWarning: too few calibration images for the risk; every class is in every set.

        Raises:
            TypeError: an array isn't numeric.
            ChiqpmError: as `ConformalPredictor.predict_set`; also where the risk isn't a positive number.
        """
        value = self.threshold(risk)
        logits, features = check_scored(self.score, logits_BC, features_BK, len(self._cost_C))
        sets_BC = empty_like_kind(logits, tuple(logits.shape), torch.bool)
        for rows, scores in score_classes(self.score, logits, features, generator):
            torch.le(scores[0], value, out=sets_BC[rows])
        return as_kind(sets_BC, logits)

    def state(self) -> dict[str, Any]:
        """Return all that makes the predictor again: plain values, and NumPy arrays under `arrays`."""
        if self._sorted_M is None:
            raise not_calibrated()
        state = storage.to_state(self.score, self._sorted_M[None], len(self._cost_C))
        state["arrays"] |= {"cost_C": self._cost_C.copy(), "calibration_costs_M": self._cost_M.copy()}
        return state

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> RiskControlPredictor:
        """Make the predictor that `state` describes.

        Raises:
            ChiqpmError: something is missing, unknown or of another version; the message names it.
        """
        arrays = dict(state.get("arrays", {}))
        if not {"cost_C", "calibration_costs_M"} <= arrays.keys():
            raise ChiqpmError("this is no state of a RiskControlPredictor; calibrate again with this version.")
        cost_C, cost_M = arrays.pop("cost_C"), np.array(arrays.pop("calibration_costs_M"), dtype=np.float64)
        score, sorted_VM, _ = storage.from_state({**state, "arrays": arrays})
        predictor = cls(score, cost_C)
        if cost_M.shape != sorted_VM[0].shape:
            raise ChiqpmError("the costs of the saved RiskControlPredictor don't fit its scores; calibrate again.")
        predictor._sorted_M, predictor._cost_M = sorted_VM[0], cost_M
        return predictor

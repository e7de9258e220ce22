"""What a shift does to coverage, what the monitor says, and whether weights mend it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from chiqpm.conformal import (
    THR,
    ConformalPredictor,
    ExchangeabilityMonitor,
    SmallCalibrationWarning,
    WeightedPredictor,
    clopper_pearson,
    coverage_band,
)
from chiqpm.conformal.scores import Score
from chiqpm.inference import Answers

FALSE_ALARM = 0.01


def measure_condition(
    calibration: Answers, test: Answers, score: Score, *, coverage: float, seed: int
) -> dict[str, Any]:
    """Measure accuracy, coverage, alarms and weighted coverage under one condition.

    Args:
        calibration: answers for clean images.
        test: answers for images of the condition.
        score: of the prediction sets.
        coverage: of the prediction sets.
        seed: of the order in which the monitor sees the images, and of its draws.

    Returns:
        Accuracy; coverage with its exact 95% interval; `chance`, the lowest coverage that the draw of calibration and
        test images leaves likely without a shift (lower end of the exact 95% band); mean set size; images until each
        monitor's alarm, None without one (`images` needs no labels, `labels` does); coverage and size with estimated
        weights.
    """
    predictor = ConformalPredictor(score)
    predictor.calibrate(calibration.logits_NC, calibration.labels_N, calibration.features_NK)
    sets = np.asarray(predictor.predict_set(test.logits_NC, test.features_NK, coverage=coverage))
    covered = sets[np.arange(len(test.labels_N)), test.labels_N]
    rate = clopper_pearson(int(covered.sum()), len(covered))
    return {
        "images": len(covered),
        "accuracy": test.accuracy,
        "coverage": [rate.value, rate.low, rate.high],
        "chance": coverage_band(len(calibration.labels_N), len(covered), coverage)[0],
        "size": float(sets.sum(axis=1).mean()),
        "empty": float((sets.sum(axis=1) == 0).mean()),
        "alarm": _alarms(calibration, test, predictor, seed),
        "weighted": weighted_coverage(calibration, test, score, coverage=coverage, seed=seed),
    }


def _alarms(calibration: Answers, test: Answers, predictor: ConformalPredictor, seed: int) -> dict[str, int | None]:
    """Number of images until each gambler of `chiqpm monitor` raises its alarm, in random order."""
    order = np.random.default_rng(seed).permutation(len(test.labels_N))
    label_score = predictor if predictor.score.variants == 1 else ConformalPredictor(THR())
    found: dict[str, int | None] = {}
    for number, name in enumerate(("images", "labels")):
        known, new = (_strangeness(answers, label_score, name) for answers in (calibration, test))
        monitor = ExchangeabilityMonitor(known, false_alarm=FALSE_ALARM / 2, seed=seed + number)
        monitor.update(new[order])
        found[name] = monitor.alarm_at
    return found


def _strangeness(answers: Answers, label_score: ConformalPredictor, name: str) -> NDArray[Any]:
    if name == "images":
        scores = np.asarray(ConformalPredictor(THR()).scores(answers.logits_NC))
        return np.asarray(scores.min(axis=1))
    scores = np.asarray(label_score.scores(answers.logits_NC, answers.features_NK))
    return np.asarray(scores[np.arange(len(answers.labels_N)), answers.labels_N])


def weighted_coverage(
    calibration: Answers, test: Answers, score: Score, *, coverage: float, seed: int
) -> dict[str, float]:
    """Coverage of sets whose calibration images are weighted by how much they look like the condition's.

    A logistic regression on the features tells calibration images from one half of the condition's images, without
    their labels; its odds are the weights. The other half is measured, then the halves change places.
    """
    order = np.random.default_rng(seed).permutation(len(test.labels_N))
    halves = (order[: len(order) // 2], order[len(order) // 2 :])
    covered, sizes, effective = [], [], []
    for seen, measured in (halves, halves[::-1]):
        weigh = _density_ratio(calibration.features_NK, test.features_NK[seen])
        predictor = WeightedPredictor(score).calibrate(
            calibration.logits_NC,
            calibration.labels_N,
            calibration.features_NK,
            weights_M=weigh(calibration.features_NK),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallCalibrationWarning)
            sets = np.asarray(
                predictor.predict_set(
                    test.logits_NC[measured],
                    test.features_NK[measured],
                    coverage=coverage,
                    weights_B=weigh(test.features_NK[measured]),
                )
            )
        covered.append(sets[np.arange(len(measured)), test.labels_N[measured]])
        sizes.append(sets.sum(axis=1))
        effective.append(predictor.effective_images)
    return {
        "coverage": float(np.concatenate(covered).mean()),
        "size": float(np.concatenate(sizes).mean()),
        "effective_images": float(np.mean(effective)),
    }


def _density_ratio(known_MK: NDArray[Any], new_NK: NDArray[Any]) -> Any:
    scaler = StandardScaler().fit(np.concatenate([known_MK, new_NK]))
    inputs = scaler.transform(np.concatenate([known_MK, new_NK]))
    side = np.repeat([0, 1], [len(known_MK), len(new_NK)])
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500).fit(inputs, side)
    return lambda features_NK: np.exp(np.clip(model.decision_function(scaler.transform(features_NK)), -20, 20))

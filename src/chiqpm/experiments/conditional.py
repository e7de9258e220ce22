"""Coverage where the traversal of the tree is limited, and for every class, size and level."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.conformal import (
    APS,
    THR,
    ConformalPredictor,
    HierarchicalScore,
    MondrianPredictor,
    SmallCalibrationWarning,
    coverage_band,
)
from chiqpm.experiments.coherence import Model, models
from chiqpm.experiments.conformal.models import HeldOut
from chiqpm.experiments.keeping import kept
from chiqpm.experiments.outcome import Context, Outcome, Verdict

TARGET = 0.9
MIN_COUNT = 10
_CONFIDENCE = 0.9999
"""Of each band, so high because there are many of them."""
Predict = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]


def run(context: Context) -> Outcome:
    """Measure coverage for every limit of the traversal, and by class, on the models of `coherence`."""
    chosen, splits = models(context)
    measured = {}
    for model in chosen:
        file = context.out / f"conditional-{model.name.replace(' ', '-')}.json"
        made_from = {**model.made_from, "splits": splits, "target": TARGET}
        measured[model.name] = kept(file, made_from, partial(_measure, model, splits))
    names = list(next(iter(measured.values()))["methods"])
    columns = ("coverage", "size", "worst_class", "classes_below", "size_violation")
    rows = [
        [name, *(float(np.mean([model["methods"][name][column] for model in measured.values()])) for column in columns)]
        for name in names
    ]
    low = {name: model["band"][0] for name, model in measured.items()}
    short = [
        f"{name} ({of})"
        for of, model in measured.items()
        for name, values in model["methods"].items()
        if values["coverage"] < low[of]
    ]
    worst = {name: min(model["methods"][name]["worst_class"] for model in measured.values()) for name in names}
    smallest = min(model["methods"][name]["coverage"] for model in measured.values() for name in names)
    evidence = (
        f"Target {TARGET}: the lowest mean coverage of any limit and model is {smallest:.4f}, the exact bands begin "
        f"at {min(low.values()):.4f}. No class is promised anything: the worst class has {worst['branch']:.2f} with "
        f"branch, {worst['branch, by class']:.2f} when calibrated by class."
    )
    if short:
        evidence += f" Below its band: {', '.join(short)}."
    return Outcome(
        verdict=Verdict(
            claim="Coverage holds at every limit of the traversal.",
            holds=not short,
            evidence=evidence,
        ),
        columns=["method", "coverage", "size", "worst class", "classes below .8", "largest gap by size"],
        rows=rows,
        values={"target": TARGET, "models": measured},
        notes=[
            "limit L: sets stay below the node that shares the first L features with the prediction (L = 0: no limit, "
            "larger L: smaller sets while coverage allows, else all classes). depth d: branches are told apart by d "
            "features from the leaving one on.",
            "worst class and share of classes below .8: coverage of each class's images, averaged over the divisions. "
            "largest gap by size: between coverage and target, over sets of 0-1, 2-3, 4-10 and more classes.",
        ],
    )


def _measure(model: Model, splits: int) -> dict[str, Any]:
    return measure(model.answers(), splits, model.seed)


def measure(answers: HeldOut, splits: int, seed: int) -> dict[str, Any]:
    """Calibrate on random halves and measure the sets of the others.

    Args:
        answers: a model's answers for held-out images.
        splits: divisions.
        seed: of the divisions.

    Returns:
        `band`: exact band of the mean coverage; `methods`: name -> means over divisions.
    """
    half = len(answers.labels_N) // 2
    band = coverage_band(half, len(answers.labels_N) - half, TARGET, _CONFIDENCE, splits=splits)
    return {
        "band": list(band),
        "accuracy": answers.accuracy,
        "methods": {n: _one(answers, p, splits, seed) for n, p in _methods(answers).items()},
    }


def _methods(answers: HeldOut) -> dict[str, Predict]:
    weight_CK = answers.weight_CK
    per_class = int(weight_CK[0].sum())
    scores: dict[str, Any] = {"branch": HierarchicalScore(weight_CK)}
    scores |= {f"branch, depth {depth}": HierarchicalScore(weight_CK, depth=depth) for depth in range(2, per_class + 1)}
    scores |= {
        f"level_limited, limit {level}": HierarchicalScore(weight_CK, "level_limited", level=level)
        for level in range(per_class)
    }
    scores |= {"level_limited, chosen limit": HierarchicalScore(weight_CK, "level_limited")}
    scores |= {"THR": THR(), "APS": APS()}
    methods: dict[str, Predict] = {name: _plain(answers, score) for name, score in scores.items()}
    return methods | {"branch, by class": _by_class(answers)}


def _plain(answers: HeldOut, score: Any) -> Predict:
    def predict(first: NDArray[np.int64], rest: NDArray[np.int64]) -> NDArray[np.bool_]:
        predictor = ConformalPredictor(score)
        predictor.calibrate(answers.logits_NC[first], answers.labels_N[first], answers.features_NK[first])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallCalibrationWarning)
            return np.asarray(
                predictor.predict_set(answers.logits_NC[rest], answers.features_NK[rest], coverage=TARGET)
            )

    return predict


def _by_class(answers: HeldOut) -> Predict:
    def predict(first: NDArray[np.int64], rest: NDArray[np.int64]) -> NDArray[np.bool_]:
        predictor = MondrianPredictor(HierarchicalScore(answers.weight_CK), "class", min_count=MIN_COUNT)
        predictor.calibrate(answers.logits_NC[first], answers.labels_N[first], answers.features_NK[first])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallCalibrationWarning)
            return np.asarray(
                predictor.predict_set(answers.logits_NC[rest], answers.features_NK[rest], coverage=TARGET)
            )

    return predict


def _one(answers: HeldOut, predict: Predict, splits: int, seed: int) -> dict[str, float]:
    count, generator = len(answers.labels_N), np.random.default_rng(seed)
    hits_N, tested_N, sizes, covered = np.zeros(count), np.zeros(count), [], []
    by_size: dict[int, list[bool]] = {0: [], 1: [], 2: [], 3: []}
    for _ in range(splits):
        order = generator.permutation(count)
        first, rest = order[: count // 2], order[count // 2 :]
        sets = predict(first, rest)
        inside = sets[np.arange(len(rest)), answers.labels_N[rest]]
        size = sets.sum(axis=1)
        hits_N[rest] += inside
        tested_N[rest] += 1
        sizes.append(size.mean())
        covered.append(inside.mean())
        for code, hit in zip(np.digitize(size, [2, 4, 11]), inside, strict=True):
            by_size[int(code)].append(bool(hit))
    share_N = hits_N / np.maximum(tested_N, 1)
    classes = [
        float(share_N[of].mean())
        for c in range(len(answers.weight_CK))
        if (of := (answers.labels_N == c) & (tested_N > 0)).any()
    ]
    gaps = [abs(float(np.mean(hits)) - TARGET) for hits in by_size.values() if len(hits) >= 2 * splits]
    return {
        "coverage": float(np.mean(covered)),
        "size": float(np.mean(sizes)),
        "worst_class": min(classes),
        "classes_below": float(np.mean([value < 0.8 for value in classes])),
        "size_violation": max(gaps, default=0.0),
    }

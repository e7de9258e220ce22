"""Size, coherence and conditional coverage of the sets of one trained model, over random halves of its images."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.conformal import (
    ConformalPredictor,
    HierarchicalScore,
    MondrianPredictor,
    SmallCalibrationWarning,
    Tree,
    tree,
)
from chiqpm.errors import ChiqpmError
from chiqpm.experiments.conformal.catalogue import all_scores
from chiqpm.experiments.conformal.models import HeldOut
from chiqpm.metrics import set_coherence, set_hierarchy

TARGETS = (0.9, 0.95)
SIZE_BINS = ((0, 1), (2, 3), (4, 10), (11, 1000))
PER_CLASS, PER_LEVEL = "branch, by class", "branch, by level"
MIN_COUNT = 10
"""Calibration images below which classes and levels are pooled; a class has 30."""

Predict = Callable[[NDArray[np.int64], NDArray[np.int64]], list[NDArray[np.bool_]]]


def measure_sets(answers: HeldOut, *, splits: int, seed: int) -> dict[str, Any]:
    """Calibrate on random halves of a model's answers and measure the sets of the other halves.

    Args:
        answers: the model's answers.
        splits: divisions.
        seed: of the divisions and of the randomised scores.

    Returns:
        `accuracy`, and for each score and target: means over divisions of coverage, size, empty and full sets,
        coherence (None where no set holds two classes), tree and hierarchy; and the coverage of parts of the images,
        each image's averaged over divisions.

    Raises:
        ChiqpmError: nothing is known of how alike the classes are.
    """
    if answers.similarity_CC is None:
        raise ChiqpmError(
            "the coherence of sets is how alike their classes are: it needs a data set with attributes of its classes, "
            "or attributes.csv in the folder of images"
        )
    predicted_N = answers.logits_NC.argmax(axis=1)
    found = tree(answers.features_NK, answers.weight_CK, predicted_N)
    parts = _parts(answers, np.asarray(found.shared_BC))
    rows: dict[str, dict[str, Any]] = {}
    for name, predict in _predictors(answers, seed).items():
        tallies = {target: _Tally(answers, found) for target in TARGETS}
        generator = np.random.default_rng(seed)
        for _ in range(splits):
            order = generator.permutation(len(answers.labels_N))
            first, rest = order[: len(order) // 2], order[len(order) // 2 :]
            for target, sets in zip(TARGETS, predict(first, rest), strict=True):
                tallies[target].add(rest, sets)
        rows[name] = {f"{target:g}": tally.result(target, parts) for target, tally in tallies.items()}
    return {"accuracy": answers.accuracy, "images": len(answers.labels_N), "scores": rows}


def _predictors(answers: HeldOut, seed: int) -> dict[str, Predict]:
    """How each method makes the sets of some images, calibrated on others, at every target."""
    images = (answers.logits_NC, answers.labels_N, answers.features_NK)
    generator = np.random.default_rng(seed)

    def plain(score: Any) -> Predict:
        def predict(first: NDArray[np.int64], rest: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
            predictor = ConformalPredictor(score).calibrate(*(part[first] for part in images), generator=generator)
            logits, _, features = (part[rest] for part in images)
            sets = predictor.predict_sets(logits, features, coverages=TARGETS, generator=generator)
            return [np.asarray(sets_BC) for sets_BC in sets]

        return predict

    def conditional(by: Any) -> Predict:
        def predict(first: NDArray[np.int64], rest: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
            predictor = MondrianPredictor(HierarchicalScore(answers.weight_CK), by, min_count=MIN_COUNT)
            predictor.calibrate(*(part[first] for part in images))
            logits, _, features = (part[rest] for part in images)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SmallCalibrationWarning)
                return [np.asarray(predictor.predict_set(logits, features, coverage=target)) for target in TARGETS]

        return predict

    methods = {name: plain(score) for name, score in all_scores(answers.weight_CK).items()}
    return methods | {PER_CLASS: conditional("class"), PER_LEVEL: conditional("level")}


def _parts(answers: HeldOut, shared_NC: NDArray[np.int64]) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Divisions of the images: by what is known beforehand, and by how wrong the prediction is."""
    images = np.arange(len(answers.labels_N))
    own_N = answers.logits_NC[images, answers.labels_N]
    rank_N = (answers.logits_NC >= own_N[:, None]).sum(axis=1)
    level_N = shared_NC[images, answers.labels_N]
    sorted_NC = np.sort(answers.logits_NC, axis=1)
    thirds = {}
    for name, values in (
        ("margin", sorted_NC[:, -1] - sorted_NC[:, -2]),
        ("evidence", sorted_NC[:, -1]),
    ):
        low, high = np.quantile(values, [1 / 3, 2 / 3])
        thirds[name] = {"low": values <= low, "middle": (values > low) & (values <= high), "high": values > high}
    return {
        "class": {str(label): answers.labels_N == label for label in range(len(answers.weight_CK))},
        **thirds,
        "rank of the truth": {"1": rank_N == 1, "2": rank_N == 2, "3 or more": rank_N >= 3},
        "level of the truth": {str(level): level_N == level for level in np.unique(level_N)},
    }


class _Tally:
    """What is summed over divisions, for one method and target."""

    def __init__(self, answers: HeldOut, found: Tree) -> None:
        self._answers, self._tree = answers, found
        self._means: list[dict[str, float]] = []
        self._hits_N = np.zeros(len(answers.labels_N))
        self._tested_N = np.zeros(len(answers.labels_N))
        self._by_size = np.zeros((len(SIZE_BINS), 2))

    def add(self, rest: NDArray[np.int64], sets_BC: NDArray[np.bool_]) -> None:
        covered_B = sets_BC[np.arange(len(rest)), self._answers.labels_N[rest]]
        size_B = sets_BC.sum(axis=1)
        self._hits_N[rest] += covered_B
        self._tested_N[rest] += 1
        for row, (first, last) in enumerate(SIZE_BINS):
            inside_B = (size_B >= first) & (size_B <= last)
            self._by_size[row] += covered_B[inside_B].sum(), inside_B.sum()
        assert self._answers.similarity_CC is not None
        coherence = set_coherence(sets_BC, self._answers.similarity_CC)
        hierarchy = set_hierarchy(
            sets_BC,
            self._tree.shared_BC[rest],
            self._tree.leaving_BC[rest],
            self._answers.family_C,
        )
        self._means.append(
            {
                "coverage": float(covered_B.mean()),
                "size": float(size_B.mean()),
                "empty": float((size_B == 0).mean()),
                "full": float((size_B == sets_BC.shape[1]).mean()),
                "coherence_pairs": coherence.pair_pooled,
                "coherence_sets": coherence.per_set,
                "branches": hierarchy.branches,
                "whole": hierarchy.whole,
                "climbed": hierarchy.climbed,
                "families": float("nan") if hierarchy.superclasses is None else hierarchy.superclasses,
            }
        )

    def result(self, target: float, parts: dict[str, dict[str, NDArray[np.bool_]]]) -> dict[str, Any]:
        share_N = self._hits_N / np.maximum(self._tested_N, 1)
        tested_N = self._tested_N > 0
        by = {
            name: {
                value: float(share_N[inside & tested_N].mean())
                for value, inside in part.items()
                if (inside & tested_N).any()
            }
            for name, part in parts.items()
        }
        by_size = {
            f"{first}-{last}": float(hits / count)
            for (first, last), (hits, count) in zip(SIZE_BINS, self._by_size, strict=True)
            if count >= 2 * len(self._means)
        }
        classes = by.pop("class")
        return {
            **{name: _mean([row[name] for row in self._means]) for name in self._means[0]},
            "class_gap": 100 * float(np.mean([abs(value - target) for value in classes.values()])),
            "worst_class": min(classes.values()),
            "size_violation": max((abs(value - target) for value in by_size.values()), default=0.0),
            "by": {**by, "size": by_size},
        }


def _mean(values: list[float]) -> float | None:
    """Mean of the divisions that have a value."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None

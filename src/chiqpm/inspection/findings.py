"""What a reader of a run must be warned of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from chiqpm.conformal import Diagnostics, conformal_rank, required_images
from chiqpm.data.table import some
from chiqpm.explain import ModelExplanation
from chiqpm.inference import Answers, Features

_ALIKE = 0.95
_KEPT_ACCURACY = 0.95
_CHANCE = 0.05
_SPREAD = 0.05


@dataclass(frozen=True)
class Finding:
    """One warning.

    Attributes:
        serious: whether a number of the report can't be trusted because of it.
        title: in a few words.
        detail: what was found, with numbers.
        remedy: what to do.
    """

    serious: bool
    title: str
    detail: str
    remedy: str


def calibration_findings(num_calibration: int, coverage: float) -> list[Finding]:
    """Warn of a calibration set that is too small for the coverage, or so small that its coverage is a gamble.

    Given the calibration set, the coverage of its prediction sets is Beta(r, m + 1 - r) distributed, r the rank of the
    threshold (Vovk, 2012).

    Args:
        num_calibration: m, number of calibration images.
        coverage: requested coverage.
    """
    needed = required_images(coverage)
    if num_calibration < needed:
        return [
            Finding(
                True,
                "Too few calibration images",
                f"{num_calibration} calibration images are too few for a coverage of {coverage:.4g}: every set holds "
                "every class.",
                f"Calibrate with at least {needed} images, or ask for less coverage.",
            )
        ]
    low, high = _true_coverage(num_calibration, coverage)
    if coverage - low <= _SPREAD:
        return []
    wanted = num_calibration
    while coverage - _true_coverage(wanted, coverage)[0] > _SPREAD:
        wanted += 10
    return [
        Finding(
            False,
            "Small calibration set",
            f"With {num_calibration} calibration images sets asked for {coverage:.4g} truly cover between "
            f"{low:.3f} and {high:.3f} of all images, with 95% probability.",
            f"About {wanted} images narrow this to {_SPREAD:g} below what was asked for.",
        )
    ]


def _true_coverage(num_calibration: int, coverage: float) -> tuple[float, float]:
    """Where the coverage lies with 95% probability, given one calibration set."""
    rank = conformal_rank(num_calibration, coverage)
    low, high = stats.beta.ppf([0.025, 0.975], rank, num_calibration + 1 - rank)
    return float(low), float(high)


def coverage_findings(diagnostics: Diagnostics, class_names: Sequence[str]) -> list[Finding]:
    """Warn of sets that hold the truth less often than promised, as a whole or for single classes.

    Args:
        diagnostics: of the test images, at the coverage in use.
        class_names: C names.
    """
    found = []
    rate, target = diagnostics.coverage, diagnostics.target
    if rate.high < target:
        found.append(
            Finding(
                True,
                "The sets hold the truth less often than asked for",
                f"{rate.value:.1%} of {rate.trials:,} test images ({rate.low:.1%} to {rate.high:.1%}), asked for "
                f"{target:.1%}.",
                "The test images may differ from the calibration images: calibrate with images like those to come.",
            )
        )
    by_class = diagnostics.by["class"]
    low = under_covered(diagnostics)
    if low:
        named = some([f"{class_names[c]} ({by_class[str(c)].hits} of {by_class[str(c)].trials})" for c in low])
        found.append(
            Finding(
                True,
                "Classes that are covered too rarely",
                f"{len(low)} of {len(by_class)} classes are covered less often than chance explains at a coverage of "
                f"{target:.1%}: {named}.",
                "The promise holds on average over all images, not for each class. Add images of these classes, or "
                "calibrate per group (chiqpm.conformal.MondrianPredictor).",
            )
        )
    if diagnostics.empty.hits:
        found.append(
            Finding(
                False,
                "Empty sets",
                f"{diagnostics.empty.hits:,} of {diagnostics.empty.trials:,} sets hold no class.",
                "The scores `path`, `evidence` and `branch` never give an empty set.",
            )
        )
    return found


def under_covered(diagnostics: Diagnostics) -> list[int]:
    """Return the classes whose coverage is below the target by more than chance explains, worst first.

    Each by a one-sided binomial test; over all classes together a false alarm has at most 5% probability (Bonferroni).
    """
    rates = diagnostics.by["class"]
    low = [
        (rate.value, int(c))
        for c, rate in rates.items()
        if stats.binom.cdf(rate.hits, rate.trials, diagnostics.target) * len(rates) < _CHANCE
    ]
    return [c for _, c in sorted(low)]


def accuracy_findings(dense: float | None, test: Answers) -> list[Finding]:
    """Warn of accuracy lost on the way from the dense to the sparse model, and of a model that has collapsed.

    Args:
        dense: accuracy of the dense model on the same images; None where there is none.
        test: answers of the sparse model.
    """
    found = []
    if dense and test.accuracy < _KEPT_ACCURACY * dense:
        found.append(
            Finding(
                True,
                "The sparse model lost accuracy",
                f"It is right for {test.accuracy:.1%} of the test images, the dense model for {dense:.1%}.",
                "Fine-tune longer (--finetune.rounds), or keep more features (--assignment.kept-features, "
                "--assignment.features-per-class).",
            )
        )
    present, predicted = len(np.unique(test.labels_N)), len(np.unique(test.predicted_N))
    if predicted < 0.5 * present:
        found.append(
            Finding(
                True,
                "The predictions have collapsed",
                f"The model predicts {predicted} classes only, where the test images have {present}.",
                "Train longer, or with a smaller learning rate (--finetune.optimiser.lr).",
            )
        )
    return found


def collapsed_pairs(features_NK: NDArray[np.floating[Any]]) -> list[tuple[int, int]]:
    """Return pairs of features that say the same: their cosine over the images is at least 0.95.

    Args:
        features_NK: activations over many images.

    >>> collapsed_pairs(np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 1.0], [0.0, 0.0, 3.0]]))
    [(0, 1)]
    """
    features = features_NK.astype(np.float64)
    length = np.sqrt((features**2).sum(axis=0))
    unit = features / np.where(length > 0, length, 1.0)
    alike = np.triu(unit.T @ unit >= _ALIKE, k=1)
    return [(int(a), int(b)) for a, b in np.argwhere(alike)]


def feature_findings(train: Features) -> list[Finding]:
    """Warn of features that never respond, and of features that say the same as another.

    Args:
        train: features of the training images.
    """
    found = []
    dead = np.flatnonzero(train.features_NK.max(axis=0) <= 0).tolist()
    if dead:
        found.append(
            Finding(
                True,
                "Dead features",
                f"{len(dead)} of {train.features_NK.shape[1]} features are not active in any training image: "
                f"{some([f'f{k}' for k in dead], 8)}.",
                "Classes that use them rest on fewer features than it seems. Train longer, or keep fewer features.",
            )
        )
    alike = collapsed_pairs(train.features_NK)
    if alike:
        found.append(
            Finding(
                False,
                "Features that say the same",
                f"{len(alike)} pairs of features have a cosine of {_ALIKE} or more: "
                f"{some([f'f{a} and f{b}' for a, b in alike])}.",
                "Classes that differ in such a pair alone are hardly told apart.",
            )
        )
    return found


def trust_findings(model: ModelExplanation) -> list[Finding]:
    """Warn of features that lie on the border of images, belong to one class, or stand for two things.

    Args:
        model: the classes and features.
    """
    found = []
    for warning, words in _UNTRUSTED.items():
        listed = [feature for feature in model.untrusted if warning in feature.warnings]
        if listed:
            found.append(
                Finding(
                    False,
                    f"Features {words[0]}",
                    f"{len(listed)} of {len(model.features)}: {some([feature.label for feature in listed], 10)}.",
                    words[1],
                )
            )
    return found


_UNTRUSTED = {
    "border": ("on the border of the image", "What they see may be the frame, not the object. Look at their pictures."),
    "class-specific": ("that belong to one class", "They name a class rather than describe it."),
    "polysemantic": ("that may stand for two things", "Look at their pictures before you give them a name."),
    "unused": ("that no class uses", "They have no part in any prediction."),
}


def split_findings(duplicates: Sequence[Any]) -> list[Finding]:
    """Warn of pictures that lie in two parts of the split.

    Args:
        duplicates: what the run's `duplicates.json` holds.
    """
    if not duplicates:
        return []
    return [
        Finding(
            True,
            "The same pictures in several parts of the split",
            f"{len(duplicates)} pairs of images in different parts of the split are the same (duplicates.json); "
            "accuracy and coverage look better than they are.",
            "Remove one of each, or keep them together with --groups, and fit again.",
        )
    ]

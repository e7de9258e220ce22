"""Known ways in which a model of this kind fails, each with a detector that says what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from chiqpm import metrics
from chiqpm.conformal import coverage_band
from chiqpm.errors import ChiqpmError


@dataclass(frozen=True)
class Finding:
    """What a detector found.

    Attributes:
        name: the failure.
        found: whether it is there.
        value: what was measured.
        limit: what would be a failure.
        explanation: what it means, and what to do where it is found.
    """

    name: str
    found: bool
    value: str
    limit: str
    explanation: str


def feature_collapse(features_NK: NDArray[Any], weight_CK: NDArray[Any]) -> Finding:
    """Do many classes rest on the same few features?

    Three signs: classes that use the very same features; an assignment that uses few of its features (the perplexity
    of how often each is used, over K); features that copy each other (mean of each one's largest cosine with another).

    Args:
        features_NK: features of the training images.
        weight_CK: binary assignment.
    """
    distinct = len(np.unique(weight_CK, axis=0))
    share_K = weight_CK.sum(axis=0) / weight_CK.sum()
    used = float(np.exp(stats.entropy(share_K)) / len(share_K))
    copies = metrics.correlation(features_NK) if features_NK.shape[1] > 1 else 0.0
    found = distinct < len(weight_CK) or used < 0.5 or copies > 0.95
    return Finding(
        "feature collapse",
        bool(found),
        f"{distinct} of {len(weight_CK)} classes distinct, {used:.0%} of the features in even use, copies {copies:.2f}",
        "equal classes, even use below 50%, copies above 0.95",
        "Many classes rest on the same features, or features copy each other, so that little tells classes apart. "
        "Train the dense model longer, raise beta (--dense.diversity-weight), or keep fewer features.",
    )


def dead_features(features_NK: NDArray[Any], weight_CK: NDArray[Any]) -> Finding:
    """Is a feature that classes use never active, or always the same?

    Args:
        features_NK: features of the training images, as the last layer sees them.
        weight_CK: binary assignment.
    """
    active_K = (features_NK > 0).mean(axis=0)
    dead_K = (active_K < 0.001) | (features_NK.std(axis=0) < 1e-6)
    count, concerned = int(dead_K.sum()), int((weight_CK[:, dead_K].sum(axis=1) > 0).sum())
    return Finding(
        "dead features",
        count > 0,
        f"{count} of {len(dead_K)} features, in {concerned} classes; the rarest is active in {active_K.min():.1%}",
        "active in less than 0.1% of the images, or constant",
        "A feature that is never active explains nothing. Lower lambda (--finetune.grounding-weight) or the learning "
        "rate of fine-tuning, or put dropout after the normalisation (--finetune.dropout-place normalised).",
    )


def incoherent_sets(
    sets_NC: NDArray[np.bool_], similarity_CC: NDArray[Any], *, seed: int = 0, draws: int = 200
) -> Finding:
    """Are the classes of a set no more alike than classes drawn at random?

    Args:
        sets_NC: prediction sets.
        similarity_CC: true similarity of the classes.
        seed: of the draws.
        draws: of random sets of the same sizes, for comparison.
    """
    name, limit = "incoherent sets", "not above 95% of random sets of the same sizes"
    advice = (
        "The classes of a set have little in common, so that a set says nothing. Use a hierarchical score "
        "(--calibration.score branch), and look whether similar classes share features (structural grounding)."
    )
    several_NC = sets_NC[sets_NC.sum(axis=1) >= 2]
    if not len(several_NC):
        return Finding(name, False, "no set has two classes", limit, advice)
    observed = metrics.set_coherence(several_NC, similarity_CC).per_set
    generator = np.random.default_rng(seed)
    drawn = [metrics.set_coherence(generator.permuted(several_NC, axis=1), similarity_CC).per_set for _ in range(draws)]
    ceiling = float(np.quantile(drawn, 0.95))
    value = f"{observed:.3f} in {len(several_NC)} sets of several classes; random sets: up to {ceiling:.3f}"
    return Finding(name, bool(observed <= ceiling), value, limit, advice)


def calibration_drift(
    calibration_M: NDArray[Any], test_N: NDArray[Any], covered_N: NDArray[np.bool_], coverage: float
) -> Finding:
    """Do the test images look like the calibration images, by the score of their true class, and are they covered?

    Args:
        calibration_M: nonconformity score of the true class of each calibration image.
        test_N: likewise of each test image.
        covered_N: whether the truth is in the set of each test image.
        coverage: what the sets promise.

    Raises:
        ChiqpmError: no images.
    """
    if not len(calibration_M) or not len(test_N):
        raise ChiqpmError("calibration drift needs calibration and test images")
    low, _ = coverage_band(len(calibration_M), len(test_N), coverage, confidence=0.998)
    observed = float(covered_N.mean())
    difference = stats.ks_2samp(calibration_M, test_N)
    return Finding(
        "calibration drift",
        bool(observed < low or difference.pvalue < 0.001),
        f"coverage {observed:.3f} (asked for {coverage:g}, band from {low:.3f}); scores differ with "
        f"p = {difference.pvalue:.3g}",
        "coverage below its band, or p below 0.001",
        "The images no longer look like those of the calibration, so the sets promise nothing. Calibrate again with "
        "images like these (chiqpm calibrate), and watch them with chiqpm monitor.",
    )

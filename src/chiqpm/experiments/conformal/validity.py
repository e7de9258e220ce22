"""Coverage over random divisions into calibration and test, against its exact law."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from chiqpm.conformal import SmallCalibrationWarning, conformal_rank, coverage_band, find_threshold
from chiqpm.experiments.conformal.catalogue import all_scores, label_scores
from chiqpm.experiments.conformal.populations import Population
from chiqpm.experiments.conformal.published import published_coverage

COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
PUBLISHED = "published rule"
_NEVER = 1e-9


def measure_validity(
    population: Population, *, calibration_sizes: Sequence[int], splits: int, seed: int, confidence: float
) -> dict[str, Any]:
    """Divide images at random many times, and compare every score's mean coverage with the band of its law.

    A set holds the truth when the score of the true class is admitted, so the scores of the true classes are all that
    a division needs. The law of the mean coverage is exact for scores without ties, also given the images; with ties
    coverage may lie above the band, never below.

    Args:
        population: the images.
        calibration_sizes: numbers m of calibration images; the others test.
        splits: divisions.
        seed: of the divisions and of the randomised scores.
        confidence: of each band.

    Returns:
        `accuracy`, `images`, and under `sizes` for each m and coverage the band, and of each score the mean coverage,
        whether the band binds it from above (no ties, or none that could reach the threshold), and whether it holds.
    """
    generator = np.random.default_rng(seed)
    images = (population.logits_NC, population.labels_N, population.features_NK)
    own = {name: label_scores(score, *images, generator) for name, score in all_scores(population.weight_CK).items()}
    sizes = {
        str(size): _one_size(own, size, splits, np.random.default_rng([seed, size]), confidence)
        for size in calibration_sizes
    }
    return {"accuracy": population.accuracy, "images": len(population.labels_N), "sizes": sizes}


def _one_size(
    own: dict[str, NDArray[np.float64]], size: int, splits: int, generator: np.random.Generator, confidence: float
) -> dict[str, Any]:
    num_images = own["THR"].shape[1]
    covered = {name: np.zeros((len(COVERAGES), splits)) for name in (*own, PUBLISHED)}
    for split in range(splits):
        order = generator.permutation(num_images)
        first, rest = order[:size], order[size:]
        for name, scores_VN in own.items():
            covered[name][:, split] = _admitted(np.sort(scores_VN[:, first], axis=1), scores_VN[:, rest])
        level_VN = own["level_limited"]
        for row, coverage in enumerate(COVERAGES):
            admitted = published_coverage(level_VN[:, first], level_VN[:, rest], coverage)
            covered[PUBLISHED][row, split] = admitted.mean()
    return {
        f"{coverage:g}": _compare(own, {n: values[row] for n, values in covered.items()}, size, coverage, confidence)
        for row, coverage in enumerate(COVERAGES)
    }


def _admitted(sorted_VM: NDArray[np.float64], test_VT: NDArray[np.float64]) -> list[float]:
    scores = dict(enumerate(torch.from_numpy(test_VT)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallCalibrationWarning)
        thresholds = [find_threshold(sorted_VM, coverage) for coverage in COVERAGES]
    return [float(threshold.admits(scores).double().mean()) for threshold in thresholds]


def _compare(
    own: dict[str, NDArray[np.float64]],
    covered: dict[str, NDArray[np.float64]],
    size: int,
    coverage: float,
    confidence: float,
) -> dict[str, Any]:
    splits, num_images = len(covered["THR"]), own["THR"].shape[1]
    low, high = coverage_band(size, num_images - size, coverage, confidence, splits=splits)
    rows = {}
    for name, values in covered.items():
        mean = float(values.mean())
        exact = name in own and _is_exact(own[name], size, coverage)
        inside = mean >= low - _NEVER and (not exact or mean <= high + _NEVER)
        rows[name] = {"mean": mean, "sd": float(values.std(ddof=1)), "two_sided": exact, "holds": inside}
    return {"band": [low, high], "scores": rows}


def _is_exact(scores_VN: NDArray[np.float64], size: int, coverage: float) -> bool:
    """Whether the threshold falls among ties in practically no division, so that the law binds from both sides."""
    if len(scores_VN) > 1:
        return False
    num_images, rank = scores_VN.shape[1], conformal_rank(size, coverage)
    _, counts = np.unique(scores_VN[0], return_counts=True)
    if (counts[1:] > 1).any():
        return False
    if counts[0] == 1:
        return True
    # The lowest score is shared, as that of all correct predictions is: could it be the threshold?
    return bool(stats.hypergeom(num_images, counts[0], size).sf(rank - 1) < _NEVER)
